// Golden bytes of every format on disk. They were made by a program of another language from
// spec/03-storage.md; a change here is a change of format and takes the steps written there.

import PulseCore
import PulseLog
import Testing

@Suite struct FormatTests {
    /// A log with one entry: a batch of one record whose body is 00 AA BB CC DD.
    private func oneEntry() throws -> LogDriver {
        let driver = try LogDriver()
        try driver.append(filler: [0xAA, 0xBB, 0xCC, 0xDD])
        try driver.log.close()
        return driver
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

    @Test func theSegmentHeader() throws {
        let bytes = try oneEntry().disk.bytes(of: "00000000000000000000.seg")
        expect(
            bytes[0..<84],
            """
            50 55 4c 53 45 4c 4f 47 01 00 00 00 00 00 00 00 \
            88 77 66 55 44 33 22 11 00 ff ee dd cc bb aa 99 \
            00 00 00 00 00 00 00 00 00 80 00 00 00 00 00 00 \
            ff ff ff ff ff ff ff ff 00 00 00 00 00 00 00 00 \
            00 68 e5 cf 8b 01 00 00 00 00 00 00 00 00 00 00 \
            00 00 00 00
            """
        )
        #expect(bytes[84..<4092].allSatisfy { $0 == 0 })
        expect(bytes[4092..<4096], "f0 6c 4d 9b")
    }

    @Test func theEntry() throws {
        let bytes = try oneEntry().disk.bytes(of: "00000000000000000000.seg")
        expect(
            bytes[4096..<4168],
            """
            50 4c 53 45 03 99 15 63 00 10 00 00 00 00 00 00 \
            00 10 00 00 00 00 00 00 01 68 e5 cf 8b 01 00 00 \
            00 00 00 00 00 00 00 00 05 00 00 00 02 00 01 00 \
            00 00 00 00 80 32 84 3b 01 00 01 00 83 ec f8 64 \
            00 aa bb cc dd 00 00 00
            """
        )
        #expect(bytes[4168...].allSatisfy { $0 == 0 })
    }

    @Test func theFloor() throws {
        let bytes = try oneEntry().disk.bytes(of: "floor")
        #expect(bytes.count == 8192 && bytes[0..<4096].allSatisfy { $0 == 0 })
        expect(
            bytes[4096..<4140],
            """
            50 55 4c 53 45 46 4c 52 01 00 00 00 00 00 00 00 \
            88 77 66 55 44 33 22 11 00 ff ee dd cc bb aa 99 \
            48 10 00 00 00 00 00 00 b6 bc 84 27
            """
        )
        expect(
            bytes[4140..<4168],
            "01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"
        )
        expect(bytes[8188..<8192], "41 f5 e7 8e")
    }

    /// Minor 0 had nothing behind the chain; it is read, and says nothing of the beginning.
    @Test func theFloorOfMinorZeroIsRead() throws {
        let driver = try oneEntry()
        driver.disk.damage("floor") { bytes in
            bytes[4140] = 0
            bytes.replaceSubrange(8188..<8192, with: [0xe3, 0x37, 0x22, 0x08])
        }
        let again = try LogDriver(driver.disk)
        #expect(again.report.floorSlotsUnreadable.isEmpty && !again.report.floorLost)
        #expect(again.log.durablePosition == driver.log.durablePosition)
    }

    @Test func theFloorAlternatesBetweenItsSlots() throws {
        let driver = try oneEntry()
        let again = try LogDriver(driver.disk)
        try again.append()
        try again.log.close()
        let bytes = again.disk.bytes(of: "floor")
        #expect(bytes[8] == 2 && bytes[4096 + 8] == 1)
    }

    /// Of what was lost nothing is known: offsets of every stream are left out.
    @Test func theGapThatMaySwallowAnything() throws {
        let driver = try LogDriver()
        try driver.append(filler: .init(repeating: 7, count: 100), count: 2)
        try driver.sync()
        try driver.log.close()
        let name = "00000000000000000000.seg"
        driver.disk.damage(name) { $0[4096 + 10] ^= 1 }
        _ = try LogRepair.perform(
            try LogRepair.plan(driver.disk),
            in: driver.disk,
            trash: TestDisk(),
            stamp: "S",
            at: WallTimestamp(milliseconds: 1_800_000_000_000)
        )
        let bytes = driver.disk.bytes(of: name)
        expect(
            bytes[4096 + 64..<4096 + 123],
            """
            01 00 01 00 00 50 5c 18 a3 01 00 00 ff ff ff ff \
            00 00 00 00 00 00 00 00 00 04 00 00 00 00 00 00 \
            00 18 00 30 30 30 30 30 30 30 30 30 30 30 30 30 \
            30 30 30 30 30 30 30 2e 73 65 67
            """
        )
    }

    @Test func theGapAndTheHeaderThatARepairMade() throws {
        let driver = try LogDriver()
        for byte in 0..<4 {
            try driver.append(filler: .init(repeating: UInt8(byte), count: 100), count: 2)
        }
        try driver.sync()
        try driver.log.close()
        let name = "00000000000000000000.seg"
        let lost = Int(driver.entries[1].position.rawValue)
        driver.disk.damage(name) { bytes in
            bytes[40] ^= 1
            bytes[lost + 70] ^= 1
        }
        _ = try LogRepair.perform(
            try LogRepair.plan(driver.disk),
            in: driver.disk,
            trash: TestDisk(),
            stamp: "S",
            at: WallTimestamp(milliseconds: 1_800_000_000_000)
        )
        let bytes = driver.disk.bytes(of: name)
        expect(bytes[8..<12], "01 00 01 00")
        expect(bytes[84..<89], "80 32 84 3b 01")
        expect(
            bytes[lost..<lost + 64],
            """
            50 4c 53 45 5c 42 df e3 a8 10 00 00 00 00 00 00 \
            a8 10 00 00 00 00 00 00 01 68 e5 cf 8b 01 00 00 \
            50 11 00 00 00 00 00 00 3b 00 00 00 e7 e5 80 ed \
            00 00 00 00 d5 9b ec 86 00 00 03 00 11 bb e6 87
            """
        )
        expect(
            bytes[lost + 64..<lost + 123],
            """
            01 00 01 00 00 50 5c 18 a3 01 00 00 02 00 01 00 \
            02 00 00 00 00 00 00 00 04 00 00 00 00 00 00 00 \
            01 18 00 30 30 30 30 30 30 30 30 30 30 30 30 30 \
            30 30 30 30 30 30 30 2e 73 65 67
            """
        )
    }
}
