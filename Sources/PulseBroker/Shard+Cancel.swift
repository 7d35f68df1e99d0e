// Taking a notification back before it is delivered: while it is scheduled, held, or ready and not leased.

package import PulseCore
import PulseLog

package enum CancelOutcome: Hashable, Sendable {
    /// It will not be delivered; true to say so once everything below `durableAt` is durable. Asked
    /// again, the answer is the same.
    case cancelled(durableAt: LogPosition)
    /// Too late, or too early to tell: it is in this state.
    case refused(NotificationState)
    case unknown
}

extension Shard {
    /// Cancels a notification for its delivery. Consumer groups of its topic still see the record.
    package func cancel(_ id: NotificationID, at now: Now) throws(ShardError) -> CancelOutcome {
        guard let story = try story(of: id, withSteps: false),
            let group = state.group(named: GroupState.deliveryName, on: story.stream.topic)
        else { return .unknown }
        let key = MessageKey(group: group.id, stream: story.stream, offset: story.offset)
        if let lease = leases.lease(of: key) {
            // Cancelled in this turn or the last, and not durable yet.
            if lease.endsCancelled { return .cancelled(durableAt: endOfTurnIfPending) }
            return .refused(.leased)
        }
        switch story.state {
        case .cancelled: return .cancelled(durableAt: log.durablePosition)
        case .scheduled, .held, .ready: break
        default: return .refused(story.state)
        }
        let index = Int(group.id.rawValue) - 1
        guard let candidate = try candidate(toCancel: key, of: group) else {
            return .refused(story.state)
        }
        queues[index].drop(key)
        let lease = leases.grant(candidate, to: .nobody, state: .open, counts: false)
        count(lease, in: index, 1)
        try settle(lease.id, .cancelled, at: now)
        leases.update(lease.id) { $0.endsCancelled = true }
        return .cancelled(durableAt: endOfTurnIfPending)
    }

    /// A message that waits or is ready by the state, whatever its story tells; nil when it is over.
    private func candidate(
        toCancel key: MessageKey,
        of group: GroupState
    ) throws(ShardError) -> Candidate? {
        let row = try waitingRow(of: key)
        guard row != nil || group.isOpen(key.stream, key.offset) else { return nil }
        var candidate = Candidate(
            message: key,
            attempt: row?.attempt ?? 0,
            origin: row?.origin ?? .fresh,
            heldDue: row?.due.milliseconds ?? 0,
            newest: row?.position ?? .zero
        )
        if let intent = state.openIntents[key] {
            candidate.attempt = max(candidate.attempt, intent.attempt)
            candidate.newest = intent.position
        } else if row == nil {
            try complete(&candidate)
        }
        return candidate
    }
}
