// Retention as the node drives it: while it serves, and not while it stops or has nothing to decide.

import PulseBroker
import PulseCore
import PulseDelivery
import PulseLog
import PulseNode
import TestDoubles
import Testing

@Suite struct NodeRetentionTests {
    @Test func aStopDoesNotWaitForRetention() throws {
        let bench = try NodeBench(segmentBytes: 32 << 10)
        for _ in 0..<600 {
            _ = try bench.send(more: #","deliver_at":"2030-01-01T00:00:00Z""#)
        }
        bench.configuration.shard.retention = RetentionPolicy(bytes: 64 << 10)
        bench.syncsAtOnce = false
        try bench.restart()
        bench.step(.drainRequested)
        let first = bench.node.shard.state.book.evacuated
        bench.settle()
        #expect(bench.drained && bench.stopped == nil)
        // One piece was on its way.
        let moved = bench.node.shard.state.book.evacuated - first
        #expect(moved < 150, "\(moved) moved while it stopped")
    }

    /// A broker that serves a damaged log reads only: nothing is decided, and nothing asks for turns.
    @Test func aReadOnlyNodeIsAtRest() throws {
        let bench = try NodeBench(segmentBytes: 32 << 10)
        for _ in 0..<200 { _ = try bench.send() }
        bench.directory.damage("00000000000000000000.seg") { $0[9000] ^= 0x10 }
        try bench.restart()
        #expect(bench.node.shard.log.isReadOnly)
        bench.pass(milliseconds: 10)
        let wake = try #require(bench.wake)
        #expect(wake > bench.now.monotonic, "it asks for turn after turn")
    }
}
