// Thousands of random operations with crashes among them, checked after every step against the promises:
// the ledger balances, what was acknowledged stays, nothing final changes, nothing is attempted too often.

import PulseBroker
import PulseCore
import PulseLog
import TestDoubles
import Testing

@Suite struct RandomWalkTests {
    /// What was promised to the outside, and nothing of how it is kept.
    private struct Promises {
        struct Accepted {
            var id: NotificationID
            var key: String
            var user: String
            var text: String
            var channel: Channel
            var due: WallTimestamp?
        }

        var accepted: [Accepted] = []
        /// Submitted, the sync still to come: a crash may or may not keep them.
        var pending: [Accepted] = []
        /// Outcomes reported and synced.
        var final: [NotificationID: NotificationState] = [:]
        var pendingFinal: [(NotificationID, NotificationState)] = []

        mutating func synced() {
            accepted += pending
            pending = []
            for (id, state) in pendingFinal { final[id] = state }
            pendingFinal = []
        }
    }

    private static let attemptsMax = 3

    @Test(arguments: 0..<8)
    func keepsItsPromises(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let bench = try ShardBench(
            seed: seed &* 1000 &+ 7,
            retry: RetryPolicy(baseMs: 50, capMs: 2000, attemptsMax: Self.attemptsMax),
            segmentBytes: seed % 3 == 0 ? 64 << 10 : 256 << 10,
            checkpointBytes: 1 << (10 + random.below(8)),
            heldInMemoryMax: [2, 5, 50, 65_536][random.below(4)],
            partitions: 1 + random.below(3)
        )
        var promises = Promises()
        var leases: [Lease] = []
        var next = 0
        for step in 0..<5000 {
            let comment: Comment = "seed \(seed), step \(step)"
            switch random.below(100) {
            case 0..<30:
                try submit(&promises, &next, bench, &random)
            case 30..<34:
                try repeatOne(promises, bench, &random, comment)
            case 34..<50:
                let channel = Channel.allCases[random.below(2)]
                try bench.shard.dispatch(channel, slots: 1 + random.below(12), at: bench.now)
            case 50..<75:
                guard !leases.isEmpty else { continue }
                let lease = leases.remove(at: random.below(leases.count))
                try settle(lease, &promises, bench, &random)
            case 75..<80:
                bench.pass(milliseconds: Int64(random.below(400)))
                try bench.shard.reachedTime(bench.now)
            case 80:
                bench.setClock(byMilliseconds: Int64(random.below(20_000)) - 10_000)
                try bench.shard.reachedTime(bench.now)
            case 81:
                try consume(bench, &random)
            case 82 where random.below(4) == 0:
                let stops: [ShardBench.Stop] = [.kill, .powerCut, .tornPowerCut, .clean]
                let stop = stops[random.below(4)]
                // A clean stop writes and syncs what is pending before it ends.
                if case .clean = stop {
                    try bench.sync()
                    promises.synced()
                }
                try bench.restart(stop)
                // What was not synced may have survived: the disk knows, the model asks.
                promises.accepted += try promises.pending.filter {
                    try bench.state(of: $0.id) != nil
                        && bench.story($0.id).envelope
                            == bench.envelope(
                                user: $0.user,
                                text: $0.text,
                                key: $0.key,
                                deliverAt: $0.due
                            )
                }
                promises.pending = []
                promises.pendingFinal = []
                leases = []
                try check(promises, bench, comment)
            default:
                try bench.sync()
                promises.synced()
                for lease in bench.shard.takeOpened() {
                    #expect(lease.attempt <= Self.attemptsMax, comment)
                    leases.append(lease)
                }
            }
            // Between the sync points too.
            bench.shard.checkInvariants()
            bench.shard.log.checkInvariants()
            if step % 500 == 499 { try check(promises, bench, comment) }
        }
        try finish(promises, bench, leases, "seed \(seed)")
    }

    // MARK: - Operations

    private func submit(
        _ promises: inout Promises,
        _ next: inout Int,
        _ bench: ShardBench,
        _ random: inout SeededGenerator
    ) throws {
        next += 1
        let due: WallTimestamp? =
            random.below(4) == 0
            ? bench.now.wall.advanced(byMilliseconds: Int64(random.below(20_000))) : nil
        let one = Promises.Accepted(
            id: NotificationID(high: 0, low: 0),
            key: "key-\(next)",
            user: "user-\(random.below(9))",
            text: String(repeating: "x", count: random.below(300)),
            channel: Channel.allCases[random.below(2)],
            due: due
        )
        let outcome = try bench.submit(
            user: one.user,
            text: one.text,
            key: one.key,
            lane: Lane.allCases[random.below(4)],
            channel: one.channel,
            deliverAt: due
        )
        #expect(outcome.kind == .accepted)
        var named = one
        named.id = outcome.id
        promises.pending.append(named)
    }

    private func repeatOne(
        _ promises: Promises,
        _ bench: ShardBench,
        _ random: inout SeededGenerator,
        _ comment: Comment
    ) throws {
        let known = promises.accepted + promises.pending
        guard !known.isEmpty else { return }
        let one = known[random.below(known.count)]
        let isSame = random.below(3) > 0
        let outcome = try bench.submit(
            user: one.user,
            text: isSame ? one.text : one.text + "!",
            key: one.key,
            channel: one.channel,
            deliverAt: one.due
        )
        #expect(outcome.id == one.id, comment)
        #expect(outcome.kind == (isSame ? .duplicate : .conflict), comment)
    }

    private func settle(
        _ lease: Lease,
        _ promises: inout Promises,
        _ bench: ShardBench,
        _ random: inout SeededGenerator
    ) throws {
        let outcome: AttemptOutcome
        var final: NotificationState?
        switch random.below(10) {
        case 0..<5:
            outcome = .delivered(code: 250, detail: "ok")
            final = .delivered
        case 5:
            outcome = .dead(.recipientDead, code: 550, detail: "unknown user")
            final = .dead
        case 6:
            outcome = .retry(
                afterMilliseconds: Int64(random.below(3000)),
                reason: .backoff,
                code: 429,
                detail: ""
            )
            if lease.attempt >= Self.attemptsMax { final = .dead }
        case 7:
            outcome = .retry(
                afterMilliseconds: 100,
                reason: .backoff,
                code: 535,
                detail: "",
                counts: false
            )
        default:
            outcome = .retry(afterMilliseconds: nil, reason: .backoff, code: 451, detail: "")
            if lease.attempt >= Self.attemptsMax { final = .dead }
        }
        guard try bench.shard.settle(lease.id, outcome, at: bench.now), let final else { return }
        promises.pendingFinal.append(
            (bench.shard.id(lease.message.stream, lease.message.offset), final)
        )
    }

    /// Another group on the same topic comes, takes, and goes, without anybody noticing.
    private func consume(_ bench: ShardBench, _ random: inout SeededGenerator) throws {
        let connection = UInt64(1000 + random.below(3))
        _ = try bench.subscribe(
            connection: connection,
            number: UInt32(random.below(1000)),
            group: "audit-\(random.below(3))",
            fromEnd: random.below(2) == 0,
            credit: 5,
            lease: 300
        )
        for handout in try bench.shard.deal(at: bench.now) {
            switch random.below(4) {
            case 0:
                try bench.shard.settle(
                    handout.lease.id,
                    .delivered(code: 0, detail: ""),
                    at: bench.now
                )
            case 1:
                try bench.shard.settle(
                    handout.lease.id,
                    .retry(afterMilliseconds: 50, reason: .rejected, code: 0, detail: ""),
                    at: bench.now
                )
            default: break
            }
        }
        if random.below(2) == 0 { bench.shard.connectionClosed(ConnectionID(connection)) }
    }

    // MARK: - Checks

    private func check(_ promises: Promises, _ bench: ShardBench, _ comment: Comment) throws {
        for (id, state) in promises.final {
            #expect(
                try bench.state(of: id) == state,
                "an outcome that was synced is final; \(comment)"
            )
        }
        var counted: [NotificationState: Int] = [:]
        for one in promises.accepted {
            let story = try bench.shard.story(of: one.id, withSteps: true)
            guard let story else {
                Issue.record("lost: \(one.id), \(comment)")
                continue
            }
            counted[story.state, default: 0] += 1
            #expect(story.attempts <= Self.attemptsMax, comment)
            #expect(
                story.envelope
                    == bench.envelope(
                        user: one.user,
                        text: one.text,
                        key: one.key,
                        deliverAt: one.due
                    ),
                comment
            )
            let intents = story.steps.filter { $0.command.name == "intent" }.count
            #expect(intents >= story.attempts, comment)
        }
        // The answers to "where is it" add up to the ledger.
        guard promises.pending.isEmpty else { return }
        var ledger: [NotificationState: Int] = [:]
        for channel in Channel.allCases {
            let balance = bench.shard.balance(of: channel)
            for (state, count) in [
                (NotificationState.scheduled, balance.scheduled), (.ready, balance.ready),
                (.held, balance.held), (.leased, balance.leased),
                (.delivered, balance.delivered), (.dead, balance.dead),
            ] where count > 0 {
                ledger[state, default: 0] += Int(count)
            }
        }
        #expect(counted == ledger, comment)
        try bench.expectReplayGivesTheSame(comment)
    }

    /// Left alone with a provider that takes everything, all comes to an end.
    private func finish(
        _ promises: Promises,
        _ bench: ShardBench,
        _ open: [Lease],
        _ comment: Comment
    ) throws {
        try bench.sync()
        for lease in open + bench.shard.takeOpened() {
            try bench.shard.settle(lease.id, .delivered(code: 0, detail: ""), at: bench.now)
        }
        try bench.sync()
        for _ in 0..<2000 {
            let balances = Channel.allCases.map { bench.shard.balance(of: $0) }
            if balances.allSatisfy({ $0.accepted == $0.delivered + $0.dead }) { break }
            bench.pass(milliseconds: 100)
            for channel in Channel.allCases.prefix(2) {
                for lease in try bench.dispatch(channel, slots: 1000) {
                    try bench.shard.settle(
                        lease.id,
                        .delivered(code: 0, detail: ""),
                        at: bench.now
                    )
                }
            }
            try bench.sync()
        }
        for one in promises.accepted + promises.pending {
            let state = try bench.state(of: one.id)
            #expect(state == .delivered || state == .dead, "stuck: \(one.id), \(comment)")
        }
        try bench.expectReplayGivesTheSame(comment)
    }
}
