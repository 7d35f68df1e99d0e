// Where the log begins: released segments are told from lost ones, and no file goes before the floor says
// that it may.

import PulseCore
import PulseLog
import Testing

@Suite struct BeginningTests {
    /// Several sealed segments with indexes, everything durable.
    private func longLog() throws -> LogDriver {
        let driver = try LogDriver()
        for index in 0..<200 {
            try driver.append(keys: [UInt64(index)], filler: .init(repeating: 7, count: 900))
            if index % 10 == 9 { try driver.sync() }
        }
        try driver.sync()
        driver.runJobs()
        return driver
    }

    @Test func aLostFirstSegmentIsDamageAndAReleasedOneIsNot() throws {
        let driver = try longLog()
        try driver.log.close()
        let names = driver.log.segments.map(\.name)
        let lost = driver.disk.copy()
        lost.names[names[0]] = nil
        let found = try LogDriver(lost)
        #expect(found.report.damaged.map(\.file) == [names[0]])
        #expect(found.log.isReadOnly && found.report.lines.contains { $0.contains(names[0]) })
        #expect(
            try found.log.read(at: driver.entries[100].position) { Remembered($0, $1) }
                == driver.entries[100]
        )
        lost.names[names[1]] = nil
        #expect(try LogDriver(lost).report.damaged.map(\.file) == [names[0]])

        let end = driver.log.segments[1].end
        let open = try LogDriver(driver.disk)
        open.log.releaseSegments(below: end, jobs: &open.jobs)
        open.runJobs()
        #expect(!open.disk.names.keys.contains(names[0]))
        let again = try LogDriver(open.disk)
        #expect(again.report.damaged.isEmpty && again.report.beginningUnknown == nil)
        #expect(try again.scanned() == driver.entries.filter { $0.position >= end })
        open.disk.names[names[2]] = nil
        #expect(try LogDriver(open.disk).report.damaged.map(\.file) == [names[2]])
    }

    @Test func theMarkIsDurableBeforeAnyFileGoes() throws {
        let driver = try longLog()
        let names = driver.log.segments.map(\.name)
        driver.log.releaseSegments(below: driver.log.segments[2].end, jobs: &driver.jobs)
        #expect(!driver.wantsFilesGone && driver.log.isWritingFloor)
        #expect(try driver.writeFloors(atMost: 1) == 1)
        #expect(!driver.wantsFilesGone && driver.log.isWritingFloor)
        #expect(try driver.writeFloors() == 1)
        #expect(driver.wantsFilesGone && !driver.log.isWritingFloor)
        // No file is gone when the machine dies: the next start finishes it.
        var random = SeededGenerator(seed: 5)
        let disk = driver.disk.crashed(&random)
        #expect(disk.names.keys.contains(names[0]))
        let again = try LogDriver(disk)
        #expect(again.report.releasesFinished == Array(names[0...2]))
        #expect(again.log.segments.first?.name == names[3])
        #expect(!disk.names.keys.contains(names[2]) && disk.names.keys.contains(names[3]))
        // Either slot alone tells of it.
        for slot in 0..<2 {
            let copy = disk.copy()
            copy.damage("floor") { bytes in bytes[slot * 4096 + 50] ^= 1 }
            #expect(try LogDriver(copy).report.damaged.isEmpty)
            copy.names[names[3]] = nil
            let third = try LogDriver(copy)
            #expect(
                third.report.beginningUnknown == names[4],
                "an unreadable slot may have said more"
            )
        }
    }

    @Test func aLostFloorIsToldAndNoReasonToRefuse() throws {
        let driver = try longLog()
        try driver.log.close()
        let entries = try driver.scanned()
        for cut in [false, true] {
            let disk = driver.disk.copy()
            if cut {
                disk.damage("floor") {
                    $0[9] ^= 1; $0[4096 + 9] ^= 1
                }
            } else {
                disk.names["floor"] = nil
            }
            let again = try LogDriver(disk)
            #expect(again.report.floorLost && again.report.beginningUnknown == nil)
            #expect(!again.log.isReadOnly)
            #expect(try again.scanned() == entries)
            try again.log.close()
            #expect(!(try LogDriver(disk).report.floorLost), "it was written again")
        }
        let disk = driver.disk.copy()
        disk.names["floor"] = nil
        disk.names[driver.log.segments[0].name] = nil
        let again = try LogDriver(disk)
        #expect(again.report.beginningUnknown == driver.log.segments[1].name)
    }

    @Test func anIndexWithoutASegmentIsKeptUnlessItsSegmentWasReleased() throws {
        let driver = try longLog()
        try driver.log.close()
        let orphan = "00000000000099999744.idx"
        let disk = driver.disk.copy()
        _ = try disk.create(orphan, bytes: 10, written: true)
        _ = try LogDriver(disk)
        #expect(disk.names.keys.contains(orphan))
    }

    @Test func aCutIsFinishedWhereItWasBegun() throws {
        let driver = try longLog()
        let promised = driver.log.durablePosition
        for _ in 0..<60 { try driver.append(filler: .init(repeating: 9, count: 900)) }
        try driver.flush()
        let hole = driver.entries[201].position
        // A hole in what was never promised, with good entries behind it, in this and later segments.
        let name = driver.log.segments.last { $0.base <= hole }?.name ?? ""
        let base = driver.log.segments.last { $0.base <= hole }?.base.rawValue ?? 0
        driver.disk.damage(name) { bytes in
            for at in 0..<64 { bytes[Int(hole.rawValue - base) + at] = 0xEE }
        }
        #expect(hole > promised)
        var resumed = 0
        for left in 0..<60 {
            let disk = driver.disk.copy()
            disk.operationsLeft = left
            let first = try? LogDriver(disk)
            disk.operationsLeft = nil
            var random = SeededGenerator(seed: UInt64(left))
            let next = disk.crashed(&random)
            let again = try LogDriver(next)
            resumed += again.report.cutFinished ? 1 : 0
            #expect(again.report.damaged.isEmpty, "\(left): \(again.report.lines)")
            #expect(again.log.appendPosition == hole, "after \(left) operations")
            #expect(try again.scanned() == Array(driver.entries.prefix(201)), "\(left)")
            let third = try LogDriver(next)
            #expect(!third.report.cutFinished && third.report.tornTail == nil)
            // It is over: what is appended now is never cut again, whichever slot of the floor is lost.
            third.entries = Array(driver.entries.prefix(201))
            for _ in 0..<40 { try third.append(filler: .init(repeating: 8, count: 900)) }
            try third.sync()
            for slot in 0..<2 {
                let damaged = next.copy()
                damaged.damage("floor") { $0[slot * 4096 + 20] ^= 1 }
                let fourth = try LogDriver(damaged)
                #expect(!fourth.log.isReadOnly, "\(left), slot \(slot): \(fourth.report.lines)")
                #expect(try fourth.scanned() == third.entries, "\(left), slot \(slot)")
            }
            if first != nil { break }
        }
        #expect(resumed > 3)
    }

    @Test func nothingIsWrittenWhereThereIsDamage() throws {
        let driver = try longLog()
        try driver.append(filler: .init(repeating: 1, count: 500))
        try driver.flush()
        let segments = driver.log.segments
        // A footer that could be made again, a torn tail, an unfinished file, and a hole in a promise.
        driver.disk.damage(segments[1].name) { bytes in bytes[(28 << 10) + 9] ^= 1 }
        let sealed = segments[segments.count - 2].name
        driver.disk.damage(sealed) { bytes in bytes[5000] ^= 1 }
        let last = try #require(segments.last)
        let at = Int((driver.entries.last?.position.rawValue ?? 0) - last.base.rawValue)
        driver.disk.damage(last.name) { bytes in bytes[at + 80] ^= 1 }
        // More indexes are lost than are made in memory; the damage is behind them.
        for name in try driver.disk.list() where name.hasSuffix(".idx") {
            driver.disk.names[name] = nil
        }
        #expect(segments.count > 6)
        _ = try driver.disk.create("x.tmp", bytes: 3, written: true)
        let before = driver.disk.names.mapValues(\.current)
        let again = try LogDriver(driver.disk)
        #expect(again.report.damaged.contains { $0.file == sealed })
        #expect(driver.disk.names.mapValues(\.current) == before)
    }

    @Test func aReleaseThatEndedBetweenTheSlotsIsFinishedWithBoth() throws {
        let driver = try longLog()
        try driver.log.close()
        let open = try LogDriver(driver.disk)
        let end = open.log.segments[2].end
        let third = open.log.segments[3].name
        open.log.releaseSegments(below: end, jobs: &open.jobs)
        // The first slot is written and synced, the second is not.
        #expect(try open.writeFloors(atMost: 1) == 1)
        let again = try LogDriver(open.disk)
        #expect(again.report.releasesFinished.count == 3, "\(again.report.lines)")
        for slot in 0..<2 {
            let copy = open.disk.copy()
            copy.damage("floor") { $0[slot * 4096 + 50] ^= 1 }
            let later = try LogDriver(copy)
            #expect(later.log.segments.first?.name == third)
            #expect(later.report.beginningUnknown == nil, "slot \(slot)")
        }
    }

    @Test func aStartThatDiedWhileItMadeIndexesAgainIsRepeated() throws {
        let driver = try longLog()
        try driver.log.close()
        for name in try driver.disk.list() where name.hasSuffix(".idx") {
            driver.disk.names[name] = nil
        }
        var starts = 0
        for left in 0..<400 {
            let disk = driver.disk.copy()
            disk.operationsLeft = left
            let first = try? LogDriver(disk)
            disk.operationsLeft = nil
            // The process died, not the machine: what it wrote is there.
            let again = try LogDriver(disk)
            #expect(try again.scanned() == driver.entries, "after \(left)")
            starts += 1
            if first != nil { break }
        }
        #expect(starts > 20)
    }

    @Test func aSpareThatWasASegmentOnceIsNotUsedAgain() throws {
        let driver = try longLog()
        let promised = driver.entries.count
        let segments = driver.log.segments.count
        while driver.log.segments.count == segments {
            try driver.append(filler: .init(repeating: 5, count: 900))
            try driver.flush()
        }
        // The rename that made the spare a segment was never durable.
        let name = try #require(driver.log.segments.last?.name)
        driver.disk.names["spare-77"] = driver.disk.names.removeValue(forKey: name)
        let again = try LogDriver(driver.disk)
        #expect(again.report.strangeSpares == ["spare-77"] && again.report.damaged.isEmpty)
        #expect(!(try driver.disk.list().contains("spare-77")))
        #expect(try again.scanned().count >= promised)
    }
}
