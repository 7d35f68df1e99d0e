// Stories of consumer groups: subscribing, credit, going away, rejecting.

import PulseBroker
import PulseCore
import PulseLog
import TestDoubles
import Testing

@Suite struct ShardConsumerTests {
    @Test func aConsumerThatGoesAwayGivesBackWithoutAnAttempt() throws {
        let bench = try ShardBench()
        let id = try bench.subscribe()
        try bench.sync()
        _ = try bench.accept(user: "a")
        _ = try bench.accept(user: "b", lane: .bulk)
        let first = try bench.deal()
        #expect(
            first.count == 2 && first.allSatisfy { $0.subscription == id && $0.lease.attempt == 1 }
        )
        bench.shard.connectionClosed(ConnectionID(1))
        bench.shard.checkInvariants()
        #expect(bench.shard.leases.count == 0)
        _ = try bench.subscribe(connection: 2)
        let second = try bench.deal()
        #expect(Set(second.map(\.lease.message)) == Set(first.map(\.lease.message)))
        #expect(second.allSatisfy { $0.lease.attempt == 1 })
        for handout in first {
            let stale = bench.shard.lease(
                token: handout.lease.id,
                stream: handout.lease.message.stream,
                offset: handout.lease.message.offset,
                of: id
            )
            #expect(stale == nil, "the old token is stale")
        }
    }

    @Test func creditIsNeverExceeded() throws {
        let bench = try ShardBench()
        let id = try bench.subscribe(credit: 2)
        try bench.sync()
        for _ in 0..<5 { _ = try bench.accept() }
        #expect(try bench.deal().count == 2)
        #expect(try bench.deal().isEmpty)
        bench.shard.addCredit(1, to: id)
        #expect(try bench.deal().count == 1)
        bench.shard.addCredit(-5, to: id)
        bench.shard.addCredit(.max, to: id)
        #expect(try bench.deal().count == 2)
    }

    @Test func groupsBeginWhereTheyWereAskedTo() throws {
        let bench = try ShardBench()
        for _ in 0..<3 { _ = try bench.accept() }
        _ = try bench.subscribe(connection: 1, group: "all")
        _ = try bench.subscribe(connection: 2, group: "new", fromEnd: true)
        try bench.sync()
        #expect(try bench.deal().map(\.subscription.connection.rawValue) == [1, 1, 1])
        _ = try bench.accept()
        #expect(try bench.deal().map(\.subscription.connection.rawValue).sorted() == [1, 2])
        try bench.expectReplayGivesTheSame()
    }

    /// The group is created in the same turn as the first record of a lane.
    @Test func aGroupCreatedInTheTurnOfALanesFirstRecordSeesIt() throws {
        let bench = try ShardBench()
        _ = try bench.submit(lane: .high)
        _ = try bench.subscribe()
        try bench.sync()
        #expect(try bench.deal().count == 1, "a group from the start begins with the first record")
    }

    /// One member only takes critical ones; the other must not wait for it.
    @Test func aMemberWithOtherLanesDoesNotBlockTheGroup() throws {
        let bench = try ShardBench()
        _ = try bench.subscribe(connection: 1, lanes: 0b0001)
        let other = try bench.subscribe(connection: 2, lanes: 0b1000)
        try bench.sync()
        _ = try bench.accept(lane: .bulk)
        #expect(try bench.deal().map(\.subscription) == [other])
    }

    /// Bulk moves for consumers too, however much critical work there is.
    @Test func aConsumerOfAllLanesGetsBulkAmongACriticalFlood() throws {
        let bench = try ShardBench()
        let id = try bench.subscribe(credit: 10)
        try bench.sync()
        _ = try bench.accept(lane: .bulk)
        var gotBulk = false
        for _ in 0..<60 where !gotBulk {
            for _ in 0..<10 { _ = try bench.submit(lane: .critical) }
            try bench.sync()
            for handout in try bench.deal() {
                gotBulk = gotBulk || handout.lease.message.stream.lane == .bulk
                try bench.shard.settle(
                    handout.lease.id,
                    .delivered(code: 0, detail: ""),
                    at: bench.now
                )
                bench.shard.addCredit(1, to: id)
            }
            try bench.sync()
        }
        #expect(gotBulk, "600 critical ones went by")
    }

    @Test func aRejectedOneComesBackWhenAsked() throws {
        let bench = try ShardBench()
        _ = try bench.subscribe()
        try bench.sync()
        _ = try bench.accept()
        let first = try #require(try bench.deal().first)
        try bench.shard.settle(
            first.lease.id,
            .retry(afterMilliseconds: 700, reason: .rejected, code: 0, detail: "busy"),
            at: bench.now
        )
        try bench.sync()
        bench.pass(milliseconds: 699)
        #expect(try bench.deal().isEmpty)
        bench.pass(milliseconds: 2)
        let second = try #require(try bench.deal().first)
        #expect(second.lease.attempt == 2 && second.lease.message == first.lease.message)
        #expect(bench.balance.ready == 1, "another group's consumer does not touch the ledger")
        // It survives a restart as a row of its own.
        try bench.restart()
        bench.pass(milliseconds: 2)
        _ = try bench.subscribe(connection: 9)
        #expect(try bench.deal().first?.lease.message == first.lease.message)
    }

    /// A consumer that rejects for ever must not bring the broker down: attempts have 16 bits.
    @Test func sixtyFiveThousandRejectionsAreSurvived() throws {
        let bench = try ShardBench()
        _ = try bench.subscribe()
        try bench.sync()
        let id = try bench.accept()
        let lease = try #require(try bench.deal().first).lease
        bench.shard.connectionClosed(ConnectionID(1))
        // The 65,535th rejection, written as the shard would have.
        let step = Command.Step(
            message: lease.message,
            attempt: .max,
            previous: try bench.story(id).recordPosition,
            origin: .fresh,
            heldDue: 0
        )
        var body: [UInt8] = []
        Command.held(step, due: bench.now.wall, reason: .rejected, code: 0, detail: "no")
            .append(to: &body)
        try body.withUnsafeBytes {
            _ = try bench.shard.log.append(
                .command,
                stream: .none,
                baseOffset: Offset(0),
                recordCount: 0,
                at: bench.now.wall,
                keys: [],
                body: $0
            )
        }
        try bench.sync()
        try bench.restart()
        bench.pass(milliseconds: 10)
        _ = try bench.subscribe(connection: 2)
        let again = try #require(try bench.deal().first).lease
        #expect(again.message == lease.message && again.attempt == .max, "counts no further")
        bench.shard.connectionClosed(ConnectionID(2))
        bench.shard.checkInvariants()
    }
}
