// Crashes: at every operation, with every choice of what reached the disk. The checker knows only
// the promises: synced entries are there, unsynced ones are a prefix, nothing else ever appears.

import PulseCore
import PulseLog
import Testing

@Suite struct CrashTests {
    /// What the crashes of a run led recovery to do; each must happen for the run to mean anything.
    struct Seen {
        var tornTails = 0
        var rollsUndone = 0
        var segmentsDropped = 0
        var footersRebuilt = 0
        var indexesRebuilt = 0
    }

    /// One life after another on one disk, each ended by a crash.
    func live(seed: UInt64, _ seen: inout Seen) throws {
        var random = SeededGenerator(seed: seed)
        var disk = TestDisk()
        var known: [Remembered] = []
        var wall: Int64 = 1_700_000_000_000
        for life in 0..<6 {
            let comment: Comment = "seed \(seed), life \(life)"
            let driver: LogDriver
            do throws(LogError) {
                driver = try LogDriver(disk, spares: random.below(3))
            } catch {
                Issue.record("\(error), \(comment)")
                return
            }
            #expect(driver.report.damaged.isEmpty, comment)
            let found: [Remembered]
            do throws(LogError) { found = try driver.scanned() } catch {
                Issue.record("\(error), \(driver.report.lines), \(comment)")
                return
            }
            #expect(found == known || life == 0, comment)
            driver.entries = known
            driver.wall = wall
            let keys = (0..<8).map { _ in UInt64(random.below(40)) }
            try driver.expectIndexMatches(
                keys: keys,
                streams: (0..<3).map { LogDriver.stream($0) },
                comment
            )

            if random.chance(perThousand: 700) { disk.operationsLeft = random.below(120) }
            do throws(LogError) { try act(driver, &random) } catch {
                guard case .storage = error else { throw error }
            }
            wall = driver.wall + 10
            driver.log.checkInvariants()
            let promised = driver.log.durablePosition

            // The machine may die again during recovery, any number of times.
            var next = disk.crashed(&random)
            for _ in 0..<random.below(3) {
                next.operationsLeft = random.below(12)
                _ = try? LogDriver(next)
                next.operationsLeft = nil
                next = next.crashed(&random)
            }
            disk = next
            let reopened: LogDriver
            do throws(LogError) { reopened = try LogDriver(disk.copy()) } catch {
                Issue.record("\(error), \(comment)")
                return
            }
            let report = reopened.report
            seen.tornTails += report.tornTail == nil ? 0 : 1
            seen.rollsUndone += report.rollUndone ? 1 : 0
            seen.segmentsDropped += report.segmentsDropped.count
            seen.footersRebuilt += report.footersRebuilt.count
            seen.indexesRebuilt += report.indexesRebuilt
            let survivors: [Remembered]
            do throws(LogError) { survivors = try reopened.scanned() } catch {
                Issue.record("\(error), \(reopened.report.lines), \(comment)")
                return
            }
            let entries = driver.entries.filter { $0.position >= reopened.log.firstPosition }
            #expect(reopened.report.damaged.isEmpty, "\(reopened.report.lines), \(comment)")
            #expect(survivors == Array(entries.prefix(survivors.count)), comment)
            #expect(reopened.log.appendPosition >= promised, comment)
            #expect(
                survivors.count >= entries.filter { $0.position < promised }.count,
                comment
            )
            known = survivors
        }
    }

    func act(_ driver: LogDriver, _ random: inout SeededGenerator) throws(LogError) {
        for _ in 0..<10 + random.below(60) {
            switch random.below(20) {
            case 0..<12:
                let keys = (0..<random.below(4)).map { _ in UInt64(random.below(40)) }
                let size = random.chance(perThousand: 200) ? random.below(9000) : random.below(600)
                let byte = UInt8(truncatingIfNeeded: random.next())
                try driver.append(
                    keys: keys,
                    filler: .init(repeating: byte, count: size),
                    stream: LogDriver.stream(random.below(3)),
                    count: random.below(4)
                )
            case 12..<14: try driver.flush()
            case 14..<17: try driver.sync()
            case 17:
                if random.chance(perThousand: 500) { driver.failSpareJobs() }
                driver.runJobs()
            case 18: try driver.log.writeFloor()
            default:
                if random.chance(perThousand: 200) {
                    let durable = driver.log.durablePosition.rawValue
                    let below = LogPosition(durable - min(durable, UInt64(random.below(150_000))))
                    driver.log.releaseSegments(below: below, jobs: &driver.jobs)
                }
            }
        }
    }

    @Test func syncedEntriesSurviveEveryCrash() throws {
        var seen = Seen()
        for seed in 0..<300 { try live(seed: UInt64(seed), &seen) }
        #expect(seen.tornTails > 100, "\(seen)")
        #expect(seen.rollsUndone > 5, "\(seen)")
        #expect(seen.segmentsDropped > 5, "\(seen)")
        #expect(seen.footersRebuilt > 0, "\(seen)")
        #expect(seen.indexesRebuilt > 20, "\(seen)")
    }

    @Test func whatRecoveryFoundInThePageCacheIsMadeDurable() throws {
        let driver = try LogDriver()
        for _ in 0..<60 { try driver.append(filler: .init(repeating: 4, count: 900)) }
        try driver.flush()
        // The process dies, the machine does not: written bytes are still there, synced or not.
        let again = try LogDriver(driver.disk)
        #expect(again.log.durablePosition == driver.log.appendPosition)
        var random = SeededGenerator(seed: 9)
        for _ in 0..<20 {
            let third = try LogDriver(driver.disk.crashed(&random))
            let survivors = try third.scanned()
            #expect(survivors == driver.entries)
        }
    }

    /// After a failed sync the page cache shows what the disk does not have. The next process believes the
    /// disk: were it to write behind a header that is in memory alone, a power cut would take all of it.
    @Test func whatOnlyAFailedSyncSawIsNotBelieved() throws {
        for count in [1, 5, 40, 70] {
            let driver = try LogDriver()
            for _ in 0..<count { try driver.append(filler: .init(repeating: 3, count: 900)) }
            try driver.sync()
            let promised = driver.entries.count
            for _ in 0..<count { try driver.append(filler: .init(repeating: 4, count: 900)) }
            driver.disk.failsSyncs = true
            #expect(throws: LogError.self) { try driver.sync() }
            driver.disk.failsSyncs = false
            let again = try LogDriver(driver.disk)
            again.entries = try again.scanned()
            #expect(again.entries == Array(driver.entries.prefix(again.entries.count)))
            #expect(again.entries.count >= promised)
            try again.append(filler: [2])
            try again.sync()
            var random = SeededGenerator(seed: UInt64(count))
            for _ in 0..<10 {
                let third = try LogDriver(again.disk.crashed(&random))
                #expect(third.report.damaged.isEmpty, "\(count): \(third.report.lines)")
                #expect(try third.scanned() == again.entries, "\(count)")
            }
        }
    }
}
