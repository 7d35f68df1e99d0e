// The floor written in the background: one slot at a time, with what was durable when it was asked for, and
// whatever the power takes.

import PulseCore
import PulseLog
import Testing

@Suite struct FloorJobTests {
    /// Several sealed segments with indexes, everything durable; nothing is under way.
    private func longLog() throws -> LogDriver {
        let driver = try LogDriver()
        try append(200, to: driver)
        driver.runJobs()
        return driver
    }

    private func append(_ count: Int, to driver: LogDriver) throws {
        for index in 0..<count {
            try driver.append(keys: [UInt64(index)], filler: .init(repeating: 7, count: 900))
            if index % 10 == 9 { try driver.sync() }
        }
    }

    private func words(_ disk: TestDisk, slot: Int) throws -> (sequence: UInt64, position: UInt64) {
        let bytes = disk.bytes(of: "floor")
        let start = slot * 4096
        func word(_ at: Int) -> UInt64 {
            bytes[start + at..<start + at + 8].reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
        return (word(8), word(32))
    }

    @Test func itSaysWhatWasDurableWhenItWasAskedFor() throws {
        let driver = try longLog()
        let asked = driver.log.durablePosition
        driver.log.requestFloor(into: &driver.jobs)
        #expect(driver.log.isWritingFloor)
        // More becomes durable before it is written, and some is appended and not synced.
        try append(10, to: driver)
        try driver.append(filler: [1])
        try driver.flush()
        #expect(try driver.writeFloors() == 1)
        #expect(driver.log.notedPosition == asked && asked < driver.log.durablePosition)
        let noted = try (0..<2).map { try words(driver.disk, slot: $0).position }.max()
        #expect(noted == asked.rawValue)
    }

    @Test func oneIsUnderWayAtATimeAndAStopWritesNoSecond() throws {
        let driver = try longLog()
        driver.log.requestFloor(into: &driver.jobs)
        try append(10, to: driver)
        driver.log.requestFloor(into: &driver.jobs)
        driver.log.releaseSegments(below: driver.log.segments[1].end, jobs: &driver.jobs)
        #expect(driver.jobs.count { $0.subject == .floor } == 1)
        let before = driver.disk.bytes(of: "floor")
        try driver.log.writeFloor()
        try driver.log.close()
        #expect(driver.disk.bytes(of: "floor") == before, "its slot may be written any moment")
        // The one under way knew nothing of the release: two more say so.
        #expect(try driver.writeFloors() == 3)
        #expect(driver.wantsFilesGone)
    }

    @Test func nothingIsWrittenTwiceForTheSame() throws {
        let driver = try longLog()
        driver.log.requestFloor(into: &driver.jobs)
        #expect(try driver.writeFloors() == 1)
        driver.log.requestFloor(into: &driver.jobs)
        #expect(!driver.log.isWritingFloor)
    }

    /// A write that failed may have left anything in its slot: the next one goes there again, so that the
    /// other slot is whole all the time.
    @Test func aFailedOneIsRepeatedInItsOwnSlot() throws {
        let driver = try longLog()
        for _ in 0..<2 {
            try append(10, to: driver)
            try driver.log.writeFloor()
        }
        let good = try (0..<2).map { try words(driver.disk, slot: $0) }
        let newest = good[0].sequence > good[1].sequence ? 0 : 1
        driver.log.releaseSegments(below: driver.log.segments[2].end, jobs: &driver.jobs)
        for attempt in 0..<3 {
            let at = try #require(driver.jobs.firstIndex { $0.subject == .floor })
            let job = driver.jobs.remove(at: at)
            let failure = StorageError(.sync, file: "floor", reason: .noSpace)
            if attempt > 0 { try job.perform(in: driver.disk) }
            driver.log.jobFinished(job.subject, failure: failure)
            #expect(try words(driver.disk, slot: newest).sequence == good[newest].sequence)
            #expect(!driver.wantsFilesGone)
            try driver.flush()
            #expect(!driver.log.isWritingFloor, "it rests for a while")
            driver.pass(milliseconds: 5000)
            try driver.flush()
            #expect(driver.log.isWritingFloor)
        }
        #expect(try driver.writeFloors() == 2)
        #expect(driver.wantsFilesGone)
    }

    /// Other background work that fails and rests does not hold back what makes room.
    @Test func releasingGoesOnWhileOtherWorkRests() throws {
        let driver = try longLog()
        driver.log.releaseSegments(below: driver.log.segments[2].end, jobs: &driver.jobs)
        driver.log.jobFinished(
            .spare(name: "spare-9"),
            failure: StorageError(.create, file: "spare-9", reason: .noSpace)
        )
        for _ in 0..<2 {
            let at = try #require(driver.jobs.firstIndex { $0.subject == .floor })
            let job = driver.jobs.remove(at: at)
            try job.perform(in: driver.disk)
            driver.log.jobFinished(job.subject, failure: nil)
            try driver.flush()
        }
        #expect(driver.wantsFilesGone)
    }

    /// The machine dies at every operation of a note, a release and the notes before it.
    @Test func theMachineMayDieAtAnyMoment() throws {
        var random = SeededGenerator(seed: 77)
        var survived = false
        var released = 0
        for operations in 0..<200 where !survived {
            let driver = try longLog()
            driver.log.requestFloor(into: &driver.jobs)
            let end = driver.log.segments[2].end
            driver.log.releaseSegments(below: end, jobs: &driver.jobs)
            driver.disk.operationsLeft = operations
            driver.runJobs()
            survived = (driver.disk.operationsLeft ?? 0) > 0
            driver.disk.operationsLeft = nil
            for _ in 0..<4 {
                let again = try LogDriver(driver.disk.crashed(&random))
                let lines = again.report.lines
                #expect(again.report.damaged.isEmpty, "\(operations): \(lines)")
                #expect(again.report.beginningUnknown == nil, "\(operations): \(lines)")
                let first = again.log.firstPosition
                if first >= end { released += 1 }
                let left = driver.entries.filter { $0.position >= first }
                #expect(try again.scanned() == left, "\(operations)")
            }
        }
        #expect(survived && released > 4)
    }
}
