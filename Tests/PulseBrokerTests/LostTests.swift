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
        let ends = bench.shard.state.streams.map(\.end)
        bench.store = MemoryStore()
        try bench.restart()
        // A store that was there knew of the record itself too.
        if withoutStore { #expect(bench.shard.state.streams.map(\.end) == ends) }
        for id in ids.dropFirst() { #expect(try bench.state(of: id) == .ready) }
        #expect(bench.balance.isBalanced)
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
