// fetch and its reply: read a stream without a group and without leases.
//
//     fetch 0x0A:  topic string16 | partition u16 | lane u8 | from i64 | max bytes u32
//     reply 0x8A:  next i64 | log start i64 | log end i64 | count u16 | records
//
//     record:      offset i64 | wall ms i64 | id 16 | key bytes16 | value bytes32
//
// `from` is an offset, or -1 for the end, or -2 for the start. An empty reply with next = log end
// means: nothing newer yet.

package import PulseCore

package struct FetchRequest: Hashable, Sendable {
    /// Where to begin.
    package enum Start: Hashable, Sendable {
        case offset(Offset)
        case end
        case start

        var rawValue: Int64 {
            switch self {
            case .offset(let offset): offset.rawValue
            case .end: -1
            case .start: -2
            }
        }
    }

    package var topic: String
    package var partition: PartitionID
    package var lane: Lane
    package var from: Start
    /// Keys and values; at least one record comes however long it is.
    package var bytesMax: UInt32

    package init(
        topic: String,
        partition: PartitionID,
        lane: Lane,
        from: Start,
        bytesMax: UInt32
    ) {
        self.topic = topic
        self.partition = partition
        self.lane = lane
        self.from = from
        self.bytesMax = bytesMax
    }

    package init(reading body: UnsafeRawBufferPointer) throws(WireError) {
        var reader = BodyReader(body)
        topic = try reader.string16("topic")
        partition = PartitionID(try reader.u16("partition"))
        guard partition.rawValue < 1 << 12 else { throw reader.malformed("partition") }
        lane = try reader.lane("lane")
        switch try reader.i64("from") {
        case -1: from = .end
        case -2: from = .start
        case let offset where offset >= 0: from = .offset(Offset(offset))
        default: throw reader.malformed("from")
        }
        bytesMax = try reader.u32("max bytes")
        try reader.end()
    }

    package func encode(correlation: UInt32, into bytes: inout [UInt8]) {
        let frame = OpenFrame(.fetch, correlation: correlation, in: &bytes)
        bytes.append(string16: topic)
        bytes.append(littleEndian: partition.rawValue)
        bytes.append(lane.rawValue)
        bytes.append(littleEndian: from.rawValue)
        bytes.append(littleEndian: bytesMax)
        frame.close(in: &bytes)
    }
}

/// Appends a fetch reply to a buffer, record by record.
package struct FetchReplyWriter: Sendable {
    private let frame: OpenFrame
    package private(set) var count = 0

    /// Bytes of a record besides its key and value.
    package static let fixedBytes = 8 + 8 + 16 + 2 + 4

    package init(correlation: UInt32, in bytes: inout [UInt8]) {
        frame = OpenFrame(.fetchReply, correlation: correlation, in: &bytes)
        bytes.append(contentsOf: repeatElement(0, count: 26))
    }

    /// Whether one more record stays within the frame limit.
    package func fits(keyBytes: Int, valueBytes: Int, in bytes: borrowing [UInt8]) -> Bool {
        count < Int(UInt16.max)
            && bytes.count - frame.start - 4 + Self.fixedBytes + keyBytes + valueBytes
                <= Limits.frameBytesMax
    }

    package mutating func append(
        _ offset: Offset,
        wall: WallTimestamp,
        id: NotificationID,
        key: UnsafeRawBufferPointer,
        value: UnsafeRawBufferPointer,
        into bytes: inout [UInt8]
    ) {
        count += 1
        bytes.append(littleEndian: offset.rawValue)
        bytes.append(littleEndian: wall.milliseconds)
        bytes.append(id)
        bytes.append(bytes16: key)
        bytes.append(bytes32: value)
    }

    package func close(
        next: Offset,
        logStart: Offset,
        logEnd: Offset,
        in bytes: inout [UInt8]
    ) {
        let body = frame.start + Frame.headerBytes
        bytes.patch(at: body, littleEndian: next.rawValue)
        bytes.patch(at: body + 8, littleEndian: logStart.rawValue)
        bytes.patch(at: body + 16, littleEndian: logEnd.rawValue)
        bytes.patch(at: body + 24, littleEndian: UInt16(count))
        frame.close(in: &bytes)
    }
}

/// One fetched record, read in place.
package struct FetchedRecordView {
    package var offset: Offset
    package var wall: WallTimestamp
    package var id: NotificationID
    package var key: UnsafeRawBufferPointer
    package var value: UnsafeRawBufferPointer

    init(reading reader: inout BodyReader) throws(WireError) {
        offset = Offset(try reader.i64("offset"))
        wall = WallTimestamp(milliseconds: try reader.i64("wall"))
        id = try reader.notificationID("id")
        key = try reader.bytes16("key")
        value = try reader.bytes32("value")
    }
}

/// A fetch reply, read in place. Everything is checked when the view is made.
package struct FetchReplyView {
    package let next: Offset
    package let logStart: Offset
    package let logEnd: Offset
    package let count: Int
    private let records: UnsafeRawBufferPointer

    package init(reading body: UnsafeRawBufferPointer) throws(WireError) {
        var reader = BodyReader(body)
        next = Offset(try reader.i64("next"))
        logStart = Offset(try reader.i64("log start"))
        logEnd = Offset(try reader.i64("log end"))
        count = Int(try reader.u16("count"))
        records = UnsafeRawBufferPointer(rebasing: body[reader.reader.position...])
        for _ in 0..<count { _ = try FetchedRecordView(reading: &reader) }
        try reader.end()
    }

    package func forEach(_ visit: (FetchedRecordView) -> Void) {
        var reader = BodyReader(records)
        for _ in 0..<count {
            guard let record = try? FetchedRecordView(reading: &reader) else {
                preconditionFailure("the view checked every record when it was made")
            }
            visit(record)
        }
    }
}
