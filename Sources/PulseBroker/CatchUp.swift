// A wall clock that is set forward makes much due in one moment. What nobody waited for until then goes
// out at twice the usual rate, in due order, instead of in one burst.
//
//      due:     ... | truly due      overtaken by the step      | not due yet ...
//                   |                |                          |
//                   at once          `from` --> `cursor` -->    `through`
//                                     moves on as time passes
//
// Nothing goes later than it would have without the step: `from` follows the time that passes.
//
// Source: spec/03-storage.md, "Clocks"; spec/decisions/0013-steady-time.md.

import PulseCore

/// Rows of one group that only a step of the clock made due; in memory only, a restart forgets it.
struct CatchUp: Sendable {
    /// What the wall clock would say without the step, when it was seen.
    private let from: WallTimestamp
    private let seenAt: MonotonicInstant
    /// Rows due up to here are the catch-up's.
    private let through: WallTimestamp
    /// Rows released in a second.
    let perSecond: Int
    /// The range in keys: from ``begin`` to below ``end``.
    let begin: [UInt8]
    let end: [UInt8]
    /// Rows up to this key were released, or are where a release would bring them.
    var cursor: [UInt8]
    var next: MonotonicInstant

    /// Milliseconds between two pieces.
    static let periodMilliseconds: Int64 = 100

    /// What is to be caught up after the clock was set, on top of what was to be before; nil for nothing.
    ///
    /// - Parameter expected: What the clock would say, had it not been set now.
    init?(
        _ group: GroupID,
        after earlier: CatchUp?,
        expected: WallTimestamp,
        perSecond: Int,
        at now: Now
    ) {
        let from = earlier?.reached(now.monotonic) ?? expected
        guard from < now.wall else { return nil }
        self.from = from
        seenAt = now.monotonic
        through = now.wall
        // Not anew: what is being released would count as usual.
        self.perSecond = earlier?.perSecond ?? perSecond
        begin = Self.key(group, dueAfter: from)
        end = Self.key(group, dueAfter: through)
        cursor = begin
        next = earlier?.next ?? now.monotonic
    }

    /// Rows due up to here would be due without the step, too.
    func reached(_ now: MonotonicInstant) -> WallTimestamp {
        from.advanced(byMilliseconds: now.milliseconds(since: seenAt))
    }

    var rowsPerPeriod: Int { max(1, perSecond * Int(Self.periodMilliseconds) / 1000) }

    func contains(_ key: [UInt8]) -> Bool {
        !key.lexicographicallyPrecedes(begin) && key.lexicographicallyPrecedes(end)
    }

    /// Whether a row with this key is released by the catch-up, later.
    func comesTo(_ key: [UInt8]) -> Bool {
        contains(key) && cursor.lexicographicallyPrecedes(key)
    }

    /// Starts over: what was released and is waiting is known by its message.
    mutating func rewind() { cursor = begin }

    private static func key(_ group: GroupID, dueAfter wall: WallTimestamp) -> [UInt8] {
        var key = HeldRow.prefix(group)
        key.append(bigEndian: wall.advanced(byMilliseconds: 1).milliseconds)
        return key
    }
}

/// How many messages a group gives out in a second, of late.
struct Pace: Sendable {
    private var minuteBegan: MonotonicInstant
    private var inMinute = 0
    private var minuteBefore = 0

    private static let minuteMilliseconds: Int64 = 60_000

    init(at now: MonotonicInstant) { minuteBegan = now }

    mutating func took() { inMinute += 1 }

    mutating func reached(_ now: MonotonicInstant) {
        let elapsed = now.milliseconds(since: minuteBegan)
        guard elapsed >= Self.minuteMilliseconds else { return }
        minuteBefore = inMinute * Int(Self.minuteMilliseconds) / Int(elapsed)
        inMinute = 0
        minuteBegan = now
    }

    /// Twice as many as in the busier of this minute and the one before; never fewer than the limit.
    var catchUpPerSecond: Int {
        let usual = max(inMinute, minuteBefore) / Int(Self.minuteMilliseconds / 1000)
        return max(Limits.clockCatchUpPerSecond, 2 * usual)
    }
}
