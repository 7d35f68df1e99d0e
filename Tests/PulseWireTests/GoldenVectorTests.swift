// Every frame, both ways, against bytes that another encoder computed.

import PulseCore
import PulseWire
import Testing

@Suite("Golden vectors")
struct GoldenVectorTests {
    @Test("each frame decodes and its body reads", arguments: Vector.frames)
    func reads(name: String) throws {
        var seen = 0
        try decode(Vector.bytes(name)) { frame in
            seen += 1
            try readBody(frame)
        }
        #expect(seen == 1)
    }

    @Test("every operation has a vector")
    func allOperations() throws {
        var operations: Set<UInt8> = []
        for name in Vector.frames {
            try decode(Vector.bytes(name)) { operations.insert($0.operationByte) }
        }
        #expect(operations == Set(Operation.allCases.map(\.rawValue)))
    }

    @Test("each frame is written byte for byte", arguments: Vector.frames)
    func writes(name: String) {
        var bytes: [UInt8] = []
        write(name, into: &bytes)
        #expect(bytes == Vector.bytes(name))
    }

    @Test("the record batch is written byte for byte")
    func recordBatch() {
        #expect(Sample.batch() == Vector.bytes("record-batch"))
    }

    @Test("hot messages read back what the vectors say")
    func hotMessages() throws {
        try decode(Vector.bytes("produce")) {
            let view = try ProduceRequestView(reading: $0.body)
            #expect(view.topic.text == "notify.email")
            #expect(view.lane == nil)
            #expect(view.batch.elementsEqual(Sample.batch()))
        }
        try decode(Vector.bytes("produce-reply")) {
            let view = try ProduceReplyView(reading: $0.body)
            var story: [String] = []
            view.forEach { index, outcome in
                story.append(
                    "\(index) \(outcome.status) \(outcome.errorCode) \(outcome.message.text)"
                )
            }
            #expect(
                story == ["0 accepted 0 ", "1 duplicate 0 ", "2 refused 16 no such domain"]
            )
        }
        try decode(Vector.bytes("deliver")) {
            let view = try DeliverView(reading: $0.body)
            #expect(view.subscription == 7)
            var story: [String] = []
            view.forEach {
                story.append("\($0.token.offset.rawValue) \($0.key.text) \($0.value.count)")
            }
            #expect(
                story == ["40 user-1 \(Sample.first.count)", "41 user-2 \(Sample.second.count)"]
            )
        }
        try decode(Vector.bytes("acknowledge")) {
            let tokens = try AcknowledgeView(reading: $0.body).tokens
            #expect(tokens.count == 5)
            #expect(tokens.map(\.offset.rawValue) == [40, 41, 42, 43, 50])
            #expect(tokens.map(\.lease) == [9, 10, 11, 12, 13])
        }
        try decode(Vector.bytes("acknowledge-reply")) {
            let view = try SettleReplyView(reading: $0.body)
            #expect((0..<5).map(view.isStale) == [false, false, true, false, false])
        }
        try decode(Vector.bytes("status-reply")) {
            let reply = try StatusReply(reading: $0.body)
            #expect(reply.state == .held && reply.attempts == 2)
            #expect(reply.due == Sample.wall.advanced(byMilliseconds: 65_000))
        }
    }

    private func write(_ name: String, into bytes: inout [UInt8]) {
        switch name {
        case "hello":
            HelloRequest(clientName: "orders", clientVersion: "1.2.3")
                .encode(correlation: 1, into: &bytes)
        case "hello-reply":
            HelloReply(
                serverVersion: "0.1.0",
                serverID: 0x1122_3344_5566_7788,
                partitions: 16
            ).encode(correlation: 1, into: &bytes)
        case "subscribe":
            SubscribeRequest(
                subscription: 7,
                topic: "notify.email",
                group: "workers",
                start: .latest,
                credit: 256,
                leaseMilliseconds: 45_000
            ).encode(correlation: 3, into: &bytes)
        case "subscribe-reply":
            SubscribeReply(leaseMilliseconds: 45_000).encode(correlation: 3, into: &bytes)
        case "unsubscribe":
            UnsubscribeRequest(subscription: 7).encode(correlation: 4, into: &bytes)
        case "unsubscribe-reply":
            UnsubscribeRequest.encodeReply(correlation: 4, into: &bytes)
        case "credit": CreditMessage(subscription: 7, add: 128).encode(into: &bytes)
        case "status": StatusRequest(id: Sample.id1).encode(correlation: 8, into: &bytes)
        case "status-reply":
            StatusReply(
                state: .held,
                channel: .email,
                lane: .normal,
                attempts: 2,
                accepted: Sample.wall,
                updated: Sample.wall.advanced(byMilliseconds: 5000),
                due: Sample.wall.advanced(byMilliseconds: 65_000),
                errorText: "451 try later"
            ).encode(correlation: 8, into: &bytes)
        case "fetch":
            FetchRequest(
                topic: "notify.sms",
                partition: PartitionID(3),
                lane: .critical,
                from: .start,
                bytesMax: 65_536
            ).encode(correlation: 9, into: &bytes)
        case "put-template":
            TemplateMessage(
                name: "welcome",
                channel: .email,
                subject: "Hello {{name}}",
                text: "Hi {{name}}!",
                html: "<p>Hi</p>"
            ).encode(correlation: 10, into: &bytes)
        case "put-template-reply": TemplateMessage.encodeReply(correlation: 10, into: &bytes)
        case "list-templates":
            ListTemplatesRequest(after: "alarm").encode(correlation: 11, into: &bytes)
        case "list-templates-reply":
            var reply = ListTemplatesReply(fitting: [
                TemplateMessage(name: "otp", channel: .sms, text: "Code {{code}}"),
                TemplateMessage(
                    name: "welcome",
                    channel: .email,
                    subject: "Hello",
                    text: "Hi",
                    html: "<p>Hi</p>"
                ),
            ])
            reply.more = true
            reply.encode(correlation: 11, into: &bytes)
        case "ping": PingMessage.encode(correlation: 12, into: &bytes)
        case "pong": PingMessage.encodeReply(correlation: 12, into: &bytes)
        case "goodbye": GoodbyeMessage(.draining, "restarting").encode(into: &bytes)
        case "error":
            ErrorReply(.overloaded, "disk is behind").encode(correlation: 13, into: &bytes)
        default: writeHot(name, into: &bytes)
        }
    }

    private func writeHot(_ name: String, into bytes: inout [UInt8]) {
        switch name {
        case "produce":
            Sample.batch().withUnsafeBytes {
                ProduceRequestView.encode(
                    topic: "notify.email",
                    lane: nil,
                    batch: $0,
                    correlation: 2,
                    into: &bytes
                )
            }
        case "produce-reply":
            var writer = ProduceReplyWriter(correlation: 2, in: &bytes)
            writer.append(accepted: Sample.id1, into: &bytes)
            writer.append(duplicate: Sample.id2, into: &bytes)
            writer.append(refused: .invalidAddress, "no such domain", into: &bytes)
            writer.close(in: &bytes)
        case "deliver":
            var writer = DeliverWriter(subscription: 7, in: &bytes)
            withBytes(of: "user-1", Sample.first) {
                writer.append(
                    Sample.token(40, lease: 9),
                    id: Sample.id1,
                    wall: Sample.wall,
                    key: $0,
                    value: $1,
                    into: &bytes
                )
            }
            withBytes(of: "user-2", Sample.second) {
                writer.append(
                    Sample.token(41, attempt: 2, lease: 10),
                    id: Sample.id2,
                    wall: Sample.later,
                    key: $0,
                    value: $1,
                    into: &bytes
                )
            }
            writer.close(in: &bytes)
        case "acknowledge":
            var tokens = TokenRuns((40...43).map { Sample.token($0, lease: UInt64($0) - 31) })
            tokens.append(Sample.token(50, attempt: 2, lease: 13))
            AcknowledgeView.encode(
                subscription: 7,
                tokens: tokens,
                correlation: 5,
                into: &bytes
            )
        case "acknowledge-reply":
            settle(.acknowledge, 5, [false, false, true, false, false], into: &bytes)
        case "reject":
            RejectView.encode(
                subscription: 7,
                delayMilliseconds: nil,
                reason: "mailbox full",
                tokens: TokenRuns([Sample.token(44, lease: 20), Sample.token(45, lease: 20)]),
                correlation: 6,
                into: &bytes
            )
        case "reject-reply": settle(.reject, 6, [false, false], into: &bytes)
        case "extend":
            ExtendView.encode(
                subscription: 7,
                milliseconds: 60_000,
                tokens: TokenRuns([Sample.token(46, attempt: 3, lease: 22)]),
                correlation: 7,
                into: &bytes
            )
        case "extend-reply": settle(.extend, 7, [true], into: &bytes)
        case "fetch-reply":
            var writer = FetchReplyWriter(correlation: 9, in: &bytes)
            withBytes(of: "user-2", Sample.second) {
                writer.append(
                    Offset(41),
                    wall: Sample.wall,
                    id: Sample.id2,
                    key: $0,
                    value: $1,
                    into: &bytes
                )
            }
            writer.close(next: Offset(42), logStart: Offset(40), logEnd: Offset(99), in: &bytes)
        default: Issue.record("no writer for \(name)")
        }
    }

    private func settle(
        _ kind: Settlement,
        _ correlation: UInt32,
        _ stale: [Bool],
        into bytes: inout [UInt8]
    ) {
        var writer = SettleReplyWriter(kind, correlation: correlation, in: &bytes)
        for isStale in stale { writer.append(stale: isStale, into: &bytes) }
        writer.close(in: &bytes)
    }
}
