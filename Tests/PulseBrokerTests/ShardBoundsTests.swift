// A turn that takes in much, a replay of much, and a store that is of another moment than the log.

import PulseBroker
import PulseCore
import PulseLog
import TestDoubles
import Testing

@Suite struct ShardBoundsTests {
    @Test func aLargeTurnIsWrittenInPiecesAndSyncedAsOne() throws {
        let bench = try ShardBench(segmentBytes: 16 << 20)
        let text = String(repeating: "x", count: 400_000)
        var ids: [NotificationID] = []
        for _ in 0..<60 {
            ids.append(try bench.submit(user: "ada", text: text).id)
            #expect(bench.shard.log.bytesInTurn < Limits.turnBytesMax + 500_000)
        }
        #expect(bench.balance.accepted == 0, "nothing is visible before the sync")
        try bench.sync()
        #expect(bench.balance.accepted == 60)
        try bench.restart(.powerCut)
        for id in ids { #expect(try bench.state(of: id) == .ready) }
    }

    @Test func aReplayOfManyRowsGivesTheSameState() throws {
        let bench = try ShardBench(segmentBytes: 1 << 20, checkpointBytes: 1 << 30)
        let due = bench.now.wall.advanced(byMilliseconds: 3_600_000)
        for turn in 0..<60 {
            for place in 0..<100 {
                _ = try bench.submit(user: "user \(turn) \(place)", text: "hello", deliverAt: due)
            }
            try bench.sync()
        }
        let before = bench.shard.state.encoded()
        bench.store = MemoryStore()
        try bench.restart(.kill)
        #expect(bench.balance.scheduled == 6000)
        #expect(bench.store.rows.filter { $0.key.first == 0x68 }.count == 6000)
        #expect(bench.shard.state.streams.first?.end == Offset(6000))
        #expect(bench.shard.restored?.storeWasEmpty == true)
        #expect(
            bench.shard.restored?.state.hash == before.withUnsafeBytes { XXH3.hash($0, seed: 0) }
        )
    }

    /// The log was put back from an older copy and the store was not: what the rows speak of is not there.
    @Test func aStoreThatIsAheadOfTheLogIsRefused() throws {
        let bench = try ShardBench()
        _ = try bench.accept()
        let older = bench.directory.copy()
        let due = bench.now.wall.advanced(byMilliseconds: 1000)
        for _ in 0..<5 { _ = try bench.accept(deliverAt: due) }
        try bench.store.flush()
        bench.directory = older
        let refusal = #expect(throws: ShardError.self) { try bench.restart(.kill) }
        guard case .storeAhead? = refusal else {
            Issue.record("refused for another reason: \(String(describing: refusal))")
            return
        }
    }
}
