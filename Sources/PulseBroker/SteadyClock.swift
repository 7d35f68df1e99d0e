// The clock by which things age: wall time without the jumps of the wall clock. Part of the hot state: a
// fold of the commands `clock set`, so that equal logs age alike.
//
//      wall time    ----------.                       .------------     somebody sets the clock forward,
//                             '--- (jump) ---. .------'                 and back again
//      steady time  -------------------------' '-------------------     wall time less what it was set by
//
// Between two steps both clocks run alike, so the difference of an entry's wall time and its steady time
// follows from its position. Times that the state keeps for later (ends, activity) are steady times.
//
// Source: spec/03-storage.md, "Clocks"; spec/decisions/0013-steady-time.md.

package import PulseCore

package struct SteadyClock: Hashable, Sendable {
    package struct Step: Hashable, Sendable {
        /// Entries from here on were written by the clock as it was set.
        package var position: LogPosition
        /// Milliseconds by which the wall clock is ahead of steady time from here on.
        package var offset: Int64
        /// The steady time of the step: nothing before it is younger.
        package var at: WallTimestamp
    }

    /// What holds before the first step that is remembered.
    private(set) var earliest: Int64 = 0
    package private(set) var steps: [Step] = []

    package init() {}

    /// Whether nobody ever set the clock.
    package var isPlain: Bool { steps.isEmpty }

    /// Milliseconds by which the wall clock is ahead of steady time now.
    package var offset: Int64 { steps.last?.offset ?? earliest }

    private func offset(at position: LogPosition) -> Int64 {
        steps.last { $0.position <= position }?.offset ?? earliest
    }

    /// The steady time of an entry.
    package func steady(_ wall: WallTimestamp, at position: LogPosition) -> WallTimestamp {
        Self.time(wall, less: steps.isEmpty ? 0 : offset(at: position))
    }

    /// The steady time of what is written now.
    package func steady(_ wall: WallTimestamp) -> WallTimestamp { Self.time(wall, less: offset) }

    /// No entry of the positions given is younger than this.
    ///
    /// - Parameter wall: The latest wall time of any of them.
    package func latest(
        _ wall: WallTimestamp,
        of positions: Range<LogPosition>
    ) -> WallTimestamp {
        var latest = WallTimestamp(milliseconds: .min)
        for index in -1..<steps.count {
            let begin = index < 0 ? .zero : steps[index].position
            let next = index + 1 < steps.count ? steps[index + 1] : nil
            guard begin < positions.upperBound,
                next.map({ $0.position > positions.lowerBound }) ?? true
            else { continue }
            let time = Self.time(wall, less: index < 0 ? earliest : steps[index].offset)
            latest = max(latest, next.map { min(time, $0.at) } ?? time)
        }
        return latest
    }

    /// Steady times that something of this wall time may have; one where nobody set the clock.
    package func candidates(_ wall: WallTimestamp) -> [WallTimestamp] {
        let offsets = Set([earliest] + steps.map(\.offset))
        return offsets.sorted().map { Self.time(wall, less: $0) }
    }

    /// What has an earlier wall time has an earlier steady time, wherever it lies.
    package func wall(notAfter steady: WallTimestamp) -> WallTimestamp {
        let least = steps.reduce(earliest) { min($0, $1.offset) }
        return Self.time(steady, less: 0 &- least)
    }

    /// The wall clock was set: by how many milliseconds, and what it shows now.
    mutating func set(
        by milliseconds: Int64,
        at position: LogPosition,
        _ wall: WallTimestamp
    ) {
        let offset = offset &+ milliseconds
        let at = Self.time(wall, less: offset)
        steps.append(Step(position: position, offset: offset, at: at))
        // The oldest two become one: what lies there counts as young as either would have it.
        while steps.count > Limits.clockStepsMax {
            earliest = min(earliest, steps.removeFirst().offset)
        }
    }

    private static func time(_ wall: WallTimestamp, less offset: Int64) -> WallTimestamp {
        let (time, overflow) = wall.milliseconds.subtractingReportingOverflow(offset)
        guard overflow else { return WallTimestamp(milliseconds: time) }
        return WallTimestamp(milliseconds: offset < 0 ? .max : .min)
    }

    // MARK: - Bytes

    func append(to bytes: inout [UInt8]) {
        bytes.append(littleEndian: earliest)
        bytes.append(littleEndian: UInt32(steps.count))
        for step in steps {
            bytes.append(littleEndian: step.position.rawValue)
            bytes.append(littleEndian: step.offset)
            bytes.append(littleEndian: step.at.milliseconds)
        }
    }

    init?(_ reader: inout ByteReader) {
        guard let earliest: Int64 = reader.littleEndian(),
            let count: UInt32 = reader.littleEndian(),
            (0...Limits.clockStepsMax).contains(Int(count))
        else { return nil }
        self.earliest = earliest
        for _ in 0..<count {
            guard let position: UInt64 = reader.littleEndian(),
                let offset: Int64 = reader.littleEndian(), let at: Int64 = reader.littleEndian()
            else { return nil }
            steps.append(
                Step(
                    position: LogPosition(position),
                    offset: offset,
                    at: WallTimestamp(milliseconds: at)
                )
            )
        }
    }
}

/// Why a step of the clock is in the log.
package enum ClockCause: UInt8, Sendable {
    /// The wall clock moved otherwise than the monotonic one while a process ran.
    case set = 1
    /// At a start the wall clock was not where the newest entry let expect it.
    case start = 2
    /// The clock ran steadily long enough after such a start: the time between counts after all.
    case confirmed = 3
}
