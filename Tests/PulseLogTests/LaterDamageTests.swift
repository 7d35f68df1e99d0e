// Damage behind an open log: every way of reading meets it, names it once, and serves the rest.

import PulseCore
import PulseLog
import Testing

@Suite struct LaterDamageTests {
    private func driver() throws -> LogDriver {
        let driver = try LogDriver()
        for index in 0..<80 {
            try driver.append(keys: [UInt64(index)], filler: .init(repeating: 7, count: 900))
        }
        try driver.sync()
        driver.runJobs()
        try driver.log.writeFloor()
        return driver
    }

    @Test func everyReadMeetsItAndItIsNotedOnce() throws {
        let driver = try driver()
        let bad = driver.entries[5]
        let name = driver.log.segments[0].name
        driver.disk.damage(name) { $0[Int(bad.position.rawValue) + 200] ^= 1 }
        for _ in 0..<3 {
            #expect(throws: LogError.self) { try driver.log.read(at: bad.position) { _, _ in } }
            #expect(throws: LogError.self) { try driver.scanned() }
        }
        let range = try #require(driver.log.damaged.first)
        #expect(driver.log.damaged.count == 1)
        #expect(range.from == bad.position && range.to == driver.entries[6].position)
        #expect(range.file == name && range.byte == Int(bad.position.rawValue))
        #expect(
            try driver.log.read(at: driver.entries[6].position) { Remembered($0, $1) }
                == driver.entries[6]
        )
        // Outcomes of what is under way still find their place; the rest is for the broker to refuse.
        #expect(!driver.log.isReadOnly && driver.log.isDamaged)
        try driver.append(filler: [1])
        try driver.sync()
        // A header that does not verify: the range reaches to the next that does.
        let other = driver.entries[10]
        driver.disk.damage(name) { $0[Int(other.position.rawValue) + 40] ^= 1 }
        #expect(throws: LogError.self) { try driver.log.read(at: other.position) { _, _ in } }
        #expect(driver.log.damaged.last?.to == driver.entries[11].position)
        // A damaged log lets nothing go.
        driver.log.releaseSegments(below: driver.log.durablePosition, jobs: &driver.jobs)
        #expect(driver.log.segments.first?.name == name)
    }

    @Test func aSectorThatCannotBeReadIsDamageAndNotTheEndOfTheBroker() throws {
        let driver = try driver()
        let bad = driver.entries[7]
        let name = driver.log.segments[0].name
        driver.disk.unreadable[name] = Int(bad.position.rawValue) + 100
        #expect(throws: LogError.self) { try driver.log.read(at: bad.position) { _, _ in } }
        let range = try #require(driver.log.damaged.first)
        #expect(range.from == bad.position && range.reason.contains("cannot read"))
        #expect(
            try driver.log.read(at: driver.entries[6].position) { Remembered($0, $1) }
                == driver.entries[6]
        )
        // At open too: what can be read is served.
        driver.disk.names["00000000000000000000.idx"] = nil
        let again = try LogDriver(driver.disk)
        #expect(
            again.report.damaged.contains {
                $0.from <= bad.position && bad.position < $0.to && $0.reason.contains("cannot read")
            }
        )
        #expect(
            try again.log.read(at: driver.entries[20].position) { Remembered($0, $1) }
                == driver.entries[20]
        )
    }

    @Test func aLostHeaderOfTheOnlySegmentIsToldNotFatal() throws {
        let driver = try LogDriver()
        try driver.append(filler: [1, 2, 3])
        try driver.sync()
        try driver.log.close()
        let name = driver.log.segments[0].name
        driver.disk.damage(name) { $0[40] ^= 1 }
        let again = try LogDriver(driver.disk)
        #expect(again.log.isReadOnly && again.report.damaged.first?.file == name)
        #expect(again.report.damaged.first?.byte == 0)
    }
}
