// Compressed record batches: written where it pays, read back, and bombs refused. The golden frame was
// made with the `lz4` program, not with the code under test.

import PulseCore
import PulseLog
import Testing

@Suite struct CompressedBatchTests {
    private static let time = WallTimestamp(milliseconds: 1_700_000_000_000)

    private static func batch(_ values: [[UInt8]], compressing: Bool = true) -> [UInt8] {
        var bytes: [UInt8] = []
        var writer = RecordBatchWriter(timestamp: time, in: &bytes)
        for value in values {
            value.withUnsafeBytes {
                writer.append(key: nil, value: $0, timestamp: time, into: &bytes)
            }
        }
        writer.close(in: &bytes, compressing: compressing)
        return bytes
    }

    private static func values(of bytes: [UInt8]) throws(RecordBatchError) -> [[UInt8]] {
        let result = bytes.withUnsafeBytes { raw -> Result<[[UInt8]], RecordBatchError> in
            do throws(RecordBatchError) {
                let batch = try RecordBatch(raw)
                var values: [[UInt8]] = []
                batch.forEach { record in
                    values.append(record.value.map(Array.init) ?? [])
                    return true
                }
                return .success(values)
            } catch { return .failure(error) }
        }
        return try result.get()
    }

    /// A batch of one record whose records are inside `frame`, with lengths and checksum right.
    private static func around(_ frame: [UInt8], count: Int32 = 1) -> [UInt8] {
        var bytes = Array(batch([[1]], compressing: false)[0..<61]) + frame
        bytes.patch(at: 8, bigEndian: Int32(bytes.count - 12))
        bytes.patch(at: 21, bigEndian: Int16(3))
        bytes.patch(at: 23, bigEndian: count - 1)
        bytes.patch(at: 57, bigEndian: count)
        let crc = bytes.withUnsafeBytes { CRC32C.of(UnsafeRawBufferPointer(rebasing: $0[21...])) }
        bytes.patch(at: 17, bigEndian: crc)
        return bytes
    }

    private static func frame(around content: [UInt8]) -> [UInt8] {
        var frame: [UInt8] = []
        content.withUnsafeBytes { LZ4Frame.compress($0, into: &frame) }
        return frame
    }

    private static func text(_ count: Int) -> [UInt8] {
        Array(Array(repeating: "{\"user\":\"u\",\"text\":\"hello\"}", count: count).joined().utf8)
    }

    @Test func largeRecordsAreWrittenSmallerAndReadBack() throws {
        let values = (0..<50).map { index in Self.text(10) + [UInt8(index)] }
        let plain = Self.batch(values, compressing: false)
        let small = Self.batch(values)
        #expect(small.count < plain.count / 4)
        #expect(small[22] == 3 && plain[22] == 0)
        #expect(try Self.values(of: small) == values)
    }

    @Test func smallOrIncompressibleRecordsStayAsTheyAre() {
        #expect(Self.batch([Self.text(10)]) == Self.batch([Self.text(10)], compressing: false))
        var random = SeededGenerator(seed: 3)
        let noise = (0..<20_000).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        #expect(Self.batch([noise]) == Self.batch([noise], compressing: false))
    }

    /// One record, no key, the value "a" 40 times; the frame as `lz4 -BD` writes it, without a stated
    /// size.
    @Test func aForeignFrameIsRead() throws {
        #expect(
            try Self.values(of: Self.around(Self.foreign)) == [[UInt8](repeating: 0x61, count: 40)]
        )
    }

    @Test func bombsAreRefusedWithoutTakingTheirMemory() {
        let bomb = Self.frame(around: [UInt8](repeating: 0, count: 64 << 20))
        #expect(bomb.count < 1 << 20)
        let limit = Limits.batchBytesMax - 61
        #expect(throws: RecordBatchError.inflatesTooFar(limit: limit)) {
            try Self.values(of: Self.around(bomb))
        }
        #expect(RecordBatchError.inflatesTooFar(limit: limit).code == .batchTooLarge)
        // The same, saying a small size of itself.
        var liar = bomb
        liar.patch(at: 6, littleEndian: UInt64(100))
        #expect(throws: RecordBatchError.self) { try Self.values(of: Self.around(liar)) }
    }

    @Test func whatIsNotOneWholeFrameIsRefused() {
        let whole = Self.frame(
            around: Array(Self.batch([Self.text(200)], compressing: false)[61...])
        )
        #expect(throws: Never.self) { try Self.values(of: Self.around(whole)) }
        for cut in [0, 1, 7, 20, whole.count - 1] {
            #expect(throws: RecordBatchError.badCompression) {
                try Self.values(of: Self.around(Array(whole[0..<cut])))
            }
        }
        #expect(throws: RecordBatchError.badCompression) {
            try Self.values(of: Self.around(whole + [0]))
        }
        #expect(throws: RecordBatchError.badCompression) {
            try Self.values(of: Self.around(whole + whole))
        }
    }

    @Test func mutatedFramesNeverTrap() {
        let whole = Self.frame(
            around: Array(Self.batch([Self.text(300)], compressing: false)[61...])
        )
        var random = SeededGenerator(seed: 8)
        for _ in 0..<5000 {
            var bytes = whole
            for _ in 0..<1 + random.below(4) {
                bytes[random.below(bytes.count)] = UInt8(truncatingIfNeeded: random.next())
            }
            _ = try? Self.values(of: Self.around(bytes))
        }
    }

    private static let foreign: [UInt8] = [
        0x04, 0x22, 0x4D, 0x18, 0x64, 0x40, 0xA7, 0x11, 0x00, 0x00, 0x00, 0x7F,
        0x5C, 0x00, 0x00, 0x00, 0x01, 0x50, 0x61, 0x01, 0x00, 0x10, 0x50, 0x61,
        0x61, 0x61, 0x61, 0x00, 0x00, 0x00, 0x00, 0x00, 0x26, 0x81, 0x58, 0xF6,
    ]
}
