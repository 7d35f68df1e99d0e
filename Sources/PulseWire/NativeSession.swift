// The server's end of a native connection: bytes in, requests out. It answers hello and ping itself
// and refuses what is malformed, so that the node sees only well-formed requests in their right
// order.
//
//     awaitingHello --hello, version spoken--> ready
//          |                                     |
//          | anything else                       | framing broken, malformed credit
//          `--------------> closing <------------'        (an error frame has been written)

package import PulseCore

/// One well-formed request for the node. Views borrow the input: use them before asking for the
/// next.
package enum NativeRequest {
    case produce(correlation: UInt32, ProduceRequestView)
    case subscribe(correlation: UInt32, SubscribeRequest)
    case unsubscribe(correlation: UInt32, subscription: UInt32)
    /// Has no answer.
    case credit(subscription: UInt32, add: UInt32)
    case acknowledge(correlation: UInt32, AcknowledgeView)
    case reject(correlation: UInt32, RejectView)
    case extend(correlation: UInt32, ExtendView)
    case status(correlation: UInt32, NotificationID)
    case fetch(correlation: UInt32, FetchRequest)
    case putTemplate(correlation: UInt32, TemplateMessage)
    case listTemplates(correlation: UInt32, after: String)
}

/// Turns one connection's bytes into requests.
///
///     session.begin(input)
///     while let request = session.next(into: &answers) { ... }
///     if session.isClosing { send the answers, then close }
///
/// Invariants: no request before a hello that was answered; none after ``isClosing``; every request
/// refused here was answered exactly once, in `answers`, before the next request comes out.
///
/// A class because a connection is one thing. Its shard's thread uses it.
package final class NativeSession {
    package enum State: Hashable, Sendable {
        /// Can transition to: ready, closing.
        case awaitingHello
        /// Can transition to: closing.
        case ready
        /// Final. The error is the peer's mistake.
        case closing(WireError)
    }

    package private(set) var state = State.awaitingHello
    /// What the client said it is; for logs and the connection list.
    package private(set) var clientName = ""
    package private(set) var clientVersion = ""

    private let greeting: HelloReply
    private let decoder = FrameDecoder(frameBytesMax: Limits.frameBytesMaxBeforeHello)

    package init(greeting: HelloReply) {
        precondition(
            Int(greeting.frameBytesMax) <= Limits.frameBytesMax,
            "a server promises no larger frames than it takes"
        )
        self.greeting = greeting
    }

    package var isReady: Bool { state == .ready }
    package var isClosing: Bool {
        if case .closing = state { true } else { false }
    }

    /// Takes the next bytes of the connection. They stay borrowed until ``next(into:)`` answers
    /// nil.
    package func begin(_ bytes: UnsafeRawBufferPointer) {
        if !isClosing { decoder.begin(bytes) }
    }

    /// The next request, or nil when the bytes are used up or the session is closing.
    ///
    /// Answers that need no decision of the node's are appended to `answers`.
    package func next(into answers: inout [UInt8]) -> NativeRequest? {
        while !isClosing {
            let frame: Frame
            do throws(WireError) {
                guard let whole = try decoder.next() else { return nil }
                frame = whole
            } catch {
                close(for: error, correlation: 0, &answers)
                return nil
            }
            do throws(WireError) {
                if let request = try request(in: frame, &answers) { return request }
            } catch {
                if error.leavesStreamIntact, frame.operation != .credit, state == .ready {
                    ErrorReply(error.code, error.description)
                        .encode(correlation: frame.correlation, into: &answers)
                } else {
                    close(for: error, correlation: frame.correlation, &answers)
                }
            }
        }
        return nil
    }

    /// Tells the client that this server is going away.
    package func sayGoodbye(
        _ code: ErrorCode = .draining,
        _ message: String,
        into answers: inout [UInt8]
    ) {
        GoodbyeMessage(code, message).encode(into: &answers)
    }

    private func close(for error: WireError, correlation: UInt32, _ answers: inout [UInt8]) {
        state = .closing(error)
        decoder.discardInput()
        ErrorReply(error.code, error.description).encode(correlation: correlation, into: &answers)
    }

    /// The request in one frame; nil when it was answered here.
    private func request(
        in frame: Frame,
        _ answers: inout [UInt8]
    ) throws(WireError) -> NativeRequest? {
        guard let operation = frame.operation else {
            throw state == .ready
                ? .unexpectedOperation(frame.operationByte) : .handshakeRequired
        }
        guard state == .ready || operation == .hello else { throw .handshakeRequired }
        let correlation = frame.correlation
        switch operation {
        case .hello:
            try hello(frame, &answers)
            return nil
        case .ping:
            try PingMessage.read(frame.body)
            PingMessage.encodeReply(correlation: correlation, into: &answers)
            return nil
        case .produce:
            return .produce(
                correlation: correlation,
                try ProduceRequestView(reading: frame.body)
            )
        case .subscribe:
            return .subscribe(
                correlation: correlation,
                try SubscribeRequest(reading: frame.body)
            )
        case .unsubscribe:
            let message = try UnsubscribeRequest(reading: frame.body)
            return .unsubscribe(correlation: correlation, subscription: message.subscription)
        case .credit:
            let message = try CreditMessage(reading: frame.body)
            return .credit(subscription: message.subscription, add: message.add)
        case .acknowledge:
            return .acknowledge(
                correlation: correlation,
                try AcknowledgeView(reading: frame.body)
            )
        case .reject:
            return .reject(correlation: correlation, try RejectView(reading: frame.body))
        case .extend:
            return .extend(correlation: correlation, try ExtendView(reading: frame.body))
        case .status:
            return .status(correlation: correlation, try StatusRequest(reading: frame.body).id)
        case .fetch:
            return .fetch(correlation: correlation, try FetchRequest(reading: frame.body))
        case .putTemplate:
            return .putTemplate(
                correlation: correlation,
                try TemplateMessage(reading: frame.body)
            )
        case .listTemplates:
            return .listTemplates(
                correlation: correlation,
                after: try ListTemplatesRequest(reading: frame.body).after
            )
        case .deliver, .goodbye, .helloReply, .produceReply, .subscribeReply, .unsubscribeReply,
            .acknowledgeReply, .rejectReply, .extendReply, .statusReply, .fetchReply,
            .putTemplateReply, .listTemplatesReply, .pong, .error:
            throw .unexpectedOperation(frame.operationByte)
        }
    }

    private func hello(_ frame: Frame, _ answers: inout [UInt8]) throws(WireError) {
        guard state == .awaitingHello else { throw .unexpectedOperation(frame.operationByte) }
        let message = try HelloRequest(reading: frame.body)
        guard message.protocolVersion >= Frame.version else {
            throw .unsupportedVersion(message.protocolVersion, position: frame.position)
        }
        clientName = message.clientName
        clientVersion = message.clientVersion
        state = .ready
        decoder.frameBytesMax = Int(greeting.frameBytesMax)
        greeting.encode(correlation: frame.correlation, into: &answers)
    }
}
