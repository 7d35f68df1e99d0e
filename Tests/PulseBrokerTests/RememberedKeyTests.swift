// Retention by size takes records, never the memory of their keys: spec/05-delivery.md, "Retention".

import PulseBroker
import PulseCore
import PulseLog
import TestDoubles
import Testing

@Suite struct RememberedKeyTests {
    private let minute: Int64 = 60_000

    private func bench(
        seed: UInt64 = 1,
        keysMax: Int = Limits.rememberedKeysMax
    ) throws -> ShardBench {
        let bench = try ShardBench(
            seed: seed,
            retry: RetryPolicy(baseMs: 100, capMs: 1000, attemptsMax: 1),
            segmentBytes: 32 << 10,
            checkpointBytes: 16 << 10,
            window: 1000 * minute,
            retention: 1000 * minute,
            policy: RetentionPolicy(bytes: 160 << 10)
        )
        bench.configuration.rememberedKeysMax = keysMax
        try bench.restart(.clean)
        return bench
    }

    private func traffic(_ bench: ShardBench, _ count: Int, keyed: Bool = false) throws {
        for number in 0..<count {
            let key = keyed ? "k\(bench.shard.log.appendPosition.rawValue)-\(number)" : nil
            _ = try bench.submit(user: "bob", text: String(repeating: "x", count: 400), key: key)
            guard number % 20 == 0 else { continue }
            try bench.sync()
            try bench.deliverAll()
        }
        try bench.sync()
        try bench.deliverAll()
    }

    private func expectKnown(_ bench: ShardBench, _ id: NotificationID, _ comment: Comment) throws {
        let again = try bench.submit(text: "once", key: "order-17")
        #expect(again.kind == .duplicate && again.id == id, comment)
        let isThere = try bench.shard.story(of: id, withSteps: false) != nil
        #expect(again.endState == (isThere ? nil : .delivered), comment)
        #expect(try bench.submit(text: "twice", key: "order-17").kind == .conflict, comment)
        #expect(
            try bench.submit(text: "once", key: "order-17", channel: .sms).kind == .conflict,
            comment
        )
    }

    @Test(arguments: 0..<4)
    func aKeyOutlivesItsRecord(seed: UInt64) throws {
        let bench = try bench(seed: seed)
        let id = try bench.accept(text: "once", key: "order-17")
        let position = try bench.story(id).recordPosition
        try bench.deliverAll()
        try traffic(bench, 300, keyed: true)
        let stops = [ShardBench.Stop.kill, .powerCut, .tornPowerCut, .clean]
        for round in 0..<24 {
            try traffic(bench, 30)
            try bench.retain(turns: 3)
            try expectKnown(bench, id, "\(round)")
            try bench.restart(stops[(round + Int(seed)) % stops.count])
            try expectKnown(bench, id, "\(round), restarted")
        }
        #expect(bench.shard.log.firstPosition > position, "its record is gone")
        #expect(try bench.shard.story(of: id, withSteps: false)?.id == nil)
        let bytes = bench.shard.state.encoded()
        #expect(bytes[0] == 4 && ShardState(encoded: bytes)?.encoded() == bytes)
        let rows = bench.store.rows.filter { $0.key[0] == 0x71 }.count
        #expect(rows == Int(bench.shard.state.keys.count) && rows > 100)
        // The window is over: the key is new, and nothing of it is left.
        bench.pass(milliseconds: 1001 * minute)
        #expect(try bench.submit(text: "twice", key: "order-17").kind == .accepted)
        try bench.sync()
        for _ in 0..<5 {
            bench.pass(milliseconds: 60 * minute)
            try bench.retain(turns: 60)
        }
        #expect(bench.shard.state.keys.count == 0)
        #expect(!bench.store.rows.contains { $0.key[0] == 0x71 || $0.key[0] == 0x6A })
        #expect(try bench.submit(text: "twice", key: "order-17").kind == .duplicate)
    }

    @Test func aKeyThatIsUsedAgainIsRememberedAgain() throws {
        let bench = try bench()
        _ = try bench.accept(text: "once", key: "order-17")
        try bench.deliverAll()
        try traffic(bench, 600)
        try bench.retain(turns: 60)
        bench.pass(milliseconds: 1001 * minute)
        let second = try bench.accept(text: "twice", key: "order-17")
        try bench.deliverAll()
        for _ in 0..<8 {
            try traffic(bench, 100)
            try bench.retain(turns: 60)
            bench.pass(milliseconds: 100 * minute)
            let again = try bench.submit(text: "twice", key: "order-17")
            #expect(again.kind == .duplicate && again.id == second)
        }
    }

    /// Old keys go and young ones come in the same look: the count is that of the rows.
    @Test func whatIsGivenUpIsCountedOnce() throws {
        let bench = try bench()
        var most = 0
        for round in 0..<40 {
            try traffic(bench, 60, keyed: true)
            bench.pass(milliseconds: 150 * minute)
            try bench.retain(turns: 6)
            let rows = bench.store.rows.filter { $0.key[0] == 0x71 }.count
            most = max(most, rows)
            #expect(rows == Int(bench.shard.state.keys.count), "round \(round)")
        }
        #expect(most > 100)
    }

    @Test func whatDoesNotFitGoesWithItsRecordAndIsCounted() throws {
        let bench = try bench(keysMax: 200)
        let first = try bench.accept(text: "once", key: "order-17")
        try bench.deliverAll()
        var most: UInt64 = 0
        for _ in 0..<20 {
            try traffic(bench, 60, keyed: true)
            try bench.retain(turns: 6)
            most = max(most, bench.shard.state.keys.count)
        }
        #expect(most <= 200 + 512 && bench.shard.statistics.keysForgotten > 0, "\(most)")
        #expect(bench.shard.log.usage.total <= (160 << 10) + (64 << 10))
        let again = try bench.submit(text: "once", key: "order-17")
        #expect(again.kind == .duplicate && again.id == first)
    }
}
