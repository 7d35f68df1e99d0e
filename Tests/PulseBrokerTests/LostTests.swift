// What a repair has given up: the state goes on, everything else is as it was, and what is lost says so.

import PulseBroker
import PulseCore
import PulseLog
import TestDoubles
import Testing

@Suite struct LostTests {
    /// Where a record of this text begins in its entry's segment file.
    private func place(
        _ bench: ShardBench,
        _ id: NotificationID
    ) throws -> (name: String, byte: Int) {
        let story = try #require(try bench.shard.story(of: id, withSteps: false))
        let position = story.recordPosition.rawValue
        let segment = try #require(bench.shard.log.segments.last { $0.base.rawValue <= position })
        return (segment.name, Int(position - segment.base.rawValue))
    }

    private func repair(_ bench: ShardBench) throws {
        let plan = try LogRepair.plan(bench.directory)
        #expect(!plan.isClean)
        _ = try LogRepair.perform(
            plan,
            in: bench.directory,
            trash: MemoryDirectory(),
            stamp: "S",
            at: bench.now.wall
        )
    }

    /// A bench whose first three notifications are delivered, held and scheduled, and more ready ones.
    private func worked() throws -> (ShardBench, [NotificationID]) {
        let bench = try ShardBench(segmentBytes: 32 << 10)
        var ids: [NotificationID] = []
        for index in 0..<12 {
            let due = index == 2 ? bench.now.wall.advanced(byMilliseconds: 3_600_000) : nil
            ids.append(
                try bench.accept(
                    user: "u\(index)",
                    text: String(repeating: "x", count: 4000),
                    deliverAt: due
                )
            )
        }
        let leases = try bench.dispatch(slots: 2)
        #expect(leases.count == 2)
        try bench.shard.settle(leases[0].id, .delivered(code: 250, detail: "ok"), at: bench.now)
        try bench.shard.settle(
            leases[1].id,
            .retry(afterMilliseconds: 60_000, reason: .backoff, code: 451, detail: "later"),
            at: bench.now
        )
        try bench.sync()
        return (bench, ids)
    }

    /// Two hours later, what is due then is delivered.
    private func deliverLater(_ bench: ShardBench, slots: Int) throws {
        bench.pass(milliseconds: 7_200_000)
        for lease in try bench.dispatch(slots: slots) {
            try bench.shard.settle(lease.id, .delivered(code: 250, detail: "ok"), at: bench.now)
        }
        try bench.sync()
    }

    @Test(arguments: [false, true])
    func aLostRecordSaysSoWhateverItsState(withoutStore: Bool) throws {
        for lost in 0..<12 {
            let (bench, ids) = try worked()
            let (name, byte) = try place(bench, ids[lost])
            let before = bench.balance
            try bench.restart(.clean)
            bench.directory.damage(name) { $0[byte + 100] ^= 1 }
            try repair(bench)
            if withoutStore { bench.store = MemoryStore() }
            try bench.restart()
            let comment: Comment = "\(lost) \(withoutStore)"
            #expect(bench.balance.isBalanced && bench.balance.accepted == before.accepted, comment)
            #expect(bench.balance.lost == (lost == 0 ? 0 : 1), comment)
            #expect(bench.balance.delivered == 1, "an outcome that is known stays: \(comment)")
            for (index, id) in ids.enumerated() {
                if index == lost {
                    #expect(throws: ShardError.self) {
                        try bench.shard.story(of: id, withSteps: true)
                    }
                } else {
                    #expect(try bench.state(of: id) != nil, comment)
                }
            }
            // All others come to their end, in every later life too.
            for stop in [ShardBench.Stop.kill, .clean, .powerCut] {
                try deliverLater(bench, slots: 3)
                try bench.restart(stop)
            }
            var listed = 0
            for _ in 0..<6 {
                try deliverLater(bench, slots: 8)
            }
            #expect(
                bench.balance.delivered + bench.balance.lost == 12,
                "\(bench.balance) \(comment)"
            )
            _ = try bench.shard.walkNewestFirst(
                channel: .email,
                user: nil,
                olderThan: nil,
                examineMax: 100
            ) { _ in
                listed += 1
                return true
            }
            #expect(listed == 11, comment)
            let next = try bench.accept(user: "new")
            #expect(!ids.contains(next), "an identifier is given once: \(comment)")
            bench.shard.checkInvariants()
        }
    }

    /// The record reads well, and what became of it is lost: nothing may be made up.
    @Test(arguments: [false, true])
    func anEndThatIsLostIsNotGuessed(withoutStore: Bool) throws {
        let (bench, ids) = try worked()
        let steps = try bench.story(ids[0]).steps
        let end = try #require(steps.last?.command.step)
        var entry: LogPosition?
        try bench.shard.log.scan(from: .zero) { header, body in
            _ = Command.forEach(in: body) { command in
                if case .delivered(let step, _, _) = command, step == end {
                    entry = header.position
                }
            }
            return true
        }
        let position = try #require(entry)
        try bench.restart(.clean)
        let segment = try #require(bench.shard.log.segments.last { $0.base <= position })
        let byte = Int(position.rawValue - segment.base.rawValue)
        bench.directory.damage(segment.name) { $0[byte + 70] ^= 1 }
        try repair(bench)
        if withoutStore { bench.store = MemoryStore() }
        try bench.restart()
        if withoutStore {
            // Nothing else knows of it: it is tried again.
            #expect(try bench.state(of: ids[0]) == .ready)
            return
        }
        #expect(throws: ShardError.self) { try bench.state(of: ids[0]) }
        #expect(bench.balance.delivered == 1, "the books know that it ended")
        for user in [nil, "u0", "u5"] as [String?] {
            var listed: [NotificationID] = []
            let bytes = Array((user ?? "").utf8)
            _ = try bytes.withUnsafeBytes {
                try bench.shard.walkNewestFirst(
                    channel: .email,
                    user: user == nil ? nil : $0,
                    olderThan: nil,
                    examineMax: 100
                ) {
                    listed.append($0.id)
                    return true
                }
            }
            #expect(!listed.contains(ids[0]) && listed.contains(ids[5]) == (user != "u0"))
        }
    }

    /// Any entry may be lost: commands that others build on too.
    @Test(arguments: [false, true])
    func whateverEntryIsLostTheRestGoesOn(withoutStore: Bool) throws {
        let (model, _) = try worked()
        var entries: [(LogPosition, EntryKind)] = []
        try model.shard.log.scan(from: .zero) { header, _ in
            entries.append((header.position, header.kind))
            return true
        }
        for (number, entry) in entries.enumerated() {
            let (bench, ids) = try worked()
            try bench.restart(.clean)
            let segment = try #require(bench.shard.log.segments.last { $0.base <= entry.0 })
            let byte = Int(entry.0.rawValue - segment.base.rawValue)
            // The header too: nothing is known of what it was.
            bench.directory.damage(segment.name) { $0[byte + 10] ^= 1 }
            try repair(bench)
            if withoutStore { bench.store = MemoryStore() }
            try bench.restart()
            let comment: Comment = "entry \(number) \(entry.1) \(withoutStore)"
            for _ in 0..<8 {
                try deliverLater(bench, slots: 8)
                try bench.restart()
            }
            let balance = bench.balance
            #expect(
                balance.isBalanced && balance.ready + balance.held + balance.scheduled == 0,
                comment
            )
            // Of the newest record of all nothing but the store can tell.
            let known: UInt64 = withoutStore ? 11 : 12
            #expect(balance.delivered + balance.lost >= known, "\(balance) \(comment)")
            let next = try bench.accept(user: "new")
            #expect(!ids.contains(next), comment)
        }
    }

    /// Nothing that is left tells of the stream at all.
    @Test(arguments: [false, true])
    func theOnlyRecordOfAStreamIsLostAndItsIdentifierNotGivenAgain(withoutStore: Bool) throws {
        let bench = try ShardBench(segmentBytes: 32 << 10)
        let text = String(repeating: "x", count: 300)
        var ids = [try bench.accept(user: "u", text: text)]
        try bench.sync()
        let (name, byte) = try place(bench, ids[0])
        try bench.restart(.clean)
        bench.directory.damage(name) { $0[byte + 10] ^= 1 }
        try repair(bench)
        if withoutStore { bench.store = MemoryStore() }
        try bench.restart()
        #expect(throws: ShardError.self) { try bench.state(of: ids[0]) }
        for round in 0..<4 {
            let next = try bench.accept(user: "u", text: text)
            #expect(!ids.contains(next), "\(round)")
            ids.append(next)
            try bench.sync()
            if round > 0 {
                // Offsets are left out once, not at each start.
                let before = bench.shard.state.streams.map(\.end)
                try bench.restart([.kill, .clean, .powerCut][round % 3])
                #expect(bench.shard.state.streams.map(\.end) == before)
            }
        }
        let end = try #require(bench.shard.state.streams.map(\.end.rawValue).max())
        #expect(end < 20_000, "\(end)")
        // The log alone says where the stream goes on.
        try bench.restart(.clean)
        let state = bench.shard.state
        bench.store = MemoryStore()
        try bench.restart()
        let restored = try #require(bench.shard.restored?.state)
        let again = bench.shard.state
        // A store that was there knew of the record's segment too: but for that, all is the same.
        if withoutStore { #expect(restored == SavedState(state)) }
        #expect(again.streams.map(\.stream) == state.streams.map(\.stream))
        #expect(again.streams.map(\.end) == state.streams.map(\.end))
        #expect(again.lost == state.lost && again.gaps == state.gaps)
        #expect(again.ledgers == state.ledgers)
        for (one, other) in zip(again.groups, state.groups) {
            #expect(one.streams.map(\.progress) == other.streams.map(\.progress))
        }
        #expect(bench.balance.accepted == (withoutStore ? 4 : 5))
        for id in ids.dropFirst() { #expect(try bench.state(of: id) == .ready) }
        #expect(bench.balance.isBalanced)
    }

    /// The state was saved in the middle of what one gap has swallowed.
    @Test func aStateThatEndsInsideAGapGoesOnBehindIt() throws {
        let bench = try ShardBench(segmentBytes: 32 << 10, checkpointBytes: 1 << 30)
        var ids: [NotificationID] = []
        for number in 0..<3 { ids.append(try bench.accept(user: "u\(number)")) }
        try bench.shard.checkpoint()
        try bench.store.flush()
        let saved = bench.store.copy()
        for number in 3..<6 { ids.append(try bench.accept(user: "u\(number)")) }
        let places = try (2...3).map { try place(bench, ids[$0]) }
        try bench.restart(.clean)
        for (name, byte) in places { bench.directory.damage(name) { $0[byte + 10] ^= 1 } }
        try repair(bench)
        bench.store = saved
        let reader = try #require(try LogReader(bench.directory))
        let looked = try ShardInspection.look(at: reader, saved, verify: true)
        #expect(looked.problems.isEmpty, "\(looked.problems)")
        try bench.restart()
        #expect(bench.balance.accepted == 6 && bench.balance.lost == 2 && bench.balance.ready == 4)
        for number in 2...3 {
            #expect(throws: ShardError.self) { try bench.state(of: ids[number]) }
        }
        #expect(try bench.state(of: ids[4]) == .ready)
        // The log alone tells the same, but for the segment book, which knew the lost entries.
        let state = bench.shard.state
        bench.store = MemoryStore()
        try bench.restart()
        #expect(bench.shard.state.lost == state.lost)
        #expect(bench.shard.state.streams.map(\.end) == state.streams.map(\.end))
        #expect(bench.balance.accepted == 6 && bench.balance.lost == 2 && bench.balance.ready == 4)
    }

    /// A second repair gives up where the first start after the first said how streams go on.
    @Test(arguments: [false, true])
    func whatWasLeftOutIsNotCountedAsLost(withoutStore: Bool) throws {
        let bench = try ShardBench(segmentBytes: 32 << 10)
        let lost = try bench.accept(user: "u", text: String(repeating: "x", count: 300))
        let (name, byte) = try place(bench, lost)
        try bench.restart(.clean)
        bench.directory.damage(name) { $0[byte + 10] ^= 1 }
        try repair(bench)
        bench.store = MemoryStore()
        try bench.restart()
        let kept = try bench.accept(user: "u")
        var settled: LogPosition?
        try bench.shard.log.scan(from: .zero) { header, body in
            guard header.kind == .command else { return true }
            _ = Command.forEach(in: body) {
                if case .settled = $0 { settled = header.position }
            }
            return true
        }
        let position = try #require(settled)
        let segment = try #require(bench.shard.log.segments.last { $0.base <= position })
        try bench.restart(.clean)
        bench.directory.damage(segment.name) {
            $0[Int(position.rawValue - segment.base.rawValue) + 10] ^= 1
        }
        try repair(bench)
        if withoutStore { bench.store = MemoryStore() }
        try bench.restart()
        #expect(try bench.state(of: kept) == .ready)
        #expect(throws: ShardError.self) { try bench.state(of: lost) }
        // The first was known to nobody when the first repair was settled.
        #expect(bench.balance.accepted <= 2 && bench.balance.isBalanced, "\(bench.balance)")
        let next = try bench.accept(user: "u")
        #expect(next != lost && next != kept)
        let state = SavedState(bench.shard.state)
        if withoutStore {
            bench.store = MemoryStore()
            try bench.restart()
            #expect(bench.shard.restored?.state == state)
        }
    }

    @Test(arguments: [UInt8(1), 2])
    func aStateOfAnEarlierVersionIsRead(_ version: UInt8) throws {
        let (bench, _) = try worked()
        #expect(bench.shard.state.encoded()[0] == 3)
        let old = bench.shard.state.encoded(version: version)
        #expect(old[0] == version && old.count < bench.shard.state.encoded().count)
        let read = try #require(ShardState(encoded: old))
        #expect(read.encoded(version: version) == old)
        #expect(read.ledgers.map(\.accepted) == bench.shard.state.ledgers.map(\.accepted))
    }
}
