// Single calls of the disk that go wrong in the middle of everything: one takes its time, so that the
// node's loop stands still or a sync does not come back; one reads less than there is.

import PulseBroker
import PulseCore
import PulseLog
import PulseNode

/// What the shell sees of the syncs, as `Server+Disk` and `DiskWatch` do.
struct SyncWatch {
    var began = MonotonicInstant(nanoseconds: 0)
    /// The node was told that a sync has not come back.
    var isStallTold = false
    /// When the last such stall was over, as far as the node knows.
    var over: MonotonicInstant?
}

extension Event {
    /// Whether it waits while the node's loop stands still. Syncs and jobs are performed on other threads;
    /// a process is killed, and a machine loses its power, at any time.
    var isForNode: Bool {
        switch self {
        case .endTurn, .synced, .wake, .jobDone, .providerAnswers, .opened, .toNode, .closedAtNode,
            .backlog, .room, .diskLook, .probe, .watch, .callLeft:
            true
        case .crash(let crash): crash.kind == .drain
        default: false
        }
    }
}

extension World {
    /// Lets the faults of the disk happen: it is the process that calls.
    func withFaults(_ work: () -> Void) {
        disk.holdsFaults = false
        work()
        disk.holdsFaults = true
    }

    // MARK: - Calls that take their time

    func takeStall() -> Int64 {
        let stall = disk.takeStall()
        if stall > 0 {
            coverage.saw(.callStalled)
            trace("a call of the disk takes \(stall) ms")
        }
        return stall
    }

    /// Whether the loop waits for the disk: what it decided leaves it when the call is back.
    func isHeldUp(endsTurn: Bool) -> Bool {
        let stall = takeStall()
        guard stall > 0 else { return false }
        coverage.saw(.loopStalled)
        isBlocked = true
        blockedAt = blockedAt ?? now
        queue.add(
            .unblocked(life: life, endsTurn: endsTurn),
            at: time.advanced(byMilliseconds: stall)
        )
        return true
    }

    /// Does what the node wants done. While a sync is in flight the turn stays open, and that is at once;
    /// else it waits for the end of the turn.
    func goOn(endsTurn: Bool) {
        if endsTurn || syncIsInFlight { performEffects() } else { planTurn() }
    }

    func unblock(_ endsTurn: Bool) {
        isBlocked = false
        let waiting = deferred
        deferred = []
        trace("the loop goes on, \(waiting.count) events waited")
        // A turn has one time: what it decides is decided then, and leaves now.
        lateCalls = []
        if endsTurn || syncIsInFlight {
            blockedAt = nil
            performEffects()
        } else {
            endTurn()
        }
        for call in lateCalls ?? [] where node != nil { tellLate(call) }
        lateCalls = nil
        for event in waiting { handle(event) }
    }

    private func tellLate(_ call: CallID) {
        if isBlocked {
            deferred.append(.callLeft(life: life, call))
        } else {
            step(.callLeft(call))
        }
    }

    /// A sync that the disk did comes back late.
    func holdSync() {
        let stall = takeStall()
        guard stall > 0 else { return }
        let until = time.advanced(byMilliseconds: stall)
        syncHeldUntil = until
        watchBegins(from: watch.began, until: until)
    }

    func synced(_ ticket: SyncTicket) {
        if let until = syncHeldUntil, time < until {
            queue.add(.synced(life: life, ticket), at: until)
            return
        }
        syncHeldUntil = nil
        syncIsInFlight = false
        trace("synced \(ticket.rawValue)")
        watchEnds()
        step(.synced(ticket))
        checkDurable()
    }

    /// The life ends: nobody waits any more.
    func endWaits() {
        _ = disk.takeStall()
        syncHeldUntil = nil
        if watch.isStallTold { watch.over = time }
        watch.isStallTold = false
        struckBefore = disk.struck.count
        lateCalls = nil
        blockedAt = nil
        guard isBlocked else { return }
        isBlocked = false
        // What the kernel has for a process that is gone goes the way of all that comes too late.
        for event in deferred { queue.add(event, at: time) }
        deferred = []
    }

    // MARK: - Syncs that take too long

    /// A sync begins, or turns out to take longer.
    func watchBegins(from began: MonotonicInstant? = nil, until end: MonotonicInstant) {
        watch.began = began ?? time
        let look = watch.began.advanced(byMilliseconds: Limits.stalledSyncMilliseconds)
        guard watchesSyncs, look < end else { return }
        queue.add(.watch(life: life), at: max(time, look))
    }

    private func watchEnds() {
        if watchesSyncs, watch.isStallTold { queue.add(.watch(life: life), at: time) }
    }

    /// Looks at the sync under way and tells the node what it makes of it.
    func watchSync() {
        let wasStalled = watch.isStallTold
        watch.isStallTold =
            watchesSyncs && syncIsInFlight
            && time.milliseconds(since: watch.began) >= Limits.stalledSyncMilliseconds
        if watch.isStallTold != wasStalled {
            trace(watch.isStallTold ? "a sync does not come back" : "the sync is back")
            if wasStalled { watch.over = time }
            coverage.saw(watch.isStallTold ? .stallTold : .stallOver)
        }
        tellDisk()
    }

    /// P6: a client was refused because of a stall by what it sent then.
    func checkRefusedForStall(sentAt: MonotonicInstant) {
        coverage.saw(.stallRefused)
        guard !watch.isStallTold else { return }
        guard let over = watch.over, sentAt <= over else {
            witness.note("P6", "new work is refused because of a stall that is over")
            return
        }
    }

    // MARK: - Reads that fall short

    /// Whether a read fell short since so many faults had struck.
    func fellShort(since count: Int) -> Bool {
        disk.struck.dropFirst(count).contains {
            if case .shortRead = $0.fault.fault { true } else { false }
        }
    }

    /// The node ended by itself. After a read that fell short it may, as of any other failure of the disk;
    /// what the read left out is neither missing nor damaged.
    func stopped(_ code: Int32, _ reason: String) {
        guard code == 70, fellShort(since: struckBefore) else {
            witness.note("P1", "the node stopped by itself, exit \(code): \(reason)")
            return
        }
        trace("exit 70: \(reason)")
        coverage.saw(.shortReadStopped)
        kill(downMilliseconds: 20)
    }

    /// The node cannot start because a read fell short; the next start reads all.
    func isShort(_ error: ShardError) -> Bool {
        guard fellShort(since: struckBefore) else { return false }
        switch error {
        case .storage(let failure), .log(.storage(let failure)):
            guard case .short = failure.reason else { return false }
        default: return false
        }
        struckBefore = disk.struck.count
        coverage.saw(.shortReadAtStart)
        return true
    }
}
