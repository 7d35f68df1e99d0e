// Old segments go when nothing needs them, and only then: what is not finished is never lost, and what is
// gone is said to be gone.

import PulseBroker
import PulseCore
import PulseLog
import TestDoubles
import Testing

@Suite struct RetentionTests {
    private let minute: Int64 = 60_000

    private func bench(seed: UInt64 = 1) throws -> ShardBench {
        try ShardBench(
            seed: seed,
            retry: RetryPolicy(baseMs: 100, capMs: 1000, attemptsMax: 3),
            segmentBytes: 32 << 10,
            checkpointBytes: 2048,
            window: minute,
            retention: minute
        )
    }

    private func release(_ bench: ShardBench) throws {
        for _ in 0..<3 {
            bench.pass(milliseconds: 5000)
            try bench.shard.reachedTime(bench.now)
            try bench.shard.releaseOldSegments(at: bench.now)
            try bench.sync()
        }
    }

    private func fill(_ bench: ShardBench, _ count: Int) throws -> [NotificationID] {
        try (0..<count).map { _ in
            try bench.accept(text: String(repeating: "x", count: 400))
        }
    }

    @Test func whatIsFinishedGoesAfterItsTimeAndNotBefore() throws {
        let bench = try bench()
        let old = try fill(bench, 150)
        try bench.deliverAll()
        let segments = bench.shard.log.segments.count
        #expect(segments > 3)
        try release(bench)
        #expect(bench.shard.log.segments.count >= segments, "not before the retention is over")
        bench.pass(milliseconds: 2 * minute)
        let new = try fill(bench, 3)
        try release(bench)
        #expect(bench.shard.log.segments.count < segments)
        #expect(try bench.shard.story(of: old[0], withSteps: true)?.id == nil)
        for id in new { #expect(try bench.state(of: id) == .ready) }
        #expect(bench.balance.accepted == 153, "the ledger remembers")
        for stop in [ShardBench.Stop.kill, .powerCut, .tornPowerCut, .clean] {
            try bench.restart(stop)
            #expect(bench.balance.accepted == 153 && bench.balance.delivered == 150)
            #expect(try bench.shard.story(of: old[0], withSteps: true)?.id == nil)
            for id in new { #expect(try bench.state(of: id) == .ready) }
        }
        try bench.deliverAll()
        for id in new { #expect(try bench.state(of: id) == .delivered) }
    }

    @Test func listsAndGroupsBeginWithWhatIsLeft() throws {
        let bench = try bench()
        _ = try fill(bench, 150)
        try bench.deliverAll()
        bench.pass(milliseconds: 3 * minute)
        _ = try fill(bench, 5)
        try release(bench)
        var seen = 0
        let next = try bench.shard.walkNewestFirst(
            channel: nil,
            user: nil,
            olderThan: nil,
            examineMax: 5000
        ) { _ in
            seen += 1
            return true
        }
        #expect(next == nil && seen >= 5 && seen < 155)
        let user = Array("ada".utf8)
        var ofUser = 0
        _ = try user.withUnsafeBytes {
            try bench.shard.walkNewestFirst(
                channel: nil,
                user: $0,
                olderThan: nil,
                examineMax: 5000
            ) { _ in
                ofUser += 1
                return true
            }
        }
        #expect(ofUser == seen)
        _ = try bench.subscribe(credit: 1000)
        try bench.sync()
        let handouts = try bench.deal()
        #expect(handouts.count == seen, "a new group begins with the oldest that is there")
        for handout in handouts {
            let message = handout.lease.message
            try bench.shard.withRecord(message.stream, message.offset) { _, _, value in
                #expect(!value.isEmpty)
            }
        }
    }

    /// A message that waits, for whatever reason, keeps its segment.
    @Test(arguments: ["scheduled", "held", "leased", "ready", "of another group"])
    func whatIsNotFinishedStays(_ why: String) throws {
        let bench = try bench()
        if why == "of another group" {
            _ = try bench.subscribe(credit: 0)
            try bench.sync()
        }
        let due: WallTimestamp? =
            why == "scheduled" ? bench.now.wall.advanced(byMilliseconds: 600 * minute) : nil
        let id = try bench.accept(
            text: "keep me",
            lane: why == "ready" ? .bulk : .normal,
            channel: why == "ready" ? .sms : .email,
            deliverAt: due
        )
        switch why {
        case "held":
            let lease = try #require(try bench.dispatch().first)
            try bench.shard.settle(
                lease.id,
                .retry(
                    afterMilliseconds: 600 * minute,
                    reason: .backoff,
                    code: 0,
                    detail: "long"
                ),
                at: bench.now
            )
            try bench.sync()
        case "leased": _ = try bench.dispatch(slots: 1)
        default: break
        }
        _ = try fill(bench, 150)
        try bench.deliverAll()
        bench.pass(milliseconds: 3 * minute)
        _ = try fill(bench, 60)
        try bench.deliverAll()
        try release(bench)
        let story = try bench.story(id)
        #expect(String(decoding: story.envelope, as: UTF8.self).contains("keep me"))
        try bench.restart()
        #expect(try bench.story(id).acceptedAt == story.acceptedAt)
    }

    /// `storage.retention` is how long finished notifications are kept, at least: counted from their end.
    @Test func whatWasFinishedLateCanStillBeAskedFor() throws {
        let bench = try bench()
        let due = bench.now.wall.advanced(byMilliseconds: 5 * minute)
        let id = try bench.accept(deliverAt: due)
        _ = try fill(bench, 150)
        try bench.deliverAll()
        bench.pass(milliseconds: 5 * minute + 10)
        try bench.deliverAll()
        #expect(try bench.state(of: id) == .delivered)
        _ = try fill(bench, 20)
        try release(bench)
        #expect(try bench.state(of: id) == .delivered, "kept from its end, not from its record")
    }

    @Test func deadLettersGoWithTheirSegmentsAndBrowsingFindsTheRest() throws {
        let bench = try bench()
        _ = try fill(bench, 80)
        for lease in try bench.dispatch(slots: 100) {
            try bench.shard.settle(
                lease.id,
                .dead(.recipientDead, code: 550, detail: "gone"),
                at: bench.now
            )
        }
        try bench.sync()
        let dead = StreamID(topic: Channel.email.topic, partition: PartitionID(0), lane: .dead)
        #expect(try bench.shard.browse(dead, from: Offset(0), count: 1000).count == 80)
        bench.pass(milliseconds: 3 * minute)
        _ = try fill(bench, 80)
        try bench.deliverAll()
        try release(bench)
        let left = try bench.shard.browse(dead, from: Offset(0), count: 1000)
        #expect(left.count < 80)
        for record in left {
            try bench.shard.withRecord(record.stream, record.origin) { _, _, value in
                #expect(!value.isEmpty)
            }
        }
    }

    /// Released again and again under load and crashes: nothing unfinished is ever lost.
    @Test(arguments: 0..<6)
    func aLongLifeInASmallLog(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let bench = try bench(seed: seed &* 77 &+ 3)
        var open: [NotificationID] = []
        var most = 0
        for round in 0..<600 {
            for _ in 0..<random.below(6) {
                let due: WallTimestamp? =
                    random.below(5) == 0
                    ? bench.now.wall.advanced(byMilliseconds: Int64(random.below(5)) * minute) : nil
                open.append(
                    try bench.submit(
                        user: "u\(random.below(5))",
                        text: String(repeating: "y", count: 300),
                        deliverAt: due
                    ).id
                )
            }
            try bench.sync()
            for lease in try bench.dispatch(slots: 20) {
                let outcome: AttemptOutcome =
                    random.below(4) == 0
                    ? .retry(afterMilliseconds: nil, reason: .backoff, code: 1, detail: "")
                    : .delivered(code: 250, detail: "")
                try bench.shard.settle(lease.id, outcome, at: bench.now)
            }
            try bench.sync()
            open = try open.filter { id in
                let state = try bench.state(of: id)
                #expect(state != nil, "lost before it was finished, seed \(seed), round \(round)")
                return state?.isFinal == false
            }
            bench.pass(milliseconds: Int64(random.below(3000)))
            try bench.shard.reachedTime(bench.now)
            try bench.shard.releaseOldSegments(at: bench.now)
            try bench.sync()
            if random.below(40) == 0 {
                try bench.restart([.kill, .powerCut, .tornPowerCut, .clean][random.below(4)])
            }
            most = max(most, bench.shard.log.segments.count)
        }
        #expect(
            bench.shard.statistics.releases > 0 || bench.shard.log.firstPosition > LogPosition(4096)
        )
        #expect(most < 40, "the log stays small: \(most) segments")
    }
}
