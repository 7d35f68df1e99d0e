// The two kinds of time, and the pair that the shell hands to every step. Nothing here reads a clock.

/// Nanoseconds since an arbitrary start; the only time that deadlines use.
package struct MonotonicInstant: Hashable, Comparable, BitwiseCopyable, Sendable {
    package var nanoseconds: UInt64

    @inlinable package init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }
    @inlinable package static func < (a: Self, b: Self) -> Bool { a.nanoseconds < b.nanoseconds }

    @inlinable package func advanced(byMilliseconds milliseconds: Int64) -> MonotonicInstant {
        MonotonicInstant(nanoseconds: nanoseconds &+ UInt64(max(0, milliseconds)) &* 1_000_000)
    }

    /// Whole milliseconds from `earlier` to here, 0 when `earlier` is later.
    @inlinable package func milliseconds(since earlier: MonotonicInstant) -> Int64 {
        nanoseconds > earlier.nanoseconds
            ? Int64((nanoseconds - earlier.nanoseconds) / 1_000_000) : 0
    }

    package static let distantFuture = MonotonicInstant(nanoseconds: .max)
}

/// Milliseconds since 1970, UTC; only for records, schedules that a person named, and retention.
package struct WallTimestamp: Hashable, Comparable, BitwiseCopyable, Sendable {
    package var milliseconds: Int64

    @inlinable package init(milliseconds: Int64) { self.milliseconds = milliseconds }
    @inlinable package static func < (a: Self, b: Self) -> Bool { a.milliseconds < b.milliseconds }

    @inlinable package func advanced(byMilliseconds count: Int64) -> WallTimestamp {
        let (sum, overflow) = milliseconds.addingReportingOverflow(count)
        return WallTimestamp(milliseconds: overflow ? .max : sum)
    }
}

/// Both times at one moment, read once by the shell for a whole turn.
package struct Now: Hashable, BitwiseCopyable, Sendable {
    package var monotonic: MonotonicInstant
    package var wall: WallTimestamp

    @inlinable package init(monotonic: MonotonicInstant, wall: WallTimestamp) {
        self.monotonic = monotonic
        self.wall = wall
    }
}
