// Whatever a gap has swallowed - a group's creation, a template, a step of a message, the clock - the shard
// opens, counts what there is, serves what is left, and its log tells the same to every later fold.

import PulseBroker
import PulseCore
import PulseLog
import TestDoubles
import Testing

@Suite struct SwallowedTests {
    /// A log with an entry of each kind, and what the store said early on.
    private struct Life {
        var bench: ShardBench
        var ids: [NotificationID] = []
        var early = MemoryStore()
        var checkpoint = LogPosition.zero
    }

    private static let victims: [String] = [
        "template", "group", "record", "intent", "delivered", "held", "dead", "cancelled", "clock",
        "started",
    ]

    private func life() throws -> Life {
        let bench = try ShardBench(segmentBytes: 32 << 10, checkpointBytes: 1 << 30)
        var life = Life(bench: bench)
        // Nothing that is looked at stands where the log's first entry does.
        life.ids.append(try bench.accept(user: "first"))
        try bench.deliverAll()
        try bench.shard.checkpoint()
        try bench.store.flush()
        life.early = bench.store.copy()
        life.checkpoint = bench.shard.state.applied
        let row = TemplateRow(
            name: "t",
            channel: .email,
            subject: "s",
            text: "x",
            html: "",
            savedAt: bench.now.wall
        )
        _ = try bench.shard.put(row, at: bench.now)
        try bench.sync()
        _ = try bench.subscribe()
        try bench.sync()
        for number in 0..<8 {
            let due = number == 7 ? bench.now.wall.advanced(byMilliseconds: 60_000) : nil
            life.ids.append(try bench.accept(user: "u\(number)", deliverAt: due))
        }
        let leases = try bench.dispatch(slots: 4)
        let outcomes: [AttemptOutcome] = [
            .delivered(code: 250, detail: "ok"),
            .retry(afterMilliseconds: 30_000, reason: .backoff, code: 451, detail: "later"),
            .dead(.recipientDead, code: 550, detail: "gone"), .delivered(code: 250, detail: ""),
        ]
        for (lease, outcome) in zip(leases, outcomes) {
            try bench.shard.settle(lease.id, outcome, at: bench.now)
            try bench.sync()
        }
        _ = try bench.shard.cancel(life.ids[6], at: bench.now)
        try bench.sync()
        for handout in try bench.deal().prefix(3) {
            try bench.shard.settle(
                handout.lease.id,
                .retry(afterMilliseconds: 5000, reason: .rejected, code: 0, detail: ""),
                at: bench.now
            )
            try bench.sync()
        }
        bench.setClock(byMilliseconds: 7_200_000)
        try bench.deliverAll()
        try bench.restart(.clean)
        _ = try bench.subscribe(connection: 2)
        for handout in try bench.deal().prefix(2) {
            try bench.shard.settle(handout.lease.id, .delivered(code: 0, detail: ""), at: bench.now)
        }
        life.ids.append(try bench.accept(user: "last"))
        return life
    }

    private func name(_ command: Command) -> String? {
        switch command {
        case .templatePut: "template"
        case .groupCreated(_, _, let name, _): name == "audit" ? "group" : nil
        case .intent: "intent"
        case .delivered: "delivered"
        case .held: "held"
        case .dead: "dead"
        case .cancelled: "cancelled"
        case .clockSet: "clock"
        case .started: "started"
        default: nil
        }
    }

    /// Entries of a kind, behind the first checkpoint and before the last record.
    private func entries(_ what: String, _ life: Life) throws -> [LogPosition] {
        var found: [LogPosition] = []
        var lastRecord = LogPosition.zero
        try life.bench.shard.log.scan(from: life.checkpoint) { header, body in
            if header.kind == .recordBatch {
                lastRecord = header.position
                if what == "record" { found.append(header.position) }
                return true
            }
            var isOne = false
            _ = Command.forEach(in: body) { isOne = isOne || name($0) == what }
            if isOne { found.append(header.position) }
            return true
        }
        return found.filter { $0 < lastRecord }
    }

    private func repair(_ bench: ShardBench, _ position: LogPosition) throws {
        let segment = try #require(bench.shard.log.segments.last { $0.base <= position })
        let byte = Int(position.rawValue - segment.base.rawValue)
        try bench.restart(.clean)
        bench.directory.damage(segment.name) { $0[byte + 10] ^= 1 }
        let plan = try LogRepair.plan(bench.directory)
        #expect(plan.gaps.map(\.position) == [position])
        _ = try LogRepair.perform(
            plan,
            in: bench.directory,
            trash: MemoryDirectory(),
            stamp: "S",
            at: bench.now.wall
        )
    }

    /// Everything there is goes its way, in more than one life, with a group of the name there was.
    private func liveOn(_ bench: ShardBench, _ comment: Comment) throws {
        for (round, stop) in [ShardBench.Stop.kill, .clean, .powerCut].enumerated() {
            _ = try bench.subscribe(connection: UInt64(10 + round))
            try bench.sync()
            for turn in 0..<20 {
                for handout in try bench.deal() {
                    try bench.shard.settle(
                        handout.lease.id,
                        turn == 0 && round == 0
                            ? .retry(afterMilliseconds: 10, reason: .rejected, code: 0, detail: "")
                            : .delivered(code: 0, detail: ""),
                        at: bench.now
                    )
                }
                try bench.deliverAll()
                bench.pass(milliseconds: 20_000)
            }
            _ = try bench.accept(user: "new\(round)", lane: round == 1 ? .high : .normal)
            try bench.restart(stop)
        }
        try bench.deliverAll()
        _ = try bench.subscribe(connection: 20)
        for handout in try bench.deal() {
            try bench.shard.settle(handout.lease.id, .delivered(code: 0, detail: ""), at: bench.now)
        }
        try bench.sync()
        let balance = bench.balance
        #expect(balance.isBalanced, comment)
        #expect(balance.ready + balance.held + balance.scheduled + balance.leased == 0, comment)
        for group in bench.shard.state.groups {
            let open = group.streams.reduce(0) { $0 + $1.progress.openCount }
            #expect(open == 0, "group \(group.name), \(comment)")
        }
        let group = bench.shard.state.group(named: "audit", on: Channel.email.topic)
        #expect(group != nil, comment)
    }

    @Test(arguments: victims, [false, true])
    func theShardGoesOn(what: String, withoutStore: Bool) throws {
        let places = try entries(what, try life())
        try #require(!places.isEmpty)
        for place in places {
            let life = try life()
            let bench = life.bench
            let before = bench.balance
            try repair(bench, place)
            if withoutStore { bench.store = MemoryStore() }
            try bench.restart()
            let comment: Comment = "\(what) at \(place.rawValue), without store: \(withoutStore)"
            #expect(bench.balance.accepted == before.accepted, comment)
            #expect(bench.balance.isBalanced, comment)
            if what == "template", withoutStore {
                #expect(bench.shard.revisionInForce(of: "t") == nil, comment)
            }
            if what == "group" {
                let group = bench.shard.state.group(named: "audit", on: Channel.email.topic)
                #expect((group == nil) == withoutStore, comment)
            }
            try liveOn(bench, comment)
            // One notification, one identifier.
            let next = try bench.accept(user: "next")
            #expect(!life.ids.contains(next), comment)
        }
    }

    /// All at once, from a state that was saved before the gap, and from one that was saved behind it.
    @Test(arguments: victims)
    func everyFoldOfARepairedLogGivesTheSame(what: String) throws {
        for place in try entries(what, try life()) {
            let life = try life()
            let bench = life.bench
            let comment: Comment = "\(what) at \(place.rawValue)"
            try repair(bench, place)
            bench.store = life.early.copy()
            try bench.restart()
            let behind = bench.store.copy()
            try liveOn(bench, comment)
            let later = bench.store.copy()
            _ = try bench.accept(user: "tail")
            let stores = [MemoryStore(), life.early.copy(), behind, later]
            for (number, store) in stores.enumerated() {
                let known = SavedState(bench.shard.state)
                bench.store = store
                try bench.restart()
                let restored = bench.shard.restored?.state
                #expect(restored == known, "store \(number), \(comment)")
            }
        }
    }

    /// A group's number that only lost commands knew is given to no other.
    @Test func aLostGroupsNumberIsNotGivenAgain() throws {
        let life = try life()
        let place = try #require(try entries("group", life).first)
        let number = life.bench.shard.state.group(named: "audit", on: Channel.email.topic)?.id
        try repair(life.bench, place)
        life.bench.store = MemoryStore()
        try life.bench.restart()
        _ = try life.bench.subscribe(connection: 3, group: "audit")
        try life.bench.sync()
        let again = life.bench.shard.state.group(named: "audit", on: Channel.email.topic)?.id
        #expect(again != nil && number != nil && again != number)
        #expect(life.bench.store.rows.allSatisfy { $0.key.first != 0x68 || isKnown($0, again) })
    }

    private func isKnown(_ row: StateRow, _ group: GroupID?) -> Bool {
        guard let held = HeldRow(row) else { return false }
        return held.message.group.rawValue <= UInt16(Channel.allCases.count)
            || held.message.group == group
    }
}
