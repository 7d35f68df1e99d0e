// Driving the node: inputs in, effects performed, as the production shell does it but for the time
// that everything takes.

import PulseBroker
import PulseCore
import PulseLog
import PulseNode

extension World {
    /// Takes in one thing that happened.
    ///
    /// While a sync is in flight the turn stays open, and what the step wants done is done at once;
    /// else it waits for the end of the turn.
    func step(_ input: Input) {
        guard let node else { return }
        precondition(!isBlocked, "a loop that waits for the disk takes nothing in")
        if case .timeReached = input { idleTurns += 1 } else { idleTurns = 0 }
        withFaults { node.step(input, at: now, into: &effects) }
        lookAtNode()
        if !isHeldUp(endsTurn: false) { goOn(endsTurn: false) }
        fallIfDead()
    }

    func planTurn() {
        guard node != nil, !turnIsPlanned else { return }
        turnIsPlanned = true
        let wait = schedule.below(knobs.turnMicroseconds + 1)
        queue.add(.endTurn(life: life), at: after(microseconds: wait))
    }

    func endTurn() {
        turnIsPlanned = false
        guard let node, !syncIsInFlight else { return }
        counts.turns += 1
        let turnsTime = blockedAt ?? now
        blockedAt = nil
        withFaults { node.endTurn(at: turnsTime, into: &effects) }
        lookAtNode()
        if !isHeldUp(endsTurn: true) { goOn(endsTurn: true) }
        fallIfDead()
        if idleTurns > 5000 {
            witness.note("P6", "the node asks for turn after turn and nothing happens")
        }
    }

    /// What is always true, asked after every step.
    private func lookAtNode() {
        guard let node else { return }
        node.checkInvariants()
        if counts.turns % 256 == 0 { checkBook(node.shard) }
        if node.shard.log.firstNumber > 0 { witness.hasReleased = true }
        for channel in Channel.allCases {
            witness.sawBalance(channel, node.shard.balance(of: channel))
        }
    }

    // MARK: - Effects

    func performEffects() {
        guard !effects.effects.isEmpty else { return }
        var current = EffectQueue()
        swap(&current, &effects)
        for effect in current.effects {
            guard node != nil else { return }
            switch effect {
            case .sync(let ticket): beginSync(ticket)
            case .send(let id, let range): sendToClient(id, Array(current.bytes[range]))
            case .close(let id, _): closeFromNode(id)
            case .pauseReading(let id): connections[id]?.isPaused = true
            case .resumeReading(let id): resumeReading(id)
            case .wake(let at): planWake(at)
            case .call(let id, let request): call(id, request)
            case .run(let id, let job):
                var wait = 50 + schedule.below(20_000)
                if buggify?.fires(.slowJob) == true { wait += 3_000_000 }
                queue.add(.performJob(life: life, id, job), at: after(microseconds: wait))
            case .log(let event):
                trace("log \(event.level.name) \(event.message) \(event.fields.map(\.value))")
            case .drained: drained()
            case .stop(let code, let reason):
                if !disk.isDead { stopped(code, reason) }
            }
        }
    }

    private func beginSync(_ ticket: SyncTicket) {
        syncIsInFlight = true
        var wait = knobs.syncMicroseconds.least + schedule.below(knobs.syncMicroseconds.spread + 1)
        if isFaulty, faults.chance(perThousand: plan.slowSyncPerThousand) {
            wait = 300_000 + schedule.below(1_200_000)
        }
        if let milliseconds = nextSyncMilliseconds {
            wait = Int(milliseconds) * 1000
            nextSyncMilliseconds = nil
            coverage.saw(.stalled)
        }
        trace("sync \(ticket.rawValue) takes \(wait)us")
        watchBegins(until: after(microseconds: wait))
        // The disk may have finished well before the process hears of it, or only just.
        let done = schedule.below(wait + 1)
        queue.add(.performSync(life: life, ticket), at: after(microseconds: done))
        queue.add(.synced(life: life, ticket), at: after(microseconds: wait))
    }

    func performSync(_ ticket: SyncTicket) {
        guard let node else { return }
        let isToFail = nextSyncFails
        if isToFail {
            nextSyncFails = false
            disk.plan.faults.append(
                PlannedDiskFault(call: disk.callCount + 1, fault: .syncError)
            )
        }
        let reach = node.shard.log.pendingSync?.position ?? .zero
        do throws(StorageError) {
            disk.holdsFaults = false
            defer { disk.holdsFaults = true }
            try node.shard.log.performSync()
            syncedTo = max(syncedTo, reach)
            holdSync()
        } catch {
            if disk.isDead {
                // It dies of something else.
            } else if isToFail {
                coverage.saw(.failedSync)
                stopAfterFailedSync()
                return
            } else {
                witness.note("P1", "a sync failed on a healthy disk: \(error)")
            }
        }
        fallIfDead()
    }

    private func planWake(_ at: MonotonicInstant) {
        wakeSerial += 1
        guard at != .distantFuture else { return }
        let wanted = at.nanoseconds + machineStart.nanoseconds
        let moment = MonotonicInstant(
            nanoseconds: wanted > 1_000_000_000 ? wanted - 1_000_000_000 : 0
        )
        queue.add(
            .wake(life: life, serial: wakeSerial),
            at: max(moment, after(microseconds: 20))
        )
    }

    func perform(_ job: Job, _ id: JobID) {
        guard node != nil else { return }
        var failure: StorageError?
        let struck = disk.struck.count
        do throws(StorageError) {
            disk.holdsFaults = false
            beginsJob()
            defer {
                disk.holdsFaults = true
                endsJob(job)
            }
            try job.perform(in: disk, store: store)
        } catch {
            failure = error
            let isMade = fellShort(since: struck)
            if !disk.isDead, !isMade, !(diskIsFull && error.reason == .noSpace) {
                witness.note("P1", "a job failed on a healthy disk: \(error)")
            }
        }
        trace("job \(id.rawValue) performed")
        if case .flushStore = job, failure == nil { flushesDone += 1 }
        let stall = takeStall()
        fallIfDead()
        queue.add(
            .jobDone(life: life, id, failure: failure),
            at: after(microseconds: 20 + schedule.below(2000))
                .advanced(byMilliseconds: stall)
        )
    }
}
