// A wall clock that jumps takes nothing away, and makes nothing stay for ever: spec/03-storage.md,
// "Clocks".

import PulseBroker
import PulseCore
import PulseLog
import TestDoubles
import Testing

@Suite struct SteadyClockTests {
    private static let minute: Int64 = 60_000
    private static let year: Int64 = 365 * 24 * 60 * 60_000

    private func bench(seed: UInt64 = 1) throws -> ShardBench {
        try ShardBench(
            seed: seed,
            retry: RetryPolicy(baseMs: 100, capMs: 1000, attemptsMax: 3),
            segmentBytes: 32 << 10,
            checkpointBytes: 2048,
            window: Self.minute,
            retention: Self.minute
        )
    }

    /// As many turns as retention needs to let go of everything it wants to.
    private func letGo(_ bench: ShardBench) throws {
        for _ in 0..<3 {
            bench.pass(milliseconds: 4000)
            try bench.shard.reachedTime(bench.now)
            try bench.shard.releaseOldSegments(at: bench.now)
            try bench.sync()
        }
    }

    private func fill(_ bench: ShardBench, key: String) throws -> NotificationID {
        let id = try bench.accept(key: key)
        for _ in 0..<150 { _ = try bench.accept(text: String(repeating: "x", count: 400)) }
        while true {
            let leases = try bench.dispatch(slots: 100)
            if leases.isEmpty { return id }
            for lease in leases {
                try bench.shard.settle(lease.id, .delivered(code: 250, detail: ""), at: bench.now)
            }
            try bench.sync()
        }
    }

    private func expectAllThere(_ bench: ShardBench, _ id: NotificationID, key: String) throws {
        #expect(bench.shard.log.firstNumber == 0, "no segment went")
        #expect(try bench.state(of: id) == .delivered)
        let again = try bench.submit(key: key)
        #expect(again.kind == .duplicate && again.id == id)
        #expect(try bench.submit(text: "other", key: key).kind == .conflict)
    }

    @Test(arguments: [false, true])
    func aJumpForwardTakesNothing(restarts: Bool) throws {
        let bench = try bench()
        let id = try fill(bench, key: "k")
        bench.setClock(byMilliseconds: Self.year)
        try letGo(bench)
        try expectAllThere(bench, id, key: "k")
        if restarts { try bench.restart(.powerCut) }
        try letGo(bench)
        try expectAllThere(bench, id, key: "k")
        #expect(bench.shard.takeClockEvents().count == (restarts ? 0 : 1))
        try bench.expectReplayGivesTheSame("the clock is part of the fold")
        // What is written by the wrong clock does not stay until its year has come.
        bench.pass(milliseconds: 2 * Self.minute)
        try letGo(bench)
        #expect(bench.shard.log.firstNumber > 0, "it goes in its own time")
        #expect(try bench.submit(key: "k").kind == .accepted)
    }

    @Test func aClockThatIsPutRightAgainIsForgotten() throws {
        for restarts in [false, true] {
            let bench = try bench()
            bench.setClock(byMilliseconds: Self.year)
            let id = try fill(bench, key: "k")
            try letGo(bench)
            bench.setClock(byMilliseconds: -Self.year)
            if restarts { try bench.restart(.kill) }
            try letGo(bench)
            try expectAllThere(bench, id, key: "k")
            let new = try fill(bench, key: "n")
            bench.pass(milliseconds: 50_000)
            #expect(
                try bench.submit(key: "k").kind == .accepted,
                "a minute is over; twelve seconds may not count at a start"
            )
            try bench.sync()
            #expect(try bench.submit(key: "n").id == new)
            try bench.expectReplayGivesTheSame("restarts: \(restarts)")
            bench.pass(milliseconds: 2 * Self.minute)
            try letGo(bench)
            #expect(bench.shard.log.firstNumber > 0)
        }
    }

    /// A board without a battery begins in 1970, and hears the time a little later.
    @Test func aStartInThePastTakesNothingOnceTheTimeIsHeard() throws {
        let bench = try bench()
        let old = try fill(bench, key: "old")
        bench.setClock(byMilliseconds: -50 * Self.year)
        try bench.restart(.powerCut)
        let id = try fill(bench, key: "k")
        bench.setClock(byMilliseconds: 50 * Self.year)
        try letGo(bench)
        try expectAllThere(bench, id, key: "k")
        try expectAllThere(bench, old, key: "old")
    }

    @Test func aStartFarAheadAgesNothingUntilTheClockIsTrusted() throws {
        let bench = try bench()
        bench.configuration.clockTrustMilliseconds = 10 * Self.minute
        bench.configuration.retentionMilliseconds = 60 * Self.minute
        bench.configuration.idempotencyWindowMilliseconds = 60 * Self.minute
        let id = try fill(bench, key: "k")
        bench.setClock(byMilliseconds: Self.year)
        try bench.restart(.powerCut)
        let events = bench.shard.takeClockEvents()
        #expect(events == [.foundAtStart(milliseconds: Self.year)])
        #expect(bench.shard.unconfirmedMilliseconds == Self.year)
        try letGo(bench)
        try expectAllThere(bench, id, key: "k")
        bench.pass(milliseconds: 9 * Self.minute)
        try letGo(bench)
        try expectAllThere(bench, id, key: "k")
        // It was a year on the shelf.
        bench.pass(milliseconds: Self.minute)
        try letGo(bench)
        #expect(bench.shard.takeClockEvents() == [.confirmed(milliseconds: Self.year)])
        #expect(bench.shard.log.firstNumber > 0)
        #expect(try bench.submit(key: "k").kind == .accepted)
    }

    @Test func aStartFarAheadThatIsPutRightTakesNothing() throws {
        let bench = try bench()
        bench.configuration.clockTrustMilliseconds = 10 * Self.minute
        let id = try fill(bench, key: "k")
        bench.setClock(byMilliseconds: Self.year)
        try bench.restart(.powerCut)
        try letGo(bench)
        bench.setClock(byMilliseconds: -Self.year)
        try letGo(bench)
        #expect(bench.shard.unconfirmedMilliseconds == 0)
        try expectAllThere(bench, id, key: "k")
    }

    @Test func aGroupThatNobodyReadsIsNotGivenUpByAJump() throws {
        let bench = try bench()
        _ = try bench.subscribe(credit: 0)
        try bench.sync()
        _ = try fill(bench, key: "k")
        try bench.restart(.kill)
        bench.setClock(byMilliseconds: Self.year)
        try letGo(bench)
        #expect(bench.shard.takeLosers().isEmpty)
        #expect(bench.shard.state.groups.allSatisfy { $0.expired == 0 })
        bench.pass(milliseconds: 2 * Self.minute)
        try letGo(bench)
        #expect(bench.shard.state.groups.contains { $0.expired > 0 }, "in its own time it is")
    }

    @Test func manySmallStepsTakeNoMoreThanOne() throws {
        let bench = try bench()
        let id = try fill(bench, key: "k")
        for _ in 0..<200 {
            bench.setClock(byMilliseconds: 900)
            try bench.shard.reachedTime(bench.now)
            try bench.sync()
        }
        #expect(bench.shard.state.clock.steps.count == Limits.clockStepsMax)
        try expectAllThere(bench, id, key: "k")
        let bytes = bench.shard.state.encoded()
        #expect(bytes[0] == 4 && ShardState(encoded: bytes)?.encoded() == bytes)
        for length in 0..<bytes.count {
            #expect(ShardState(encoded: Array(bytes[..<length])) == nil)
        }
    }
}
