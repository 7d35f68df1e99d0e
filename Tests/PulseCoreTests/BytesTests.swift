// Numbers and texts in bytes: what was written reads back, and bytes cut short or made too long are
// refused without moving the reader.

import PulseCore
import Testing

@Suite struct BytesTests {
    private func reading<R>(_ bytes: [UInt8], _ body: (inout ByteReader) -> R) -> R {
        bytes.withUnsafeBytes {
            var reader = ByteReader($0)
            return body(&reader)
        }
    }

    private static let numbers: [UInt64] =
        [0, 1, 127, 128, 255, 16_383, 16_384, .max, .max - 1, 1 << 63, (1 << 63) - 1]
        + (0..<64).map { 1 << $0 }

    @Test func varintsRoundTripAndAreCanonicalInLength() {
        for value in Self.numbers {
            var bytes: [UInt8] = []
            bytes.append(varint: value)
            #expect(bytes.count == max(1, (64 - value.leadingZeroBitCount + 6) / 7))
            let (back, position) = reading(bytes) { ($0.varint(), $0.position) }
            #expect(back == value)
            #expect(position == bytes.count)
        }
    }

    @Test func zigzagsRoundTrip() {
        let values: [Int64] =
            [0, -1, 1, -2, 2, .min, .max, .min + 1] + Self.numbers.map { Int64(bitPattern: $0) }
        for value in values {
            var bytes: [UInt8] = []
            bytes.append(zigzag: value)
            #expect(reading(bytes) { $0.zigzag() } == value)
        }
        var small: [UInt8] = []
        small.append(zigzag: -1)
        #expect(small == [1])
    }

    @Test func truncatedVarintsAreRefusedInPlace() {
        for value in Self.numbers {
            var bytes: [UInt8] = []
            bytes.append(varint: value)
            for cut in 0..<bytes.count {
                let (back, position) = reading(Array(bytes[..<cut])) { ($0.varint(), $0.position) }
                #expect(back == nil)
                #expect(position == 0)
            }
        }
    }

    @Test(arguments: [
        [UInt8](repeating: 0x80, count: 10) + [1],
        [UInt8](repeating: 0xFF, count: 9) + [2],
        [UInt8](repeating: 0xFF, count: 9) + [0x7F],
        [UInt8](repeating: 0x80, count: 9) + [0x80, 0],
        [UInt8](repeating: 0xFF, count: 64),
    ])
    func varintsOfMoreThanSixtyFourBitsAreRefused(bytes: [UInt8]) {
        #expect(reading(bytes) { $0.varint() } == nil)
        #expect(reading(bytes) { $0.zigzag() } == nil)
    }

    @Test func fixedNumbersRoundTripInBothOrdersAndStopAtTheEnd() {
        var bytes: [UInt8] = []
        bytes.append(littleEndian: UInt32(0x0102_0304))
        bytes.append(bigEndian: UInt32(0x0102_0304))
        #expect(bytes == [4, 3, 2, 1, 1, 2, 3, 4])
        bytes.patch(at: 1, bigEndian: UInt16(0xAABB))
        #expect(bytes == [4, 0xAA, 0xBB, 1, 1, 2, 3, 4])
        reading(bytes) { reader in
            let numbers = (reader.littleEndian(UInt32.self), reader.bigEndian(Int32.self))
            #expect(numbers == (0x01BB_AA04, 0x0102_0304))
            let beyond = reader.byte()
            #expect(reader.isAtEnd && beyond == nil)
        }
        reading([1, 2, 3]) { reader in
            let tooLong = reader.littleEndian(UInt32.self)
            #expect(tooLong == nil && reader.position == 0)
            let counts = [4, -1, 3, 0].map { reader.take($0)?.count }
            #expect(counts == [nil, nil, 3, 0])
        }
    }

    @Test func textsRoundTripAndBadOnesAreRefusedInPlace() {
        for text in ["", "a", "ä€😀", String(repeating: "x", count: 65_535)] {
            var bytes: [UInt8] = []
            bytes.append(string16: text)
            #expect(reading(bytes) { $0.string16() } == text)
        }
        for bad: [UInt8] in [[], [1], [1, 0], [2, 0, 0x41], [1, 0, 0xFF], [2, 0, 0xC3, 0x28]] {
            let (text, position) = reading(bad) { ($0.string16(), $0.position) }
            #expect(text == nil)
            #expect(position == 0)
        }
    }

    @Test func randomBytesNeverTrap() {
        var random = SeededGenerator(seed: 11)
        for _ in 0..<20_000 {
            let bytes = (0..<random.below(24)).map { _ in UInt8(random.below(256)) }
            reading(bytes) { reader in
                while !reader.isAtEnd {
                    let before = reader.position
                    switch random.below(5) {
                    case 0: _ = reader.varint()
                    case 1: _ = reader.zigzag()
                    case 2: _ = reader.string16()
                    case 3: _ = reader.littleEndian(UInt64.self)
                    default: _ = reader.take(random.below(9))
                    }
                    #expect(reader.position <= bytes.count)
                    if reader.position == before { _ = reader.byte() }
                }
            }
        }
    }
}
