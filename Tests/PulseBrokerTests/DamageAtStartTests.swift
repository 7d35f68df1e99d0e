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
        #expect(try bench.store.get(key)?.first == bench.shard.state.encoded()[0])
    }
}
