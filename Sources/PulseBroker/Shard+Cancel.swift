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
        try makeRoomForCommand(at: now)
        let index = Int(group.id.rawValue) - 1
        let candidate = try candidate(toCancel: key)
        queues[index].drop(key, candidate.origin)
        let lease = leases.grant(candidate, to: .worker, state: .open, counts: false)
        count(lease, in: index, 1)
        try settle(lease.id, .cancelled, at: now)
        leases.update(lease.id) { $0.endsCancelled = true }
        return .cancelled(durableAt: endOfTurnIfPending)
    }

    private func candidate(toCancel key: MessageKey) throws(ShardError) -> Candidate {
        let row = try waitingRow(of: key)
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
