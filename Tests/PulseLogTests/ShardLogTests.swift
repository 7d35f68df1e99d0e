// The log in ordinary times: what is appended is read back, before and after every kind of border.

import PulseCore
import PulseLog
import Testing

@Suite struct ShardLogTests {
    @Test func aNewDirectoryGetsALog() throws {
        let driver = try LogDriver()
        #expect(driver.report.created)
        #expect(driver.log.identity == LogDriver.identity)
        #expect(driver.log.firstPosition == LogPosition(4096))
        #expect(driver.log.appendPosition == LogPosition(4096))
        #expect(driver.disk.bytes(of: "00000000000000000000.seg").count == 32 << 10)
    }

    @Test func anEntryIsReadableAtOnceAndAfterReopening() throws {
        let driver = try LogDriver()
        let position = try driver.append(keys: [7], filler: [1, 2, 3])
        let inTurn = try driver.log.read(at: position) { Remembered($0, $1) }
        #expect(inTurn == driver.entries[0])
        try driver.sync()
        let onDisk = try driver.log.read(at: position) { Remembered($0, $1) }
        #expect(onDisk == driver.entries[0])

        let again = try LogDriver(driver.disk, identity: LogIdentity(high: 1, low: 1))
        #expect(!again.report.created)
        #expect(again.log.identity == LogDriver.identity)
        let scanned = try again.scanned()
        #expect(scanned == driver.entries)
        #expect(again.log.durablePosition == driver.log.appendPosition)
    }

    @Test func durabilityMovesOnlyToWhatWasWrittenWhenTheSyncBegan() throws {
        let driver = try LogDriver()
        #expect(driver.log.beginSync() == nil)
        try driver.append()
        #expect(driver.log.beginSync() == nil, "nothing is written yet")
        try driver.flush()
        let covered = driver.log.appendPosition
        let ticket = try #require(driver.log.beginSync())
        try driver.append()
        try driver.flush()
        #expect(driver.log.beginSync() == nil, "one sync at a time")
        try driver.log.performSync()
        driver.log.completeSync(ticket)
        #expect(driver.log.durablePosition == covered)
        #expect(driver.log.beginSync() != nil)
    }

    @Test func aTurnIsOneWrite() throws {
        let driver = try LogDriver()
        try driver.flush()
        for _ in 0..<20 { try driver.append(filler: [9]) }
        driver.disk.operationsLeft = 1
        try driver.flush()
        #expect(driver.disk.operationsLeft == 0)
    }

    @Test func manySegmentsReadBackInOrder() throws {
        let driver = try LogDriver()
        for index in 0..<400 {
            try driver.append(
                keys: [UInt64(index % 50)],
                filler: [UInt8](repeating: UInt8(index & 255), count: 500),
                stream: LogDriver.stream(index % 3),
                count: 1 + index % 4
            )
            if index % 7 == 0 { try driver.sync() }
            if index % 31 == 0 { driver.runJobs() }
            driver.log.checkInvariants()
        }
        #expect(driver.log.segments.count > 8)
        let inPlace = try driver.scanned()
        #expect(inPlace == driver.entries)
        let middle = try driver.scanned(from: driver.entries[200].position)
        #expect(middle == Array(driver.entries[200...]))
        try driver.log.close()
        driver.runJobs()

        let again = try LogDriver(driver.disk)
        let scanned = try again.scanned()
        #expect(scanned == driver.entries)
        #expect(again.report.entries == 400)
        #expect(again.report.damaged.isEmpty && again.report.tornTail == nil)
        again.entries = driver.entries
        try again.append(filler: [1])
        let more = try again.scanned()
        #expect(more == again.entries)
    }

    @Test func oneTurnMayTouchManySegments() throws {
        let driver = try LogDriver()
        for index in 0..<200 {
            try driver.append(keys: [UInt64(index)], filler: .init(repeating: 3, count: 900))
        }
        for entry in driver.entries {
            let read = try driver.log.read(at: entry.position) { Remembered($0, $1) }
            #expect(read == entry)
        }
        let unwritten = try driver.scanned()
        #expect(unwritten == driver.entries)
        try driver.sync()
        let again = try LogDriver(driver.disk.copy())
        let scanned = try again.scanned()
        #expect(scanned == driver.entries)
    }

    @Test func anEntryOfEverySizeFits() throws {
        let driver = try LogDriver()
        for size in 0..<40 { try driver.append(filler: .init(repeating: 0xEE, count: size)) }
        try driver.append(filler: .init(repeating: 7, count: driver.log.bodyBytesMax - 1))
        let refused = LogError.entryTooLarge(
            bytes: driver.log.bodyBytesMax + 1,
            limit: driver.log.bodyBytesMax
        )
        #expect(throws: refused) {
            try driver.append(filler: .init(repeating: 7, count: driver.log.bodyBytesMax))
        }
        try driver.append(filler: [1])
        try driver.sync()
        let again = try LogDriver(driver.disk)
        let scanned = try again.scanned()
        #expect(scanned == driver.entries)
    }

    @Test func aFullDiskRefusesTheEntryAndKeepsTheLogUsable() throws {
        let driver = try LogDriver(spares: 0)
        driver.disk.isFull = true
        var refused = false
        for _ in 0..<100 where !refused {
            do throws(LogError) {
                try driver.append(filler: .init(repeating: 1, count: 900))
            } catch {
                guard case .diskFull = error else { throw error }
                refused = true
            }
        }
        #expect(refused)
        try driver.append(filler: [], count: 0)
        driver.disk.isFull = false
        try driver.append(filler: .init(repeating: 1, count: 900))
        try driver.sync()
        let again = try LogDriver(driver.disk)
        let scanned = try again.scanned()
        #expect(scanned == driver.entries)
    }

    @Test func aFailedSyncEndsTheLog() throws {
        let driver = try LogDriver()
        try driver.append()
        driver.disk.failsSyncs = true
        #expect(throws: LogError.self) { try driver.sync() }
        #expect(driver.log.isReadOnly)
        #expect(throws: LogError.self) { try driver.append() }
    }

    @Test func aSpareThatSomebodyRemovedIsNotMissed() throws {
        let driver = try LogDriver(spares: 2)
        try driver.append(count: 0)
        try driver.sync()
        driver.runJobs()
        let spares = try driver.disk.list().filter { $0.hasPrefix("spare-") }
        #expect(spares.count == 2)
        for name in spares { try driver.disk.remove(name) }
        for _ in 0..<100 { try driver.append(filler: .init(repeating: 1, count: 1000), count: 0) }
        try driver.sync()
        #expect(driver.log.segments.count > 3)
        driver.runJobs()
        try driver.log.close()
        #expect(try LogDriver(driver.disk).scanned() == driver.entries)
    }

    @Test func releasedSegmentsAreRecycledAndTheirStaleBytesNeverShow() throws {
        let driver = try LogDriver(spares: 2)
        var recycled = 0
        for round in 0..<300 {
            try driver.append(
                keys: [UInt64(round)],
                filler: .init(repeating: UInt8(round & 255), count: 700)
            )
            if round % 5 == 4 { try driver.sync() }
            if round % 40 == 39 {
                driver.failSpareJobs()
                let floor = driver.entries[driver.entries.count - 30].position
                driver.log.releaseSegments(below: floor, jobs: &driver.jobs)
                driver.runJobs()
                driver.entries.removeAll { $0.position < driver.log.firstPosition }
            }
            recycled += driver.log.segments.count { segment in
                !segment.isSealed
                    && driver.disk.bytes(of: segment.name)[28_000..<28_600].contains { $0 != 0 }
            }
        }
        #expect(recycled > 0, "some active segment had stale bytes behind its end")
        try driver.sync()
        #expect(driver.log.firstPosition > LogPosition(4096))
        let scanned = try driver.scanned()
        #expect(scanned == driver.entries)
        let again = try LogDriver(driver.disk, spares: 2)
        let reopened = try again.scanned()
        #expect(reopened == driver.entries)
        #expect(again.report.tornTail == nil && again.report.damaged.isEmpty)
        try driver.expectIndexMatches(keys: Array(0..<300), streams: [LogDriver.stream(1)], "live")
    }

    @Test func foreignAndNewerFilesAreRefused() throws {
        let driver = try LogDriver()
        for _ in 0..<80 { try driver.append(filler: .init(repeating: 1, count: 900)) }
        try driver.sync()
        let other = try LogDriver(identity: LogIdentity(high: 5, low: 6))
        for _ in 0..<80 { try other.append(filler: .init(repeating: 1, count: 900)) }
        try other.sync()
        let name = "00000000000000032768.seg"
        let mixed = driver.disk.copy()
        mixed.names[name] = other.disk.names[name]
        do throws(LogError) {
            _ = try LogDriver(mixed)
            Issue.record("a foreign segment was accepted")
        } catch {
            guard case .foreign(name, 16, LogDriver.identity, _) = error else { throw error }
        }

        let newer = driver.disk.copy()
        newer.damage(name) { bytes in
            bytes[8] = 9
            let crc = bytes.withUnsafeBytes {
                CRC32C.of(UnsafeRawBufferPointer(rebasing: $0[0..<4092]))
            }
            bytes.patch(at: 4092, littleEndian: crc)
        }
        #expect(throws: LogError.newerFormat(file: name, byte: 8, major: 9)) {
            _ = try LogDriver(newer)
        }
    }

    @Test func unknownFilesAreListedAndKept() throws {
        let driver = try LogDriver()
        _ = try driver.disk.create("notes.txt", bytes: 3, written: true)
        _ = try driver.disk.create("x.tmp", bytes: 3, written: true)
        let again = try LogDriver(driver.disk)
        #expect(again.report.unknownFiles == ["notes.txt"])
        #expect(again.report.temporariesRemoved == ["x.tmp"])
        #expect(try driver.disk.list().contains("notes.txt"))
    }
}
