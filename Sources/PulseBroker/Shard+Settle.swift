// What becomes of a leased message: delivered, held for another attempt, dead, or given back.

package import PulseCore
import PulseLog

/// How an attempt ended, in the shard's own terms; the delivery room classifies provider answers.
package enum AttemptOutcome: Hashable, Sendable {
    case delivered(code: Int32, detail: String)
    /// Try again: by policy, or after a delay that somebody asked for. An attempt that could not
    /// begin, because the channel is not configured rightly, does not count.
    case retry(
        afterMilliseconds: Int64?,
        reason: HoldReason,
        code: Int32,
        detail: String,
        counts: Bool = true
    )
    /// Never again.
    case dead(DeathCause, code: Int32, detail: String)
    /// Somebody took it back; no attempt was made.
    case cancelled
}

extension Shard {
    /// Records how a lease ended. The message's new state is in force with the turn's sync.
    ///
    /// - Returns: False when the lease is not held any more: the outcome comes late, is counted and
    ///   changes nothing.
    @discardableResult
    package func settle(
        _ lease: UInt64,
        _ outcome: AttemptOutcome,
        at now: Now
    ) throws(ShardError) -> Bool {
        guard let held = leases[lease], held.state == .open || Mutant.isOn(.settleTwice) else {
            statistics.lateOutcomes += 1
            return false
        }
        try makeRoomForCommand(at: now)
        let step = step(of: held)
        switch outcome {
        case .delivered(let code, let detail):
            Command.delivered(step, code: code, detail: detail).append(to: &turnCommands)
        case .dead(let cause, let code, let detail):
            appendDead(step, cause, code, detail)
        case .cancelled:
            Command.cancelled(step).append(to: &turnCommands)
        case .retry(let delay, let reason, let code, let detail, let counts):
            // Other groups have no lane `dead` of their own: they try for ever, further and further apart.
            let isDelivery = state.group(held.message.group)?.isDelivery ?? false
            if isDelivery, counts, Int(held.attempt) >= configuration.retry.attemptsMax {
                appendDead(step, .attemptsUsedUp, code, detail)
            } else {
                let wait =
                    delay
                    ?? configuration.retry.delayMs(
                        afterAttempt: Int(held.attempt),
                        using: &random
                    )
                var step = step
                if !counts { step.attempt -= 1 }
                Command.held(
                    step,
                    due: now.wall.advanced(byMilliseconds: wait),
                    reason: reason,
                    code: code,
                    detail: detail
                ).append(to: &turnCommands)
            }
        }
        turnKeys.append(hash.message(held.message.stream, held.message.offset))
        turnSettled.append(lease)
        leaseTimers.cancel(held.timer)
        if case .subscription(let id) = held.owner {
            subscriptions.change(id) { $0.unsettled -= 1 }
        }
        let endsDelivered = if case .delivered = outcome { true } else { false }
        leases.update(lease) {
            $0.state = .settling
            $0.endsDelivered = endsDelivered
        }
        return true
    }

    private func appendDead(
        _ step: Command.Step,
        _ cause: DeathCause,
        _ code: Int32,
        _ detail: String
    ) {
        let stream = step.message.stream
        let dead = StreamID(topic: stream.topic, partition: stream.partition, lane: .dead)
        let offset = nextOffset(of: dead)
        nextOffsets[dead] = offset.advanced(by: 1)
        Command.dead(step, deadOffset: offset, cause: cause, code: code, detail: detail)
            .append(to: &turnCommands)
    }

    /// Ends a message that a crash left with all its attempts used up.
    func endUsedUp(_ candidate: Candidate, at now: Now) throws(ShardError) {
        try makeRoomForCommand(at: now)
        var counted = candidate
        counted.attempt -= 1
        let lease = leases.grant(counted, to: .nobody, state: .open)
        count(lease, in: Int(candidate.message.group.rawValue) - 1, 1)
        try settle(
            lease.id,
            .dead(.attemptsUsedUp, code: 0, detail: "the outcome of the last attempt is unknown"),
            at: now
        )
    }

    /// A lease's time is over: the attempt counts, and the message waits before the next.
    func expire(_ lease: UInt64, at now: Now) throws(ShardError) {
        guard leases[lease]?.state == .open, !Mutant.isOn(.forgetExpiry) else { return }
        statistics.leasesExpired += 1
        // The credit stays with the delivery: its holder gives it back when it lets the delivery go.
        // Given back here too, one slow consumer would get more and more, its own returns among them.
        try settle(
            lease,
            .retry(afterMilliseconds: nil, reason: .leaseExpired, code: 0, detail: "lease expired"),
            at: now
        )
    }

    /// Takes back a lease whose holder is gone without having begun: the attempt does not count.
    func giveBack(_ lease: Lease) {
        leaseTimers.cancel(lease.timer)
        let index = Int(lease.message.group.rawValue) - 1
        leases.remove(lease.id)
        count(lease, in: index, -1)
        queues[index].makeDue(
            Candidate(
                message: lease.message,
                attempt: lease.attempt - 1,
                origin: lease.origin,
                heldDue: lease.heldDue,
                newest: lease.newest
            )
        )
    }

    /// Leases whose outcome is folded into the state are over.
    func closeSettled() {
        while let first = settling.first,
            first.position < state.applied || Mutant.isOn(.leaseEndsBeforeSync)
        {
            _ = settling.popFirst()
            guard let lease = leases.remove(first.lease) else {
                preconditionFailure("a settling lease is in the table")
            }
            count(lease, in: Int(lease.message.group.rawValue) - 1, -1)
        }
    }

    /// Whether any lease of the workers is alive: a drain waits for them.
    package var workersAreBusy: Bool { workerLeases.contains { $0 > 0 } }

    package func leasesOfWorkers(_ channel: Channel) -> Int {
        workerLeases[Int(channel.rawValue) - 1]
    }
}
