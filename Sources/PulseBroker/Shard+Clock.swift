// What the shard does when somebody sets the wall clock. Deadlines go by monotonic time and do not
// notice; due times follow the wall clock; what ages goes by steady time, which nobody can set.
//
//      wall and monotonic time came apart  -->  clock set, by so much   nothing ages by it
//      a start, long after the last entry  -->  clock set, by so much   nothing ages by it yet
//          ... and it ran steadily since   -->  clock set, back again   it ages after all
//
// Source: spec/03-storage.md, "Clocks"; spec/decisions/0013-steady-time.md.

package import PulseCore
import PulseLog

/// What the shard makes of the wall clock; in memory only, what must last is in the log.
struct ClockWatch: Sendable {
    /// The steady clock with what this process has put into the log and not folded in yet.
    var steady: SteadyClock
    /// What the two clocks said together when the wall clock was last believed, and the steady time then.
    var base: Now
    var steadyAtBase: WallTimestamp
    /// Milliseconds before the start that do not count as age yet, and since when the clock is steady.
    var held: Int64 = 0
    var heldSince: MonotonicInstant
    /// What the node has not been told of.
    var events: [ClockEvent] = []

    init(_ steady: SteadyClock, at now: Now) {
        self.steady = steady
        base = now
        steadyAtBase = steady.steady(now.wall)
        heldSince = now.monotonic
    }
}

package enum ClockEvent: Hashable, Sendable {
    case set(byMilliseconds: Int64)
    /// At a start: this long after the newest entry, or before it.
    case foundAtStart(milliseconds: Int64)
    case confirmed(milliseconds: Int64)
}

extension Shard {
    // MARK: - Steady time

    /// The time by which things age: never later than the clocks allow it to be.
    package func steadyTime(at now: Now) -> WallTimestamp {
        guard !Mutant.isOn(.ageByWallClock) else { return now.wall }
        let elapsed = now.monotonic.milliseconds(since: clockWatch.base.monotonic)
        let latest = clockWatch.steadyAtBase.advanced(
            byMilliseconds: elapsed &+ Limits.clockStepMilliseconds
        )
        return min(clockWatch.steady.steady(now.wall), latest)
    }

    /// Milliseconds before this start that do not count as age yet.
    package var unconfirmedMilliseconds: Int64 { clockWatch.held }

    package func takeClockEvents() -> [ClockEvent] {
        defer { clockWatch.events.removeAll() }
        return clockWatch.events
    }

    /// Looks at both clocks. Called before anything is written by a new time: what lies behind the command
    /// was written by the clock as it is now.
    package func followClock(_ now: Now) throws(ShardError) {
        let elapsed = now.monotonic.milliseconds(since: clockWatch.base.monotonic)
        let expected = clockWatch.base.wall.milliseconds &+ elapsed
        let step = now.wall.milliseconds &- expected
        guard step.magnitude > UInt64(Limits.clockStepMilliseconds) else {
            if clockWatch.held > 0 { try confirmClock(now) }
            return
        }
        guard !log.isReadOnly, try noteClock(.set, step, at: now) else { return }
        // Set back, the start was not so long after the last entry as it seemed.
        if step < 0 { clockWatch.held = max(0, clockWatch.held &+ step) }
        clockWatch.heldSince = now.monotonic
        clockWatch.events.append(.set(byMilliseconds: step))
    }

    private func confirmClock(_ now: Now) throws(ShardError) {
        let steadyFor = now.monotonic.milliseconds(since: clockWatch.heldSince)
        guard steadyFor >= configuration.clockTrustMilliseconds, !log.isReadOnly,
            try noteClock(.confirmed, 0 &- clockWatch.held, at: now)
        else { return }
        retention.due = now.monotonic
        clockWatch.events.append(.confirmed(milliseconds: clockWatch.held))
        clockWatch.held = 0
    }

    /// Compares the clock with the newest entry, before this process writes its first.
    func findClock(at now: Now) throws(ShardError) {
        clockWatch = ClockWatch(state.clock, at: now)
        retention.startedAt = clockWatch.steadyAtBase
        let newest: WallTimestamp?
        do throws(LogError) { newest = try log.newestEntryWall() } catch {
            // Met again, and told, by whoever needs what lies there; ages are counted from now on.
            guard case .damaged = error else { throw .log(error) }
            newest = nil
        }
        guard let newest, !log.isReadOnly else { return }
        let known = state.clock.steady(newest)
        let gap = clockWatch.steadyAtBase.milliseconds &- known.milliseconds
        guard gap < 0 - Limits.clockStepMilliseconds || gap > configuration.clockGapMilliseconds,
            try noteClock(.start, gap, at: now)
        else { return }
        clockWatch.held = max(0, gap)
        clockWatch.events.append(.foundAtStart(milliseconds: gap))
        retention.startedAt = clockWatch.steadyAtBase
    }

    /// Puts a step of the clock into the log; false when the disk is full: it is tried again.
    private func noteClock(
        _ cause: ClockCause,
        _ milliseconds: Int64,
        at now: Now
    ) throws(ShardError) -> Bool {
        var body: [UInt8] = []
        Command.clockSet(byMilliseconds: milliseconds, cause).append(to: &body)
        do throws(ShardError) {
            clockWatch.steady.set(
                by: milliseconds,
                at: try append(commands: body, at: now),
                now.wall
            )
        } catch {
            guard case .log(.diskFull) = error else { throw error }
            return false
        }
        clockWatch.base = now
        clockWatch.steadyAtBase = clockWatch.steady.steady(now.wall)
        return true
    }

    // MARK: - Due times

    /// When wall and monotonic time have drifted apart by more than a second since the wheels were laid
    /// out, in one step or in many, they are laid out anew from the rows, which name wall times.
    func reloadIfClockWasSet(_ now: Now) throws(StorageError) {
        let expected = wallByMonotonicTime(now)
        let step = now.wall.milliseconds &- expected.milliseconds
        guard step.magnitude > UInt64(Limits.clockStepMilliseconds), !Mutant.isOn(.ignoreClockStep)
        else { return }
        clockBase = now
        statistics.clockChanges += 1
        if queues.contains(where: { $0.held.countInMemory > 0 }) {
            configuration.log.buggify?.saw(.clockSetWithHeld)
        }
        for index in queues.indices {
            let perSecond = queues[index].pace.catchUpPerSecond
            queues[index].held.clockSet(from: expected, perSecond: perSecond, at: now)
            try reloadQueue(index, at: now)
        }
    }

    /// What the wall clock would say, had nobody set it since the wheels were laid out.
    private func wallByMonotonicTime(_ now: Now) -> WallTimestamp {
        let elapsed = now.monotonic.milliseconds(since: clockBase.monotonic)
        return clockBase.wall.advanced(byMilliseconds: elapsed)
    }

    func reloadQueue(_ index: Int, at now: Now) throws(StorageError) {
        queues[index].dropDueRows()
        let waiting = queues[index].waiting
        try queues[index].held.reload(
            at: now,
            from: store,
            except: { waiting[$0] != nil || self.leases.holds($0) },
            ownEnd: { self.ownEnd(of: $0, at: now) }
        )
    }

    /// When a retry's own delay is over, if the clock that gave it was ahead of now: it never waits longer
    /// than that, from when the clock was seen set. Nil for what a person scheduled, and where the due
    /// time can be believed.
    func ownEnd(of row: HeldRow, at now: Now) -> MonotonicInstant? {
        guard row.reason != .scheduled, row.due > now.wall,
            let since = row.since ?? entryWall(of: row, at: now), since > now.wall
        else { return nil }
        let delay = min(max(0, row.due.milliseconds &- since.milliseconds), Self.delayMax)
        // Written after the wheels were laid out, by a clock that went slower by less than a step?
        let latest = wallByMonotonicTime(now).advanced(byMilliseconds: Limits.clockStepMilliseconds)
        let begin = since > latest ? clockBase.monotonic : now.monotonic
        return begin.advanced(byMilliseconds: delay)
    }

    /// A century, so that nothing overflows.
    private static let delayMax: Int64 = 100 * 365 * 86_400_000

    /// When the entry was written that put a row there: rows before version 1.1 do not say it.
    private func entryWall(of row: HeldRow, at now: Now) -> WallTimestamp? {
        guard log.latestEntryWall > now.wall else { return nil }
        var wall: WallTimestamp?
        do throws(LogError) {
            try log.read(at: row.position) { header, _ in wall = header.wall }
        } catch {
            // Damage is met again, and told, when the message is given out.
            return nil
        }
        return wall
    }
}
