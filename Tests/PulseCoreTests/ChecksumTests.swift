// CRC32C and XXH3 against published values and against the slow reference.

import PulseCore
import Testing

@Suite struct ChecksumTests {
    private func crc(_ bytes: [UInt8], seed: UInt32 = 0) -> UInt32 {
        bytes.withUnsafeBytes { CRC32C.of($0, seed: seed) }
    }

    /// RFC 3720, appendix B.4, and the check value of the CRC catalogue.
    @Test func knownValues() {
        #expect(crc([UInt8](repeating: 0, count: 32)) == 0x8A91_36AA)
        #expect(crc([UInt8](repeating: 0xFF, count: 32)) == 0x62A8_AB43)
        #expect(crc((0..<32).map { UInt8($0) }) == 0x46DD_794E)
        #expect(crc((0..<32).reversed().map { UInt8($0) }) == 0x113F_DB5C)
        let read: [UInt8] =
            [0x01, 0xC0] + [UInt8](repeating: 0, count: 14)
            + [0x14, 0, 0, 0, 0, 0, 0x04, 0, 0, 0, 0, 0x14, 0, 0, 0, 0x18, 0x28]
            + [UInt8](repeating: 0, count: 7) + [0x02] + [UInt8](repeating: 0, count: 7)
        #expect(read.count == 48)
        #expect(crc(read) == 0xD996_3A56)
        #expect(crc(Array("123456789".utf8)) == 0xE306_9283)
        #expect(crc([]) == 0)
    }

    @Test func fastAndSlowAgreeAtEveryLengthAndAlignment() {
        var random = SeededGenerator(seed: 5)
        let bytes = (0..<4200).map { _ in UInt8(random.below(256)) }
        bytes.withUnsafeBytes { all in
            for length in Array(0...300) + [511, 512, 513, 1023, 1024, 1025, 4096] {
                for start in 0..<9 {
                    let part = UnsafeRawBufferPointer(rebasing: all[start..<start + length])
                    let seed = UInt32(truncatingIfNeeded: random.next())
                    #expect(CRC32C.of(part) == CRC32C.reference(part))
                    #expect(CRC32C.of(part, seed: seed) == CRC32C.reference(part, seed: seed))
                }
            }
        }
    }

    @Test func aSumGoesOnWhereItStopped() {
        let whole = Array("the quick brown fox jumps over the lazy dog".utf8)
        for cut in 0...whole.count {
            let first = crc(Array(whole[..<cut]))
            #expect(crc(Array(whole[cut...]), seed: first) == crc(whole))
        }
    }

    /// From xxHash's own sanity test: the empty input, seed 0.
    @Test func hashOfNothingIsKnownAndSeedsMatter() {
        #expect(XXH3.hash([], seed: 0) == 0x2D06_8005_38D3_94C2)
        #expect(XXH3.hash("pulse", seed: 0) == XXH3.hash(Array("pulse".utf8), seed: 0))
        #expect(XXH3.hash("pulse", seed: 0) != XXH3.hash("pulse", seed: 1))
        #expect(XXH3.hash("pulse", seed: 0) != XXH3.hash("pulsf", seed: 0))
    }
}
