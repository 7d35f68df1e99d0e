// Retention among damage, crowds and half-made groups: it rests, goes on or is bounded, and never stops
// the broker.

import PulseBroker
import PulseCore
import PulseLog
import TestDoubles
import Testing

@Suite struct RetentionEdgeTests {
    private let minute = ShardBench.minute

    /// Flips a bit of a segment, and has it found.
    private func damage(_ bench: ShardBench, _ segment: String) throws {
        bench.directory.damage(segment) { $0[9000] ^= 0x10 }
        for _ in 0..<200 where !bench.shard.log.isDamaged {
            bench.pass(milliseconds: 10)
            guard let piece = bench.shard.scrubPiece(at: bench.now) else { continue }
            try piece.perform()
            _ = bench.shard.scrubbed(piece, failure: nil, at: bench.now)
        }
        #expect(bench.shard.log.isDamaged)
    }

    /// A dead letter whose record is gone.
    private func putStaleDeadRow(_ bench: ShardBench, _ channel: Channel, _ offset: Int64) throws {
        let stream = StreamID(topic: channel.topic, partition: PartitionID(0), lane: .normal)
        let row = DeadRow(
            deadStream: StreamID(topic: channel.topic, partition: PartitionID(0), lane: .dead),
            deadOffset: Offset(offset),
            stream: stream,
            offset: Offset(1_000_000),
            position: LogPosition(4096)
        )
        var batch = StateBatch()
        batch.put(row.key, row.value)
        try bench.store.write(batch)
    }

    @Test func damageMeetsRetentionAtRest() throws {
        let bench = try ShardBench.retaining()
        try bench.traffic(200)
        try putStaleDeadRow(bench, .email, 0)
        let victim = try #require(bench.shard.log.segments.dropFirst().first)
        try damage(bench, victim.name)
        bench.pass(milliseconds: 3 * minute)
        let end = bench.shard.log.appendPosition
        try bench.retain()
        #expect(bench.shard.log.appendPosition == end, "nothing is decided over damage")
        #expect(bench.shard.state.book.releasedBelow == 0)
        #expect(!bench.shard.wantsRetentionTurn)
    }

    @Test func whatCannotBeFoundIsStrandedAndTheRestGoesOn() throws {
        let bench = try ShardBench(segmentBytes: 32 << 10)
        for _ in 0..<120 { _ = try bench.accept(text: String(repeating: "x", count: 700)) }
        try bench.restart(.clean)
        let victim = try #require(bench.shard.log.segments.dropFirst().first)
        // The index of the segment cannot be read, and cannot be made again from it.
        bench.directory.damage(String(victim.name.dropLast(3)) + "idx") { bytes in
            for index in bytes.indices { bytes[index] ^= 0x10 }
        }
        bench.directory.damage(victim.name) { $0[9000] ^= 0x10 }
        _ = try bench.subscribe(credit: 1000)
        try bench.sync()
        let leases = try bench.dispatch(slots: 1000)
        let handouts = try bench.deal()
        for offsets in [leases.map(\.message.offset), handouts.map(\.lease.message.offset)] {
            #expect(offsets.count > 50 && offsets.count < 120, "\(offsets.count)")
            #expect(offsets.first == Offset(0) && offsets.last == Offset(119))
        }
        #expect(bench.shard.stranded.count == 240 - leases.count - handouts.count)
        #expect(bench.balance.isBalanced && Int(bench.balance.leased) == leases.count)
    }

    @Test func aGroupThatNobodyReadsLosesItsShareAmongManyThatWait() throws {
        let bench = try ShardBench.retaining(policy: RetentionPolicy(bytes: 192 << 10))
        let consumer = try bench.subscribe(credit: 0)
        try bench.sync()
        let due = bench.now.wall.advanced(byMilliseconds: 10_000 * minute)
        for _ in 0..<20 {
            for _ in 0..<100 { _ = try bench.submit(text: "far", deliverAt: due) }
            try bench.sync()
        }
        let end = bench.shard.log.appendPosition
        bench.shard.unsubscribe(consumer)
        bench.pass(milliseconds: 3 * minute)
        try bench.traffic()
        try bench.retain(turns: 300)
        #expect(bench.shard.log.firstPosition > end)
        #expect(try #require(bench.shard.state.groups.last).expired >= 2000)
        #expect(bench.balance.scheduled == 2000 && bench.balance.isBalanced)
    }

    @Test func whatAGroupLosesAtOnceIsBounded() throws {
        let bench = try ShardBench.retaining(segmentBytes: 2 << 20)
        let consumer = try bench.subscribe(credit: 0)
        try bench.sync()
        for _ in 0..<120 {
            for _ in 0..<100 { _ = try bench.submit(text: String(repeating: "x", count: 60)) }
            try bench.sync()
        }
        #expect(bench.shard.log.segments.count > 1)
        bench.shard.unsubscribe(consumer)
        bench.pass(milliseconds: 3 * minute)
        var most: UInt64 = 0
        var before: UInt64 = 0
        for _ in 0..<40 {
            try bench.retain(turns: 1)
            let expired = try #require(bench.shard.state.groups.last).expired
            most = max(most, expired - before)
            before = expired
        }
        #expect(before > 4096 && most > 0 && most <= 4096, "\(before) in all, \(most) at once")
    }

    /// A broker that is started again every few hours has groups that nobody reads, too.
    @Test func aStartIsNoReader() throws {
        let hour = 60 * minute
        let bench = try ShardBench(
            segmentBytes: 32 << 10,
            checkpointBytes: 16 << 10,
            window: 24 * hour,
            retention: 24 * hour
        )
        let consumer = try bench.subscribe(credit: 0)
        try bench.sync()
        try bench.traffic()
        bench.shard.unsubscribe(consumer)
        for _ in 0..<6 {
            for _ in 0..<10 {
                bench.pass(milliseconds: hour)
                try bench.traffic(20)
                try bench.retain(turns: 2)
            }
            try bench.restart(.clean)
        }
        #expect(try #require(bench.shard.state.groups.last).expired > 0)
        try bench.restart(.clean)
        for isAbandoned in [false, true] {
            try bench.retain(turns: 2)
            let group = try #require(bench.shard.state.groups.last)
            #expect(bench.shard.isAbandoned(group, at: bench.now) == isAbandoned)
            bench.pass(milliseconds: hour)
        }
    }

    @Test func itWaitsForAGroupThatIsBeingMade() throws {
        let bench = try ShardBench.retaining(policy: RetentionPolicy(bytes: 192 << 10))
        let due = bench.now.wall.advanced(byMilliseconds: 10_000 * minute)
        for _ in 0..<20 {
            for _ in 0..<100 { _ = try bench.submit(text: "far", deliverAt: due) }
            try bench.sync()
        }
        try bench.retain(turns: 3)
        #expect(bench.shard.wantsRetentionTurn)
        _ = try bench.subscribe(group: "new")
        let ticket = try #require(try bench.shard.flush(at: bench.now))
        try bench.shard.releaseOldSegments(at: bench.now)
        #expect(!bench.shard.wantsRetentionTurn, "nothing can be decided until it is durable")
        try bench.shard.log.performSync()
        try bench.shard.synced(ticket, at: bench.now)
        #expect(bench.shard.wantsRetentionTurn)
    }

    /// Many dead letters that stay are no reason to look at the others once in a while only.
    @Test func staleDeadLettersGoWhateverStays() throws {
        let bench = try ShardBench.retaining(segmentBytes: 1 << 20)
        for _ in 0..<7 {
            for _ in 0..<100 { _ = try bench.submit() }
            try bench.sync()
            for lease in try bench.dispatch(slots: 100) {
                let death = AttemptOutcome.dead(.payloadBad, code: 0, detail: "")
                try bench.shard.settle(lease.id, death, at: bench.now)
            }
            try bench.sync()
        }
        for offset in 0..<Int64(600) { try putStaleDeadRow(bench, .push, offset) }
        func deadRows() -> Int { bench.store.rows.count { $0.key.first == 0x64 } }
        #expect(deadRows() == 1300)
        bench.pass(milliseconds: 4000)
        try bench.retain(turns: 10)
        #expect(deadRows() == 700)
        #expect(bench.balance.dead == 700)
    }
}
