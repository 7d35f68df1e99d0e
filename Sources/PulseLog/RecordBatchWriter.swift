// Building a Kafka record batch v2 in one reusable array of bytes.

package import PulseCore

/// Writes records one after another behind a header that `finish` fills in.
///
///     reset --append--> ... --append--> finish --reset--> (the same memory again)
package struct RecordBatchWriter: Sendable {
    /// The batch; complete after ``finish(baseOffset:leaderEpoch:)``.
    package private(set) var bytes: [UInt8] = []
    package private(set) var count = 0
    private var baseTimestamp: Int64 = 0
    private var maxTimestamp: Int64 = 0

    package init() {}

    /// Forgets all records, keeping the memory.
    package mutating func reset() {
        bytes.removeAll(keepingCapacity: true)
        count = 0
    }

    /// Adds a record without headers. The first record's time is the batch's base.
    package mutating func append(
        at timestamp: WallTimestamp,
        key: UnsafeRawBufferPointer?,
        value: UnsafeRawBufferPointer?
    ) {
        precondition(count < Limits.batchRecordsMax, "the caller cuts batches at their limit")
        let time = timestamp.milliseconds
        if count == 0 {
            bytes.append(contentsOf: repeatElement(0, count: RecordBatch.headerBytes))
            baseTimestamp = time
            maxTimestamp = time
        }
        maxTimestamp = max(maxTimestamp, time)
        let timeDelta = time &- baseTimestamp
        let delta = Int64(count)
        let length =
            1 + Self.size(timeDelta) + Self.size(delta) + Self.fieldSize(key)
            + Self.fieldSize(value) + 1
        bytes.append(zigzag: Int64(length))
        bytes.append(0)
        bytes.append(zigzag: timeDelta)
        bytes.append(zigzag: delta)
        append(field: key)
        append(field: value)
        bytes.append(zigzag: 0)
        count += 1
    }

    /// Completes the header and the checksum. A producer without identity leaves -1 everywhere.
    package mutating func finish(
        baseOffset: Offset = Offset(0),
        leaderEpoch: LeaderEpoch = LeaderEpoch(0),
        producerID: Int64 = -1,
        producerEpoch: Int16 = -1,
        baseSequence: Int32 = -1
    ) {
        precondition(count > 0, "a batch has at least one record")
        bytes.patch(at: 0, bigEndian: baseOffset.rawValue)
        bytes.patch(
            at: RecordBatch.lengthOffset,
            bigEndian: Int32(bytes.count - RecordBatch.epochOffset)
        )
        bytes.patch(at: RecordBatch.epochOffset, bigEndian: leaderEpoch.rawValue)
        bytes.patch(at: RecordBatch.magicOffset, bigEndian: UInt8(2))
        bytes.patch(at: RecordBatch.attributesOffset, bigEndian: UInt16(0))
        bytes.patch(at: 23, bigEndian: Int32(count - 1))
        bytes.patch(at: 27, bigEndian: baseTimestamp)
        bytes.patch(at: 35, bigEndian: maxTimestamp)
        bytes.patch(at: 43, bigEndian: producerID)
        bytes.patch(at: 51, bigEndian: producerEpoch)
        bytes.patch(at: 53, bigEndian: baseSequence)
        bytes.patch(at: 57, bigEndian: Int32(count))
        let crc = bytes.withUnsafeBytes { RecordBatch.checksum(of: $0) }
        bytes.patch(at: RecordBatch.crcOffset, bigEndian: crc)
    }

    private mutating func append(field: UnsafeRawBufferPointer?) {
        guard let field else {
            bytes.append(zigzag: -1)
            return
        }
        bytes.append(zigzag: Int64(field.count))
        bytes.append(contentsOf: field)
    }

    private static func fieldSize(_ field: UnsafeRawBufferPointer?) -> Int {
        guard let field else { return 1 }
        return size(Int64(field.count)) + field.count
    }

    /// Bytes of a zigzag varint: seven bits each.
    private static func size(_ value: Int64) -> Int {
        let raw = UInt64(bitPattern: (value << 1) ^ (value >> 63))
        return max(1, (64 - raw.leadingZeroBitCount + 6) / 7)
    }
}
