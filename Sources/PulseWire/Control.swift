// ping, goodbye and the error reply: the messages about the conversation itself.
//
//     ping 0x0D:     empty        reply 0x8D: empty
//     goodbye 0x41:  code u16 | message string16          from the server, correlation 0
//     error 0xFF:    code u16 | retryable u8 | message string16
//
// After goodbye the server takes nothing new; it still answers what it has and then closes.

package import PulseCore

package enum PingMessage {
    package static func encode(correlation: UInt32, into bytes: inout [UInt8]) {
        OpenFrame(.ping, correlation: correlation, in: &bytes).close(in: &bytes)
    }

    package static func encodeReply(correlation: UInt32, into bytes: inout [UInt8]) {
        OpenFrame(.pong, correlation: correlation, in: &bytes).close(in: &bytes)
    }

    package static func read(_ body: UnsafeRawBufferPointer) throws(WireError) {
        try BodyReader(body).end()
    }
}

package struct GoodbyeMessage: Hashable, Sendable {
    /// An ``ErrorCode``'s number; one this end does not know is kept as it is.
    package var code: UInt16
    package var message: String

    package init(_ code: ErrorCode, _ message: String) {
        self.code = code.rawValue
        self.message = message
    }

    package init(reading body: UnsafeRawBufferPointer) throws(WireError) {
        var reader = BodyReader(body)
        code = try reader.u16("code")
        message = try reader.string16("message")
        try reader.end()
    }

    package func encode(into bytes: inout [UInt8]) {
        let frame = OpenFrame(.goodbye, correlation: 0, in: &bytes)
        bytes.append(littleEndian: code)
        bytes.append(message16: message)
        frame.close(in: &bytes)
    }
}

package struct ErrorReply: Hashable, Sendable {
    /// An ``ErrorCode``'s number; one this end does not know is kept as it is.
    package var code: UInt16
    /// Whether the same request may succeed later.
    package var isRetryable: Bool
    package var message: String

    package init(_ code: ErrorCode, _ message: String) {
        self.code = code.rawValue
        isRetryable = code.isRetryable
        self.message = message
    }

    package init(reading body: UnsafeRawBufferPointer) throws(WireError) {
        var reader = BodyReader(body)
        code = try reader.u16("code")
        switch try reader.u8("retryable") {
        case 0: isRetryable = false
        case 1: isRetryable = true
        default: throw reader.malformed("retryable")
        }
        message = try reader.string16("message")
        try reader.end()
    }

    package func encode(correlation: UInt32, into bytes: inout [UInt8]) {
        let frame = OpenFrame(.error, correlation: correlation, in: &bytes)
        bytes.append(littleEndian: code)
        bytes.append(isRetryable ? 1 : 0)
        bytes.append(message16: message)
        frame.close(in: &bytes)
    }
}
