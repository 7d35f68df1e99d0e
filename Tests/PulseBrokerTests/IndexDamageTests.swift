// A page of an index and its segment, both damaged: what lies there waits for the repair, and everything
// else goes on.

import PulseBroker
import PulseCore
import PulseLog
import TestDoubles
import Testing

@Suite struct IndexDamageTests {
    @Test func whatCannotBeFoundWaitsAndTheRestIsDelivered() throws {
        let bench = try ShardBench(segmentBytes: 32 << 10, checkpointBytes: 2048)
        var ids: [NotificationID] = []
        for _ in 0..<120 { ids.append(try bench.accept(text: String(repeating: "x", count: 700))) }
        try bench.restart(.clean)
        let victim = try #require(bench.shard.log.segments.dropFirst().first)
        #expect(victim.isSealed && victim.isIndexed)
        bench.directory.damage(victim.name) { $0[9000] ^= 0x10 }
        bench.directory.damage(victim.name.replacing(".seg", with: ".idx")) { bytes in
            for page in stride(from: 4096, to: bytes.count, by: 4096) { bytes[page + 5] ^= 0x10 }
        }
        var delivered = 0
        var leases = try bench.dispatch(slots: 100)
        while !leases.isEmpty {
            for lease in leases {
                try bench.shard.settle(lease.id, .delivered(code: 250, detail: ""), at: bench.now)
            }
            delivered += leases.count
            try bench.sync()
            leases = try bench.dispatch(slots: 100)
        }
        #expect(delivered > 60 && bench.shard.stranded.count > 10)
        #expect(delivered + bench.shard.stranded.count == 120)
        #expect(bench.shard.acceptsWork == .dataCorrupt)
        #expect(bench.balance.isBalanced && bench.balance.delivered == UInt64(delivered))
        // A question about one of them is answered with the damage.
        var refused = 0
        for id in ids {
            do throws(ShardError) {
                let story = try bench.shard.story(of: id, withSteps: false)
                #expect(story?.state == .delivered)
            } catch {
                guard case .log(.damaged(let range)) = error else { throw error }
                #expect(range.file == victim.name)
                refused += 1
            }
        }
        #expect(refused == bench.shard.stranded.count)
    }
}
