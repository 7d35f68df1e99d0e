// Golden bytes of index files and generations. They were made by a program of another language from
// spec/03-storage.md; a change here is a change of format and takes the steps written there.

import PulseCore
import PulseLog
import Testing

@Suite struct IndexFormatTests {
    /// Two sealed segments of six entries; each is found under a key of class 0 and one of class 1.
    private func indexed() throws -> TestDisk {
        let driver = try LogDriver()
        for number in 0..<13 as Range<UInt64> {
            try driver.append(
                keys: [(number &* 0x0123_4567_89AB_CDEF) >> 2, 1 << 62 | number],
                filler: .init(repeating: 7, count: 4000),
                count: 2
            )
        }
        try driver.sync()
        try driver.settle()
        return driver.disk
    }

    private func expect(
        _ bytes: ArraySlice<UInt8>,
        _ hex: String,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let found = bytes.map { byte in
            let text = String(byte, radix: 16)
            return text.utf8.count == 1 ? "0" + text : text
        }
        #expect(found == hex.split(separator: " ").map(String.init), sourceLocation: sourceLocation)
    }

    @Test func theIndexFile() throws {
        let bytes = try indexed().bytes(of: "00000000000000032768.idx")
        #expect(bytes.count == 12_392)
        expect(
            bytes[0..<80],
            """
            50 55 4c 53 45 49 44 58 02 00 00 00 00 00 00 00 \
            01 00 00 00 00 00 00 00 d0 ef 00 00 00 00 00 00 \
            29 d5 fb 8f 00 00 00 00 0c 00 00 00 00 00 00 00 \
            06 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 \
            06 00 00 00 00 00 00 00 cc da cd 66 4e 3a d9 3b
            """
        )
        #expect(bytes[80..<4092].allSatisfy { $0 == 0 })
        expect(bytes[4092..<4096], "a7 8f 63 ad")
        // Keys: those of class 0 by number, then those of class 1.
        expect(
            bytes[4096..<4120],
            """
            e6 b4 81 4e 1b e8 b4 01 00 02 00 00 62 a8 ec 30 \
            75 b9 fd 01 ff 03 00 00
            """
        )
        expect(bytes[4168..<4180], "06 00 00 00 00 00 00 40 00 02 00 00")
        expect(bytes[8188..<8192], "5d be 9a 0f")
        // Runs.
        expect(
            bytes[8192..<8224],
            """
            0c 00 00 00 00 00 00 00 00 02 00 00 02 00 00 00 \
            0e 00 00 00 00 00 00 00 ff 03 00 00 02 00 00 00
            """
        )
        expect(bytes[12_284..<12_288], "29 07 5b 0d")
        // Fence, run fence, stream.
        expect(
            bytes[12_288..<12_328],
            """
            e6 b4 81 4e 1b e8 b4 01 0c 00 00 00 00 00 00 00 \
            02 00 01 00 06 00 00 00 0c 00 00 00 00 00 00 00 \
            18 00 00 00 00 00 00 00
            """
        )
        expect(
            bytes[12_328...],
            """
            40 00 c0 04 c0 00 00 00 02 00 00 03 10 00 00 02 \
            08 10 00 88 10 0c 00 04 00 00 00 00 30 00 08 00 \
            90 00 85 00 20 04 01 00 40 00 02 00 00 00 00 00 \
            00 00 10 00 00 00 20 00 00 00 80 00 00 00 00 80
            """
        )
    }

    @Test func theGeneration() throws {
        let bytes = try indexed().bytes(of: "gen-0-1.keys")
        #expect(bytes.count == 8328)
        expect(
            bytes[0..<56],
            """
            50 55 4c 53 45 47 45 4e 01 00 00 00 00 00 00 00 \
            00 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 \
            0c 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00 \
            43 20 57 4a 14 04 32 9b
            """
        )
        #expect(bytes[56..<4092].allSatisfy { $0 == 0 })
        expect(bytes[4092..<4096], "4e 61 2f 86")
        expect(
            bytes[4096..<4128],
            """
            00 00 00 00 00 00 00 00 00 10 00 00 00 00 00 00 \
            7b f3 6a e2 59 d1 48 00 f8 1f 00 00 00 00 00 00
            """
        )
        expect(bytes[8188..<8192], "d7 ae c2 3b")
        // Fence, two segments, filter.
        expect(
            bytes[8192...],
            """
            00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 \
            d0 6f 00 00 00 00 00 00 06 68 e5 cf 8b 01 00 00 \
            21 5c 8a b3 00 00 00 00 01 00 00 00 00 00 00 00 \
            d0 ef 00 00 00 00 00 00 0c 68 e5 cf 8b 01 00 00 \
            29 d5 fb 8f 00 00 00 00 61 40 c0 04 c0 80 00 00 \
            22 00 00 83 10 02 00 62 08 10 00 88 12 0c 00 0c \
            02 00 20 00 30 00 0a 40 90 50 85 02 20 04 11 80 \
            40 00 02 00 20 00 30 04 49 00 10 00 00 00 20 00 \
            00 12 80 00 00 00 00 80
            """
        )
    }
}
