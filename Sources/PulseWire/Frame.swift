// The frame: what every message of the native protocol is wrapped in. Little-endian.
//
//      0        4        8   9   10      12       16
//     +--------+--------+---+---+-------+--------+----------------+
//     | length | crc32c |ver|op | flags | correl.| body           |
//     |  u32   |  u32   |u8 |u8 |  u16  |  u32   | length-12 bytes|
//     +--------+--------+---+---+-------+--------+----------------+
//              '------------------ length bytes ------------------'
//                       '---------- under the crc ----------------'
//
// Source: spec/02-wire.md, "Frame". A new operation takes a new number; a changed body takes a new
// protocol version; both go into the spec and get a golden vector in Tests/PulseWireTests/Vectors.

internal import PulseCore

/// What a frame is about. A reply has its request's number with the top bit set.
package enum Operation: UInt8, CaseIterable, Sendable {
    // From the client.
    case hello = 0x01
    case produce = 0x02
    case subscribe = 0x03
    case unsubscribe = 0x04
    case credit = 0x05
    case acknowledge = 0x06
    case reject = 0x07
    case extend = 0x08
    case status = 0x09
    case fetch = 0x0A
    case putTemplate = 0x0B
    case listTemplates = 0x0C
    case ping = 0x0D

    // From the server, unasked: correlation 0.
    case deliver = 0x40
    case goodbye = 0x41

    // From the server, as answers.
    case helloReply = 0x81
    case produceReply = 0x82
    case subscribeReply = 0x83
    case unsubscribeReply = 0x84
    case acknowledgeReply = 0x86
    case rejectReply = 0x87
    case extendReply = 0x88
    case statusReply = 0x89
    case fetchReply = 0x8A
    case putTemplateReply = 0x8B
    case listTemplatesReply = 0x8C
    case pong = 0x8D
    /// Answers any request that was refused.
    case error = 0xFF

    /// The operation that answers this one when all is well; nil for one that has no answer.
    package var reply: Operation? {
        self == .credit || rawValue >= 0x40 ? nil : Operation(rawValue: rawValue | 0x80)
    }
}

/// One decoded frame. The body is borrowed: it is valid until the decoder is next asked.
package struct Frame {
    /// The raw operation; an unknown one is still a whole frame and is refused politely.
    package var operationByte: UInt8
    package var correlation: UInt32
    package var body: UnsafeRawBufferPointer
    /// Where the frame began, in bytes of the connection.
    package var position: Int

    package var operation: Operation? { Operation(rawValue: operationByte) }

    package static let version: UInt8 = 1
    /// Bytes from the length field to the body.
    package static let headerBytes = 16
    /// The smallest legal value of the length field.
    package static let lengthMin = 12
}

/// A frame being written at the end of a byte buffer: open it, append the body, close it.
///
/// Nothing else may be appended to the buffer in between.
package struct OpenFrame: Sendable {
    /// Index of the frame's first byte in the buffer.
    package let start: Int

    package init(
        _ operation: Operation,
        correlation: UInt32,
        in bytes: inout [UInt8]
    ) {
        start = bytes.count
        bytes.append(littleEndian: UInt64(0))
        bytes.append(Frame.version)
        bytes.append(operation.rawValue)
        bytes.append(littleEndian: UInt16(0))
        bytes.append(littleEndian: correlation)
    }

    /// Fills in the length and the checksum.
    package func close(in bytes: inout [UInt8]) {
        let length = bytes.count - start - 4
        precondition(length <= Limits.frameBytesMax, "a frame we write is within the limit")
        bytes.patch(at: start, littleEndian: UInt32(length))
        let checksum = bytes.withUnsafeBytes {
            CRC32C.of(UnsafeRawBufferPointer(rebasing: $0[(start + 8)...]))
        }
        bytes.patch(at: start + 4, littleEndian: checksum)
    }

    /// Takes back everything written since the frame was opened.
    package func abandon(in bytes: inout [UInt8]) {
        bytes.removeSubrange(start...)
    }
}
