// The inspector looks and changes nothing; "clean" means that every byte which holds data verifies.

import PulseCore
import PulseLog
import Testing

@Suite struct InspectorTests {
    /// A log of real record batches and commands over several segments, closed.
    private func closedLog() throws -> LogDriver {
        let driver = try LogDriver()
        let stream = LogDriver.stream(1)
        for index in 0..<100 {
            let value = [UInt8](repeating: UInt8(index), count: 700)
            let wall = WallTimestamp(milliseconds: 1_700_000_000_000 + Int64(index))
            var batch: [UInt8] = []
            var writer = RecordBatchWriter(timestamp: wall, in: &batch)
            value.withUnsafeBytes {
                writer.append(key: nil, value: $0, timestamp: wall, into: &batch)
            }
            writer.close(in: &batch)
            batch.withUnsafeMutableBytes {
                RecordBatch.patch(
                    $0,
                    baseOffset: Offset(Int64(index)),
                    leaderEpoch: LeaderEpoch(0)
                )
            }
            try batch.withUnsafeBytes { bytes in
                _ = try driver.log.append(
                    .recordBatch,
                    stream: stream,
                    baseOffset: Offset(Int64(index)),
                    recordCount: 1,
                    at: wall,
                    keys: [UInt64(index)],
                    body: bytes
                )
            }
            if index % 10 == 0 { try driver.append(count: 0) }
        }
        try driver.sync()
        driver.runJobs()
        try driver.log.close()
        return driver
    }

    @Test func aClosedLogIsClean() throws {
        let driver = try closedLog()
        let before = try driver.disk.list().map { driver.disk.bytes(of: $0) }
        let found = try LogInspector.inspect(driver.disk, verify: true)
        #expect(found.isClean, "\(found.lines)")
        #expect(found.segments.map(\.recordBatches).reduce(0, +) == 100)
        #expect(found.segments.map(\.commands).reduce(0, +) == 10)
        #expect(found.segments.dropLast().allSatisfy { $0.isSealed && $0.hasIndex })
        #expect(found.floor == driver.log.durablePosition)
        let after = try driver.disk.list().map { driver.disk.bytes(of: $0) }
        #expect(before == after)
    }

    /// Every page verifies, and yet the index does not say what the segment says.
    @Test func anIndexThatSaysSomethingElseIsAProblem() throws {
        let driver = try LogDriver()
        while driver.log.segments.count < 3 {
            try driver.append(
                keys: [UInt64(driver.entries.count), 1 << 62 | 5],
                filler: .init(repeating: 1, count: 300),
                count: 2
            )
        }
        try driver.sync()
        driver.runJobs()
        try driver.settle()
        try driver.log.close()
        let name = "00000000000000000000.idx"
        let good = try LogInspector.inspect(driver.disk, verify: true, indexer: BodyIndexer())
        #expect(good.indexesCompared == 2 && good.problems.allSatisfy { $0.file.hasSuffix(".seg") })
        #expect(good.lines.contains("index files compared with their segments: 2"))
        let pages = driver.disk.bytes(of: name).count / 4096
        // A key, a key's slot, a run's slot: each with its page's checksum made good.
        for (page, place) in [(0, 0), (0, 8), (pages - 2, 8)] {
            let disk = driver.disk.copy()
            disk.damage(name) { bytes in
                let start = 4096 * (1 + page)
                bytes[start + place] ^= 1
                let placed = withUnsafeBytes(of: (UInt64(0), UInt64(0), UInt64(page).littleEndian))
                {
                    CRC32C.of($0, seed: LogDriver.checksumSeed)
                }
                let crc = bytes[start..<start + 4092].withUnsafeBytes {
                    CRC32C.of($0, seed: placed)
                }
                let made = withUnsafeBytes(of: crc.littleEndian, Array.init)
                bytes.replaceSubrange(start + 4092..<start + 4096, with: made)
            }
            let found = try LogInspector.inspect(disk, verify: true, indexer: BodyIndexer())
            let problems = found.problems.filter { $0.file == name }
            #expect(problems.count == 1, "page \(page), byte \(place): \(found.problems)")
            #expect(!(problems.first?.text.contains("checksum") ?? true))
        }
    }

    @Test func aTornTailIsAProblemToldAsSuch() throws {
        let driver = try closedLog()
        try driver.append(filler: .init(repeating: 1, count: 300))
        try driver.flush()
        let name = try #require(driver.log.segments.last?.name)
        let byte = Int(try #require(driver.entries.last).position.rawValue % (32 << 10))
        driver.disk.damage(name) { $0[byte + 200] ^= 4 }
        let found = try LogInspector.inspect(driver.disk, verify: true)
        #expect(found.problems.count == 1)
        #expect(found.problems.first?.file == name && found.problems.first?.byte == byte)
        #expect(found.problems.first?.text.contains("torn tail") == true)
    }

    @Test func aMalformedRecordBatchInAValidEntryIsAProblem() throws {
        let driver = try LogDriver()
        try driver.append(filler: [1, 2, 3], count: 1)
        try driver.log.close()
        let quick = try LogInspector.inspect(driver.disk, verify: false)
        #expect(quick.isClean)
        let thorough = try LogInspector.inspect(driver.disk, verify: true)
        #expect(thorough.problems.map(\.byte) == [4096 + 64])
    }

    @Test func staleBytesOfARecycledSegmentAreNoProblem() throws {
        let driver = try LogDriver(spares: 1)
        for index in 0..<200 {
            try driver.append(filler: .init(repeating: 9, count: 800), count: 0)
            if index % 20 == 19 {
                try driver.sync()
                driver.failSpareJobs()
                driver.log.releaseSegments(
                    below: driver.log.durablePosition,
                    jobs: &driver.jobs
                )
                driver.runJobs()
            }
        }
        try driver.log.close()
        let last = try #require(driver.log.segments.last)
        let unused = Int(last.end.rawValue - last.base.rawValue)
        #expect(driver.disk.bytes(of: last.name)[unused..<28_000].contains { $0 != 0 })
        let found = try LogInspector.inspect(driver.disk, verify: true)
        #expect(found.isClean, "\(found.lines)")
    }

    @Test func bytesBehindASegmentAreNothing() throws {
        let driver = try closedLog()
        let name = try #require(driver.log.segments.last?.name)
        driver.disk.damage(name) { $0 += [UInt8](repeating: 7, count: 100) }
        let found = try LogInspector.inspect(driver.disk, verify: true)
        #expect(found.isClean && found.notes.contains { $0.contains("100 bytes behind its end") })
        let again = try LogDriver(driver.disk)
        #expect(again.report.damaged.isEmpty && again.report.tornTail == nil)
    }

    @Test func aLostFloorIsToldOf() throws {
        let driver = try closedLog()
        driver.disk.damage("floor") { $0 = [] }
        let empty = try LogInspector.inspect(driver.disk, verify: false)
        #expect(empty.problems.map(\.file) == ["floor"], "\(empty.lines)")
        try driver.disk.remove("floor")
        let without = try LogInspector.inspect(driver.disk, verify: false)
        #expect(without.isClean && without.notes.contains { $0.contains("no floor file") })
        // Something came before: released, or lost.
        try driver.disk.remove("00000000000000000000.seg")
        let headless = try LogInspector.inspect(driver.disk, verify: false)
        #expect(
            headless.notes.contains { $0.contains("released or are lost") },
            "\(headless.lines)"
        )
        let again = try LogDriver(driver.disk)
        #expect(again.report.warnings.count == 2, "\(again.report.warnings)")
    }

    @Test func aLogThatEndsBeforeItsFloorIsDamage() throws {
        let driver = try LogDriver()
        let position = try driver.append(filler: [1], count: 0)
        try driver.log.close()
        driver.disk.damage("00000000000000000000.seg") { bytes in
            for at in 0..<80 { bytes[Int(position.rawValue) + at] = 0 }
        }
        let found = try LogInspector.inspect(driver.disk, verify: false)
        #expect(!found.isClean)
        let again = try LogDriver(driver.disk)
        #expect(again.report.damaged.first?.from == position)
    }
}
