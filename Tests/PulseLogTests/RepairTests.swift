// Repairing: what is whole stays byte for byte, what is lost becomes a gap that says so, and a crash at any
// step leaves the damaged or the repaired log, never a third thing.

import PulseCore
import PulseLog
import Testing

@Suite struct RepairTests {
    private static let wall = WallTimestamp(milliseconds: 1_800_000_000_000)

    /// Segments with two streams and commands between, indexed and closed.
    private func closedLog() throws -> LogDriver {
        let driver = try LogDriver()
        for index in 0..<120 {
            try driver.append(
                keys: [UInt64(index)],
                filler: .init(repeating: UInt8(index), count: 600 + index),
                stream: LogDriver.stream(index % 2),
                count: index % 5 == 4 ? 0 : 1 + index % 3
            )
            if index % 7 == 6 { try driver.sync() }
        }
        try driver.sync()
        driver.runJobs()
        try driver.log.close()
        return driver
    }

    @discardableResult
    private func repair(_ disk: TestDisk, trash: TestDisk = TestDisk()) throws(LogError) -> [String]
    {
        try LogRepair.perform(
            try LogRepair.plan(disk),
            in: disk,
            trash: trash,
            stamp: "S",
            at: Self.wall
        )
    }

    @Test func theIndexOfARepairedSegmentGoes() throws {
        let driver = try closedLog()
        let name = "00000000000000000000"
        let position = driver.entries[3].position.rawValue
        driver.disk.damage(name + ".seg") { $0[Int(position) + 70] ^= 1 }
        #expect(try driver.disk.list().contains(name + ".idx"))
        try repair(driver.disk)
        #expect(try !driver.disk.list().contains(name + ".idx"))
    }

    /// Opens a repaired log: nothing is damaged, everything but `lost` is there, and it can go on.
    private func expectRepaired(
        _ disk: TestDisk,
        _ driver: LogDriver,
        lost: Set<Int>,
        _ comment: Comment
    ) throws {
        let clean = try LogRepair.plan(disk)
        #expect(clean.isClean, "\(clean.lines) \(comment)")
        let found = try LogInspector.inspect(disk, verify: true)
        // A floor's slot that a crash tore is for the next start to write.
        let problems = found.problems.filter {
            !$0.description.contains("record batch") && $0.file != "floor"
        }
        #expect(problems.isEmpty, "\(problems) \(comment)")
        let again = try LogDriver(disk)
        #expect(again.report.damaged.isEmpty, "\(again.report.lines) \(comment)")
        let kept = driver.entries.enumerated().filter { !lost.contains($0.offset) }.map(\.element)
        let scanned = try again.scanned().filter { $0.kind != .gap }
        #expect(scanned == kept, comment)
        for (index, entry) in driver.entries.enumerated() {
            let lookup = try again.lookup(UInt64(index))
            #expect(lookup == (lost.contains(index) ? [] : [entry.position]), "\(index) \(comment)")
            guard entry.count > 0 else { continue }
            let located = try again.log.locate(entry.stream, entry.baseOffset)
            #expect(located == (lost.contains(index) ? nil : entry.position), "\(index) \(comment)")
        }
        // Every lost record is told of, exactly or as reserved.
        for index in lost where driver.entries[index].count > 0 {
            let entry = driver.entries[index]
            let told = again.log.gaps.flatMap(\.losses).contains {
                $0.stream == entry.stream && $0.first <= entry.baseOffset
                    && entry.baseOffset.advanced(by: entry.count) <= $0.next
            }
            #expect(told, "entry \(index) \(comment)")
        }
        again.entries = driver.entries
        try again.append(count: 0)
        try again.sync()
        try again.log.close()
        let third = try LogDriver(disk)
        #expect(third.report.damaged.isEmpty, "\(third.report.lines) \(comment)")
        #expect(third.log.gaps == again.log.gaps)
    }

    @Test func aDamagedEntryBecomesAGapWhereverItIs() throws {
        let driver = try closedLog()
        for index in stride(from: 0, to: driver.entries.count, by: 3) {
            for (place, what) in [(90, "body"), (20, "header")] {
                let disk = driver.disk.copy()
                let entry = driver.entries[index]
                let segment = try #require(
                    driver.log.segments.last { $0.base <= entry.position }
                )
                let byte = Int(entry.position.rawValue - segment.base.rawValue) + place
                disk.damage(segment.name) { $0[byte] ^= 4 }
                let before = disk.bytes(of: segment.name)
                let plan = try LogRepair.plan(disk)
                #expect(plan.files.map(\.name) == [segment.name])
                #expect(plan.gaps.map(\.position) == [entry.position])
                #expect(disk.bytes(of: segment.name) == before, "a plan changes nothing")
                let exact = plan.gaps[0].losses.filter(\.isExact)
                if what == "body", entry.count > 0 {
                    #expect(exact.first?.first == entry.baseOffset)
                    #expect(exact.first?.next == entry.baseOffset.advanced(by: entry.count))
                }
                if entry.count == 0 { #expect(exact.isEmpty) }
                let trash = TestDisk()
                try repair(disk, trash: trash)
                #expect(trash.bytes(of: "S-\(segment.name)") == before)
                try expectRepaired(disk, driver, lost: [index], "entry \(index), \(what)")
            }
        }
    }

    @Test func aWholeFileIsReplaced() throws {
        let driver = try closedLog()
        let segments = driver.log.segments
        for segment in segments {
            let lost = Set(
                driver.entries.indices.filter {
                    driver.entries[$0].position >= segment.base
                        && driver.entries[$0].position < segment.end
                }
            )
            for how in ["missing", "zeros", "short"] {
                let disk = driver.disk.copy()
                switch how {
                case "missing": disk.names[segment.name] = nil
                case "zeros":
                    disk.damage(segment.name) { $0 = [UInt8](repeating: 0, count: $0.count) }
                default: disk.damage(segment.name) { $0 = [] }
                }
                #expect(!(try LogRepair.plan(disk)).isClean, "\(segment.name) \(how)")
                try repair(disk)
                try expectRepaired(disk, driver, lost: lost, "\(segment.name) \(how)")
            }
        }
    }

    @Test func headersAndFootersAreMadeAgainWithoutLoss() throws {
        let driver = try closedLog()
        for segment in driver.log.segments {
            for byte in [40, (28 << 10) + 20] where byte < 4096 || segment.isSealed {
                let disk = driver.disk.copy()
                disk.damage(segment.name) { $0[byte] ^= 1 }
                try repair(disk)
                try expectRepaired(disk, driver, lost: [], "\(segment.name) byte \(byte)")
            }
        }
    }

    @Test func manyHolesAtOnce() throws {
        let driver = try closedLog()
        for seed in 0..<40 {
            var random = SeededGenerator(seed: UInt64(seed))
            let disk = driver.disk.copy()
            var lost: Set<Int> = []
            for _ in 0..<1 + random.below(12) {
                let index = random.below(driver.entries.count)
                lost.insert(index)
                let entry = driver.entries[index]
                let segment = try #require(
                    driver.log.segments.last { $0.base <= entry.position }
                )
                let byte = Int(entry.position.rawValue - segment.base.rawValue) + random.below(64)
                disk.damage(segment.name) { $0[byte] = ~$0[byte] }
            }
            try repair(disk)
            try expectRepaired(disk, driver, lost: lost, "seed \(seed)")
        }
    }

    @Test func aTornTailNeedsNoRepair() throws {
        let driver = try closedLog()
        let open = try LogDriver(driver.disk)
        open.entries = driver.entries
        try open.append(filler: .init(repeating: 3, count: 500))
        let second = try open.append(filler: .init(repeating: 3, count: 500))
        try open.flush()
        let last = try #require(open.log.segments.last)
        open.disk.damage(last.name) { $0[Int(second.rawValue - last.base.rawValue) + 90] ^= 1 }
        let plan = try LogRepair.plan(open.disk)
        #expect(plan.isClean, "\(plan.lines)")
    }

    @Test func everyCrashOfARepairLeavesTheDamagedOrTheRepairedLog() throws {
        let driver = try closedLog()
        let segments = driver.log.segments
        let damaged = driver.disk.copy()
        let first = driver.entries[3]
        damaged.damage(segments[0].name) { $0[Int(first.position.rawValue) + 80] ^= 1 }
        damaged.names[segments[2].name] = nil
        let whole = Set(
            driver.entries.indices.filter {
                driver.entries[$0].position >= segments[2].base
                    && driver.entries[$0].position < segments[2].end
            }
        )
        var steps = 0
        for left in 0..<400 {
            let disk = damaged.copy()
            let trash = TestDisk()
            disk.operationsLeft = left
            trash.operationsLeft = left < 8 ? left : nil
            var isDone = true
            do throws(LogError) { try repair(disk, trash: trash) } catch { isDone = false }
            disk.operationsLeft = nil
            var random = SeededGenerator(seed: UInt64(left))
            let next = disk.crashed(&random)
            if isDone { break }
            steps += 1
            // Damaged still: every entry that could be read before can be read now.
            let again = try LogDriver(next.copy())
            #expect(!again.report.damaged.isEmpty || !again.log.gaps.isEmpty)
            for (index, entry) in driver.entries.enumerated()
            where index != 3 && !whole.contains(index) {
                let read = try again.log.read(at: entry.position) { Remembered($0, $1) }
                #expect(read == entry, "after \(left)")
            }
            try repair(next)
            try expectRepaired(next, driver, lost: whole.union([3]), "after \(left) operations")
        }
        #expect(steps > 20)
    }
}
