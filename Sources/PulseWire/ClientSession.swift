// The client's end of a native connection: which correlations are open, what the server said about
// itself, and bytes in, answers out. What the answers mean to a producer or consumer is
// PulseClient's.
//
//     idle --hello written--> awaitingHello --hello reply--> ready --goodbye--> draining
//       |                          |                           |                   |
//       `--------------------------+------- broken bytes ------+-------------------'--> closed

internal import PulseCore

/// One thing the server said. Views borrow the input: use them before asking for the next.
package enum ServerMessage {
    case ready(HelloReply)
    case produced(correlation: UInt32, ProduceReplyView)
    case subscribed(correlation: UInt32, SubscribeReply)
    case unsubscribed(correlation: UInt32)
    case delivered(DeliverView)
    /// Answers an acknowledge, a reject or an extend.
    case settled(correlation: UInt32, SettleReplyView)
    case status(correlation: UInt32, StatusReply)
    case fetched(correlation: UInt32, FetchReplyView)
    case templateSaved(correlation: UInt32)
    case templates(correlation: UInt32, ListTemplatesReply)
    case pong(correlation: UInt32)
    case goodbye(GoodbyeMessage)
    /// The request with this correlation was refused; correlation 0 is about the whole connection.
    case refused(correlation: UInt32, ErrorReply)
}

/// Numbers requests and checks that every answer belongs to one.
///
/// Invariants: a correlation is open from its request until its one answer; an answer is of the
/// kind its request asked for; no request but hello is opened before the server is ready.
///
/// A class because it owns a decoder; used by one thread, or under its owner's lock.
package final class ClientSession {
    package enum State: Hashable, Sendable {
        /// Can transition to: awaitingHello, closed.
        case idle
        /// Can transition to: ready, closed.
        case awaitingHello
        /// Can transition to: draining, closed.
        case ready(HelloReply)
        /// The server takes nothing new; answers still come. Can transition to: closed.
        case draining(HelloReply)
        /// Final.
        case closed(WireError)
    }

    package private(set) var state = State.idle
    private var open: [UInt32: Operation] = [:]
    private var lastCorrelation: UInt32 = 0
    private let decoder = FrameDecoder(frameBytesMax: Limits.frameBytesMaxBeforeHello)

    package init() {}

    package var isReady: Bool {
        if case .ready = state { true } else { false }
    }
    /// Whether requests can be answered: ready, or draining, where settling still makes sense.
    package var takesRequests: Bool {
        switch state {
        case .ready, .draining: true
        case .idle, .awaitingHello, .closed: false
        }
    }
    /// Requests without an answer yet.
    package var openCount: Int { open.count }

    /// Writes the first frame of the connection.
    package func sayHello(name: String, version: String, into bytes: inout [UInt8]) {
        precondition(state == .idle, "hello is said once")
        state = .awaitingHello
        let correlation = number(.hello)
        HelloRequest(clientName: name, clientVersion: version)
            .encode(correlation: correlation, into: &bytes)
    }

    /// A fresh correlation for a request about to be written.
    package func openRequest(_ operation: Operation) -> UInt32 {
        precondition(operation.reply != nil, "a request that has an answer")
        precondition(takesRequests, "requests wait for the handshake")
        return number(operation)
    }

    private func number(_ operation: Operation) -> UInt32 {
        repeat {
            lastCorrelation &+= 1
        } while lastCorrelation == 0 || open[lastCorrelation] != nil
        open[lastCorrelation] = operation
        return lastCorrelation
    }

    package func begin(_ bytes: UnsafeRawBufferPointer) { decoder.begin(bytes) }

    /// The next thing the server said, or nil when the bytes are used up.
    ///
    /// - Throws: The server's mistake; the session is then closed, and its connection useless.
    package func next() throws(WireError) -> ServerMessage? {
        do {
            guard let frame = try decoder.next() else { return nil }
            return try message(in: frame)
        } catch {
            decoder.discardInput()
            state = .closed(error)
            throw error
        }
    }

    private func message(in frame: Frame) throws(WireError) -> ServerMessage {
        guard let operation = frame.operation else {
            throw .unexpectedOperation(frame.operationByte)
        }
        let correlation = frame.correlation
        switch operation {
        case .deliver:
            try expectReady(frame)
            return .delivered(try DeliverView(reading: frame.body))
        case .goodbye:
            try expectReady(frame)
            if case .ready(let greeting) = state { state = .draining(greeting) }
            return .goodbye(try GoodbyeMessage(reading: frame.body))
        case .error:
            let reply = try ErrorReply(reading: frame.body)
            if correlation != 0, open.removeValue(forKey: correlation) == nil {
                throw .unknownCorrelation(correlation)
            }
            return .refused(correlation: correlation, reply)
        case .helloReply:
            try settle(frame)
            let greeting = try HelloReply(reading: frame.body)
            guard greeting.protocolVersion == Frame.version else {
                throw .unsupportedVersion(greeting.protocolVersion, position: frame.position)
            }
            state = .ready(greeting)
            decoder.frameBytesMax = Limits.frameBytesMax
            return .ready(greeting)
        case .produceReply:
            try settle(frame)
            return .produced(
                correlation: correlation,
                try ProduceReplyView(reading: frame.body)
            )
        case .subscribeReply:
            try settle(frame)
            return .subscribed(
                correlation: correlation,
                try SubscribeReply(reading: frame.body)
            )
        case .unsubscribeReply:
            try settle(frame)
            try BodyReader(frame.body).end()
            return .unsubscribed(correlation: correlation)
        case .acknowledgeReply, .rejectReply, .extendReply:
            try settle(frame)
            return .settled(correlation: correlation, try SettleReplyView(reading: frame.body))
        case .statusReply:
            try settle(frame)
            return .status(correlation: correlation, try StatusReply(reading: frame.body))
        case .fetchReply:
            try settle(frame)
            return .fetched(correlation: correlation, try FetchReplyView(reading: frame.body))
        case .putTemplateReply:
            try settle(frame)
            try BodyReader(frame.body).end()
            return .templateSaved(correlation: correlation)
        case .listTemplatesReply:
            try settle(frame)
            return .templates(
                correlation: correlation,
                try ListTemplatesReply(reading: frame.body)
            )
        case .pong:
            try settle(frame)
            try PingMessage.read(frame.body)
            return .pong(correlation: correlation)
        case .hello, .produce, .subscribe, .unsubscribe, .credit, .acknowledge, .reject, .extend,
            .status, .fetch, .putTemplate, .listTemplates, .ping:
            throw .unexpectedOperation(frame.operationByte)
        }
    }

    /// Pushes come only after the handshake.
    private func expectReady(_ frame: Frame) throws(WireError) {
        guard takesRequests else { throw .handshakeRequired }
        guard frame.correlation == 0 else { throw .unknownCorrelation(frame.correlation) }
    }

    /// Closes the correlation that this frame answers.
    private func settle(_ frame: Frame) throws(WireError) {
        guard let request = open.removeValue(forKey: frame.correlation) else {
            throw .unknownCorrelation(frame.correlation)
        }
        guard request.reply == frame.operation else {
            throw .unexpectedOperation(frame.operationByte)
        }
    }
}
