// A wall clock that somebody sets, forward and back: spec/03-storage.md, "Clocks".

import PulseBroker
import PulseCore
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
}
