// Stories of single notifications: what happens, and what the shard must say about it.

import PulseBroker
import PulseCore
import PulseLog
import TestDoubles
import Testing

@Suite struct ShardStoryTests {
    private let failed = AttemptOutcome.retry(
        afterMilliseconds: nil,
        reason: .backoff,
        code: 451,
        detail: "try later"
    )

    // MARK: - From door to door

    @Test func submitSyncDispatchSettle() throws {
        let bench = try ShardBench()
        let outcome = try bench.submit()
        #expect(outcome.kind == .accepted)
        #expect(outcome.durableAt > bench.shard.log.durablePosition, "not durable before the sync")
        #expect(try bench.state(of: outcome.id) == nil, "not visible before the sync")
        #expect(bench.balance.accepted == 0)
        try bench.sync()
        #expect(outcome.durableAt <= bench.shard.log.durablePosition)
        #expect(try bench.state(of: outcome.id) == .ready)

        try bench.shard.dispatch(.email, slots: 8, at: bench.now)
        #expect(bench.shard.takeOpened().isEmpty, "no call before the intent is durable")
        #expect(try bench.state(of: outcome.id) == .leased)
        try bench.sync()
        let lease = try #require(bench.shard.takeOpened().first)
        #expect(lease.attempt == 1)
        #expect(bench.balance.leased == 1 && bench.balance.ready == 0)

        #expect(
            try bench.shard.settle(lease.id, .delivered(code: 250, detail: "ok"), at: bench.now)
        )
        #expect(try bench.state(of: outcome.id) == .leased, "delivered only with the sync")
        try bench.sync()
        let story = try bench.story(outcome.id)
        #expect(story.state == .delivered && story.attempts == 1)
        #expect(story.steps.map(\.command.name) == ["intent", "delivered"])
        #expect(bench.balance.delivered == 1 && bench.balance.leased == 0)
        #expect(try bench.dispatch().isEmpty)
        try bench.expectReplayGivesTheSame()
    }

    @Test func retriesUntilDeadWithExactlyTheAttemptsAllowed() throws {
        let bench = try ShardBench(retry: RetryPolicy(attemptsMax: 4))
        let id = try bench.accept()
        var attempts: [UInt16] = []
        for _ in 0..<50 {
            for lease in try bench.dispatch() {
                attempts.append(lease.attempt)
                #expect(try bench.shard.settle(lease.id, failed, at: bench.now))
            }
            try bench.sync()
            bench.pass(milliseconds: 10_000)
        }
        #expect(attempts == [1, 2, 3, 4])
        let story = try bench.story(id)
        #expect(story.state == .dead && story.attempts == 4)
        #expect(
            story.steps.map(\.command.name)
                == ["intent", "held", "intent", "held", "intent", "held", "intent", "dead"]
        )
        guard
            case .dead(_, let deadOffset, let cause, let code, let detail)? = story.steps.last?
                .command
        else {
            Issue.record("the story ends with the death")
            return
        }
        #expect(deadOffset == Offset(0) && cause == .attemptsUsedUp)
        #expect(code == 451 && detail == "try later")
        let dead = StreamID(topic: Channel.email.topic, partition: PartitionID(0), lane: .dead)
        let browsed = try bench.shard.browse(dead, from: Offset(0), count: 10)
        #expect(browsed.map(\.origin) == [story.offset] && browsed.map(\.stream) == [story.stream])
        #expect(bench.balance.dead == 1 && bench.balance.isBalanced)
        try bench.expectReplayGivesTheSame()
    }

    @Test func aWaitIsNeverShorterThanAskedAndIsShownAsHeld() throws {
        let bench = try ShardBench()
        let id = try bench.accept()
        let lease = try #require(try bench.dispatch().first)
        let asked = AttemptOutcome.retry(
            afterMilliseconds: 5000,
            reason: .backoff,
            code: 429,
            detail: "slow down"
        )
        try bench.shard.settle(lease.id, asked, at: bench.now)
        try bench.sync()
        #expect(try bench.state(of: id) == .held)
        bench.pass(milliseconds: 4999)
        #expect(try bench.dispatch().isEmpty)
        let wake = try #require(bench.shard.nextDeadline)
        #expect(wake.milliseconds(since: bench.now.monotonic) <= 2)
        bench.pass(milliseconds: 2)
        let again = try #require(try bench.dispatch().first)
        #expect(again.attempt == 2 && again.message == lease.message)
    }

    /// A channel that is not configured rightly: the attempt does not count, and the message is held,
    /// not scheduled, in the ledger and in every answer.
    @Test func anAttemptThatDoesNotCountIsHeldNotScheduled() throws {
        let bench = try ShardBench()
        let id = try bench.accept()
        for _ in 0..<10 {
            let lease = try #require(try bench.dispatch().first)
            #expect(lease.attempt == 1)
            try bench.shard.settle(
                lease.id,
                .retry(
                    afterMilliseconds: 1000,
                    reason: .backoff,
                    code: 535,
                    detail: "bad password",
                    counts: false
                ),
                at: bench.now
            )
            try bench.sync()
            #expect(bench.balance.held == 1 && bench.balance.scheduled == 0)
            #expect(try bench.state(of: id) == .held)
            bench.pass(milliseconds: 1001)
        }
        #expect(try bench.story(id).attempts == 0)
    }

    // MARK: - Schedules

    @Test func aScheduledOneWaitsForItsTimeAcrossRestarts() throws {
        for stop in [ShardBench.Stop.kill, .powerCut, .tornPowerCut, .clean] {
            let bench = try ShardBench()
            let due = bench.now.wall.advanced(byMilliseconds: 3 * 86_400_000)
            let id = try bench.accept(deliverAt: due)
            #expect(try bench.state(of: id) == .scheduled)
            #expect(bench.balance.scheduled == 1 && bench.balance.ready == 0)
            #expect(try bench.dispatch().isEmpty)
            bench.pass(milliseconds: 86_400_000)
            try bench.restart(stop)
            #expect(try bench.state(of: id) == .scheduled)
            bench.pass(milliseconds: 2 * 86_400_000 - 1)
            #expect(try bench.dispatch().isEmpty, "never early")
            bench.pass(milliseconds: 3)
            let lease = try #require(try bench.dispatch().first)
            #expect(lease.attempt == 1 && lease.origin == .scheduled)
            try bench.shard.settle(lease.id, .delivered(code: 250, detail: ""), at: bench.now)
            try bench.sync()
            #expect(try bench.state(of: id) == .delivered)
            #expect(bench.balance.scheduled == 0)
            try bench.expectReplayGivesTheSame()
        }
    }

    @Test func aTimeThatHasPassedIsNow() throws {
        let bench = try ShardBench()
        let id = try bench.accept(deliverAt: bench.now.wall)
        #expect(try bench.state(of: id) == .ready)
        let longAgo = try bench.accept(deliverAt: WallTimestamp(milliseconds: .min))
        #expect(try bench.state(of: longAgo) == .ready)
        #expect(try bench.dispatch().count == 2)
    }

    @Test func aScheduleAtTheEndOfTimeIsHarmless() throws {
        let bench = try ShardBench()
        let id = try bench.accept(deliverAt: WallTimestamp(milliseconds: .max))
        bench.pass(milliseconds: 100 * 86_400_000)
        #expect(try bench.dispatch().isEmpty)
        bench.setClock(byMilliseconds: -200 * 86_400_000)
        #expect(try bench.dispatch().isEmpty)
        #expect(try bench.state(of: id) == .scheduled)
        try bench.restart()
        #expect(try bench.state(of: id) == .scheduled)
    }

    @Test func aClockSetForwardAndBackDecidesByItsOwnTime() throws {
        let bench = try ShardBench(heldInMemoryMax: 4)
        var ids: [NotificationID] = []
        for hour: Int64 in 1...12 {
            let due = bench.now.wall.advanced(byMilliseconds: hour * 3_600_000)
            ids.append(try bench.accept(deliverAt: due))
        }
        bench.setClock(byMilliseconds: 5 * 3_600_000 + 1000)
        for _ in 0..<4 {
            try bench.shard.reachedTime(bench.now)
            bench.pass(milliseconds: 2)
        }
        #expect(bench.balance.ready == 5 && bench.balance.scheduled == 7)
        bench.shard.checkInvariants()
        // Back again: what is due but was not given out yet waits again.
        bench.setClock(byMilliseconds: -5 * 3_600_000)
        try bench.shard.reachedTime(bench.now)
        #expect(bench.balance.ready == 0 && bench.balance.scheduled == 12)
        bench.shard.checkInvariants()
        #expect(try bench.dispatch().isEmpty)
        for _ in 0..<14 {
            bench.pass(milliseconds: 3_600_000)
            for _ in 0..<4 {
                for lease in try bench.dispatch(slots: 100) {
                    try bench.shard.settle(lease.id, .delivered(code: 0, detail: ""), at: bench.now)
                }
                try bench.sync()
                bench.pass(milliseconds: 2)
            }
        }
        for id in ids { #expect(try bench.state(of: id) == .delivered) }
    }

    // MARK: - Idempotency

    @Test func aRepeatedKeyIsADuplicateBeforeAndAfterTheSyncAndAfterRestarts() throws {
        let bench = try ShardBench()
        let first = try bench.submit(key: "k")
        let unsynced = try bench.submit(key: "k")
        #expect(unsynced.kind == .duplicate && unsynced.id == first.id)
        #expect(unsynced.durableAt == first.durableAt, "it waits for the first one's sync")
        #expect(try bench.submit(text: "other", key: "k").kind == .conflict)
        try bench.sync()
        let synced = try bench.submit(key: "k")
        #expect(synced.kind == .duplicate && synced.id == first.id)
        #expect(synced.durableAt <= bench.shard.log.durablePosition)
        for stop in [ShardBench.Stop.kill, .powerCut, .tornPowerCut, .clean] {
            try bench.restart(stop)
            let again = try bench.submit(key: "k")
            #expect(again.kind == .duplicate && again.id == first.id)
            let conflict = try bench.submit(text: "other", key: "k")
            #expect(conflict.kind == .conflict && conflict.id == first.id)
        }
        #expect(bench.balance.accepted == 1)
    }

    @Test func aKeyThatDiedWithItsWriteIsFreeAgain() throws {
        let bench = try ShardBench()
        _ = try bench.submit(key: "k")
        try bench.restart(.powerCut)
        let again = try bench.submit(text: "changed", key: "k")
        #expect(again.kind == .accepted)
        try bench.sync()
        #expect(bench.balance.accepted == 1)
    }

    @Test func aKeyIsForgottenAfterTheWindowAndNotBefore() throws {
        let bench = try ShardBench()
        let first = try bench.accept(key: "k")
        bench.pass(milliseconds: 24 * 3_600_000)
        #expect(try bench.submit(key: "k").kind == .duplicate, "the last moment of the window")
        bench.pass(milliseconds: 1)
        let second = try bench.submit(key: "k")
        #expect(second.kind == .accepted && second.id != first)
        try bench.sync()
        #expect(try bench.submit(key: "k").id == second.id, "the newest one counts")
    }

    @Test func theSameTextOnAnotherChannelIsAConflict() throws {
        let bench = try ShardBench()
        let first = try bench.accept(key: "k", channel: .sms)
        let other = try bench.submit(key: "k", channel: .push)
        #expect(other.kind == .conflict, "the key was used for a notification of another channel")
        #expect(other.id == first)
    }

    // MARK: - Leases

    @Test func anExpiredLeaseIsAnAttemptAndItsLateOutcomeChangesNothing() throws {
        let bench = try ShardBench()
        let id = try bench.accept()
        let lease = try #require(try bench.dispatch().first)
        bench.shard.setDeadline(lease.id, at: bench.now.monotonic.advanced(byMilliseconds: 500))
        bench.pass(milliseconds: 499)
        #expect(try bench.dispatch().isEmpty)
        #expect(try bench.state(of: id) == .leased)
        bench.pass(milliseconds: 2)
        #expect(try bench.dispatch().isEmpty)
        #expect(try bench.state(of: id) == .held)
        #expect(bench.shard.statistics.leasesExpired == 1)
        #expect(try !bench.shard.settle(lease.id, .delivered(code: 250, detail: ""), at: bench.now))
        try bench.sync()
        #expect(try bench.state(of: id) == .held && bench.shard.statistics.lateOutcomes == 1)
        bench.pass(milliseconds: 1001)
        let second = try #require(try bench.dispatch().first)
        #expect(second.attempt == 2 && second.id != lease.id)
        #expect(try !bench.shard.settle(lease.id, .delivered(code: 250, detail: ""), at: bench.now))
        #expect(try bench.shard.settle(second.id, .delivered(code: 250, detail: ""), at: bench.now))
        #expect(try !bench.shard.settle(second.id, failed, at: bench.now), "settled once")
        try bench.sync()
        #expect(try bench.state(of: id) == .delivered)
    }

    @Test func aCrashBetweenIntentAndOutcomeCountsAsAnAttemptOfUnknownOutcome() throws {
        let bench = try ShardBench(retry: RetryPolicy(attemptsMax: 3))
        let id = try bench.accept()
        var attempts: [UInt16] = []
        for _ in 0..<6 {
            let leases = try bench.dispatch()
            attempts += leases.map(\.attempt)
            try bench.restart()
        }
        #expect(attempts == [1, 2, 3])
        _ = try bench.dispatch()
        try bench.sync()
        let story = try bench.story(id)
        #expect(story.state == .dead && story.attempts == 3)
        #expect(bench.shard.state.ledger(of: .email).unknownOutcomes == 3)
        #expect(bench.shard.state.openIntents.isEmpty)
        try bench.expectReplayGivesTheSame()
    }

    @Test func anIntentThatWasNeverDurableNeverHappened() throws {
        let bench = try ShardBench()
        let id = try bench.accept()
        try bench.shard.dispatch(.email, slots: 8, at: bench.now)
        _ = try bench.shard.flush(at: bench.now)
        try bench.restart(.powerCut)
        #expect(try bench.state(of: id) == .ready)
        #expect(try bench.dispatch().first?.attempt == 1)
        #expect(bench.shard.state.ledger(of: .email).unknownOutcomes == 0)
    }

    // MARK: - Lanes

    @Test func workersServeLanesByWeightAndBulkAlwaysMoves() throws {
        let bench = try ShardBench(segmentBytes: 1 << 20)
        for _ in 0..<120 {
            for lane in [Lane.high, .normal, .bulk] { _ = try bench.submit(lane: lane) }
        }
        try bench.sync()
        var counts: [Lane: Int] = [:]
        for _ in 0..<10 {
            for lease in try bench.dispatch(slots: 13) {
                counts[lease.message.stream.lane ?? .dead, default: 0] += 1
                try bench.shard.settle(lease.id, .delivered(code: 0, detail: ""), at: bench.now)
            }
            try bench.sync()
        }
        #expect(counts == [.high: 80, .normal: 40, .bulk: 10])
    }

    @Test func criticalTakesAtMostItsShareOfTheSlots() throws {
        let bench = try ShardBench(segmentBytes: 1 << 20)
        for _ in 0..<200 { _ = try bench.submit(lane: .critical) }
        for _ in 0..<200 { _ = try bench.submit(lane: .bulk) }
        try bench.sync()
        let leases = try bench.dispatch(slots: 100)
        let critical = leases.filter { $0.message.stream.lane == .critical }.count
        #expect(critical >= 60 && critical < 100, "strict up to 60 %, then by turns: \(critical)")
    }

    // MARK: - Windows

    @Test func aGroupStopsLeasingAtItsWindowAndGoesOnWhenTheFloorMoves() throws {
        let bench = try ShardBench(groupWindowMax: 10)
        for _ in 0..<30 { _ = try bench.submit() }
        try bench.sync()
        let leases = try bench.dispatch(slots: 100)
        #expect(leases.count == 10)
        for lease in leases.dropFirst() {
            try bench.shard.settle(lease.id, .delivered(code: 0, detail: ""), at: bench.now)
        }
        try bench.sync()
        #expect(try bench.dispatch(slots: 100).isEmpty, "the first one pins the floor")
        let first = try #require(leases.first)
        try bench.shard.settle(first.id, .delivered(code: 0, detail: ""), at: bench.now)
        try bench.sync()
        #expect(try bench.dispatch(slots: 100).count == 10)
    }

    /// Many retries at once with a small memory: the memory is laid out anew in the middle of a turn.
    @Test func retriesBeyondTheMemoryAllComeBack() throws {
        let bench = try ShardBench(
            retry: RetryPolicy(attemptsMax: 2),
            segmentBytes: 1 << 20,
            heldInMemoryMax: 4
        )
        var ids: [NotificationID] = []
        for _ in 0..<60 { ids.append(try bench.submit().id) }
        try bench.sync()
        for lease in try bench.dispatch(slots: 100) {
            try bench.shard.settle(
                lease.id,
                .retry(
                    afterMilliseconds: 1000 + Int64(lease.message.offset.rawValue * 7 % 60),
                    reason: .backoff,
                    code: 0,
                    detail: ""
                ),
                at: bench.now
            )
        }
        try bench.sync()
        var redelivered = 0
        for _ in 0..<400 {
            bench.pass(milliseconds: 10)
            for lease in try bench.dispatch(slots: 100) {
                redelivered += 1
                try bench.shard.settle(lease.id, .delivered(code: 0, detail: ""), at: bench.now)
            }
            try bench.sync()
        }
        #expect(redelivered == 60)
        let stuck = try ids.filter { try bench.state(of: $0) != .delivered }
        #expect(stuck.isEmpty, "\(stuck.count) are stuck: \(bench.balance)")
    }
}

extension Command {
    /// The word for a step, as the stories of these tests tell it.
    var name: String {
        switch self {
        case .intent: "intent"
        case .cancelled: "cancelled"
        case .delivered: "delivered"
        case .held: "held"
        case .dead: "dead"
        case .templatePut: "templatePut"
        case .groupCreated: "groupCreated"
        case .started: "started"
        case .kept: "kept"
        case .released: "released"
        case .expired: "expired"
        case .forgot: "forgot"
        case .clockSet: "clockSet"
        case .told: "told"
        case .remembered: "remembered"
        case .keysOver: "keysOver"
        case .settled: "settled"
        }
    }
}
