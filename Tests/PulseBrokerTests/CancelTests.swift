// Taking a notification back: possible until somebody has it, the same whenever it is asked.

import PulseBroker
import PulseCore
import PulseLog
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
        case "given back":
            // To a holder that went away: it is ready again, behind the cursor.
            _ = try bench.subscribe(group: GroupState.deliveryName, credit: 1)
            #expect(try bench.deal().map(\.lease.message.offset) == [Offset(0)])
            #expect(try bench.state(of: id) == .leased)
            bench.shard.connectionClosed(ConnectionID(1))
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

    /// Its delivery ended, its record lives on for another group, and the entry that told the end is gone.
    @Test func whatWasDeliveredLongAgoIsNot() throws {
        let bench = try ShardBench.retaining()
        let consumer = try bench.subscribe(credit: 0)
        try bench.sync()
        let id = try bench.accept()
        let record = try bench.story(id)
        try bench.deliverAll()
        bench.shard.addCredit(10_000, to: consumer)
        try bench.traffic()
        // All others are acknowledged, so that little of the segment is open.
        for handout in try bench.deal() where handout.lease.message.offset != record.offset {
            try bench.shard.settle(
                handout.lease.id,
                .delivered(code: 0, detail: ""),
                at: bench.now
            )
        }
        try bench.sync()
        bench.pass(milliseconds: 3 * ShardBench.minute)
        try bench.retain()
        #expect(bench.shard.state.book.keptRecords == 1)
        #expect(bench.shard.log.firstPosition > record.recordPosition)
        #expect(try !cancelled(bench, id))
        try bench.sync()
        #expect(bench.balance.cancelled == 0 && bench.balance.isBalanced)
        try bench.restart(.powerCut)
        #expect(bench.balance.cancelled == 0 && bench.balance.isBalanced)
    }

    @Test func aRecordThatWasMovedIsTakenBack() throws {
        let bench = try ShardBench.retaining()
        let due = bench.now.wall.advanced(byMilliseconds: 600 * ShardBench.minute)
        let id = try bench.accept(deliverAt: due)
        let record = try bench.story(id)
        try bench.traffic()
        bench.pass(milliseconds: 3 * ShardBench.minute)
        try bench.retain()
        #expect(bench.shard.log.firstPosition > record.recordPosition)
        #expect(try cancelled(bench, id))
        try bench.sync()
        try bench.restart(.powerCut)
        #expect(try bench.state(of: id) == .cancelled)
        bench.pass(milliseconds: 600 * ShardBench.minute)
        #expect(try bench.dispatch().isEmpty)
        // What is left of it goes like all that ended.
        try bench.traffic(100)
        bench.pass(milliseconds: 3 * ShardBench.minute)
        try bench.retain(turns: 80)
        #expect(bench.shard.state.book.keptRecords == 0)
        #expect(try bench.state(of: id) == nil)
    }

    @Test func manyCancelsTakeNoWorkersPlace() throws {
        let bench = try ShardBench()
        var ids: [NotificationID] = []
        for _ in 0..<8 { ids.append(try bench.accept()) }
        for id in ids.prefix(4) { #expect(try cancelled(bench, id)) }
        #expect(bench.shard.leasesOfWorkers(.email) == 0)
        #expect(try bench.dispatch(slots: 4).count == 4)
        #expect(bench.balance.cancelled == 4 && bench.balance.leased == 4)
    }
}
