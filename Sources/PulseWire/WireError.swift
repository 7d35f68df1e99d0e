// What can be wrong with bytes of the native protocol, and which refusal each mistake becomes.

package import PulseCore

/// A peer's mistake. Nothing here is ever ours: the answer is an error frame, and for a mistake in
/// the framing itself the end of the connection, because nothing after it can be trusted.
package enum WireError: Error, Hashable, Sendable {
    /// The length field names fewer bytes than a header has. `position` counts bytes of the
    /// connection.
    case frameTooShort(length: Int, position: Int)
    /// The length field is above the limit of this moment (smaller before the handshake).
    case frameTooLarge(length: Int, limit: Int, position: Int)
    case badChecksum(position: Int)
    case unsupportedVersion(UInt8, position: Int)
    /// A reserved flag is set.
    case reservedFlags(UInt16, position: Int)

    /// A body ended inside `field`, or the field's value is not one the protocol knows. `position`
    /// counts bytes of the body.
    case malformedBody(field: String, position: Int)
    /// Bytes are left after the last field of a body.
    case trailingBytes(count: Int, position: Int)
    /// A well-formed body asks for more than a limit allows.
    case overLimit(ErrorCode, field: String, count: Int, limit: Int)

    // Mistakes of order, found by the session machines.

    case handshakeRequired
    case unexpectedOperation(UInt8)
    case unknownCorrelation(UInt32)

    /// The refusal sent to the peer.
    package var code: ErrorCode {
        switch self {
        case .frameTooShort, .badChecksum, .reservedFlags, .malformedBody, .trailingBytes,
            .unknownCorrelation:
            .malformedFrame
        case .frameTooLarge: .frameTooLarge
        case .unsupportedVersion: .unsupportedVersion
        case .overLimit(let code, _, _, _): code
        case .handshakeRequired: .handshakeRequired
        case .unexpectedOperation: .unknownOperation
        }
    }

    /// Whether the byte stream can still be followed: the frame was whole and only its content
    /// wrong.
    package var leavesStreamIntact: Bool {
        switch self {
        case .malformedBody, .trailingBytes, .overLimit, .unexpectedOperation: true
        case .frameTooShort, .frameTooLarge, .badChecksum, .unsupportedVersion, .reservedFlags,
            .handshakeRequired, .unknownCorrelation:
            false
        }
    }
}

extension WireError: CustomStringConvertible {
    /// One sentence that names the thing, the number and the place.
    package var description: String {
        switch self {
        case .frameTooShort(let length, let position):
            "the frame at byte \(position) says it has \(length) bytes; a header alone has "
                + "\(Frame.lengthMin)"
        case .frameTooLarge(let length, let limit, let position):
            "the frame at byte \(position) says it has \(length) bytes; the limit is \(limit)"
        case .badChecksum(let position):
            "the frame at byte \(position) does not match its CRC32C"
        case .unsupportedVersion(let version, let position):
            "protocol version \(version) at byte \(position); this end speaks "
                + "\(Frame.version)"
        case .reservedFlags(let flags, let position):
            "the frame at byte \(position) sets reserved flags \(flags)"
        case .malformedBody(let field, let position):
            "cannot read '\(field)' at byte \(position) of the body"
        case .trailingBytes(let count, let position):
            "\(count) bytes are left after the last field, at byte \(position) of the body"
        case .overLimit(_, let field, let count, let limit):
            "'\(field)' is \(count); the limit is \(limit)"
        case .handshakeRequired: "the first frame of a connection is hello"
        case .unexpectedOperation(let operation):
            "operation \(operation) is not one this end takes"
        case .unknownCorrelation(let correlation):
            "an answer to correlation \(correlation), which nobody asked"
        }
    }
}
