// Taking a notification back: possible until somebody has it, the same whenever it is asked.

import PulseBroker
import PulseCore
import Testing

@Suite struct CancelTests {
    private func cancelled(_ bench: ShardBench, _ id: NotificationID) throws -> Bool {
        guard case .cancelled = try bench.shard.cancel(id, at: bench.now) else { return false }
        return true
    }

    @Test(arguments: ["scheduled", "held", "ready", "due", "given back"])
    func whatNobodyHasIsTakenBack(_ why: String) throws {
        let bench = try ShardBench()
        let soon = bench.now.wall.advanced(byMilliseconds: 5000)
        let id = try bench.accept(
            deliverAt: ["scheduled", "due"].contains(why) ? soon : nil
        )
        let after = try bench.accept(user: "bob")
        switch why {
        case "held":
            for lease in try bench.dispatch(slots: 2) where lease.message.offset == Offset(0) {
                try bench.shard.settle(
                    lease.id,
                    .retry(afterMilliseconds: 5000, reason: .backoff, code: 451, detail: ""),
                    at: bench.now
                )
            }
            try bench.sync()
        case "due":
            bench.pass(milliseconds: 6000)
            try bench.shard.reachedTime(bench.now)
            #expect(try bench.state(of: id) == .ready)
        default: break
        }
        #expect(try cancelled(bench, id))
        #expect(try cancelled(bench, id), "asked again before it is durable")
        try bench.sync()
        #expect(try bench.state(of: id) == .cancelled)
        #expect(try cancelled(bench, id), "and after")
        #expect(bench.balance.cancelled == 1 && bench.balance.isBalanced)
        bench.pass(milliseconds: 10_000)
        let leases = try bench.dispatch(slots: 10)
        #expect(!leases.contains { $0.message.offset == Offset(0) }, "it is never given out")
        try bench.restart(.powerCut)
        #expect(try bench.state(of: id) == .cancelled)
        #expect(try bench.state(of: after) != .cancelled)
        bench.pass(milliseconds: 10_000)
        #expect(try bench.dispatch(slots: 10).allSatisfy { $0.message.offset != Offset(0) })
        #expect(try bench.story(id).steps.last?.command.name == "cancelled")
        try bench.expectReplayGivesTheSame()
    }

    @Test func whatIsLeasedOrEndedIsNot() throws {
        let bench = try ShardBench()
        let id = try bench.accept()
        let lease = try #require(try bench.dispatch().first)
        #expect(try bench.shard.cancel(id, at: bench.now) == .refused(.leased))
        try bench.shard.settle(lease.id, .delivered(code: 250, detail: ""), at: bench.now)
        #expect(try bench.shard.cancel(id, at: bench.now) == .refused(.leased))
        try bench.sync()
        #expect(try bench.shard.cancel(id, at: bench.now) == .refused(.delivered))
        #expect(bench.balance.cancelled == 0)
        let nothing = NotificationID(high: 1, low: 2)
        #expect(try bench.shard.cancel(nothing, at: bench.now) == .unknown)
    }

    /// A cancel that died with its turn never happened.
    @Test func aCancelThatWasNotDurableNeverHappened() throws {
        let bench = try ShardBench()
        let id = try bench.accept(deliverAt: bench.now.wall.advanced(byMilliseconds: 5000))
        #expect(try cancelled(bench, id))
        try bench.restart(.powerCut)
        #expect(try bench.state(of: id) == .scheduled)
        bench.pass(milliseconds: 6000)
        #expect(try bench.dispatch().count == 1)
    }
}
