// The index answers as a search through all entries would, in memory, in its file, and rebuilt.

import PulseCore
import PulseLog
import Testing

@Suite struct IndexTests {
    private let streams = (0..<4).map { LogDriver.stream($0) }

    /// Several segments of small entries with few, often repeated and some very frequent keys.
    private func filled(seed: UInt64, runningJobs: Bool) throws -> (LogDriver, [UInt64]) {
        let driver = try LogDriver()
        var random = SeededGenerator(seed: seed)
        let pool = (0..<60).map { _ in random.next() } + [0, 1, UInt64.max]
        for index in 0..<900 {
            var keys = (0..<random.below(5)).map { _ in pool[random.below(pool.count)] }
            if index % 2 == 0 { keys.append(pool[0]) }
            try driver.append(
                keys: keys,
                filler: .init(repeating: 1, count: random.below(60)),
                stream: streams[random.below(4)],
                count: random.below(4)
            )
            if index % 20 == 0 { try driver.sync() }
            if runningJobs { driver.runJobs() }
        }
        try driver.sync()
        if runningJobs { driver.runJobs() }
        return (driver, pool + [12345])
    }

    @Test(arguments: [false, true])
    func lookupsEqualASearch(runningJobs: Bool) throws {
        let (driver, keys) = try filled(seed: 3, runningJobs: runningJobs)
        let sealed = driver.log.segments.dropLast()
        #expect(sealed.count >= 3)
        #expect(sealed.allSatisfy { $0.isIndexed == runningJobs })
        try driver.expectIndexMatches(keys: keys, streams: streams, "live")
        let again = try LogDriver(driver.disk)
        #expect(again.report.indexesRebuilt == (runningJobs ? 0 : sealed.count))
        again.entries = driver.entries
        try again.expectIndexMatches(keys: keys, streams: streams, "reopened")
    }

    @Test func aKeyThatFillsManyPagesIsFoundNewestFirst() throws {
        let driver = try LogDriver(segmentBytes: 256 << 10)
        for index in 0..<4000 { try driver.append(keys: [5, UInt64(index) << 40, 5], count: 0) }
        try driver.sync()
        driver.runJobs()
        #expect(driver.log.segments.first?.isIndexed == true)
        try driver.expectIndexMatches(keys: [5, 17 << 40, 4, 6], streams: [], "many pages")
    }

    @Test func aLookupStopsWhenToldTo() throws {
        let (driver, keys) = try filled(seed: 4, runningJobs: true)
        var visited = 0
        try driver.log.lookup(keys[0]) { _ throws(LogError) in
            visited += 1
            return visited < 3
        }
        #expect(visited == 3)
    }

    @Test func aDeletedOrDamagedIndexIsRebuilt() throws {
        let (driver, keys) = try filled(seed: 5, runningJobs: true)
        let indexes = try driver.disk.list().filter { $0.hasSuffix(".idx") }
        #expect(indexes.count >= 3)
        let disk = driver.disk.copy()
        disk.names[indexes[0]] = nil
        disk.damage(indexes[1]) { $0[30] ^= 1 }
        // The filter: nobody needs it as long as there is a generation.
        disk.damage(indexes[2]) { $0[$0.count - 1] ^= 1 }
        for name in try disk.list().filter({ $0.hasSuffix(".keys") }) { disk.names[name] = nil }
        let again = try LogDriver(disk)
        #expect(again.report.indexesRebuilt == 2)
        again.entries = driver.entries
        try again.expectIndexMatches(keys: keys, streams: streams, "rebuilt")
        try again.settle()
        let third = try LogDriver(disk)
        #expect(third.report.indexesRebuilt == 0)
    }

    @Test func aPageThatRotsWhileRunningIsNoticed() throws {
        let (driver, keys) = try filled(seed: 6, runningJobs: true)
        for name in try driver.disk.list().filter({ $0.hasSuffix(".idx") }) {
            driver.disk.damage(name) { $0[4096 + 100] ^= 1 }
        }
        try driver.expectIndexMatches(keys: keys, streams: streams, "after rot")
        try driver.flush()
        driver.runJobs()
        #expect(driver.log.segments.dropLast().allSatisfy { $0.isIndexed })
        try driver.expectIndexMatches(keys: keys, streams: streams, "rewritten")
    }

    @Test func anIndexOfAnotherContentIsNotBelieved() throws {
        let (driver, _) = try filled(seed: 7, runningJobs: true)
        let (other, keys) = try filled(seed: 8, runningJobs: true)
        let name = "00000000000000000000.idx"
        other.disk.names[name] = driver.disk.names[name]
        let again = try LogDriver(other.disk)
        #expect(again.report.indexesRebuilt == 1)
        again.entries = other.entries
        try again.expectIndexMatches(keys: keys, streams: streams, "other content")
    }
}
