// Consumers over the native protocol: subscribing, what they are given, how they settle it.

import PulseBroker
import PulseCore
import PulseLog
import PulseWire

extension Node {
    func subscribe(
        _ request: SubscribeRequest,
        _ correlation: UInt32,
        of conversation: NativeConversation,
        at now: Now,
        into output: inout [UInt8]
    ) throws(ShardError) {
        guard let topic = topic(named: request.topic) else {
            return refuse(.unknownTopic, request.topic, correlation, &output)
        }
        guard !request.group.isEmpty else {
            return refuse(.invalidRequest, "a group has a name", correlation, &output)
        }
        let id = SubscriptionID(connection: conversation.id, number: request.subscription)
        guard !shard.isSubscribed(id) else {
            return refuse(
                .invalidRequest,
                "subscription \(request.subscription) exists",
                correlation,
                &output
            )
        }
        guard
            shard.subscriptionCount(of: conversation.id) < Limits.subscriptionsPerConnectionMax
        else {
            return refuse(
                .tooManySubscriptions,
                "at most \(Limits.subscriptionsPerConnectionMax) on one connection",
                correlation,
                &output
            )
        }
        guard shard.admits(group: request.group, on: topic) else {
            return refuse(
                .tooManySubscriptions,
                "there are \(Limits.groupsMax) groups already",
                correlation,
                &output
            )
        }
        if let obstacle = obstacle(to: .subscription) {
            return refuse(obstacle, obstacle.name, correlation, &output)
        }
        let lease =
            request.leaseMilliseconds == 0
            ? Limits.leaseMilliseconds : Int64(request.leaseMilliseconds)
        let durableAt = try shard.subscribe(
            id,
            topic: topic,
            group: request.group,
            fromEnd: request.start == .latest,
            credit: Int(request.credit),
            leaseMilliseconds: lease,
            lanes: request.lanes.rawValue,
            at: now
        )
        wait(conversation, durableAt: Mutant.isOn(.groupBeforeSync) ? .zero : durableAt) {
            SubscribeReply(leaseMilliseconds: UInt32(clamping: lease))
                .encode(correlation: correlation, into: &$0)
        }
    }

    func topic(named name: String) -> TopicID? {
        Channel.allCases.first { $0.topicName == name }?.topic
    }

    /// Settles tokens one by one; the reply waits for the outcomes to be durable.
    func settle(
        _ tokens: TokenList,
        _ kind: Settlement,
        _ number: UInt32,
        _ correlation: UInt32,
        of conversation: NativeConversation,
        at now: Now,
        into output: inout [UInt8],
        _ end: (Lease) throws(ShardError) -> Bool
    ) throws(ShardError) {
        let id = SubscriptionID(connection: conversation.id, number: number)
        guard shard.isSubscribed(id) else {
            return refuse(.unknownSubscription, "subscription \(number)", correlation, &output)
        }
        var frame: [UInt8] = []
        var reply = SettleReplyWriter(kind, correlation: correlation, in: &frame)
        for token in tokens {
            var isStale = true
            if let lease = shard.lease(
                token: token.lease,
                stream: token.stream,
                offset: token.offset,
                of: id
            ) {
                isStale = try !end(lease)
            } else if kind == .acknowledge,
                case .success(true) = try unlessRefused({ () throws(ShardError) in
                    try self.shard.wasAcknowledged(
                        token.stream,
                        token.offset,
                        token.attempt,
                        by: id
                    )
                })
            {
                configuration.shard.log.buggify?.saw(.staleTokenForgiven)
                isStale = false
            } else {
                shard.noteLateOutcome()
            }
            reply.append(stale: isStale, into: &frame)
        }
        reply.close(in: &frame)
        let durableAt = Mutant.isOn(.settleBeforeSync) ? .zero : shard.endOfTurnIfPending
        wait(.native(conversation.id, frame), durableAt: durableAt)
    }

    func extend(
        _ view: ExtendView,
        _ correlation: UInt32,
        of conversation: NativeConversation,
        at now: Now,
        into output: inout [UInt8]
    ) {
        let id = SubscriptionID(connection: conversation.id, number: view.subscription)
        guard shard.isSubscribed(id) else {
            return refuse(
                .unknownSubscription,
                "subscription \(view.subscription)",
                correlation,
                &output
            )
        }
        let deadline = now.monotonic.advanced(byMilliseconds: Int64(view.milliseconds))
        var reply = SettleReplyWriter(.extend, correlation: correlation, in: &output)
        for token in view.tokens {
            let lease = shard.lease(
                token: token.lease,
                stream: token.stream,
                offset: token.offset,
                of: id
            )
            if let lease { shard.setDeadline(lease.id, at: deadline) }
            reply.append(stale: lease == nil, into: &output)
        }
        reply.close(in: &output)
    }

    /// Sends subscribers what their credit allows.
    func deal(at now: Now, into effects: inout EffectQueue) throws(ShardError) {
        let handouts = try shard.deal(at: now)
        guard !handouts.isEmpty else { return }
        var start = 0
        while start < handouts.count {
            // One frame for each run of handouts to the same subscription.
            let id = handouts[start].subscription
            var end = start
            while end < handouts.count, handouts[end].subscription == id { end += 1 }
            let first = effects.bytes.count
            let stranded = try write(handouts[start..<end], to: id, into: &effects.bytes)
            effects.append(.send(id.connection, first..<effects.bytes.count))
            for lease in stranded { strand(lease, into: &effects) }
            start = end
        }
    }

    /// Writes what can be read; returns the leases of what cannot.
    private func write(
        _ handouts: ArraySlice<Handout>,
        to id: SubscriptionID,
        into bytes: inout [UInt8]
    ) throws(ShardError) -> [Lease] {
        var stranded: [Lease] = []
        var writer = DeliverWriter(subscription: id.number, in: &bytes)
        for handout in handouts {
            let lease = handout.lease
            let message = lease.message
            let token = DeliveryToken(
                stream: message.stream,
                offset: message.offset,
                attempt: lease.attempt,
                lease: lease.id
            )
            let name = shard.id(message.stream, message.offset)
            let given = try unlessRefused { () throws(ShardError) in
                try self.shard.withRecord(message.stream, message.offset) { header, key, value in
                    if !writer.fits(keyBytes: key.count, valueBytes: value.count, in: bytes) {
                        writer.close(in: &bytes)
                        writer = DeliverWriter(subscription: id.number, in: &bytes)
                    }
                    writer.append(
                        token,
                        id: name,
                        wall: header.wall,
                        key: key,
                        value: value,
                        into: &bytes
                    )
                }
            }
            if case .success = given { continue }
            // Damage met on the way out says nothing against the message: it stays where it was.
            stranded.append(lease)
        }
        writer.close(in: &bytes)
        return stranded
    }
}
