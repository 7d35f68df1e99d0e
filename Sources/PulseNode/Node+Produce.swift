// Taking in a record batch of the native protocol. A batch that is all new and bound for one stream is
// stored byte for byte as it came; otherwise its records go in one by one.

import PulseBroker
import PulseCore
import PulseDelivery
import PulseGateway
import PulseLog
import PulseWire

extension Node {
    func produce(
        _ request: ProduceRequestView,
        _ correlation: UInt32,
        of conversation: NativeConversation,
        at now: Now,
        into output: inout [UInt8]
    ) throws(ShardError) {
        // A refusal promises nothing: it waits for no sync.
        let batch: RecordBatch
        switch validated(request.batch) {
        case .success(let whole): batch = whole
        case .failure(let refusal):
            return refuse(refusal.code, refusal.message, correlation, &output)
        }
        guard
            let channel = Channel.allCases.first(where: {
                $0.topicName.utf8.elementsEqual(request.topic)
            })
        else {
            let name = String(decoding: request.topic, as: UTF8.self)
            return refuse(.unknownTopic, "there is no topic \"\(name)\"", correlation, &output)
        }
        let reply = try unlessRefused { () throws(ShardError) in
            try self.take(batch, request.lane, channel, correlation, at: now)
        }
        switch reply {
        case .success(let reply) where !reply.namesRecords:
            output += reply.frame
        case .success(let reply):
            let durableAt = Mutant.isOn(.produceBeforeSync) ? .zero : shard.log.appendPosition
            wait(.native(conversation.id, reply.frame), durableAt: durableAt)
        case .failure(let refusal):
            metrics.refused += 1
            // It was to go in as a whole, and did not.
            refuse(refusal.code, refusal.message, correlation, &output)
        }
    }

    /// What refuses a batch as a whole.
    private struct BatchRefusal: Error {
        var code: ErrorCode
        var message: String
    }

    /// The answer to a batch.
    private struct BatchReply {
        var frame: [UInt8]
        /// Whether it names a record of the log, new or found: then it waits until that is durable.
        var namesRecords: Bool
    }

    private func validated(
        _ bytes: UnsafeRawBufferPointer
    ) -> Result<RecordBatch, BatchRefusal> {
        if let obstacle = obstacle(to: .new) {
            metrics.refused += 1
            return .failure(BatchRefusal(code: obstacle, message: refusal(obstacle).message))
        }
        do throws(RecordBatchError) {
            return .success(try RecordBatch(bytes))
        } catch {
            return .failure(BatchRefusal(code: error.code, message: "\(error)"))
        }
    }

    /// What one record of a batch asks for.
    private struct Incoming {
        var key: UnsafeRawBufferPointer
        var value: UnsafeRawBufferPointer
        var lane: Lane
        var partition: PartitionID
        var idempotencyKey: UnsafeRawBufferPointer?
        var problem: FieldError?
    }

    private func take(
        _ batch: RecordBatch,
        _ lane: Lane?,
        _ channel: Channel,
        _ correlation: UInt32,
        at now: Now
    ) throws(ShardError) -> BatchReply {
        // The records point into the batch, or into what it was inflated to.
        defer { withExtendedLifetime(batch) {} }
        var records: [Incoming] = []
        batch.forEach { record in
            records.append(check(record.key, record.value, lane, channel))
            return true
        }
        var frame: [UInt8] = []
        var namesRecords = false
        var reply = ProduceReplyWriter(correlation: correlation, in: &frame)
        if let stream = try streamOfAll(records, channel, at: now) {
            var keys: [UInt64] = []
            for record in records {
                keys += shard.keyHashes(user: record.key, idempotencyKey: record.idempotencyKey)
            }
            let base = try shard.append(
                [UInt8](batch.bytes),
                records: records.count,
                to: stream,
                keys: keys,
                at: now
            )
            namesRecords = true
            for index in records.indices {
                reply.append(
                    accepted: shard.id(stream, base.advanced(by: index)),
                    into: &frame
                )
            }
        } else {
            // Each is answered for itself: what went in before the disk was full stays in.
            for record in records {
                let taken = try unlessRefused { () throws(ShardError) in
                    try self.takeOne(record, channel, at: now, &reply, &frame)
                }
                switch taken {
                case .success(let namesRecord): namesRecords = namesRecords || namesRecord
                case .failure(let refusal):
                    reply.append(refused: refusal.code, refusal.message, into: &frame)
                }
            }
        }
        reply.close(in: &frame)
        return BatchReply(frame: frame, namesRecords: namesRecords)
    }

    /// The one stream all records belong to, when all of them are right and new; else nil.
    private func streamOfAll(
        _ records: [Incoming],
        _ channel: Channel,
        at now: Now
    ) throws(ShardError) -> StreamID? {
        guard let first = records.first else { return nil }
        var seen: Set<UInt64> = []
        for record in records {
            guard record.problem == nil, record.lane == first.lane,
                record.partition == first.partition
            else { return nil }
            guard let key = record.idempotencyKey else { continue }
            guard seen.insert(XXH3.hash(key, seed: 0)).inserted else { return nil }
            if Mutant.isOn(.skipDeduplication) { continue }
            let found = try shard.findByKey(
                key,
                envelope: record.value,
                channel: channel,
                at: now
            )
            guard found == nil else { return nil }
        }
        return StreamID(topic: channel.topic, partition: first.partition, lane: first.lane)
    }

    /// - Returns: Whether the answer names a record of the log.
    private func takeOne(
        _ record: Incoming,
        _ channel: Channel,
        at now: Now,
        _ reply: inout ProduceReplyWriter,
        _ frame: inout [UInt8]
    ) throws(ShardError) -> Bool {
        if let problem = record.problem {
            metrics.refused += 1
            reply.append(
                refused: problem.code,
                "\(problem.field): \(problem.message)",
                into: &frame
            )
            return false
        }
        let outcome = try shard.submit(
            NewNotification(
                channel: channel,
                lane: record.lane,
                user: record.key,
                envelope: record.value,
                idempotencyKey: record.idempotencyKey
            ),
            at: now
        )
        switch outcome.kind {
        case .accepted: reply.append(accepted: outcome.id, into: &frame)
        case .duplicate: reply.append(duplicate: outcome.id, into: &frame)
        case .conflict:
            reply.append(
                refused: .idempotencyConflict,
                "the idempotency key was used for another notification",
                id: outcome.id,
                into: &frame
            )
        }
        return true
    }

    private func check(
        _ key: UnsafeRawBufferPointer?,
        _ value: UnsafeRawBufferPointer?,
        _ lane: Lane?,
        _ channel: Channel
    ) -> Incoming {
        let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
        var incoming = Incoming(
            key: key ?? nothing,
            value: value ?? nothing,
            lane: .normal,
            partition: PartitionID(0)
        )
        guard let value, value.count <= Limits.envelopeBytesMax else {
            incoming.problem = FieldError(
                field: "value",
                code: .recordTooLarge,
                message: "needs an envelope of at most \(Limits.envelopeBytesMax) bytes"
            )
            return incoming
        }
        guard let envelope = Envelope(value) else {
            incoming.problem = FieldError(
                field: "value",
                code: .invalidRequest,
                message: "is no well-formed envelope"
            )
            return incoming
        }
        incoming.idempotencyKey = envelope.idempotencyKey
        incoming.lane = LaneRule.lane(
            template: envelope.template?.text,
            requested: lane ?? envelope.requestedLane
        )
        incoming.partition = shard.partition(of: incoming.key)
        var known: KnownTemplate?
        if let name = envelope.template?.text, let revision = shard.revisionInForce(of: name),
            let template = templates.template(of: revision)
        {
            known = KnownTemplate(channel: revision.row.channel, variables: template.variables)
        }
        incoming.problem = Admission.problem(
            key: key,
            envelope: envelope,
            channel: channel,
            template: known
        )
        return incoming
    }
}
