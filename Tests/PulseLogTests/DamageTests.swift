// Torn tails are cut and told; damage to promised bytes is found and told, and never skipped.

import PulseCore
import PulseLog
import Testing

@Suite struct DamageTests {
    private let first = "00000000000000000000.seg"

    @Test func aTornTailIsCutAtEveryByteOfTheLastEntry() throws {
        let driver = try LogDriver()
        for index in 0..<5 {
            try driver.append(filler: .init(repeating: UInt8(index + 1), count: 70))
        }
        try driver.sync()
        let promised = driver.log.appendPosition
        try driver.append(keys: [9], filler: .init(repeating: 0xAB, count: 83))
        try driver.flush()
        let start = Int(promised.rawValue)
        let end = Int(driver.log.appendPosition.rawValue)
        for cut in start..<end {
            let disk = driver.disk.copy()
            disk.damage(first) { bytes in for at in cut..<end { bytes[at] = 0 } }
            let again = try LogDriver(disk)
            let survivors = try again.scanned()
            // Zeros of padding are no loss: the entry is whole.
            let isWhole = driver.disk.bytes(of: first)[cut..<end].allSatisfy { $0 == 0 }
            #expect(survivors == Array(driver.entries.prefix(isWhole ? 6 : 5)), "cut at \(cut)")
            #expect(again.report.damaged.isEmpty, "cut at \(cut)")
            if cut > start, !isWhole {
                #expect(again.report.tornTail?.position == promised, "cut at \(cut)")
                #expect(again.report.tornTail?.byte == start)
                #expect(disk.bytes(of: first)[start..<end].allSatisfy { $0 == 0 })
            }
            again.entries = survivors
            try again.append(filler: [1])
            try again.sync()
            let third = try LogDriver(disk)
            let all = try third.scanned()
            #expect(all == again.entries, "cut at \(cut)")
            #expect(third.report.tornTail == nil)
        }
    }

    @Test func aHoleBeforeALaterUnsyncedEntryIsATornTail() throws {
        let driver = try LogDriver()
        try driver.append(filler: [1])
        try driver.sync()
        let hole = try driver.append(filler: .init(repeating: 2, count: 600))
        try driver.flush()
        try driver.append(filler: [3])
        try driver.flush()
        driver.disk.damage(first) { bytes in for at in 0..<64 { bytes[Int(hole.rawValue) + at] = 0 }
        }
        let again = try LogDriver(driver.disk)
        #expect(again.report.tornTail?.position == hole)
        let survivors = try again.scanned()
        #expect(survivors == Array(driver.entries.prefix(1)))
    }

    @Test func aHoleBeforeAnEntryThatKnewItDurableIsDamage() throws {
        let driver = try LogDriver()
        try driver.append(filler: [1])
        let hole = try driver.append(filler: .init(repeating: 2, count: 600))
        try driver.sync()
        let after = try driver.append(filler: [3])
        try driver.flush()
        driver.disk.damage(first) { $0[Int(hole.rawValue) + 100] ^= 1 }
        let before = driver.disk.bytes(of: first)
        let again = try LogDriver(driver.disk)
        let range = try #require(again.report.damaged.first)
        #expect(range.file == first && range.byte == Int(hole.rawValue))
        #expect(range.from == hole && range.to == after)
        #expect(again.log.isReadOnly)
        #expect(throws: LogError.damaged(range)) { try again.append(filler: [1]) }
        #expect(driver.disk.bytes(of: first) == before, "every byte is kept")
        // Intact entries stay readable, on both sides; the hole throws.
        let beyond = try again.log.read(at: after) { Remembered($0, $1) }
        #expect(beyond == driver.entries[2])
        #expect(throws: LogError.self) { try again.log.read(at: hole) { _, _ in } }
        #expect(throws: LogError.self) { try again.scanned() }
    }

    /// A closed log of several segments with indexes and a floor, and its driver.
    private func closedLog() throws -> LogDriver {
        let driver = try LogDriver()
        for index in 0..<90 {
            try driver.append(
                keys: [UInt64(index), 77],
                filler: .init(repeating: UInt8(index), count: 800),
                stream: LogDriver.stream(index % 2)
            )
            if index % 10 == 9 { try driver.sync() }
        }
        try driver.sync()
        driver.runJobs()
        try driver.log.close()
        return driver
    }

    @Test func oneFlippedBitIsNeverSilent() throws {
        let driver = try closedLog()
        let clean = try LogDriver(driver.disk.copy())
        let ends = Dictionary(
            uniqueKeysWithValues: clean.log.segments.map {
                ($0.name, Int($0.end.rawValue - $0.base.rawValue))
            }
        )
        var random = SeededGenerator(seed: 11)
        for name in try driver.disk.list() where !name.hasPrefix("spare") {
            let size = driver.disk.bytes(of: name).count
            for _ in 0..<90 {
                var byte = random.below(size)
                if random.chance(perThousand: 200) { byte = random.below(min(size, 4300)) }
                if random.chance(perThousand: 100) {
                    byte = size - 1 - random.below(min(size, 4096))
                }
                // Where no data is, nothing can be lost.
                if let end = ends[name], byte >= end, byte < (32 << 10) - 4096 { continue }
                if name == clean.log.segments.last?.name, byte >= (32 << 10) - 4096 { continue }
                let disk = driver.disk.copy()
                disk.damage(name) { $0[byte] ^= 1 << UInt8(random.below(8)) }
                let comment: Comment = "\(name) byte \(byte)"
                let inspection = try? LogInspector.inspect(disk, verify: true)
                #expect(
                    inspection?.problems.contains { $0.file == name } ?? true,
                    "the inspector sees it: \(comment)"
                )
                let again: LogDriver
                do throws(LogError) { again = try LogDriver(disk) } catch {
                    #expect(name.hasSuffix(".seg"), "\(error): \(comment)")
                    continue
                }
                #expect(again.report.tornTail == nil, comment)
                let scanned: [Remembered]
                do throws(LogError) { scanned = try again.scanned() } catch { continue }
                // Nothing thrown: then nothing may be missing, and the index must still be right.
                #expect(scanned == driver.entries, comment)
                again.entries = driver.entries
                for key in [UInt64(3), 77, 50] {
                    let found = try again.lookup(key)
                    let expected = try clean.lookup(key)
                    #expect(found == expected, comment)
                }
            }
        }
    }

    @Test func aMissingSegmentIsDamage() throws {
        let driver = try closedLog()
        let names = driver.log.segments.map(\.name)
        for name in names.dropFirst() {
            let disk = driver.disk.copy()
            disk.names[name] = nil
            let again = try LogDriver(disk)
            #expect(!again.report.damaged.isEmpty, "\(name)")
            if name != names.last { #expect(again.report.damaged.first?.file == name) }
            #expect(throws: LogError.self) { try again.append(filler: [1]) }
        }
        let empty = driver.disk.copy()
        for name in names { empty.names[name] = nil }
        #expect(throws: LogError.self) { _ = try LogDriver(empty) }
    }

    @Test func aLostFooterIsMadeAgain() throws {
        let driver = try closedLog()
        let name = driver.log.segments[1].name
        driver.disk.damage(name) { bytes in for at in (28 << 10)..<(32 << 10) { bytes[at] = 0 } }
        let again = try LogDriver(driver.disk)
        #expect(again.report.footersRebuilt == [name])
        #expect(!again.log.isReadOnly)
        let third = try LogDriver(driver.disk)
        #expect(third.report.footersRebuilt.isEmpty)
        let scanned = try third.scanned()
        #expect(scanned == driver.entries)
    }

    @Test func aTruncatedSegmentIsDamage() throws {
        let driver = try closedLog()
        let name = driver.log.segments[1].name
        driver.disk.damage(name) { $0.removeLast(20_000) }
        let again = try LogDriver(driver.disk)
        #expect(again.report.damaged.first?.file == name)
        #expect(throws: LogError.self) { try again.scanned() }
    }

    /// Every header that is found must not cost the reading of its whole neighbourhood again.
    @Test func lookingAheadReadsASegmentFewTimes() throws {
        let driver = try LogDriver(segmentBytes: 1 << 20)
        for index in 0..<3000 { try driver.append(keys: [UInt64(index)], filler: [1]) }
        try driver.sync()
        driver.disk.damage(first) { bytes in for at in 0..<4096 { bytes[at] = 0 } }
        try driver.log.close()
        driver.disk.bytesRead = 0
        let again = try LogDriver(driver.disk)
        #expect(again.log.isReadOnly)
        #expect(driver.disk.bytesRead < 16 << 20, "\(driver.disk.bytesRead)")
    }

    /// A gap makes recovery look at a segment that it would have trusted: what it sees there is told.
    @Test func damageBehindAGapIsToldAndGapsBehindDamageAreKnown() throws {
        let driver = try closedLog()
        let base = driver.log.segments[1].base
        let inside = driver.entries.filter {
            $0.position >= base && $0.position < driver.log.segments[1].end
        }
        let name = driver.log.segments[1].name
        for place in [2, 8] {
            let at = Int(inside[place].position.rawValue - base.rawValue)
            driver.disk.damage(name) { $0[at + 80] ^= 1 }
        }
        _ = try LogRepair.perform(
            try LogRepair.plan(driver.disk),
            in: driver.disk,
            trash: TestDisk(),
            stamp: "S",
            at: WallTimestamp(milliseconds: 1)
        )
        let next = try LogDriver(driver.disk)
        try next.append(filler: [1], stream: LogDriver.stream(9))
        try next.sync()
        try next.settle()
        let index = name.dropLast(4) + ".idx"
        #expect(try driver.disk.list().contains(String(index)))
        let whole = try LogDriver(driver.disk)
        #expect(whole.log.gaps.map(\.position) == [inside[2].position, inside[8].position])
        let at = Int(inside[5].position.rawValue - base.rawValue)
        driver.disk.damage(name) { $0[at + 80] ^= 1 }
        let again = try LogDriver(driver.disk)
        #expect(again.report.damaged.map(\.from) == [inside[5].position])
        #expect(again.log.gaps == whole.log.gaps)
    }
}
