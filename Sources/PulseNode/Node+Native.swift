// The native conversations: frames in, decisions of the shard, frames out.

import PulseBroker
import PulseCore
import PulseDelivery
import PulseGateway
import PulseLog
import PulseWire

/// One native connection.
final class NativeConversation {
    let id: ConnectionID
    let session: NativeSession
    var isBackedUp = false
    /// Where its answers begin in the turn's buffer, which other conversations fill too.
    var answersStart = 0

    init(id: ConnectionID, session: NativeSession) {
        self.id = id
        self.session = session
    }
}

extension Node {
    func openNative(_ id: ConnectionID) {
        let greeting = HelloReply(
            serverVersion: configuration.version,
            serverID: shard.log.identity.high,
            partitions: UInt16(configuration.shard.partitions)
        )
        native[id] = NativeConversation(id: id, session: NativeSession(greeting: greeting))
    }

    func receive(
        _ bytes: UnsafeRawBufferPointer,
        from conversation: NativeConversation,
        at now: Now,
        into effects: inout EffectQueue
    ) throws(ShardError) {
        let start = effects.bytes.count
        conversation.answersStart = start
        let session = conversation.session
        session.begin(bytes)
        while let request = session.next(into: &effects.bytes) {
            metrics.nativeRequests += 1
            try answer(request, of: conversation, at: now, into: &effects.bytes)
        }
        if effects.bytes.count > start {
            effects.append(.send(conversation.id, start..<effects.bytes.count))
        }
        if session.isClosing {
            forget(conversation.id)
            effects.append(.close(conversation.id, abruptly: false))
        }
    }

    /// Answers one request: at once into `output`, or through `waiting` when it must be durable first.
    private func answer(
        _ request: NativeRequest,
        of conversation: NativeConversation,
        at now: Now,
        into output: inout [UInt8]
    ) throws(ShardError) {
        switch request {
        case .produce(let correlation, let view):
            try produce(view, correlation, of: conversation, at: now, into: &output)
        case .subscribe(let correlation, let request):
            try subscribe(request, correlation, of: conversation, at: now, into: &output)
        case .unsubscribe(let correlation, let number):
            let id = SubscriptionID(connection: conversation.id, number: number)
            guard shard.isSubscribed(id) else {
                refuse(.unknownSubscription, "subscription \(number)", correlation, &output)
                return
            }
            shard.unsubscribe(id)
            UnsubscribeRequest.encodeReply(correlation: correlation, into: &output)
        case .credit(let number, let add):
            shard.addCredit(
                Int(add),
                to: SubscriptionID(connection: conversation.id, number: number)
            )
        case .acknowledge(let correlation, let view):
            try settle(
                view.tokens,
                .acknowledge,
                view.subscription,
                correlation,
                of: conversation,
                at: now,
                into: &output
            ) { lease throws(ShardError) in
                try self.shard.settle(
                    lease.id,
                    .delivered(code: 0, detail: "acknowledged"),
                    at: now
                )
            }
        case .reject(let correlation, let view):
            let delay = view.delayMilliseconds.map { Int64(min($0, 366 * 86_400_000)) }
            let detail = view.reason.isEmpty ? "rejected" : view.reason
            try settle(
                view.tokens,
                .reject,
                view.subscription,
                correlation,
                of: conversation,
                at: now,
                into: &output
            ) { lease throws(ShardError) in
                try self.shard.settle(
                    lease.id,
                    .retry(
                        afterMilliseconds: delay,
                        reason: .rejected,
                        code: 0,
                        detail: detail
                    ),
                    at: now
                )
            }
        case .extend(let correlation, let view):
            extend(view, correlation, of: conversation, at: now, into: &output)
        case .status(let correlation, let id):
            try readOrRefuse(correlation, &output) { output throws(ShardError) in
                try self.status(id, correlation, into: &output)
            }
        case .fetch(let correlation, let request):
            guard output.count - conversation.answersStart < Limits.turnBytesMax else {
                return refuse(.overloaded, "read the answers first", correlation, &output)
            }
            try readOrRefuse(correlation, &output) { output throws(ShardError) in
                try self.fetch(request, correlation, into: &output)
            }
        case .putTemplate(let correlation, let message):
            try putTemplate(message, correlation, of: conversation, at: now, into: &output)
        case .listTemplates(let correlation, _) where shard.isStateShort:
            refuse(.dataCorrupt, refusal(.dataCorrupt).message, correlation, &output)
        case .listTemplates(let correlation, let after):
            let rows = shard.templates.newest.lazy.filter { $0.row.name > after }.map {
                TemplateMessage(
                    name: $0.row.name,
                    channel: $0.row.channel,
                    subject: $0.row.subject,
                    text: $0.row.text,
                    html: $0.row.html
                )
            }
            ListTemplatesReply(fitting: rows).encode(correlation: correlation, into: &output)
        }
    }

    /// Runs a read; one that meets damage or a loss is refused, and what it wrote so far taken back.
    private func readOrRefuse(
        _ correlation: UInt32,
        _ output: inout [UInt8],
        _ read: (inout [UInt8]) throws(ShardError) -> Void
    ) throws(ShardError) {
        let start = output.count
        guard
            case .failure(let refusal) = try unlessRefused({ () throws(ShardError) in
                try read(&output)
            })
        else { return }
        output.removeSubrange(start...)
        refuse(refusal.code, refusal.message, correlation, &output)
    }

    func refuse(
        _ code: ErrorCode,
        _ message: String,
        _ correlation: UInt32,
        _ output: inout [UInt8]
    ) {
        ErrorReply(code, message).encode(correlation: correlation, into: &output)
    }

    /// Queues a whole frame until everything up to `position` is durable.
    func wait(
        _ conversation: NativeConversation,
        durableAt position: LogPosition,
        _ write: (inout [UInt8]) -> Void
    ) {
        var frame: [UInt8] = []
        write(&frame)
        wait(.native(conversation.id, frame), durableAt: position)
    }

    // MARK: - Answers that need no sync

    private func status(
        _ id: NotificationID,
        _ correlation: UInt32,
        into output: inout [UInt8]
    ) throws(ShardError) {
        guard let story = try shard.story(of: id, withSteps: true) else {
            return refuse(.notFound, "no notification \(id)", correlation, &output)
        }
        let view = view(of: story)
        StatusReply(
            state: story.state,
            channel: view.channel,
            lane: view.lane,
            attempts: UInt16(clamping: story.attempts),
            accepted: story.acceptedAt,
            updated: story.steps.last?.at ?? story.acceptedAt,
            due: view.nextAttemptAt,
            errorText: view.error ?? ""
        ).encode(correlation: correlation, into: &output)
    }

    private func fetch(
        _ request: FetchRequest,
        _ correlation: UInt32,
        into output: inout [UInt8]
    ) throws(ShardError) {
        guard let topic = topic(named: request.topic),
            Int(request.partition.rawValue) < configuration.shard.partitions
        else {
            return refuse(.unknownTopic, request.topic, correlation, &output)
        }
        let stream = StreamID(topic: topic, partition: request.partition, lane: request.lane)
        let end = shard.end(of: stream)
        var next: Offset =
            switch request.from {
            case .offset(let offset): offset
            case .end: end
            case .start: Offset(0)
            }
        let start = request.lane == .dead ? Offset(0) : shard.start(of: stream)
        next = max(next, start)
        guard next <= end else {
            return refuse(
                .offsetOutOfRange,
                "offset \(next.rawValue) is past the end \(end.rawValue)",
                correlation,
                &output
            )
        }
        let begin = output.count
        var writer = FetchReplyWriter(correlation: correlation, in: &output)
        let records = try shard.browse(stream, from: next, count: Limits.batchRecordsMax)
        // Dead letters leave gaps when retention takes them: a short page reaches to the end.
        let reachesEnd = request.lane == .dead && records.count < Limits.batchRecordsMax
        var isWhole = true
        for record in records {
            let name = shard.id(record.stream, record.origin)
            let fits: Bool?
            do throws(ShardError) {
                fits = try shard.withRecordIfAny(record.stream, record.origin) {
                    header,
                    key,
                    value in
                    guard writer.fits(keyBytes: key.count, valueBytes: value.count, in: output),
                        writer.count == 0 || output.count - begin < Int(request.bytesMax)
                    else { return false }
                    writer.append(
                        record.offset,
                        wall: header.wall,
                        id: name,
                        key: key,
                        value: value,
                        into: &output
                    )
                    return true
                }
            } catch {
                // The page ends before what cannot be read; who asks for that is refused.
                guard error.isUnreadable, writer.count > 0 else { throw error }
                fits = false
            }
            // What was released is passed over.
            guard fits ?? true else {
                isWhole = false
                break
            }
            next = record.offset.advanced(by: 1)
        }
        if isWhole, reachesEnd { next = end }
        writer.close(next: next, logStart: start, logEnd: end, in: &output)
    }

    private func putTemplate(
        _ message: TemplateMessage,
        _ correlation: UInt32,
        of conversation: NativeConversation,
        at now: Now,
        into output: inout [UInt8]
    ) throws(ShardError) {
        if let obstacle = obstacle(to: .new) {
            return refuse(obstacle, refusal(obstacle).message, correlation, &output)
        }
        let row = TemplateRow(
            name: message.name,
            channel: message.channel,
            subject: message.subject,
            text: message.text,
            html: message.html,
            savedAt: now.wall
        )
        if let problem = problem(of: row) {
            return refuse(problem.code, problem.message, correlation, &output)
        }
        let taken = try unlessRefused { () throws(ShardError) in
            try self.shard.put(row, at: now)
        }
        switch taken {
        case .failure(let refusal): refuse(refusal.code, refusal.message, correlation, &output)
        case .success(let saved):
            wait(conversation, durableAt: saved.durableAt) {
                TemplateMessage.encodeReply(correlation: correlation, into: &$0)
            }
        }
    }
}
