// A wall clock that somebody sets, forward and back: spec/03-storage.md, "Clocks".

import PulseBroker
import PulseCore
import PulseLog
import TestDoubles
import Testing

@Suite struct ClockTests {
    private static let hour: Int64 = 3_600_000
    private let patient = RetryPolicy(baseMs: 10_000, factor: 1, capMs: 10_000, attemptsMax: 5)

    private func reject(_ lease: Lease, after milliseconds: Int64, on bench: ShardBench) throws {
        try bench.shard.settle(
            lease.id,
            .retry(afterMilliseconds: milliseconds, reason: .backoff, code: 451, detail: "later"),
            at: bench.now
        )
        try bench.sync()
    }

    @Test(arguments: [false, true])
    func aRetryNeverWaitsLongerThanItsOwnDelay(restarts: Bool) throws {
        let bench = try ShardBench(retry: patient)
        let id = try bench.accept()
        try reject(try #require(try bench.dispatch().first), after: 8000, on: bench)
        bench.pass(milliseconds: 3000)
        bench.setClock(byMilliseconds: -5 * Self.hour)
        if restarts { try bench.restart(.powerCut) }
        #expect(try bench.dispatch().isEmpty)
        bench.pass(milliseconds: 7000)
        #expect(
            try bench.dispatch().isEmpty,
            "not before its delay, from when the clock was seen set"
        )
        bench.pass(milliseconds: 1100)
        let again = try bench.dispatch()
        #expect(again.map(\.attempt) == [2], "five hours are the clock's, not the message's")
        try bench.shard.settle(
            try #require(again.first).id,
            .delivered(code: 250, detail: "ok"),
            at: bench.now
        )
        try bench.sync()
        #expect(try bench.state(of: id) == .delivered)
        bench.setClock(byMilliseconds: -Self.hour)
        bench.pass(milliseconds: 10 * Self.hour)
        #expect(try bench.dispatch().isEmpty, "what was delivered stays delivered")
    }

    @Test func whatAPersonScheduledWaitsForItsTime() throws {
        let bench = try ShardBench(retry: patient)
        _ = try bench.accept(deliverAt: bench.now.wall.advanced(byMilliseconds: 8000))
        bench.setClock(byMilliseconds: -Self.hour)
        bench.pass(milliseconds: 60_000)
        #expect(try bench.dispatch().isEmpty)
        bench.pass(milliseconds: Self.hour)
        #expect(try bench.dispatch().count == 1)
    }

    @Test func aJumpForwardReleasesNoMoreThanThereAreSlotsAndCredits() throws {
        let bench = try ShardBench(retry: patient)
        let due = bench.now.wall.advanced(byMilliseconds: Self.hour)
        for number in 0..<100 { _ = try bench.accept(user: "u\(number)", deliverAt: due) }
        bench.setClock(byMilliseconds: 2 * Self.hour)
        // The wheels are laid out anew, and turn with the next tick.
        let first = try bench.dispatch(slots: 8)
        bench.pass(milliseconds: 100)
        let second = try bench.dispatch(slots: 8)
        #expect(first.count + second.count == 8)
        #expect(try bench.dispatch(slots: 8).isEmpty, "the others wait for a slot")
        _ = try bench.subscribe(credit: 5)
        try bench.sync()
        #expect(try bench.deal().count <= 5)
    }

    // MARK: - A clock that was a year ahead

    private static let year: Int64 = 365 * 86_400_000

    /// The entry that began the wait is gone with its segment: the row knows when that was.
    @Test(arguments: [false, true])
    func aRetryWhoseSegmentWasReleasedNeverWaitsLongerThanItsOwnDelay(restarts: Bool) throws {
        let bench = try ShardBench.retaining(policy: RetentionPolicy(bytes: 160 << 10))
        bench.setClock(byMilliseconds: Self.year)
        let id = try bench.accept()
        let lease = try #require(try bench.dispatch().first)
        try reject(lease, after: Self.hour, on: bench)
        let row = try #require(try bench.shard.waitingRow(of: lease.message))
        #expect(row.since == bench.now.wall)
        try bench.traffic(1000)
        try bench.retain()
        #expect(bench.shard.log.firstPosition > row.position, "its entry is gone")
        bench.setClock(byMilliseconds: -Self.year)
        if restarts { try bench.restart(.powerCut) }
        #expect(try bench.dispatch().isEmpty)
        bench.pass(milliseconds: Self.hour - 1000)
        #expect(try bench.dispatch().isEmpty, "not before its delay")
        bench.pass(milliseconds: 1100)
        #expect(try bench.dispatch().map(\.attempt) == [2])
        #expect(try bench.state(of: id) != .held)
    }

    /// Rows of the version before have to ask the log.
    @Test func anOldRowAsksTheLog() throws {
        let bench = try ShardBench(retry: patient)
        bench.setClock(byMilliseconds: Self.year)
        _ = try bench.accept()
        let lease = try #require(try bench.dispatch().first)
        try reject(lease, after: 8000, on: bench)
        var row = try #require(try bench.shard.waitingRow(of: lease.message))
        row.since = nil
        var batch = StateBatch()
        batch.put(row.key, row.value)
        try bench.store.write(batch)
        try bench.store.flush()
        bench.setClock(byMilliseconds: -Self.year)
        try bench.restart(.clean)
        #expect(try bench.shard.waitingRow(of: lease.message) == row)
        #expect(try bench.dispatch().isEmpty)
        bench.pass(milliseconds: 8100)
        #expect(try bench.dispatch().map(\.attempt) == [2])
    }

    /// More wait for nearer times than fit into memory; and the memory is laid out anew now and then.
    @Test(arguments: [1, 2, 5, 1000])
    func aRetryFromAWrongYearIsFoundBehindManyOthers(limit: Int) throws {
        let bench = try ShardBench(retry: patient, heldInMemoryMax: limit)
        bench.setClock(byMilliseconds: Self.year)
        for _ in 0..<3 { _ = try bench.submit() }
        try bench.sync()
        let leases = try bench.dispatch()
        for lease in leases { try reject(lease, after: 600_000, on: bench) }
        bench.setClock(byMilliseconds: -Self.year)
        #expect(try bench.dispatch().isEmpty)
        let due = bench.now.wall.advanced(byMilliseconds: 30 * 24 * Self.hour)
        for number in 0..<20 {
            _ = try bench.accept(user: "u\(number)", deliverAt: due)
            bench.pass(milliseconds: 20_000)
            #expect(try bench.dispatch().isEmpty)
        }
        var found = 0
        for _ in 0..<30 {
            bench.pass(milliseconds: 10_000)
            let again = try bench.dispatch()
            found += again.count
            for lease in again {
                #expect(lease.attempt == 2)
                try reject(lease, after: 100 * 24 * Self.hour, on: bench)
            }
        }
        #expect(found == 3, "a clock laid out anew does not begin the delay anew")
        bench.pass(milliseconds: 31 * 24 * Self.hour)
        var others = 0
        for _ in 0..<200 {
            bench.pass(milliseconds: 10)
            for lease in try bench.dispatch() {
                others += 1
                try bench.shard.settle(
                    lease.id,
                    .delivered(code: 250, detail: ""),
                    at: bench.now
                )
            }
            try bench.sync()
        }
        #expect(others == 20)
    }
}
