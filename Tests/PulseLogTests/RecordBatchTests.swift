// The record batch codec against vectors worked out by hand from Kafka's specification.

import PulseCore
import PulseLog
import Testing

@Suite struct RecordBatchTests {
    /// Two records: ("k", "hello") at the base time, and (none, "") 3 ms later. The checksum was
    /// computed with a table-driven CRC32C outside of Pulse.
    static let golden: [UInt8] = [
        0, 0, 0, 0, 0, 0, 0, 42,  // base offset
        0, 0, 0, 69,  // length: 49 bytes of header after it, 13 + 7 of records
        0, 0, 0, 7,  // leader epoch
        2,  // magic
        0x28, 0x2A, 0x3E, 0xBA,  // CRC32C of everything below
        0, 0,  // attributes
        0, 0, 0, 1,  // last offset delta
        0, 0, 0x01, 0x8B, 0xCF, 0xE5, 0x68, 0x00,  // base timestamp 1,700,000,000,000
        0, 0, 0x01, 0x8B, 0xCF, 0xE5, 0x68, 0x03,  // max timestamp
        0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,  // producer id -1
        0xFF, 0xFF,  // producer epoch -1
        0xFF, 0xFF, 0xFF, 0xFF,  // base sequence -1
        0, 0, 0, 2,  // count
        24, 0, 0, 0, 2, 0x6B, 10, 0x68, 0x65, 0x6C, 0x6C, 0x6F, 0,
        12, 0, 6, 2, 1, 0, 0,
    ]

    static func write(_ records: [(Int64, [UInt8]?, [UInt8]?)]) -> [UInt8] {
        var bytes: [UInt8] = []
        let base = WallTimestamp(milliseconds: records[0].0)
        var writer = RecordBatchWriter(timestamp: base, in: &bytes)
        for (time, key, value) in records {
            let wall = WallTimestamp(milliseconds: time)
            (key ?? []).withUnsafeBytes { keyBytes in
                (value ?? []).withUnsafeBytes { valueBytes in
                    writer.append(
                        key: key == nil ? nil : keyBytes,
                        value: value == nil ? nil : valueBytes,
                        timestamp: wall,
                        into: &bytes
                    )
                }
            }
        }
        writer.close(in: &bytes)
        bytes.withUnsafeMutableBytes {
            RecordBatch.patch($0, baseOffset: Offset(42), leaderEpoch: LeaderEpoch(7))
        }
        return bytes
    }

    static func failure(_ bytes: [UInt8], _ trust: RecordBatch.Trust = .verify) -> RecordBatchError?
    {
        bytes.withUnsafeBytes { raw in
            do throws(RecordBatchError) {
                _ = try RecordBatch(raw, trust)
                return nil
            } catch { return error }
        }
    }

    @Test func theWriterWritesTheGoldenBytes() {
        let written = Self.write([
            (1_700_000_000_000, [0x6B], Array("hello".utf8)), (1_700_000_000_003, nil, []),
        ])
        #expect(written == Self.golden)
    }

    @Test func theGoldenBytesReadBack() throws {
        try Self.golden.withUnsafeBytes { raw in
            let batch = try RecordBatch(raw)
            #expect(batch.count == 2 && batch.baseOffset == Offset(42) && batch.leaderEpoch == 7)
            #expect(batch.producerID == -1 && batch.producerEpoch == -1 && batch.baseSequence == -1)
            #expect(batch.maxTimestamp == WallTimestamp(milliseconds: 1_700_000_000_003))
            let first = try #require(batch.record(0))
            #expect(first.key.map(Array.init) == [0x6B])
            #expect(first.value.map(Array.init) == Array("hello".utf8))
            let second = try #require(batch.record(1))
            #expect(second.key == nil && second.value?.count == 0 && second.offsetDelta == 1)
            #expect(batch.timestamp(of: second).milliseconds == 1_700_000_000_003)
            #expect(batch.record(2) == nil)
        }
    }

    @Test func patchingLeavesTheChecksumValid() {
        var bytes = Self.golden
        bytes.withUnsafeMutableBytes {
            RecordBatch.patch($0, baseOffset: Offset(1 << 40), leaderEpoch: LeaderEpoch(9))
        }
        #expect(Self.failure(bytes) == nil)
        bytes.withUnsafeBytes {
            let batch = try? RecordBatch($0)
            #expect(batch?.baseOffset == Offset(1 << 40) && batch?.leaderEpoch == 9)
        }
    }

    @Test func eachFaultHasItsOwnError() {
        func changed(_ at: Int, _ value: UInt8) -> [UInt8] {
            var bytes = Self.golden
            bytes[at] = value
            return bytes
        }
        #expect(Self.failure([1, 2]) == .tooShort(bytes: 2))
        #expect(Self.failure(Self.golden + [0]) == .wrongLength(stated: 69, actual: 70))
        #expect(Self.failure(changed(16, 1)) == .unsupportedMagic(1))
        if case .checksum = Self.failure(changed(75, 9)) {} else { Issue.record("checksum") }
        #expect(Self.failure(changed(22, 1), .checksummed) == .unsupportedCompression(1))
        #expect(Self.failure(changed(22, 4), .checksummed) == .unsupportedCompression(4))
        #expect(Self.failure(changed(22, 3), .checksummed) == .badCompression)
        #expect(Self.failure(changed(22, 0x20), .checksummed) == .unsupportedAttributes(0x20))
        #expect(
            Self.failure(changed(26, 2), .checksummed)
                == .badOffsetDelta(lastOffsetDelta: 2, count: 2)
        )
        #expect(Self.failure(changed(60, 0), .checksummed) == .badCount(0))
        #expect(Self.failure(changed(57, 0x7F), .checksummed) == .badCount(0x7F00_0002))
        #expect(Self.failure(changed(61, 26), .checksummed) == .badRecord(index: 0, byte: 61))
        #expect(Self.failure(changed(77, 4), .checksummed) == .badRecord(index: 1, byte: 74))
    }

    @Test func kafkaHeadersAreCheckedAndShown() throws {
        // One record with the header ("h", none).
        var bytes = Array(Self.golden[0..<61]) + [18, 0, 0, 0, 1, 1, 2, 2, 0x68, 1]
        bytes.patch(at: 8, bigEndian: Int32(bytes.count - 12))
        bytes.patch(at: 23, bigEndian: Int32(0))
        bytes.patch(at: 57, bigEndian: Int32(1))
        #expect(Self.failure(bytes, .checksummed) == nil)
        bytes.withUnsafeBytes { raw in
            let record = (try? RecordBatch(raw, .checksummed))?.record(0)
            #expect(record?.headerCount == 1 && record?.headers.count == 3)
        }
        bytes[67] = 4
        #expect(Self.failure(bytes, .checksummed) == .badRecord(index: 0, byte: 61))
    }

    @Test func randomAndMutatedBytesNeverTrap() {
        var random = SeededGenerator(seed: 21)
        for _ in 0..<20_000 {
            var bytes = Self.golden
            for _ in 0..<1 + random.below(6) {
                bytes[random.below(bytes.count)] = UInt8(truncatingIfNeeded: random.next())
            }
            _ = Self.failure(bytes, .checksummed)
            bytes = (0..<random.below(200)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            if bytes.count > 61 {
                bytes.patch(at: 8, bigEndian: Int32(bytes.count - 12))
                bytes.patch(at: 16, bigEndian: UInt8(2))
                bytes.patch(at: 21, bigEndian: UInt16(0))
                bytes.patch(at: 57, bigEndian: Int32(1))
                bytes.patch(at: 23, bigEndian: Int32(0))
            }
            _ = Self.failure(bytes, .checksummed)
            _ = Self.failure(bytes)
        }
    }

    @Test func aFullBatchOfLargeRecordsRoundTrips() throws {
        var random = SeededGenerator(seed: 5)
        let records = (0..<Limits.batchRecordsMax).map { index in
            (
                Int64(1_700_000_000_000) - Int64(random.below(100_000)),
                index % 3 == 0 ? nil : [UInt8](repeating: 1, count: random.below(80)),
                [UInt8](repeating: 2, count: random.below(700))
            )
        }
        let written = Self.write(records)
        try written.withUnsafeBytes { raw in
            let batch = try RecordBatch(raw)
            #expect(batch.count == records.count)
            var index = 0
            batch.forEach { record in
                #expect(batch.timestamp(of: record).milliseconds == records[index].0)
                #expect(record.key.map(Array.init) == records[index].1)
                #expect(record.value.map(Array.init) == records[index].2)
                index += 1
                return true
            }
            #expect(index == records.count)
        }
    }
}
