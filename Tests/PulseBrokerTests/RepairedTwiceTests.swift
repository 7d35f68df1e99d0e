// What a repair finds that is not the first, or that comes to a store which knows more than the log: the
// shard starts, and the operator is never left with a log and a store that do not go together.

import PulseBroker
import PulseCore
import PulseLog
import TestDoubles
import Testing

@Suite struct RepairedTwiceTests {
    /// The entry of the first command that is asked for.
    private func entry(
        _ bench: ShardBench,
        from start: LogPosition = .zero,
        _ isIt: (Command) -> Bool
    ) throws -> LogPosition {
        var found: LogPosition?
        try bench.shard.log.scan(from: start) { header, body in
            guard header.kind == .command else { return true }
            _ = Command.forEach(in: body) { if isIt($0) { found = found ?? header.position } }
            return found == nil
        }
        return try #require(found)
    }

    private func place(
        _ bench: ShardBench,
        _ position: LogPosition
    ) throws -> (name: String, byte: Int) {
        let segment = try #require(bench.shard.log.segments.last { $0.base <= position })
        return (segment.name, Int(position.rawValue - segment.base.rawValue))
    }

    private func repair(_ bench: ShardBench, _ reach: StoreReach? = nil) throws {
        let plan = try LogRepair.plan(bench.directory, reach)
        #expect(!plan.isClean)
        _ = try LogRepair.perform(
            plan,
            in: bench.directory,
            trash: MemoryDirectory(),
            stamp: "S",
            at: bench.now.wall
        )
    }

    private func lose(_ bench: ShardBench, _ position: LogPosition) throws {
        let (name, byte) = try place(bench, position)
        try bench.restart(.clean)
        bench.directory.damage(name) { $0[byte + 10] ^= 1 }
        try repair(bench)
    }

    /// Two notifications that wait for another attempt, and one that is delivered at once.
    private func waiting() throws -> (ShardBench, [NotificationID]) {
        let bench = try ShardBench(checkpointBytes: 1 << 30)
        let ids = try (0..<3).map { try bench.accept(user: "u\($0)") }
        for (number, lease) in try bench.dispatch(slots: 3).enumerated() {
            try bench.shard.settle(
                lease.id,
                number < 2
                    ? .retry(afterMilliseconds: 60_000, reason: .backoff, code: 451, detail: "")
                    : .delivered(code: 250, detail: ""),
                at: bench.now
            )
            try bench.sync()
        }
        return (bench, ids)
    }

    /// The first repair was settled; then a wait from before it ends, and a second repair gives up where it
    /// began. Behind the first settling too, commands speak of what a gap has swallowed.
    @Test func aSecondRepairBeforeTheFirstOne() throws {
        let (bench, ids) = try waiting()
        try lose(bench, try entry(bench) { if case .delivered = $0 { true } else { false } })
        try bench.restart()
        bench.pass(milliseconds: 120_000)
        try bench.deliverAll()
        #expect(try bench.state(of: ids[0]) == .delivered)
        _ = try bench.accept(user: "later")
        try lose(bench, try entry(bench) { if case .held = $0 { true } else { false } })
        bench.store = MemoryStore()
        try bench.restart()
        #expect(bench.shard.state.oddities > 0)
        #expect(bench.balance.isBalanced, "\(bench.balance)")
        bench.pass(milliseconds: 120_000)
        try bench.deliverAll()
        let balance = bench.balance
        #expect(balance.ready + balance.held + balance.leased == 0 && balance.isBalanced)
        let state = SavedState(bench.shard.state)
        bench.store = MemoryStore()
        try bench.restart()
        #expect(bench.shard.restored?.state == state)
    }

    /// Nothing in the log vouches for its newest entries, and they are gone; the store has them.
    @Test func whatOnlyTheStoreKnowsOfIsAGapToo() throws {
        let (bench, _) = try waiting()
        let first = try bench.accept(user: "told")
        let due = bench.now.wall.advanced(byMilliseconds: 3_600_000)
        let last = try bench.accept(user: "due", deliverAt: due)
        let story = try bench.story(first)
        let (name, byte) = try place(bench, story.recordPosition)
        let end = bench.shard.log.appendPosition
        try bench.shard.checkpoint()
        bench.directory.damage(name) { bytes in
            for at in byte..<bytes.count { bytes[at] = 0 }
        }
        try bench.store.flush()
        let reach = try #require(try Shard.reach(of: bench.store))
        #expect(reach.position == end)
        #expect(throws: ShardError.self) { try bench.restart() }
        #expect(try LogRepair.plan(bench.directory).isClean)
        // Another log's store says nothing.
        let other = StoreReach(identity: LogIdentity(high: 1, low: 2), position: end)
        #expect(try LogRepair.plan(bench.directory, other).isClean)
        let plan = try LogRepair.plan(bench.directory, reach)
        #expect(plan.gaps.map(\.position) == [story.recordPosition])
        #expect(plan.gaps.last?.to == end)
        try repair(bench, reach)
        #expect(try LogRepair.plan(bench.directory, reach).isClean)
        try bench.restart()
        #expect(bench.balance.isBalanced && bench.balance.lost > 0, "\(bench.balance)")
        for id in [first, last] {
            #expect(throws: ShardError.self) { try bench.state(of: id) }
        }
        let next = try bench.accept(user: "next")
        #expect(next != first && next != last)
        try bench.restart()
    }

    /// What is lost, or was only left out, is over for a group that begins later too.
    @Test func aGroupThatComesLaterWaitsForNothingThatIsLost() throws {
        let (bench, ids) = try waiting()
        let (name, byte) = try place(bench, try bench.story(ids[1]).recordPosition)
        let (_, newest) = try place(bench, try bench.story(ids[2]).recordPosition)
        try bench.restart(.clean)
        for byte in [byte, newest] { bench.directory.damage(name) { $0[byte + 10] ^= 1 } }
        try repair(bench)
        bench.store = MemoryStore()
        try bench.restart()
        let next = try bench.accept(user: "next")
        _ = try bench.subscribe(group: "late")
        try bench.sync()
        _ = try bench.accept(user: "more")
        #expect(try bench.shard.bookFault() == nil)
        let group = try #require(
            bench.shard.state.group(named: "late", on: Channel.email.topic)
        )
        #expect(group.streams.reduce(0) { $0 + $1.progress.openCount } == 3)
        let given = try bench.deal().map(\.lease.message.offset)
        #expect(given.count == 3)
        #expect(try bench.state(of: next) == .ready)
        try bench.restart()
    }

    /// A row was written before its command was lost, and the saved state is older than both.
    @Test func aRowThatIsThereMovesItsMessage() throws {
        let bench = try ShardBench(checkpointBytes: 1 << 30)
        let id = try bench.accept()
        let lease = try #require(try bench.dispatch().first)
        try bench.shard.checkpoint()
        let saved = try bench.store.get(Shard.checkpointKey)
        try bench.shard.settle(
            lease.id,
            .retry(afterMilliseconds: 60_000, reason: .backoff, code: 451, detail: ""),
            at: bench.now
        )
        try bench.sync()
        _ = try bench.accept(user: "behind")
        let held = try entry(bench) { if case .held = $0 { true } else { false } }
        try lose(bench, held)
        var batch = StateBatch()
        batch.put(Shard.checkpointKey, try #require(saved))
        try bench.store.write(batch)
        try bench.store.flush()
        try bench.restart(.powerCut)
        #expect(try bench.state(of: id) == .held)
        #expect(bench.balance.held == 1 && bench.balance.ready == 1 && bench.balance.isBalanced)
        bench.pass(milliseconds: 120_000)
        try bench.deliverAll()
        #expect(try bench.state(of: id) == .delivered)
        #expect(bench.balance.delivered == 2 && bench.balance.isBalanced)
    }

    /// A kept record that only a group of which nothing is known any more has not finished.
    @Test func aKeptRecordOfALostGroupGoes() throws {
        let bench = try ShardBench.retaining(checkpointBytes: 1 << 30)
        let filler = try bench.accept(user: "filler")
        let subscription = try bench.subscribe(credit: 0)
        try bench.sync()
        let id = try bench.accept(text: "kept")
        let (position, offset) = (try bench.story(id).recordPosition, try bench.story(id).offset)
        bench.shard.addCredit(10_000, to: subscription)
        for _ in 0..<3 {
            try bench.traffic(100)
            for handout in try bench.deal() where handout.lease.message.offset != offset {
                try bench.shard.settle(
                    handout.lease.id,
                    .delivered(code: 0, detail: ""),
                    at: bench.now
                )
            }
            try bench.sync()
            bench.pass(milliseconds: ShardBench.minute)
        }
        try bench.deliverAll()
        #expect(filler != id)
        for _ in 0..<30 {
            bench.pass(milliseconds: 1)
            try bench.shard.releaseOldSegments(at: bench.now)
            guard let ticket = try bench.shard.flush(at: bench.now) else { continue }
            try bench.shard.log.performSync()
            try bench.shard.synced(ticket, at: bench.now)
        }
        try bench.traffic(20)
        #expect(bench.shard.state.book.keptRecords > 0)
        #expect(bench.shard.log.firstPosition <= position)
        let created = try entry(bench) {
            if case .groupCreated(_, _, let name, _) = $0 { name == "audit" } else { false }
        }
        try lose(bench, created)
        bench.store = MemoryStore()
        try bench.restart()
        #expect(bench.shard.state.book.keptRecords > 0)
        bench.pass(milliseconds: 3 * ShardBench.minute)
        try bench.traffic(100)
        try bench.retain(turns: 120)
        #expect(bench.shard.state.book.keptRecords == 0)
        let left = bench.store.rows.filter { [0x6B, 0x78, 0x79, 0x77].contains($0.key[0]) }
        #expect(left.isEmpty)
    }
}
