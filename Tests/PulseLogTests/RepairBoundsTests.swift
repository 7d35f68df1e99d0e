// What a repair must not believe, and must not do: floors that say too much, disks that read otherwise than
// before, losses of what retention has let go.

import PulseCore
import PulseLog
import Testing

@Suite struct RepairBoundsTests {
    private func closedLog(streams: Int = 3, segmentBytes: Int = 32 << 10) throws -> LogDriver {
        let driver = try LogDriver(segmentBytes: segmentBytes)
        for index in 0..<160 {
            try driver.append(
                keys: [UInt64(index)],
                filler: .init(repeating: UInt8(index), count: 700),
                stream: LogDriver.stream(index % streams)
            )
            if index % 7 == 6 { try driver.sync() }
        }
        try driver.sync()
        driver.runJobs()
        try driver.log.close()
        return driver
    }

    private func repair(_ disk: TestDisk, _ plan: RepairPlan) throws(LogError) {
        _ = try LogRepair.perform(
            plan,
            in: disk,
            trash: TestDisk(),
            stamp: "S",
            at: WallTimestamp(milliseconds: 1)
        )
    }

    /// A log whose two oldest segments retention has released, and what is left of it.
    private func shortened(_ driver: LogDriver) throws -> LogDriver {
        let open = try LogDriver(driver.disk)
        open.log.releaseSegments(below: open.log.segments[1].end, jobs: &open.jobs)
        open.runJobs()
        try open.log.close()
        open.entries = driver.entries.filter { $0.position >= open.log.firstPosition }
        return open
    }

    @Test func whatWasReleasedIsNeverExactlyLost() throws {
        let driver = try shortened(try closedLog())
        let victim = driver.entries[0]
        let base = try #require(driver.log.segments.first).base.rawValue
        driver.disk.damage(driver.log.segments[0].name) {
            $0[Int(victim.position.rawValue - base) + 20] ^= 1
        }
        let plan = try LogRepair.plan(driver.disk)
        #expect(plan.gaps.map(\.position) == [victim.position])
        let losses = plan.gaps.flatMap(\.losses)
        // Its own stream's next batch lies behind: how much before it was released nobody here can tell.
        #expect(losses.contains { $0.stream == victim.stream && $0.next > victim.baseOffset })
        #expect(losses.allSatisfy { !$0.isExact }, "\(losses)")
        try repair(driver.disk, plan)
        #expect(try LogRepair.plan(driver.disk).isClean)
        let again = try LogDriver(driver.disk)
        #expect(try again.scanned().filter { $0.kind != .gap } == Array(driver.entries.dropFirst()))
    }

    @Test func theFirstBatchesOfAWholeLogAreExactlyLost() throws {
        let driver = try closedLog()
        for lost in [0, 1, 2] {
            let disk = driver.disk.copy()
            let victim = driver.entries[lost]
            disk.damage(driver.log.segments[0].name) { $0[Int(victim.position.rawValue) + 20] ^= 1 }
            let exact = try LogRepair.plan(disk).gaps.flatMap(\.losses).filter(\.isExact)
            #expect(
                exact == [
                    Gap.Loss(
                        stream: victim.stream,
                        first: Offset(0),
                        next: Offset(1),
                        isExact: true
                    )
                ],
                "\(lost)"
            )
        }
    }

    @Test func aForeignFloorIsRefusedAsRecoveryRefusesIt() throws {
        let driver = try closedLog()
        let other = try LogDriver(identity: LogIdentity(high: 1, low: 2))
        try other.append()
        try other.sync()
        try other.log.close()
        driver.disk.names["floor"] = other.disk.names["floor"]
        #expect(throws: LogError.self) { try LogDriver(driver.disk.copy()) }
        #expect(throws: LogError.self) { try LogRepair.plan(driver.disk) }
    }

    /// The older slot of a floor says that segments must exist which were released since.
    @Test func aBeginningThatOneSlotAloneTellsIsNotMissed() throws {
        let driver = try shortened(try closedLog())
        let first = driver.log.segments[0].base.rawValue
        let disk = driver.disk.copy()
        for slot in 0..<2 {
            disk.damage("floor") { bytes in
                // The mark of this slot is as it was before the release; the other slot is lost.
                var old = Array(bytes[slot * 4096..<slot * 4096 + 4092])
                for at in 48..<56 { old[at] = 0 }
                let crc = old.withUnsafeBytes { CRC32C.of($0) }
                bytes.replaceSubrange(slot * 4096..<slot * 4096 + 4092, with: old)
                for at in 0..<4 {
                    bytes[slot * 4096 + 4092 + at] = UInt8(truncatingIfNeeded: crc >> (8 * at))
                }
                bytes[(1 - slot) * 4096 + 20] ^= 1
            }
            let plan = try LogRepair.plan(disk)
            #expect(first > 0 && plan.isClean, "\(plan.lines)")
            disk.names["floor"] = driver.disk.copy().names["floor"]
        }
    }

    @Test func aDiskThatReadsOtherwiseThanBeforeReplacesNothing() throws {
        let driver = try closedLog()
        let segment = driver.log.segments[1]
        let inside = driver.entries.filter {
            $0.position >= segment.base && $0.position < segment.end
        }
        let bytes = inside.map { Int($0.position.rawValue - segment.base.rawValue) }
        driver.disk.damage(segment.name) { $0[bytes[3] + 80] ^= 1 }
        let plan = try LogRepair.plan(driver.disk)
        #expect(plan.gaps.count == 1)

        // A sector that is kept goes bad in between.
        let unread = driver.disk.copy()
        unread.unreadable[segment.name] = bytes[8] + 80
        let before = unread.bytes(of: segment.name)
        #expect(throws: LogError.self) { try repair(unread, plan) }
        #expect(unread.bytes(of: segment.name) == before)
        // Planned anew it is one more hole.
        let second = try LogRepair.plan(unread)
        #expect(second.gaps.count == 2)
        try repair(unread, second)
        #expect(try LogDriver(unread).log.gaps.count == 2)

        // Or reads as something else.
        let changed = driver.disk.copy()
        changed.damage(segment.name) { $0[bytes[8] + 80] ^= 1 }
        let after = changed.bytes(of: segment.name)
        #expect(throws: LogError.self) { try repair(changed, plan) }
        #expect(changed.bytes(of: segment.name) == after)
    }

    @Test func aGapTellsNoMoreThanItsBodyHolds() throws {
        let most = Gap.lossesMax(over: 64 << 20)
        #expect(most == 65_535)
        #expect(Gap.lossesMax(over: 1 << 20) * Gap.Loss.bytes < 1 << 20)
        #expect(Gap.lossesMax(over: 64) == 0)
    }

    /// Many streams, one of them with neighbouring losses, in one hole whose headers still read.
    @Test func neighbouringLossesOfAStreamAreOne() throws {
        let driver = try closedLog(streams: 40, segmentBytes: 64 << 10)
        let segment = driver.log.segments[0]
        let victims = driver.entries.prefix(80)
        driver.disk.damage(segment.name) { bytes in
            for entry in victims where entry.position < segment.end {
                bytes[Int(entry.position.rawValue) + 80] ^= 1
            }
        }
        let lost = victims.filter { $0.position < segment.end }
        let plan = try LogRepair.plan(driver.disk)
        #expect(plan.gaps.count == 1)
        let losses = plan.gaps[0].losses
        #expect(Set(losses.map(\.stream)).count == losses.count, "one for each stream")
        let told = losses.reduce(0) { $0 + Int($1.next.rawValue - $1.first.rawValue) }
        #expect(told == lost.count && losses.allSatisfy(\.isExact))
        try repair(driver.disk, plan)
        #expect(try LogDriver(driver.disk).log.gaps.first?.losses == losses)
    }
}
