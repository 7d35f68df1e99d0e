// Damage in what a start has to fold: a sealed segment is trusted until it is read, and what is read first
// is what the state has not seen yet.

import PulseBroker
import PulseCore
import PulseLog
import TestDoubles
import Testing

@Suite struct DamageAtStartTests {
    @Test(arguments: [1, 3])
    func itIsServedReadOnlyAndNeverAReasonNotToStart(place: Int) throws {
        // No checkpoint: the state is folded from the beginning.
        let bench = try ShardBench(segmentBytes: 32 << 10, checkpointBytes: 64 << 20)
        var ids: [NotificationID] = []
        for _ in 0..<120 { ids.append(try bench.accept(text: String(repeating: "x", count: 700))) }
        let segments = bench.shard.log.segments
        try #require(segments.count > 4)
        let victim = segments[place]
        bench.directory.damage(victim.name) { $0[9000] ^= 0x10 }
        for _ in 0..<2 {
            let shard = try Shard.open(
                directory: bench.directory,
                store: bench.store,
                configuration: bench.configuration,
                seed: 9,
                at: bench.now
            )
            let range = try #require(shard.recovery.damaged.first)
            #expect(range.file == victim.name && range.byte <= 9000)
            #expect(shard.log.isReadOnly && shard.acceptsWork == .dataCorrupt)
            shard.checkInvariants()
            // What lies before the damage is served; nothing is leased from a state that is not whole.
            let story = try #require(try shard.story(of: ids[0], withSteps: true))
            #expect(
                story.state == .ready && story.isUncertain,
                "it may have ended behind the damage"
            )
            // So is what lies behind it; only what is in it is refused, naming the place.
            var refused: [DamagedRange] = []
            for id in ids {
                do {
                    let story = try #require(try shard.story(of: id, withSteps: true))
                    #expect(story.state == .ready && story.isUncertain && story.unread == nil)
                } catch ShardError.log(.damaged(let range)) { refused.append(range) }
            }
            #expect(refused == [range])
            try shard.dispatch(.email, slots: 8, at: bench.now)
            #expect(try shard.flush(at: bench.now) == nil && shard.takeOpened().isEmpty)
            try shard.close()
        }
        // Put back, all of it is there again.
        bench.directory.damage(victim.name) { $0[9000] ^= 0x10 }
        try bench.restart(.kill)
        #expect(bench.balance.accepted == 120)
        for id in ids { #expect(try bench.story(id).isUncertain == false) }
        try bench.expectReplayGivesTheSame()
    }

    enum Hole: CaseIterable {
        /// One whose index is there, one whose index is gone with it, and one that held the first commands.
        case file, entries, beginning
    }

    @Test(arguments: Hole.allCases)
    func whatLiesBehindAHoleIsToldAsFarAsItGoes(hole: Hole) throws {
        let bench = try ShardBench(segmentBytes: 32 << 10, checkpointBytes: 64 << 20)
        var ids: [NotificationID] = []
        for index in 0..<120 {
            let text = String(repeating: "x", count: 700)
            let user = index % 2 == 0 ? "ada" : "bob"
            ids.append(try bench.accept(user: user, text: text))
        }
        let hour = bench.now.wall.advanced(byMilliseconds: 3_600_000)
        ids.append(try bench.accept(user: "ada", deliverAt: hour))
        // Behind all of them: how the first of them ended.
        for lease in try bench.dispatch(slots: 4) {
            let outcome: AttemptOutcome =
                lease.message.offset == Offset(1)
                ? .dead(.recipientDead, code: 550, detail: "unknown user")
                : .delivered(code: 250, detail: "ok")
            try bench.shard.settle(lease.id, outcome, at: bench.now)
        }
        try bench.sync()
        let segments = bench.shard.log.segments
        try #require(segments.count > 4)
        let victim = segments[hole == .beginning ? 0 : 2]
        let index = String(victim.name.dropLast(3)) + "idx"
        switch hole {
        case .file:
            try bench.directory.remove(victim.name)
            try bench.directory.remove(index)
        case .entries, .beginning:
            bench.directory.damage(victim.name) {
                for byte in 4096..<20_000 { $0[byte] = 0 }
            }
            if hole == .entries { try bench.directory.remove(index) }
        }
        bench.store.crash { _ in 0 }
        let shard = try Shard.open(
            directory: bench.directory,
            store: MemoryStore(),
            configuration: bench.configuration,
            seed: 9,
            at: bench.now
        )
        let range = try #require(shard.recovery.damaged.first)
        #expect(shard.log.isReadOnly && shard.acceptsWork == .dataCorrupt)
        shard.checkInvariants()
        var refused = 0
        for (place, id) in ids.enumerated() {
            do {
                let story = try #require(try shard.story(of: id, withSteps: true))
                switch place {
                case 0, 2, 3: #expect(story.state == .delivered && !story.isUncertain)
                case 1: #expect(story.state == .dead && !story.isUncertain)
                case 120: #expect(story.state == .scheduled && story.isUncertain)
                default: #expect(story.state == .ready && story.isUncertain)
                }
                #expect(story.envelope.contains(UInt8(ascii: place == 120 ? "h" : "x")))
            } catch ShardError.log(.damaged(let told)) {
                refused += 1
                #expect(told == range, "it names the hole")
            }
        }
        // A segment holds about thirty, the hole of entries half of them.
        #expect(hole == .file ? (25...35).contains(refused) : (14...20).contains(refused))
        for user in [nil, "ada", "bob"] { try expectListsEndAtTheHole(shard, user, ids, range) }
        // The native read: up to the hole, refused in it, and on behind it.
        let stream = StreamID(topic: Channel.email.topic, partition: PartitionID(0), lane: .normal)
        #expect(shard.end(of: stream) == Offset(Int64(ids.count)))
        #expect(try shard.browse(stream, from: Offset(0), count: 1000).count == ids.count)
        try shard.dispatch(.email, slots: 8, at: bench.now)
        #expect(try shard.flush(at: bench.now) == nil && shard.takeOpened().isEmpty)
    }

    /// Page by page: each notification behind the hole once, newest first, and then a refusal.
    private func expectListsEndAtTheHole(
        _ shard: Shard,
        _ user: String?,
        _ ids: [NotificationID],
        _ range: DamagedRange
    ) throws {
        var listed: [NotificationID] = []
        var place: Shard.ListPlace?
        var told: DamagedRange?
        let utf8 = Array((user ?? "").utf8)
        for _ in 0..<100 where told == nil {
            do {
                var page = 0
                place = try utf8.withUnsafeBytes { bytes in
                    try shard.walkNewestFirst(
                        channel: nil,
                        user: user == nil ? nil : bytes,
                        olderThan: place,
                        examineMax: 1000
                    ) { story in
                        listed.append(story.id)
                        page += 1
                        return page < 7
                    }
                }
                guard place != nil else { break }
            } catch ShardError.log(.damaged(let found)) { told = found }
        }
        #expect(told == range, "the end is never reached without a word")
        let mine = ids.indices.filter { user == nil || ($0 % 2 == 0) == (user == "ada") }
        let newest = Array(mine.reversed().prefix(listed.count).map { ids[$0] })
        #expect(listed == newest)
        #expect(listed.count > mine.count / 4, "\(listed.count) of \(mine.count)")
    }

    /// Its segment book is made from the whole log, whose beginning is released, once.
    @Test(arguments: [UInt8(1), 2])
    func anOldStateThatCannotBeUpgradedIsServedReadOnly(version: UInt8) throws {
        let minute: Int64 = 60_000
        let bench = try ShardBench(
            segmentBytes: 32 << 10,
            checkpointBytes: 2048,
            window: minute,
            retention: minute
        )
        for _ in 0..<60 { _ = try bench.accept(text: String(repeating: "x", count: 700)) }
        var leases = try bench.dispatch(slots: 100)
        while !leases.isEmpty {
            for lease in leases {
                try bench.shard.settle(lease.id, .delivered(code: 250, detail: ""), at: bench.now)
            }
            try bench.sync()
            leases = try bench.dispatch(slots: 100)
        }
        bench.pass(milliseconds: 3 * minute)
        var ids: [NotificationID] = []
        for _ in 0..<120 { ids.append(try bench.accept(text: String(repeating: "x", count: 700))) }
        for _ in 0..<3 {
            bench.pass(milliseconds: 5000)
            try bench.shard.reachedTime(bench.now)
            try bench.shard.releaseOldSegments(at: bench.now)
            try bench.sync()
        }
        try #require(bench.shard.log.firstPosition.rawValue > 32 << 10)
        try bench.shard.close()
        let key = Array("checkpoint".utf8)
        let old = bench.shard.state.encoded(version: version)
        var batch = StateBatch()
        batch.put(key, old)
        try bench.store.write(batch)
        try bench.store.flush()
        let segments = bench.shard.log.segments
        try #require(segments.count > 4)
        let victim = segments[2]
        bench.directory.damage(victim.name) { $0[9000] ^= 0x10 }
        for _ in 0..<2 {
            let shard = try Shard.open(
                directory: bench.directory,
                store: bench.store,
                configuration: bench.configuration,
                seed: 9,
                at: bench.now
            )
            #expect(shard.recovery.damaged.first?.file == victim.name)
            #expect(shard.log.isReadOnly && shard.acceptsWork == .dataCorrupt)
            let last = try #require(ids.last)
            #expect(try shard.story(of: last, withSteps: true)?.state == .ready)
            try shard.dispatch(.email, slots: 8, at: bench.now)
            #expect(try shard.flush(at: bench.now) == nil && shard.takeOpened().isEmpty)
            try shard.releaseOldSegments(at: bench.now)
            try shard.close()
            #expect(try bench.store.get(key) == old, "it is upgraded after the repair, not before")
        }
        bench.directory.damage(victim.name) { $0[9000] ^= 0x10 }
        try bench.restart(.kill)
        #expect(bench.shard.acceptsWork == nil)
        for id in ids { #expect(try bench.state(of: id) == .ready) }
        try bench.shard.close()
        #expect(try bench.store.get(key) == Checkpoint.row(bench.shard.state.encoded()))
    }
}
