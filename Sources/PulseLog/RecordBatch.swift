// Kafka's record batch, version 2, read in place: what producers send is what the disk holds.
// All numbers big-endian.
//
//      0            8             12            16    17     21           23              27
//     +------------+-------------+-------------+-----+------+------------+---------------+
//     | baseOffset | batchLength | leaderEpoch | = 2 | CRC  | attributes | lastOffsetDelta
//     +------------+-------------+-------------+-----+------+------------+---------------+
//     27              35             43           51              53             57       61
//     +---------------+--------------+------------+---------------+--------------+--------+
//     | baseTimestamp | maxTimestamp | producerId | producerEpoch | baseSequence | count  | records
//     +---------------+--------------+------------+---------------+--------------+--------+
//
//     batchLength counts what follows it; the CRC32C covers everything from `attributes` on, so
//     that the broker may set baseOffset and leaderEpoch without touching it.
//
//     record: length, attributes i8, timestampDelta, offsetDelta, key length, key, value length,
//     value, headers; the lengths and deltas zigzag varints, length -1 for "none".
//
//     attributes, bits 0-2: 0 the records as they are, 3 all of them inside one LZ4 frame.
//
// Source: Kafka, "Record Batch" (protocol guide, implementation/messageformat).

package import PulseCore

package enum RecordBatchError: Error, Hashable, Sendable {
    case tooShort(bytes: Int)
    case wrongLength(stated: Int, actual: Int)
    case unsupportedMagic(UInt8)
    case checksum(stated: UInt32, actual: UInt32)
    /// Compression type of the attributes: only 0, none, and 3, LZ4, are read.
    case unsupportedCompression(Int)
    /// The records are not one whole LZ4 frame.
    case badCompression
    /// Inflated, the batch would be larger than one may be.
    case inflatesTooFar(limit: Int)
    /// Reserved, control or transactional bits.
    case unsupportedAttributes(UInt16)
    case badCount(Int)
    case badOffsetDelta(lastOffsetDelta: Int, count: Int)
    case badRecord(index: Int, byte: Int)
    case trailingBytes(Int)

    package var code: ErrorCode {
        switch self {
        case .unsupportedCompression: .unsupportedCompression
        case .badCount(let count) where count > Limits.batchRecordsMax: .batchTooLarge
        case .inflatesTooFar: .batchTooLarge
        default: .corruptBatch
        }
    }
}

/// A record of a batch, borrowed from its bytes.
package struct RecordView {
    /// Place in the batch: 0 for the first record.
    package let offsetDelta: Int
    package let timestampDelta: Int64
    package let key: UnsafeRawBufferPointer?
    package let value: UnsafeRawBufferPointer?
    /// How many headers the record has, and their bytes as written.
    package let headerCount: Int
    package let headers: UnsafeRawBufferPointer
}

/// A batch that was validated when this view was made; borrowed, so it must not outlive its bytes.
package struct RecordBatch {
    package static let headerBytes = 61
    static let lengthOffset = 8
    static let epochOffset = 12
    static let magicOffset = 16
    static let crcOffset = 17
    /// Where the CRC's coverage begins.
    static let attributesOffset = 21
    private static let codecMask: UInt16 = 7
    private static let lz4Codec: UInt16 = 3

    package let bytes: UnsafeRawBufferPointer
    package let count: Int
    /// Where the records lie: in `bytes`, or in the memory they were inflated into.
    private let records: UnsafeRawBufferPointer
    /// Compressed records, inflated; nil when they were not compressed.
    package let inflated: InflatedRecords?

    package enum Trust {
        /// Foreign bytes: everything is checked.
        case verify
        /// Bytes of a verified entry: all but the checksum is checked, the entry's own covers it.
        case checksummed
    }

    /// Validates a batch that fills `bytes` exactly: lengths, magic, checksum, counts, and that
    /// every record lies within bounds and numbers itself rightly. Never traps, whatever the bytes.
    /// Compressed records are inflated, into at most ``Limits/batchBytesMax``.
    ///
    /// - Parameter inflated: What an earlier view of the same bytes inflated, to spare doing it again.
    package init(
        _ bytes: UnsafeRawBufferPointer,
        _ trust: Trust = .verify,
        inflated known: InflatedRecords? = nil
    ) throws(RecordBatchError) {
        guard bytes.count >= Self.headerBytes else { throw .tooShort(bytes: bytes.count) }
        self.bytes = bytes
        let stated = Int(Self.big(bytes, Self.lengthOffset, Int32.self))
        guard stated == bytes.count - Self.epochOffset else {
            throw .wrongLength(stated: stated, actual: bytes.count - Self.epochOffset)
        }
        guard bytes[Self.magicOffset] == 2 else {
            throw .unsupportedMagic(bytes[Self.magicOffset])
        }
        if case .verify = trust {
            let crc = Self.big(bytes, Self.crcOffset, UInt32.self)
            let actual = Self.checksum(of: bytes)
            guard crc == actual else { throw .checksum(stated: crc, actual: actual) }
        }
        let attributes = Self.big(bytes, Self.attributesOffset, UInt16.self)
        let codec = attributes & Self.codecMask
        guard codec == 0 || codec == Self.lz4Codec else {
            throw .unsupportedCompression(Int(codec))
        }
        // Bit 3, the timestamp type, is the producer's to choose; the rest belongs to features
        // this broker does not have.
        guard attributes & ~(Self.codecMask | 8) == 0 else {
            throw .unsupportedAttributes(attributes)
        }
        count = Int(Self.big(bytes, 57, Int32.self))
        guard count >= 1, count <= Limits.batchRecordsMax else { throw .badCount(count) }
        let last = Int(Self.big(bytes, 23, Int32.self))
        guard last == count - 1 else { throw .badOffsetDelta(lastOffsetDelta: last, count: count) }

        if codec == 0 {
            inflated = nil
        } else if let known {
            inflated = known
        } else {
            inflated = try InflatedRecords(of: bytes)
        }
        records = inflated?.bytes ?? UnsafeRawBufferPointer(rebasing: bytes[Self.headerBytes...])
        var reader = ByteReader(records)
        for index in 0..<count {
            let start = reader.position
            guard let record = Self.readRecord(&reader), record.offsetDelta == index,
                Self.areValid(headers: record.headers, count: record.headerCount)
            else {
                // In the batch, or in what it was inflated to.
                let origin = inflated == nil ? Self.headerBytes : 0
                throw .badRecord(index: index, byte: origin + start)
            }
        }
        guard reader.isAtEnd else { throw .trailingBytes(reader.remaining) }
    }

    package var baseOffset: Offset { Offset(Self.big(bytes, 0)) }
    package var leaderEpoch: Int32 { Self.big(bytes, Self.epochOffset) }
    package var attributes: UInt16 { Self.big(bytes, Self.attributesOffset) }
    package var baseTimestamp: WallTimestamp {
        WallTimestamp(milliseconds: Self.big(bytes, 27))
    }
    package var maxTimestamp: WallTimestamp { WallTimestamp(milliseconds: Self.big(bytes, 35)) }
    package var producerID: Int64 { Self.big(bytes, 43) }
    package var producerEpoch: Int16 { Self.big(bytes, 51) }
    package var baseSequence: Int32 { Self.big(bytes, 53) }

    /// Visits the records in order until `visit` answers false. Allocates nothing. The views of
    /// compressed records live as long as this view of the batch.
    @inline(__always)
    package func forEach<Failure: Error>(
        _ visit: (RecordView) throws(Failure) -> Bool
    ) throws(Failure) {
        defer { withExtendedLifetime(inflated) {} }
        var reader = ByteReader(records)
        for _ in 0..<count {
            guard let record = Self.readRecord(&reader) else {
                preconditionFailure("the records were validated when the view was made")
            }
            guard try visit(record) else { return }
        }
    }

    /// The record at `index`, by walking to it; nil past the last.
    package func record(_ index: Int) -> RecordView? {
        guard index >= 0, index < count else { return nil }
        var found: RecordView?
        forEach { record in
            found = record
            return record.offsetDelta < index
        }
        return found
    }

    /// The time of a record: the base's plus its delta.
    package func timestamp(of record: RecordView) -> WallTimestamp {
        baseTimestamp.advanced(byMilliseconds: record.timestampDelta)
    }

    /// Sets the fields the broker owns, in place; the checksum does not cover them.
    package static func patch(
        _ bytes: UnsafeMutableRawBufferPointer,
        baseOffset: Offset,
        leaderEpoch: LeaderEpoch
    ) {
        precondition(bytes.count >= headerBytes, "only a whole batch is patched")
        bytes.storeBytes(of: baseOffset.rawValue.bigEndian, toByteOffset: 0, as: Int64.self)
        bytes.storeBytes(
            of: leaderEpoch.rawValue.bigEndian,
            toByteOffset: epochOffset,
            as: UInt32.self
        )
    }

    static func checksum(of bytes: UnsafeRawBufferPointer) -> UInt32 {
        CRC32C.of(UnsafeRawBufferPointer(rebasing: bytes[attributesOffset...]))
    }

    @inline(__always)
    private static func big<T: FixedWidthInteger & BitwiseCopyable>(
        _ bytes: UnsafeRawBufferPointer,
        _ offset: Int,
        _ type: T.Type = T.self
    ) -> T {
        T(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: T.self))
    }

    /// One record, moving the reader past it; nil when it does not lie within its bounds.
    @inline(__always)
    private static func readRecord(_ outer: inout ByteReader) -> RecordView? {
        guard let length = outer.zigzag(), length >= 0, length <= outer.remaining,
            let body = outer.take(Int(length))
        else { return nil }
        var reader = ByteReader(body)
        guard let attributes = reader.byte(), attributes == 0,
            let timestampDelta = reader.zigzag(),
            let offsetDelta = reader.zigzag(),
            offsetDelta >= 0, offsetDelta < Int64(Limits.batchRecordsMax),
            case .some(let key) = readField(&reader),
            case .some(let value) = readField(&reader),
            let headerCount = reader.zigzag(), headerCount >= 0, headerCount <= reader.remaining,
            let headers = reader.take(reader.remaining)
        else { return nil }
        return RecordView(
            offsetDelta: Int(offsetDelta),
            timestampDelta: timestampDelta,
            key: key,
            value: value,
            headerCount: Int(headerCount),
            headers: headers
        )
    }

    /// A nullable field. Outer nil: malformed; inner nil: length -1.
    @inline(__always)
    private static func readField(_ reader: inout ByteReader) -> UnsafeRawBufferPointer?? {
        guard let length = reader.zigzag(), length >= -1, length <= reader.remaining else {
            return nil
        }
        if length == -1 { return .some(nil) }
        return reader.take(Int(length)).map { .some($0) }
    }

    /// Whether `headers` are exactly `count` pairs of a name and a nullable value.
    private static func areValid(headers: UnsafeRawBufferPointer, count: Int) -> Bool {
        var reader = ByteReader(headers)
        for _ in 0..<count {
            guard case .some(.some) = readField(&reader), case .some = readField(&reader) else {
                return false
            }
        }
        return reader.isAtEnd
    }
}
