// Consumers: subscribing, credit, going away.

package import PulseCore
import PulseLog

extension Shard {
    /// Subscribes a consumer to a group of a topic, creating the group when it is new.
    ///
    /// - Returns: The position at which the group is durable; subscribing takes effect at once, but a
    ///   new group leases nothing before.
    package func subscribe(
        _ id: SubscriptionID,
        topic: TopicID,
        group name: String,
        fromEnd: Bool,
        credit: Int,
        leaseMilliseconds: Int64,
        lanes: UInt8,
        at now: Now
    ) throws(ShardError) -> LogPosition {
        let group: GroupID
        var durableAt = log.durablePosition
        if let existing = state.group(named: name, on: topic) {
            group = existing.id
        } else if let pending = pendingGroups.first(where: { $0.topic == topic && $0.name == name })
        {
            group = pending.id
            durableAt = endOfTurnIfPending
        } else {
            pendingGroups.removeAll { $0.id.rawValue <= state.groups.count }
            group = GroupID(UInt16(state.groups.count + pendingGroups.count + 1))
            pendingGroups.append((group, topic, name))
            var starts: [Command.GroupStart] = []
            for (stream, end) in state.streams
            where stream.topic == topic && stream.lane != .dead {
                let start = fromEnd ? end : start(of: stream)
                starts.append(Command.GroupStart(stream: stream, offset: start))
            }
            Command.groupCreated(group, topic: topic, name: name, starts: starts)
                .append(to: &turnCommands)
            durableAt = endOfTurn
        }
        subscriptions.add(
            Subscription(
                id: id,
                group: group,
                credit: min(max(0, credit), Limits.creditMax),
                leaseMilliseconds: leaseMilliseconds,
                lanes: lanes
            )
        )
        return durableAt
    }

    /// Whether a group of this name exists or may be made.
    package func admits(group name: String, on topic: TopicID) -> Bool {
        state.group(named: name, on: topic) != nil
            || state.groups.count + pendingGroups.count < Limits.groupsMax
    }

    package func isSubscribed(_ id: SubscriptionID) -> Bool { subscriptions[id] != nil }

    package func subscriptionCount(of connection: ConnectionID) -> Int {
        subscriptions.ids(of: connection).count
    }

    package func addCredit(_ count: Int, to id: SubscriptionID) {
        subscriptions.change(id) {
            $0.credit = max(
                0,
                min($0.credit + max(0, count), Limits.creditMax - $0.unsettled)
            )
        }
    }

    /// A connection's peer does not read, or reads again: its subscriptions are dealt to accordingly.
    package func noteBacklog(of connection: ConnectionID, isFull: Bool) {
        for id in subscriptions.ids(of: connection) {
            subscriptions.change(id) { $0.isBackedUp = isFull }
        }
    }

    package func unsubscribe(_ id: SubscriptionID) {
        guard subscriptions.remove(id) else { return }
        for lease in leases.open(heldBy: .subscription(id)) { giveBack(lease) }
    }

    /// A consumer spoke of a lease that is over.
    package func noteLateOutcome() { statistics.lateOutcomes += 1 }

    /// A connection is gone: its subscriptions end and their unsettled leases are given back at once.
    package func connectionClosed(_ connection: ConnectionID) {
        for id in subscriptions.ids(of: connection) { unsubscribe(id) }
    }

    /// Whether this attempt of a message was acknowledged for the subscription's group already, durably
    /// or in this turn: the consumer lost the reply and asks again.
    package func wasAcknowledged(
        _ stream: StreamID,
        _ offset: Offset,
        _ attempt: UInt16,
        by subscription: SubscriptionID
    ) throws(ShardError) -> Bool {
        guard let group = subscriptions[subscription]?.group else { return false }
        let key = MessageKey(group: group, stream: stream, offset: offset)
        if let lease = leases.lease(of: key) {
            return lease.state == .settling && lease.endsDelivered && lease.attempt == attempt
        }
        let newest = try newestCommand(of: key)
        guard case .delivered(let step, _, _) = newest else { return false }
        return step.attempt == attempt
    }

    /// The live lease a consumer's token names, if it is that consumer's and still open.
    package func lease(
        token: UInt64,
        stream: StreamID,
        offset: Offset,
        of subscription: SubscriptionID
    ) -> Lease? {
        if Mutant.isOn(.lateAcknowledgement), let group = subscriptions[subscription]?.group {
            let key = MessageKey(group: group, stream: stream, offset: offset)
            return leases.lease(of: key).flatMap { $0.state == .open ? $0 : nil }
        }
        guard let lease = leases[token], lease.owner == .subscription(subscription),
            lease.message.stream == stream, lease.message.offset == offset, lease.state == .open
        else { return nil }
        return lease
    }
}
