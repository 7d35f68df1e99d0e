// Index files and generations that rot while the log is open: found by scrubbing or by a merge, made again
// in the background, and nothing is refused meanwhile.

import PulseCore
import PulseLog
import Testing

@Suite struct MendingTests {
    private let keys: [UInt64] = [0, 7, 31, 64, 89, 1 << 62 | 7]
    private let streams = (0..<3).map { LogDriver.stream($0) }

    private func fill(_ driver: LogDriver, segments: Int, settling: Bool = true) throws {
        var random = SeededGenerator(seed: UInt64(segments))
        while driver.log.segments.count < segments {
            try driver.append(
                keys: (0..<random.below(8)).map { _ in
                    UInt64(random.below(90)) | UInt64(random.below(2)) << 62
                },
                filler: .init(repeating: 1, count: 200),
                stream: streams[random.below(3)],
                count: random.below(4)
            )
            try driver.sync()
            if settling { try driver.settle() }
        }
    }

    private func problems(_ disk: TestDisk) throws -> [LogInspection.Problem] {
        try LogInspector.inspect(disk, verify: true, indexer: BodyIndexer()).problems.filter {
            !$0.file.hasSuffix(".seg")
        }
    }

    /// A whole pass, in pieces of some pages; what was found damaged in the log.
    private func scrub(_ driver: LogDriver, pass: UInt64 = 1) throws -> [DamagedRange] {
        var progress = ScrubProgress(pass: pass, began: WallTimestamp(milliseconds: 0))
        var earlier: ScrubPiece?
        var damaged: [DamagedRange] = []
        while let piece = driver.log.scrubPiece(after: earlier, progress, bytesMax: 10_000) {
            try piece.perform()
            damaged += driver.log.scrubbed(piece, &progress)
            earlier = piece
        }
        return damaged
    }

    /// One byte in every part of every file: header, pages, tables, filter, and the last one.
    @Test(arguments: [".idx", ".keys"])
    func scrubbingMendsWhatNobodyAsked(suffix: String) throws {
        let whole = try LogDriver(mergeFanOut: 4)
        try fill(whole, segments: 7)
        let names = try whole.disk.list().filter { $0.hasSuffix(suffix) }
        #expect(!names.isEmpty)
        for name in names {
            let size = whole.disk.bytes(of: name).count
            for place in [0, 50, 4095] + stride(from: 4100, to: size, by: 1500) + [size - 1] {
                let driver = try LogDriver(whole.disk.copy(), mergeFanOut: 4)
                driver.entries = whole.entries
                let before = driver.disk.bytes(of: name)
                driver.disk.damage(name) { $0[place] ^= 0x20 }
                #expect(try scrub(driver).isEmpty)
                #expect(driver.log.indexDamagesMet == 1, "\(name) at byte \(place)")
                let told = [IndexDamage(file: name, isGivenUp: false)]
                #expect(driver.log.takeIndexDamages() == told)
                #expect(!driver.log.isDamaged && !driver.log.isReadOnly)
                try driver.append(keys: [7])
                try driver.expectIndexMatches(keys: [keys[place % 6]], streams: [], "meanwhile")
                try driver.settle()
                #expect(driver.disk.bytes(of: name) == before, "\(name) at byte \(place)")
                #expect(try problems(driver.disk) == [])
                #expect(try scrub(driver, pass: 2).isEmpty)
                #expect(driver.log.indexDamagesMet == 1, "once")
            }
        }
    }

    @Test func anIndexThatIsBeingMendedAnswers() throws {
        let driver = try LogDriver(mergeFanOut: 64)
        try fill(driver, segments: 4)
        let name = "00000000000000032768.idx"
        driver.disk.damage(name) { bytes in
            for place in stride(from: 4100, to: bytes.count, by: 512) { bytes[place] ^= 1 }
        }
        #expect(try scrub(driver).isEmpty)
        // The job is under way, not performed: a question that meets the damage gets its answer at once.
        try driver.flush()
        #expect(driver.jobs.count == 1)
        try driver.expectIndexMatches(keys: keys, streams: streams, "in flight")
        try driver.settle()
        try driver.expectIndexMatches(keys: keys, streams: streams, "mended")
        #expect(try problems(driver.disk) == [])
    }

    @Test func anIndexAndItsSegmentBothDamaged() throws {
        let driver = try LogDriver(mergeFanOut: 64)
        try fill(driver, segments: 4)
        driver.disk.damage("00000000000000032768.idx") { $0[4100] ^= 1 }
        driver.disk.damage("00000000000000032768.seg") { $0[9000] ^= 1 }
        #expect(try scrub(driver).count == 1)
        #expect(driver.log.isDamaged)
        try driver.settle()
        // Nothing was written over the index, whose other pages still answer.
        let place = try #require(driver.entries.first { $0.position.rawValue > 70_000 })
        #expect(try driver.log.read(at: place.position) { _, body in [UInt8](body) } == place.body)
        var refused = 0
        for key in 0..<90 as Range<UInt64> {
            do throws(LogError) {
                _ = try driver.lookup(key)
            } catch {
                guard case .damaged(let range) = error else { throw error }
                #expect(range.file == "00000000000000032768.seg")
                refused += 1
            }
        }
        #expect(refused > 30, "each key that the segment has, and no other")
    }

    @Test func aMergeRestsAndGivesUpWhatStaysUnreadable() throws {
        let driver = try LogDriver(mergeFanOut: 2)
        try fill(driver, segments: 2)
        let name = "00000000000000032768.idx"
        driver.disk.unreadable[name] = 4100
        driver.disk.staysUnreadable = true
        var merges = 0
        /// As ``LogDriver/settle()``, but counts merges and stops when there are far too many.
        func settle() throws {
            repeat {
                merges += driver.jobs.count { if case .merge = $0 { true } else { false } }
                driver.runJobs()
                try driver.flush()
            } while !driver.jobs.isEmpty && merges < 100
        }
        while driver.log.segments.count < 3 {
            try driver.append(keys: [7], filler: .init(repeating: 1, count: 400))
            try driver.sync()
        }
        try settle()
        #expect(merges < 20, "it rests")
        let first = merges
        for _ in 0..<20 {
            driver.pass(milliseconds: 5000)
            try driver.flush()
            try settle()
        }
        #expect(merges > first && merges < 40, "it is tried again, and given up: \(merges)")
        #expect(driver.log.indexFilesGivenUp == 1)
        let told = driver.log.takeIndexDamages()
        #expect(told.last == IndexDamage(file: name, isGivenUp: true))
        // All else goes on: the log takes work, answers, and other groups are merged.
        try fill(driver, segments: 5)
        #expect(!driver.log.isDamaged)
        try driver.expectIndexMatches(keys: keys, streams: [], "without")
        #expect(try driver.disk.list().contains("gen-2-3.keys"))
        #expect(try !driver.disk.list().contains("gen-0-1.keys"))
        // The next start finds a good disk.
        driver.disk.unreadable = [:]
        let again = try LogDriver(driver.disk, mergeFanOut: 2)
        again.entries = driver.entries
        try again.settle()
        #expect(try again.disk.list().contains("gen-0-3.keys"))
        try again.expectIndexMatches(keys: keys, streams: streams, "merged")
    }
}
