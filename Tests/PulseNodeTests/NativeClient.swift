// A client on the bench: it speaks the native protocol through the session that real clients use.

import PulseCore
import PulseWire
import Testing

/// The client's end of a native connection to the node on the bench.
final class NativeClient {
    let bench: NodeBench
    let connection: ConnectionID
    let session = ClientSession()
    private var input: [UInt8] = []

    init(bench: NodeBench, connection: ConnectionID) {
        self.bench = bench
        self.connection = connection
    }

    func send(_ write: (ClientSession, inout [UInt8]) -> Void) {
        var bytes: [UInt8] = []
        write(session, &bytes)
        bench.receive(bytes, on: connection)
    }

    /// What the server said since the last look, each handed to `visit` while its bytes are there.
    func messages(_ visit: (ServerMessage) throws -> Void) throws {
        input = bench.takeSent(connection)
        try input.withUnsafeBytes { bytes in
            session.begin(bytes)
            while let message = try session.next() { try visit(message) }
        }
    }

    /// The next thing said, for messages that are values; the rest is forgotten.
    func next() throws -> ServerMessage? {
        var first: ServerMessage?
        try messages { if first == nil { first = $0 } }
        return first
    }

    struct Verdict: Equatable {
        var status: ProduceStatus
        var code: UInt16
        var id: NotificationID
    }

    static func batch(
        _ envelopes: [(user: String, bytes: [UInt8])],
        compressing: Bool = false
    ) -> [UInt8] {
        var bytes: [UInt8] = []
        var writer = RecordBatchWriter(
            timestamp: WallTimestamp(milliseconds: 1000),
            in: &bytes
        )
        for envelope in envelopes {
            Array(envelope.user.utf8).withUnsafeBytes { key in
                envelope.bytes.withUnsafeBytes { value in
                    writer.append(
                        key: key,
                        value: value,
                        timestamp: WallTimestamp(milliseconds: 1000),
                        into: &bytes
                    )
                }
            }
        }
        writer.close(in: &bytes, compressing: compressing)
        return bytes
    }

    static func envelope(
        user: String = "ada",
        address: String = "ada@example.org",
        text: String? = "hello",
        template: String? = nil,
        key: String? = nil,
        deliverAt: WallTimestamp? = nil
    ) -> [UInt8] {
        var writer = EnvelopeWriter()
        writer.append(.user, user)
        writer.append(.address, address)
        if let template { writer.append(.template, template) }
        writer.append(.subject, "s")
        if let text { writer.append(.text, text) }
        if let key { writer.append(.idempotencyKey, key) }
        if let deliverAt { writer.append(deliverAt: deliverAt) }
        return writer.bytes
    }

    func produce(
        _ batch: [UInt8],
        topic: String = "notify.email",
        lane: Lane? = nil
    ) {
        send { session, bytes in
            let correlation = session.openRequest(.produce)
            batch.withUnsafeBytes {
                ProduceRequestView.encode(
                    topic: topic,
                    lane: lane,
                    batch: $0,
                    correlation: correlation,
                    into: &bytes
                )
            }
        }
    }

    /// The verdicts of the produce replies since the last look; refusals of whole batches as errors.
    func verdicts() throws -> (verdicts: [Verdict], errors: [ErrorReply]) {
        var verdicts: [Verdict] = []
        var errors: [ErrorReply] = []
        try messages { message in
            switch message {
            case .produced(_, let view):
                view.forEach { _, outcome in
                    verdicts.append(
                        Verdict(status: outcome.status, code: outcome.errorCode, id: outcome.id)
                    )
                }
            case .refused(_, let error): errors.append(error)
            default: Issue.record("unexpected: \(message)")
            }
        }
        return (verdicts, errors)
    }

    struct Delivery {
        var token: DeliveryToken
        var id: NotificationID
        var user: String
    }

    func subscribe(
        number: UInt32 = 1,
        topic: String = "notify.email",
        group: String = "audit",
        start: SubscribeRequest.Start = .earliest,
        credit: UInt32 = 10,
        lease: UInt32 = 0,
        lanes: LaneSet = .living
    ) {
        send { session, bytes in
            SubscribeRequest(
                subscription: number,
                topic: topic,
                group: group,
                start: start,
                credit: credit,
                leaseMilliseconds: lease,
                lanes: lanes
            ).encode(correlation: session.openRequest(.subscribe), into: &bytes)
        }
    }

    /// What happened on the connection since the last look, in words, and the deliveries among it.
    func hear() throws -> (words: [String], deliveries: [Delivery]) {
        var words: [String] = []
        var deliveries: [Delivery] = []
        try messages { message in
            switch message {
            case .subscribed: words.append("subscribed")
            case .unsubscribed: words.append("unsubscribed")
            case .delivered(let view):
                words.append("delivered \(view.count)")
                view.forEach {
                    deliveries.append(Delivery(token: $0.token, id: $0.id, user: $0.key.text))
                }
            case .settled(_, let view): words.append("settled \(view.settled) stale \(view.stale)")
            case .status(_, let reply): words.append("status \(reply.state.name)")
            case .templateSaved: words.append("template saved")
            case .templates(_, let reply):
                words.append("templates " + reply.templates.map(\.name).joined(separator: ","))
            case .fetched(_, let view):
                words.append("fetched \(view.count) to \(view.next.rawValue)")
            case .goodbye(let goodbye): words.append("goodbye \(goodbye.code)")
            case .refused(_, let error): words.append("refused \(error.code)")
            case .pong: words.append("pong")
            case .ready: words.append("ready")
            case .produced(_, let view): words.append("produced \(view.count)")
            }
        }
        return (words, deliveries)
    }

    func fetch(from offset: Offset, bytesMax: UInt32, into bytes: inout [UInt8]) {
        FetchRequest(
            topic: "notify.email",
            partition: PartitionID(0),
            lane: .normal,
            from: .offset(offset),
            bytesMax: bytesMax
        ).encode(correlation: session.openRequest(.fetch), into: &bytes)
    }

    func askForStatus(_ id: NotificationID) {
        send { session, bytes in
            StatusRequest(id: id).encode(
                correlation: session.openRequest(.status),
                into: &bytes
            )
        }
    }

    func acknowledge(_ tokens: [DeliveryToken], subscription: UInt32 = 1) {
        send { session, bytes in
            AcknowledgeView.encode(
                subscription: subscription,
                tokens: TokenRuns(tokens),
                correlation: session.openRequest(.acknowledge),
                into: &bytes
            )
        }
    }

    func reject(_ tokens: [DeliveryToken], delay: UInt64?) {
        send { session, bytes in
            RejectView.encode(
                subscription: 1,
                delayMilliseconds: delay,
                reason: "busy",
                tokens: TokenRuns(tokens),
                correlation: session.openRequest(.reject),
                into: &bytes
            )
        }
    }

    func extend(_ tokens: [DeliveryToken], milliseconds: UInt32) {
        send { session, bytes in
            ExtendView.encode(
                subscription: 1,
                milliseconds: milliseconds,
                tokens: TokenRuns(tokens),
                correlation: session.openRequest(.extend),
                into: &bytes
            )
        }
    }
}
