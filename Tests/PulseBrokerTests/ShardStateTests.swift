// What a shard keeps: templates with their revisions, and stores and logs that do or do not fit.

import PulseBroker
import PulseCore
import PulseLog
import TestDoubles
import Testing

@Suite struct ShardStateTests {
    /// Bytes that verify and are no batch are not "no records".
    @Test func whatIsNoBatchIsRefused() throws {
        let bench = try ShardBench()
        let junk = [UInt8](repeating: 7, count: 100)
        let stream = StreamID(topic: TopicID(1), partition: PartitionID(0), lane: .normal)
        _ = try bench.shard.append(junk, records: 1, to: stream, keys: [], at: bench.now)
        #expect(throws: ShardError.self) { try bench.sync() }
    }

    @Test func aRecordKeepsTheTemplateOfItsOwnMoment() throws {
        let bench = try ShardBench()
        func save(_ text: String, name: String = "hello") throws -> LogPosition {
            let row = TemplateRow(
                name: name,
                channel: .email,
                subject: "s",
                text: text,
                html: "",
                savedAt: bench.now.wall
            )
            let saved = try bench.shard.put(row, at: bench.now)
            #expect(saved.durableAt > bench.shard.log.durablePosition)
            #expect(bench.shard.revisionInForce(of: name) == saved.revision)
            try bench.sync()
            #expect(bench.shard.templates.revision(named: name) == saved.revision)
            return saved.revision.position
        }
        _ = try save("one")
        let first = try bench.story(try bench.accept()).recordPosition
        // A hundred more, so that the search has more than a page to go through.
        for number in 0..<100 { _ = try save("middle \(number)") }
        _ = try save("noise", name: "hell")
        _ = try save("noise", name: "hello2")
        let second = try bench.story(try bench.accept()).recordPosition
        _ = try save("last")
        let third = try bench.story(try bench.accept()).recordPosition
        for stop in [ShardBench.Stop.kill, .powerCut, .clean] {
            func text(at position: LogPosition) throws -> String? {
                try bench.shard.templates.revision(
                    named: "hello",
                    before: position,
                    in: bench.store
                )?.row.text
            }
            #expect(try text(at: first) == "one")
            #expect(try text(at: second) == "middle 99")
            #expect(try text(at: third) == "last")
            #expect(bench.shard.templates.newest.map(\.row.name) == ["hell", "hello", "hello2"])
            #expect(bench.shard.templates.revision(named: "hello")?.row.text == "last")
            let none = try bench.shard.templates.revision(
                named: "nobody",
                before: third,
                in: bench.store
            )
            #expect(none == nil)
            try bench.restart(stop)
        }
        try bench.expectReplayGivesTheSame()
    }

    // MARK: - Stores and logs that do not fit

    @Test func aForeignOrLostStoreIsRefused() throws {
        let bench = try ShardBench(seed: 1)
        let other = try ShardBench(seed: 2)
        func open(_ store: MemoryStore) throws(ShardError) -> Shard {
            try Shard.open(
                directory: bench.directory.copy(),
                store: store,
                configuration: bench.configuration,
                seed: 9,
                at: bench.now
            )
        }
        _ = try bench.accept()
        try other.restart(.clean)
        let refusal = #expect(throws: ShardError.self) { try open(other.store.copy()) }
        #expect("\(refusal.map { "\($0)" } ?? "")".contains("belongs to another log"))
        // The log reaches back to the beginning: a lost store is made anew.
        let rebuilt = try open(MemoryStore())
        #expect(rebuilt.balance(of: .email).accepted == 1)
    }

    @Test func aFailedSyncStopsTheShardForGood() throws {
        let bench = try ShardBench()
        _ = try bench.submit()
        let ticket = try bench.shard.flush(at: bench.now)
        #expect(ticket != nil)
        bench.directory.failsSyncs = true
        #expect(throws: StorageError.self) { try bench.shard.log.performSync() }
        bench.directory.failsSyncs = false
        #expect(throws: ShardError.self, "nothing is ever appended again") {
            _ = try bench.submit()
            _ = try bench.shard.flush(at: bench.now)
        }
        #expect(bench.shard.log.isReadOnly)
        #expect(bench.balance.accepted == 0)
    }

    @Test func damagedCheckpointsNeverTrap() throws {
        let bench = try ShardBench()
        for _ in 0..<20 { _ = try bench.accept(lane: .high) }
        _ = try bench.dispatch()
        let encoded = bench.shard.state.encoded()
        #expect(ShardState(encoded: encoded)?.encoded() == encoded)
        for cut in 0..<encoded.count { #expect(ShardState(encoded: Array(encoded[..<cut])) == nil) }
        #expect(ShardState(encoded: encoded + [0]) == nil)
        var random = SeededGenerator(seed: 8)
        for _ in 0..<5000 {
            var bytes = encoded
            bytes[random.below(bytes.count)] ^= 1 << UInt8(random.below(8))
            _ = ShardState(encoded: bytes)?.encoded()
        }
    }
}
