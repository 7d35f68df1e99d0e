// Writing a record batch: Kafka's format v2, byte for byte, big-endian. Clients write what
// they send with it, the broker what it takes in over HTTP.
//
//      0          8        12       16    17     21         23          27          35
//     +----------+--------+--------+-----+------+----------+-----------+-----------+
//     | base     | batch  | leader | 2   | crc  | attri-   | last off- | base      |
//     | offset 0 | length | epoch  |magic| 32c  | butes 0  | set delta | timestamp |
//     +----------+--------+--------+-----+------+----------+-----------+-----------+
//                '- counts from here             '- crc covers from here to the end
//      35          43            51       53       57      61
//     +-----------+-------------+--------+--------+-------+---------
//     | max       | producer id | epoch  | base   | count | records
//     | timestamp | -1          | -1     | seq -1 |       |
//     +-----------+-------------+--------+--------+-------+---------
//
//     attributes: 0, or 3 when the records are inside one LZ4 frame
//     record: length, attributes 0, timestamp delta, offset delta, key length, key, value length,
//             value, header count 0       (all numbers zigzag varints but the attributes byte)
//
// The broker fills in base offset and leader epoch, which is why the checksum leaves them out.
// Source: Apache Kafka documentation, "Message Format".

/// Appends one record batch at the end of a buffer: open, append records, close.
package struct RecordBatchWriter: Sendable {
    package static let headerBytes = 61
    private static let lz4Codec: Int16 = 3

    private let start: Int
    private let base: WallTimestamp
    private var latest: WallTimestamp
    package private(set) var count = 0

    /// `timestamp` is the batch's base timestamp: usually that of the first record.
    package init(timestamp: WallTimestamp, in bytes: inout [UInt8]) {
        start = bytes.count
        base = timestamp
        latest = timestamp
        bytes.append(contentsOf: repeatElement(0, count: Self.headerBytes))
    }

    /// The most bytes a record of these sizes can take: for deciding whether it still fits.
    package static func recordBytesMax(keyBytes: Int, valueBytes: Int) -> Int {
        keyBytes + valueBytes + 5 + 1 + 10 + 5 + 5 + 5 + 1
    }

    package mutating func append(
        key: UnsafeRawBufferPointer?,
        value: UnsafeRawBufferPointer?,
        timestamp: WallTimestamp,
        into bytes: inout [UInt8]
    ) {
        precondition(count < Limits.batchRecordsMax, "the caller cuts batches at their limit")
        let timestampDelta = timestamp.milliseconds &- base.milliseconds
        let length =
            1 + Self.zigzagBytes(timestampDelta) + Self.zigzagBytes(Int64(count))
            + Self.fieldBytes(key) + Self.fieldBytes(value) + 1
        bytes.append(zigzag: Int64(length))
        bytes.append(0)
        bytes.append(zigzag: timestampDelta)
        bytes.append(zigzag: Int64(count))
        Self.append(key, to: &bytes)
        Self.append(value, to: &bytes)
        bytes.append(0)
        latest = max(latest, timestamp)
        count += 1
    }

    /// Fills in the header; a batch has at least one record.
    ///
    /// - Parameter compressing: Whether to compress records of ``Limits/compressBytesMin`` and more,
    ///   where that saves an eighth or more.
    package func close(in bytes: inout [UInt8], compressing: Bool = false) {
        precondition(count > 0, "a record batch has at least one record")
        if compressing, compress(&bytes) {
            bytes.patch(at: start + 21, bigEndian: Self.lz4Codec)
        }
        bytes.patch(at: start + 8, bigEndian: Int32(bytes.count - start - 12))
        bytes.patch(at: start + 16, bigEndian: Int8(2))
        bytes.patch(at: start + 23, bigEndian: Int32(count - 1))
        bytes.patch(at: start + 27, bigEndian: base.milliseconds)
        bytes.patch(at: start + 35, bigEndian: latest.milliseconds)
        bytes.patch(at: start + 43, bigEndian: Int64(-1))
        bytes.patch(at: start + 51, bigEndian: Int16(-1))
        bytes.patch(at: start + 53, bigEndian: Int32(-1))
        bytes.patch(at: start + 57, bigEndian: Int32(count))
        let checksum = bytes.withUnsafeBytes {
            CRC32C.of(UnsafeRawBufferPointer(rebasing: $0[(start + 21)...]))
        }
        bytes.patch(at: start + 17, bigEndian: checksum)
    }

    /// Puts the records into one LZ4 frame; answers false, and changes nothing, when it does not pay.
    private func compress(_ bytes: inout [UInt8]) -> Bool {
        let records = start + Self.headerBytes
        let size = bytes.count - records
        guard size >= Limits.compressBytesMin else { return false }
        var frame: [UInt8] = []
        bytes.withUnsafeBytes {
            LZ4Frame.compress(UnsafeRawBufferPointer(rebasing: $0[records...]), into: &frame)
        }
        guard frame.count <= size - size / 8 else { return false }
        bytes.replaceSubrange(records..., with: frame)
        return true
    }

    /// A length and the bytes; absent is told by the length -1.
    private static func append(_ field: UnsafeRawBufferPointer?, to bytes: inout [UInt8]) {
        guard let field else {
            bytes.append(zigzag: -1)
            return
        }
        bytes.append(zigzag: Int64(field.count))
        bytes.append(contentsOf: field)
    }

    private static func fieldBytes(_ field: UnsafeRawBufferPointer?) -> Int {
        guard let field else { return 1 }
        return zigzagBytes(Int64(field.count)) + field.count
    }

    private static func zigzagBytes(_ value: Int64) -> Int {
        let raw = UInt64(bitPattern: (value << 1) ^ (value >> 63))
        return max(1, (64 - raw.leadingZeroBitCount + 6) / 7)
    }
}
