// Sectors that the disk cannot read in files that can be made again, and names that nobody would give: none
// of it stops a log.

import PulseCore
import PulseLog
import Testing

@Suite struct UnreadableFilesTests {
    private let streams = (0..<3).map { LogDriver.stream($0) }

    private func filled() throws -> LogDriver {
        let driver = try LogDriver()
        var random = SeededGenerator(seed: 4)
        for index in 0..<700 {
            try driver.append(
                keys: (0..<random.below(6)).map { _ in UInt64(random.below(90)) },
                filler: .init(repeating: 1, count: random.below(60)),
                stream: streams[random.below(3)],
                count: random.below(4)
            )
            if index % 25 == 0 {
                try driver.sync()
                try driver.settle()
            }
        }
        try driver.sync()
        try driver.settle()
        return driver
    }

    @Test(arguments: [".idx", ".keys"])
    func aBadSectorInAnIndexIsMadeGoodFromTheLog(suffix: String) throws {
        let driver = try filled()
        let keys: [UInt64] = [0, 7, 31, 64, 89]
        let names = try driver.disk.list().filter { $0.hasSuffix(suffix) }
        #expect(!names.isEmpty)
        for name in names {
            let size = driver.disk.bytes(of: name).count
            for place in [0, min(5000, size - 2), size * 2 / 3, size - 1] {
                let disk = driver.disk.copy()
                disk.unreadable[name] = place
                let again = try LogDriver(disk)
                again.entries = driver.entries
                try again.expectIndexMatches(
                    keys: keys,
                    streams: place == 5000 ? streams : [],
                    "\(name) unreadable at byte \(place)"
                )
                #expect(!again.log.isDamaged)
                // And while it is open, merges included.
                try again.append(keys: [7])
                try again.sync()
                try again.settle()
                try again.expectIndexMatches(keys: keys, streams: [], "\(name), later")
            }
        }
    }

    @Test func aBadSectorMetByAMergeIsMadeGood() throws {
        let driver = try LogDriver(mergeFanOut: 4)
        while driver.log.segments.count < 4 {
            try driver.append(
                keys: [UInt64(driver.entries.count)],
                filler: .init(repeating: 1, count: 400)
            )
        }
        try driver.sync()
        try driver.settle()
        // The key page of an index that is about to be merged, through the descriptor that is open.
        driver.disk.unreadable["00000000000000000000.idx"] = 5000
        while driver.log.segments.count < 6 {
            try driver.append(
                keys: [UInt64(driver.entries.count)],
                filler: .init(repeating: 1, count: 400)
            )
        }
        try driver.sync()
        for _ in 0..<10 { try driver.settle() }
        #expect(!driver.log.isDamaged && !driver.log.isReadOnly)
        driver.disk.unreadable = [:]
        driver.wall += 5000
        for _ in 0..<3 {
            try driver.append(keys: [1])
            try driver.sync()
            try driver.settle()
        }
        #expect(try driver.disk.list().contains("gen-0-3.keys"))
        try driver.expectIndexMatches(keys: (0..<200).map { UInt64($0) }, streams: [], "merged")
    }

    @Test(arguments: [100, 4096 + 100])
    func anUnreadableFloorIsToldAndWrittenAgain(byte: Int) throws {
        let driver = try filled()
        try driver.log.close()
        driver.disk.unreadable["floor"] = byte
        let again = try LogDriver(driver.disk)
        #expect(again.report.floorSlotsUnreadable == [byte / 4096])
        #expect(try again.scanned() == driver.entries)
        try again.append()
        try again.sync()
        try again.log.close()
        #expect(try LogDriver(driver.disk).report.floorSlotsUnreadable == [])
    }

    /// What looks torn may be what the floor had vouched for.
    @Test func nothingIsCutWhileTheFloorCannotBeRead() throws {
        let driver = try filled()
        try driver.log.close()
        let last = try #require(driver.entries.last)
        let segment = try #require(driver.log.segments.last)
        let byte = Int(last.position.rawValue - segment.base.rawValue)
        driver.disk.damage(segment.name) { $0[byte + 66] ^= 1 }
        let before = driver.disk.bytes(of: segment.name)
        for slot in 0..<2 {
            driver.disk.unreadable["floor"] = slot * 4096 + 9
            do {
                let again = try LogDriver(driver.disk)
                #expect(again.log.isReadOnly)
            } catch {
                guard case .storage = error else { throw error }
            }
            #expect(driver.disk.bytes(of: segment.name) == before)
        }
    }

    @Test(arguments: [100, (32 << 10) - 100])
    func aHeaderOrFooterThatCannotBeReadIsFoundByScrubbing(byte: Int) throws {
        let driver = try filled()
        let progress = ScrubProgress(pass: 1, began: WallTimestamp(milliseconds: 0))
        let piece = try #require(driver.log.scrubPiece(after: nil, progress, bytesMax: 1 << 20))
        let victim = try #require(driver.log.segments.first { $0.number == piece.segment })
        driver.disk.unreadable[victim.name] = byte
        try piece.perform()
        #expect(piece.isWhole)
        #expect(piece.damaged.count == 1 && piece.damaged.first?.file == victim.name)
    }

    /// A header of this segment that verifies, and is not the one its entries follow.
    @Test func aHeaderThatDoesNotLeadToItsEntriesIsFoundByScrubbing() throws {
        let driver = try filled()
        let progress = ScrubProgress(pass: 1, began: WallTimestamp(milliseconds: 0))
        let piece = try #require(driver.log.scrubPiece(after: nil, progress, bytesMax: 1 << 20))
        let victim = try #require(driver.log.segments.first { $0.number == piece.segment })
        driver.disk.damage(victim.name) { bytes in
            bytes[64] ^= 1
            let crc = bytes[..<4092].withUnsafeBytes { CRC32C.of($0) }
            for at in 0..<4 { bytes[4092 + at] = UInt8(truncatingIfNeeded: crc >> (8 * at)) }
        }
        try piece.perform()
        #expect(piece.damaged.map(\.byte) == [0] && piece.damaged.first?.file == victim.name)
    }

    @Test func namesFarBeyondAnyLogAreNotOurs() throws {
        let driver = try filled()
        let names = [
            "18446744073709551615.seg", "18446744073709547520.idx",
            "gen-0-18446744073709551615.keys", "gen-1-9223372036854775808.keys",
            "spare-18446744073709551615",
        ]
        for name in names { _ = try driver.disk.create(name, bytes: 64 << 10, written: true) }
        let again = try LogDriver(driver.disk)
        #expect(again.report.unknownFiles.sorted() == names.sorted())
        #expect(try again.scanned() == driver.entries)
        #expect(try driver.disk.list().filter(names.contains).count == names.count)
        try again.append()
        try again.sync()
        try again.settle()
    }

    @Test func aNewerFileIsRefusedWithWhatThisProgramReadsOfItsKind() {
        let index = LogError.newerFormat(file: "00000000000000032768.idx", byte: 8, major: 3)
        #expect(
            "\(index)".contains("has format 3, this program reads up to 2; start a newer Pulse")
        )
        #expect("\(index)".contains("or move the file away: it is made again"))
        let floor = LogError.newerFormat(file: "floor", byte: 45, major: 2)
        #expect("\(floor)".contains("reads up to 1") && !"\(floor)".contains("move"))
    }
}
