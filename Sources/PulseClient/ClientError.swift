// Every way the client fails, as one type whose set of codes can grow.

internal import PulseCore
internal import PulseWire

/// Why something the client was asked to do did not happen.
public struct ClientError: Error, Hashable, Sendable {
    /// A stable word. A server's refusal keeps the server's word, known to this client or not.
    public struct Code: Hashable, Sendable, CustomStringConvertible {
        public let name: String

        public init(_ name: String) { self.name = name }

        public var description: String { name }

        /// No connection could be made.
        public static let connectionFailed = Code("connection_failed")
        /// The connection ended; what was under way is tried again on the next one.
        public static let connectionClosed = Code("connection_closed")
        /// No answer in time. Whether it happened is unknown; repeating it is safe.
        public static let timedOut = Code("timed_out")
        /// The server said something this client does not understand.
        public static let protocolViolation = Code("protocol_violation")
        /// This client was closed.
        public static let clientClosed = Code("client_closed")
        /// More notifications wait in this client than ``ClientConfiguration/queuedMax``.
        public static let queueFull = Code("queue_full")
        /// The notification cannot be written as the protocol wants it.
        public static let invalidNotification = Code("invalid_notification")
        /// The server's: the topic does not exist.
        public static let unknownTopic = Code(ErrorCode.unknownTopic.name)
        /// The server's: nothing has this identifier.
        public static let notFound = Code(ErrorCode.notFound.name)
        /// The server's: the idempotency key was used before with another content.
        public static let idempotencyConflict = Code(ErrorCode.idempotencyConflict.name)
        /// The server's: the delivery is no longer this consumer's.
        public static let staleLease = Code(ErrorCode.staleLease.name)
    }

    public var code: Code
    /// What happened, with the name and the number, and what to do when that is known.
    public var message: String
    /// Whether the same call may succeed later.
    public var isRetryable: Bool

    public init(_ code: Code, _ message: String, isRetryable: Bool = false) {
        self.code = code
        self.message = message
        self.isRetryable = isRetryable
    }
}

extension ClientError: CustomStringConvertible {
    public var description: String { "\(code): \(message)" }
}

extension ClientError {
    /// A refusal as it came over the wire.
    init(refusal code: UInt16, _ message: String, isRetryable: Bool? = nil) {
        let known = ErrorCode(rawValue: code)
        self.init(
            Code(known?.name ?? "error_\(code)"),
            message,
            isRetryable: isRetryable ?? known?.isRetryable ?? false
        )
    }

    init(_ reply: ErrorReply) {
        self.init(refusal: reply.code, reply.message, isRetryable: reply.isRetryable)
    }

    static let closed = ClientError(.clientClosed, "the client was closed")
}
