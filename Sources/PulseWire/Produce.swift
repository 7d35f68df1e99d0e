// produce and its reply: a record batch in, one verdict per record out.
//
//     produce 0x02:  topic string16 | lane u8 (0xFF: the broker chooses) | batch v2, to the end
//     reply 0x82:    count u16, then per record
//                    | status u8 | error code u16 | notification id 16 |
//                    | message string16, only when refused |
//
// A record's key is the recipient, its value an envelope (PulseCore/Envelope.swift). Replies to
// produces of one connection come in log order.

package import PulseCore

/// A produce request, read in place.
package struct ProduceRequestView {
    /// UTF-8 is not checked: a topic is looked up by its bytes.
    package let topic: UnsafeRawBufferPointer
    /// Nil when the broker chooses by rule.
    package let lane: Lane?
    /// Exactly one Kafka record batch v2, unchecked but for its size.
    package let batch: UnsafeRawBufferPointer

    package static let brokerChooses: UInt8 = 0xFF

    package init(reading body: UnsafeRawBufferPointer) throws(WireError) {
        var reader = BodyReader(body)
        topic = try reader.bytes16("topic")
        let byte = try reader.u8("lane")
        if byte == Self.brokerChooses {
            lane = nil
        } else {
            guard let named = Lane(rawValue: byte), named != .dead else {
                throw reader.malformed("lane")
            }
            lane = named
        }
        batch = reader.rest()
        guard batch.count <= Limits.batchBytesMax else {
            throw .overLimit(
                .batchTooLarge,
                field: "batch bytes",
                count: batch.count,
                limit: Limits.batchBytesMax
            )
        }
    }

    /// Writes a whole frame around a finished batch.
    package static func encode(
        topic: String,
        lane: Lane?,
        batch: UnsafeRawBufferPointer,
        correlation: UInt32,
        into bytes: inout [UInt8]
    ) {
        let frame = OpenFrame(.produce, correlation: correlation, in: &bytes)
        bytes.append(string16: topic)
        bytes.append(lane?.rawValue ?? brokerChooses)
        bytes.append(contentsOf: batch)
        frame.close(in: &bytes)
    }
}

/// What became of one record of a produce request.
package enum ProduceStatus: UInt8, Sendable {
    /// Durable, and new.
    case accepted = 0
    /// Its idempotency key was seen before with the same content; the id is the first one's.
    case duplicate = 1
    /// Not taken; the code and the message say why.
    case refused = 2
}

package struct ProduceOutcome {
    package var status: ProduceStatus
    /// Zero unless refused. A number this end does not know is kept as it is.
    package var errorCode: UInt16
    package var id: NotificationID
    /// UTF-8, borrowed; empty unless refused.
    package var message: UnsafeRawBufferPointer
}

/// Appends a produce reply to a buffer, one verdict after another in the order of the records.
package struct ProduceReplyWriter: Sendable {
    private let frame: OpenFrame
    package private(set) var count = 0

    package init(correlation: UInt32, in bytes: inout [UInt8]) {
        frame = OpenFrame(.produceReply, correlation: correlation, in: &bytes)
        bytes.append(littleEndian: UInt16(0))
    }

    package mutating func append(accepted id: NotificationID, into bytes: inout [UInt8]) {
        append(.accepted, 0, id, &bytes)
    }

    package mutating func append(duplicate id: NotificationID, into bytes: inout [UInt8]) {
        append(.duplicate, 0, id, &bytes)
    }

    /// `id` is zero, or the first notification's when a key was repeated with another content.
    package mutating func append(
        refused code: ErrorCode,
        _ message: String,
        id: NotificationID = NotificationID(high: 0, low: 0),
        into bytes: inout [UInt8]
    ) {
        append(.refused, code.rawValue, id, &bytes)
        bytes.append(message16: message)
    }

    package func close(in bytes: inout [UInt8]) {
        bytes.patch(at: frame.start + Frame.headerBytes, littleEndian: UInt16(count))
        frame.close(in: &bytes)
    }

    private mutating func append(
        _ status: ProduceStatus,
        _ code: UInt16,
        _ id: NotificationID,
        _ bytes: inout [UInt8]
    ) {
        precondition(count < Limits.batchRecordsMax, "a batch is within its record limit")
        count += 1
        bytes.append(status.rawValue)
        bytes.append(littleEndian: code)
        bytes.append(id)
    }
}

/// A produce reply, read in place. Everything is checked when the view is made.
package struct ProduceReplyView {
    package let count: Int
    private let outcomes: UnsafeRawBufferPointer

    package init(reading body: UnsafeRawBufferPointer) throws(WireError) {
        var reader = BodyReader(body)
        count = Int(try reader.u16("count"))
        outcomes = UnsafeRawBufferPointer(rebasing: body[reader.reader.position...])
        for _ in 0..<count { _ = try Self.outcome(&reader) }
        try reader.end()
    }

    package func forEach(_ visit: (Int, ProduceOutcome) -> Void) {
        var reader = BodyReader(outcomes)
        for index in 0..<count {
            guard let outcome = try? Self.outcome(&reader) else {
                preconditionFailure("the view checked every outcome when it was made")
            }
            visit(index, outcome)
        }
    }

    private static func outcome(_ reader: inout BodyReader) throws(WireError) -> ProduceOutcome {
        guard let status = ProduceStatus(rawValue: try reader.u8("status")) else {
            throw reader.malformed("status")
        }
        let code = try reader.u16("error code")
        let id = try reader.notificationID("id")
        let message =
            status == .refused
            ? try reader.bytes16("message") : UnsafeRawBufferPointer(start: nil, count: 0)
        guard (status == .refused) == (code != 0) else { throw reader.malformed("error code") }
        return ProduceOutcome(status: status, errorCode: code, id: id, message: message)
    }
}
