// Generations: every key is found whatever was merged, damaged, interrupted or let go, and what is
// held in memory is bounded.

import PulseCore
import PulseLog
import Testing

@Suite struct GenerationTests {
    private let streams = (0..<3).map { LogDriver.stream($0) }

    /// Keys of all classes, some of them often; several segments; background work done unless told not.
    private func filled(
        seed: UInt64,
        entries: Int = 1500,
        settling: Bool = true,
        _ driver: LogDriver
    ) throws -> [UInt64] {
        var random = SeededGenerator(seed: seed)
        let pool = (0..<120).map { random.next() >> UInt64($0 % 2 * 2) } + [0, 1, .max, 1 << 62]
        for index in 0..<entries {
            var keys = (0..<random.below(6)).map { _ in pool[random.below(pool.count)] }
            if index % 3 == 0 { keys.append(pool[1]) }
            try driver.append(
                keys: keys,
                filler: .init(repeating: 1, count: random.below(60)),
                stream: streams[random.below(3)],
                count: random.below(4)
            )
            if index % 25 == 0 {
                try driver.sync()
                if settling { try driver.settle() }
            }
        }
        try driver.sync()
        if settling { try driver.settle() }
        return pool + [12345, 1 << 63]
    }

    /// What inspection says of the indexes; the bodies of these tests are no record batches.
    private func problems(_ disk: TestDisk) throws -> [LogInspection.Problem] {
        try LogInspector.inspect(disk, verify: true, indexer: BodyIndexer()).problems.filter {
            !$0.file.hasSuffix(".seg")
        }
    }

    private func generations(_ disk: TestDisk) throws -> [String] {
        try disk.list().filter { $0.hasSuffix(".keys") }
    }

    @Test func segmentsAreMergedByLevelsAndWhatWasMergedGoes() throws {
        let driver = try LogDriver()
        let keys = try filled(seed: 1, driver)
        let sealed = driver.log.segments.count - 1
        #expect(sealed >= 6)
        // Of fan-out 2 and three levels: the binary digits of the number, eights apart.
        var expected: [String] = []
        var first = 0
        for width in [8, 4, 2] {
            while first + width <= sealed {
                expected.append("gen-\(first)-\(first + width - 1).keys")
                first += width
            }
        }
        #expect(try generations(driver.disk) == expected.sorted())
        try driver.expectIndexMatches(keys: keys, streams: streams, "live")
        let again = try LogDriver(driver.disk)
        again.entries = driver.entries
        try again.expectIndexMatches(keys: keys, streams: streams, "reopened")
        #expect(try generations(again.disk) == expected.sorted())
        #expect(try problems(driver.disk) == [])
    }

    @Test func noKeyOfAHundredThousandIsEverDenied() throws {
        let driver = try LogDriver(mergeFanOut: 4)
        var random = SeededGenerator(seed: 2)
        var places: [(key: UInt64, position: LogPosition)] = []
        for index in 0..<500 {
            let keys = (0..<200).map { _ in random.next() >> 2 }
            let position = try driver.append(keys: keys, count: 0)
            for key in keys { places.append((key, position)) }
            if index % 50 == 0 {
                try driver.sync()
                try driver.settle()
            }
        }
        try driver.sync()
        try driver.settle()
        #expect(try generations(driver.disk).count >= 2)
        for driver in [driver, try LogDriver(driver.disk, mergeFanOut: 4)] {
            var denied = 0
            for place in places {
                var isFound = false
                try driver.log.lookup(place.key) { position throws(LogError) in
                    isFound = position == place.position
                    return !isFound
                }
                if !isFound { denied += 1 }
            }
            #expect(denied == 0)
            // And the filter is worth having: few of those never seen are looked for in vain.
            var found = 0
            for _ in 0..<2000 { found += try driver.lookup(random.next() >> 2).count }
            #expect(found == 0)
        }
    }

    /// One byte in every region of every index and generation, before the start and while running.
    @Test(arguments: [".idx", ".keys"])
    func aDamagedFileNeverGivesAWrongAnswer(suffix: String) throws {
        let driver = try LogDriver()
        let keys = try filled(seed: 3, entries: 700, driver)
        for name in try driver.disk.list().filter({ $0.hasSuffix(suffix) }) {
            let size = driver.disk.bytes(of: name).count
            // Header, then each 700 bytes: pages, fences, tables, filter; and the last byte.
            let places = [0, 8, 20, 30, 45, 60, 4093] + stride(from: 4096, to: size, by: 700)
            for place in places + [size - 1] {
                let disk = driver.disk.copy()
                disk.damage(name) { $0[place] ^= 0x10 }
                let again = try LogDriver(disk)
                again.entries = driver.entries
                let some = [keys[place % keys.count], keys[1], keys[120], 1 << 63]
                try again.expectIndexMatches(
                    keys: some,
                    streams: place % 16 == 0 ? streams : [],
                    "\(name) at byte \(place)"
                )
            }
            // Truncated, and gone.
            for length in [0, 4095, 4096, size - 1] {
                let disk = driver.disk.copy()
                disk.damage(name) { $0.removeLast($0.count - length) }
                let again = try LogDriver(disk)
                again.entries = driver.entries
                try again.expectIndexMatches(keys: keys, streams: [], "\(name) cut to \(length)")
                try again.settle()
                #expect(try problems(disk) == [], "\(name) cut to \(length)")
            }
        }
    }

    @Test func damageMetWhileRunningIsMended() throws {
        let driver = try LogDriver()
        let keys = try filled(seed: 4, driver)
        for name in try driver.disk.list().filter({ $0.hasSuffix(".keys") || $0.hasSuffix(".idx") })
        {
            driver.disk.damage(name) { bytes in
                for place in stride(from: 4096, to: bytes.count, by: 512) { bytes[place] ^= 1 }
            }
        }
        try driver.expectIndexMatches(keys: keys, streams: streams, "after rot")
        try driver.settle()
        try driver.expectIndexMatches(keys: keys, streams: streams, "mended")
    }

    @Test func aMergeMeetsADamagedIndexAndMendsIt() throws {
        let driver = try LogDriver()
        let keys = try filled(seed: 5, settling: false, driver)
        // Index files, but no merges yet.
        try driver.flush()
        let jobs = driver.jobs
        driver.jobs = jobs.filter { if case .merge = $0 { false } else { true } }
        driver.runJobs()
        let indexes = try driver.disk.list().filter { $0.hasSuffix(".idx") }
        #expect(indexes.count >= 4)
        driver.disk.damage(indexes[1]) { $0[4100] ^= 1 }
        try driver.settle()
        #expect(try !generations(driver.disk).isEmpty)
        try driver.expectIndexMatches(keys: keys, streams: streams, "after the merge")
        #expect(try problems(driver.disk) == [])
    }

    /// The machine dies at each operation of all merges and removals.
    @Test func anInterruptedMergeLosesNothing() throws {
        let driver = try LogDriver()
        let keys = try filled(seed: 6, entries: 1200, settling: false, driver)
        try driver.log.close()
        var random = SeededGenerator(seed: 7)
        var interrupted = 0
        for operations in 0..<400 {
            let disk = driver.disk.copy()
            let victim = try LogDriver(disk)
            disk.operationsLeft = operations
            do throws(LogError) { try victim.settleUnlessDead() } catch {}
            let died = disk.operationsLeft == 0
            let found = disk.crashed(&random)
            let again = try LogDriver(found)
            again.entries = driver.entries
            #expect(again.report.damaged.isEmpty)
            try again.expectIndexMatches(
                keys: [keys[0], keys[1], keys[operations % keys.count]],
                streams: [],
                "after \(operations) operations"
            )
            try again.settle()
            #expect(try problems(found) == [])
            if !died { break }
            interrupted += 1
        }
        #expect(interrupted > 30 && interrupted < 399, "\(interrupted) interruptions")
    }

    @Test func leftoversAreKnownForWhatTheyAre() throws {
        let driver = try LogDriver()
        let keys = try filled(seed: 8, driver)
        let names = try generations(driver.disk)
        let largest = try #require(names.first { $0.hasPrefix("gen-0-") })
        let disk = driver.disk.copy()
        // One that a larger one was made from, one of no segment, one of another content, one unfinished.
        disk.names["gen-0-1.keys"] = disk.names[largest]
        disk.names["gen-900-901.keys"] = disk.names[largest]
        disk.names["gen-0-7.keys.tmp"] = disk.names[largest]
        let other = try LogDriver()
        _ = try filled(seed: 9, other)
        let last = try #require(names.last)
        disk.names[last] = other.disk.names[last] ?? other.disk.names[largest]
        let again = try LogDriver(disk)
        again.entries = driver.entries
        try again.expectIndexMatches(keys: keys, streams: streams, "leftovers")
        try again.settle()
        #expect(try generations(disk) == names)
        #expect(try problems(disk) == [])
        // A name that only looks like one of ours is nobody's.
        disk.names["gen-07-9.keys"] = disk.names[largest]
        #expect(try LogDriver(disk).report.unknownFiles == ["gen-07-9.keys"])
    }

    @Test func aNewerFormatIsRefusedAndKept() throws {
        let driver = try LogDriver()
        _ = try filled(seed: 10, driver)
        for name in [try #require(try generations(driver.disk).first), "00000000000000000000.idx"] {
            let disk = driver.disk.copy()
            disk.damage(name) { bytes in
                bytes[8] = 9
                let crc = bytes[0..<4092].withUnsafeBytes {
                    CRC32C.of($0, seed: LogDriver.checksumSeed)
                }
                bytes.replaceSubrange(4092..<4096, with: withUnsafeBytes(of: crc, Array.init))
            }
            #expect(throws: LogError.newerFormat(file: name, byte: 8, major: 9)) {
                _ = try LogDriver(disk)
            }
            #expect(disk.names[name] != nil)
        }
    }

    @Test func oldSegmentsAreNotAskedAndHoldNoFilter() throws {
        let driver = try LogDriver(mergeFanOut: 4, mergedKeysMilliseconds: 900)
        let key: UInt64 = 77 << 20
        for index in 0..<1200 {
            try driver.append(
                keys: [key, UInt64(index) << 40],
                filler: .init(repeating: 1, count: 90)
            )
            if index % 25 == 0 {
                try driver.sync()
                try driver.settle()
            }
        }
        try driver.sync()
        try driver.settle()
        let all = try driver.lookup(key)
        #expect(all.count == 1200)
        let since = WallTimestamp(milliseconds: driver.wall - 100)
        var found: [LogPosition] = []
        try driver.log.lookup(key, since: since) { position throws(LogError) in
            found.append(position)
            return true
        }
        // Whole segments are left out: all that is young enough is there, and little else.
        #expect(found.count >= 100 && found.count < 700)
        #expect(Array(all.prefix(found.count)) == found)
        found = []
        try driver.log.lookup(key, notBelow: all[9]) { position throws(LogError) in
            found.append(position)
            return true
        }
        #expect(found == Array(all.prefix(10)))
        // Everything is out of the window: a start reads no filter, and a roll frees those there are.
        let bounded = try LogDriver(
            driver.disk,
            mergeFanOut: 4,
            mergedKeysMilliseconds: 1
        )
        let unbounded = try LogDriver(driver.disk, mergeFanOut: 4)
        #expect(bounded.log.indexBytes.written < unbounded.log.indexBytes.written)
        #expect(try bounded.lookup(key) == all, "asked nevertheless, the answer is right")
    }

    @Test func aGenerationOutlivesItsOldestSegments() throws {
        let driver = try LogDriver(mergeFanOut: 4)
        let keys = try filled(seed: 11, driver)
        let segments = driver.log.segments
        let named = "gen-0-3.keys"
        #expect(try generations(driver.disk).contains(named) && segments.count > 4)
        for place in [1, 3] {
            driver.log.releaseSegments(below: segments[place].end, jobs: &driver.jobs)
            try driver.settle()
            driver.entries.removeAll { $0.position < driver.log.firstPosition }
            let isLeft = try generations(driver.disk).contains(named)
            #expect(isLeft == (place == 1))
            try driver.expectIndexMatches(keys: keys, streams: streams, "released \(place)")
            let again = try LogDriver(driver.disk, mergeFanOut: 4)
            again.entries = driver.entries
            try again.expectIndexMatches(
                keys: keys,
                streams: streams,
                "released \(place), reopened"
            )
        }
    }

    /// What is held is the filter of the merged class and some numbers for each page, nothing more.
    @Test func memoryIsBounded() throws {
        let driver = try LogDriver(segmentBytes: 1 << 20, mergeFanOut: 4)
        var random = SeededGenerator(seed: 12)
        var merged = 0
        for index in 0..<3000 {
            let keys = (0..<150).map { random.next() >> UInt64($0 % 3 == 0 ? 2 : 0) }
            merged += keys.filter { $0 >> 62 == 0 }.count
            try driver.append(keys: keys, stream: streams[index % 3], count: 1)
            if index % 100 == 0 {
                try driver.sync()
                try driver.settle()
            }
        }
        try driver.sync()
        try driver.settle()
        let again = try LogDriver(driver.disk, mergeFanOut: 4)
        let held = again.log.indexBytes.written
        // 2 bytes for each merged key; 8 bytes for each page of 255 or 340 keys; little for each stream.
        let inActive = 70_000
        #expect(held < 2 * merged + 450_000 / 255 * 8 * 2 + 4096, "\(held) for \(merged) keys")
        #expect(held > 2 * (merged - inActive), "\(held) for \(merged) keys")
    }
}

extension LogDriver {
    /// As ``settle()``, but gives up when the machine is dead.
    func settleUnlessDead() throws(LogError) {
        repeat {
            runJobs()
            if disk.operationsLeft == 0 { return }
            try flush()
        } while !jobs.isEmpty
    }

    /// L of the spec: what checksums are seeded with.
    static var checksumSeed: UInt32 {
        withUnsafeBytes(of: (identity.high.littleEndian, identity.low.littleEndian)) {
            CRC32C.of($0)
        }
    }
}
