// Scrubbing finds what nobody has read, at its own pace, once for each segment, and goes on after a
// restart.

import PulseBroker
import PulseCore
import PulseLog
import TestDoubles
import Testing

@Suite struct ScrubTests {
    private func filled(_ count: Int = 120) throws -> ShardBench {
        let bench = try ShardBench(segmentBytes: 32 << 10, checkpointBytes: 2048)
        for _ in 0..<count { _ = try bench.accept(text: String(repeating: "x", count: 700)) }
        #expect(bench.shard.log.segments.count > 3)
        return bench
    }

    /// Scrubs for a time; the segments looked at, in order, and the damage found.
    private func scrub(
        _ bench: ShardBench,
        seconds: Int64,
        until enough: (Int) -> Bool = { _ in false }
    ) throws -> (segments: [UInt64], damaged: [DamagedRange]) {
        var segments: [UInt64] = []
        var damaged: [DamagedRange] = []
        var left = seconds * 1000
        while left > 0, !enough(segments.count) {
            if let piece = bench.shard.scrubPiece(at: bench.now) {
                #expect(bench.shard.scrubPiece(at: bench.now) == nil, "one piece at a time")
                try piece.perform()
                if piece.isWhole { segments.append(piece.segment) }
                damaged += bench.shard.scrubbed(piece, failure: nil, at: bench.now)
            }
            bench.pass(milliseconds: 10)
            left -= 10
        }
        return (segments, damaged)
    }

    private func sealed(_ bench: ShardBench) -> [UInt64] {
        bench.shard.log.segments.filter(\.isSealed).map(\.number)
    }

    @Test func aPassVerifiesEachSealedSegmentOnce() throws {
        let bench = try filled()
        let first = try scrub(bench, seconds: 5)
        #expect(first.segments.sorted() == sealed(bench) && first.damaged.isEmpty)
        let bytes = bench.shard.scrubbing.bytes
        #expect(bytes > UInt64(sealed(bench).count * 20_000))
        // Nothing more until the next pass is due, and then in another order.
        #expect(try scrub(bench, seconds: 100).segments.isEmpty)
        bench.pass(milliseconds: Limits.scrubIntervalMilliseconds)
        let second = try scrub(bench, seconds: 100)
        #expect(second.segments.sorted() == sealed(bench))
        #expect(second.segments != first.segments)
        #expect(bench.shard.scrubbing.passesEnded == 2)
    }

    @Test func itKeepsToItsRate() throws {
        let bench = try filled()
        bench.configuration.scrubBytesPerSecond = 64 << 10
        try bench.restart(.clean)
        // 28 KiB a segment at 64 KiB a second: two in the first second, not all.
        let segments = try scrub(bench, seconds: 1).segments.count
        #expect(segments >= 1 && segments <= 4)
        #expect(bench.shard.scrubbing.bytes <= 128 << 10)
    }

    @Test func itGoesOnWhereAnEarlierProcessWas() throws {
        let bench = try filled()
        let first = try scrub(bench, seconds: 5, until: { $0 == 2 }).segments
        #expect(first.count == 2)
        try bench.restart(.clean)
        let second = try scrub(bench, seconds: 5).segments
        #expect((first + second).sorted() == sealed(bench), "none twice, none left out")
    }

    @Test(arguments: [0, 100, 4096 + 20, 4096 + 300, (32 << 10) - 4000])
    func damageThatNobodyReadIsFoundAndTold(byte: Int) throws {
        let bench = try filled()
        let victim = try #require(bench.shard.log.segments.dropFirst().first)
        #expect(victim.isSealed)
        bench.directory.damage(victim.name) { $0[byte] ^= 0x10 }
        let found = try scrub(bench, seconds: 5)
        #expect(found.segments.sorted() == sealed(bench), "it goes on behind the damage")
        let range = try #require(found.damaged.first)
        #expect(found.damaged.count == 1 && range.file == victim.name)
        #expect(range.byte <= byte)
        #expect(bench.shard.scrubbing.damaged == 1)
        #expect(bench.shard.acceptsWork == .dataCorrupt)
    }

    @Test func aDamagedIndexIsMadeAgainAndNothingIsRefused() throws {
        let bench = try filled()
        let name = try #require(try bench.directory.list().first { $0.hasSuffix(".idx") })
        bench.directory.damage(name) { $0[4200] ^= 0x10 }
        let found = try scrub(bench, seconds: 5)
        #expect(found.segments.sorted() == sealed(bench) && found.damaged.isEmpty)
        #expect(bench.shard.log.indexDamagesMet == 1)
        #expect(bench.shard.acceptsWork == nil)
        _ = try bench.accept(text: "meanwhile")
        bench.pass(milliseconds: Limits.scrubIntervalMilliseconds)
        #expect(try scrub(bench, seconds: 100).segments.sorted() == sealed(bench))
        #expect(bench.shard.log.indexDamagesMet == 1, "it was mended")
    }

    @Test func aFileThatCannotBeReadIsTriedAgainLater() throws {
        let bench = try filled()
        let piece = try #require(bench.shard.scrubPiece(at: bench.now))
        let failure = StorageError(.read, file: "x", byte: 0, reason: .failed(code: 5, text: "EIO"))
        #expect(bench.shard.scrubbed(piece, failure: failure, at: bench.now).isEmpty)
        #expect(bench.shard.scrubPiece(at: bench.now) == nil)
        #expect(bench.shard.scrubbing.failures == 1)
        #expect(try scrub(bench, seconds: 100).segments.sorted() == sealed(bench))
    }

    @Test func noneAtAllWhenTheRateIsZero() throws {
        let bench = try filled()
        bench.configuration.scrubBytesPerSecond = 0
        try bench.restart(.clean)
        #expect(bench.shard.scrubPiece(at: bench.now) == nil)
    }
}
