// What a clock set forward makes due goes out at a bounded rate, in due order, and never later than it
// would have without the step.

import PulseBroker
import PulseCore
import TestDoubles
import Testing

@Suite struct CatchUpTests {
    private static let hour: Int64 = 3_600_000

    private func schedule(_ count: Int, at due: (Int) -> Int64, on bench: ShardBench) throws {
        let now = bench.now.wall
        for number in 0..<count {
            _ = try bench.submit(
                user: "u\(number)",
                deliverAt: now.advanced(byMilliseconds: due(number))
            )
        }
        try bench.sync()
    }

    /// Gives out all there is, and delivers it; the offsets, in the order given out.
    private func deliver(_ bench: ShardBench) throws -> [Int64] {
        var offsets: [Int64] = []
        while true {
            let leases = try bench.dispatch(slots: 1000)
            if leases.isEmpty { return offsets }
            for lease in leases {
                offsets.append(lease.message.offset.rawValue)
                try bench.shard.settle(lease.id, .delivered(code: 250, detail: ""), at: bench.now)
            }
            try bench.sync()
        }
    }

    @Test func aJumpForwardIsNoBurst() throws {
        let bench = try ShardBench()
        // Every ten seconds one, for fifty minutes.
        try schedule(300, at: { 1000 + Int64($0) * 10_000 }, on: bench)
        bench.setClock(byMilliseconds: 2 * Self.hour)
        var out: [Int64] = []
        var most = 0
        for _ in 0..<60 {
            let now = try deliver(bench)
            most = max(most, now.count)
            out += now
            if let wake = bench.shard.nextDeadline, out.count < 300 {
                #expect(wake.milliseconds(since: bench.now.monotonic) <= 100)
            }
            bench.pass(milliseconds: 50)
        }
        #expect(most <= Limits.clockCatchUpPerSecond / 10)
        #expect(out == Array(0..<300), "all of them, once, in due order, within three seconds")
        try bench.expectReplayGivesTheSame()
    }

    @Test func whatIsDueAfterTheStepWaitsForNobody() throws {
        let bench = try ShardBench(heldInMemoryMax: 4)
        try schedule(200, at: { _ in Self.hour }, on: bench)
        try schedule(1, at: { _ in 2 * Self.hour + 500 }, on: bench)
        bench.setClock(byMilliseconds: 2 * Self.hour)
        let first = try deliver(bench)
        #expect(first.count == 10)
        bench.pass(milliseconds: 600)
        let second = try deliver(bench)
        #expect(second.contains(200) && second.count <= 11)
        // What somebody asks for now that the clock says so is not held up for long either.
        let late = bench.now.wall.advanced(byMilliseconds: 50)
        _ = try bench.accept(user: "late", deliverAt: late)
        bench.pass(milliseconds: 60)
        #expect(try deliver(bench).contains(201))
    }

    @Test func nothingGoesLaterThanWithoutTheStep() throws {
        let bench = try ShardBench()
        try schedule(500, at: { _ in 2000 }, on: bench)
        bench.setClock(byMilliseconds: Self.hour)
        var out = try deliver(bench).count
        for _ in 0..<19 {
            bench.pass(milliseconds: 100)
            out += try deliver(bench).count
        }
        #expect(out == 200, "a hundred a second, until their time has come")
        bench.pass(milliseconds: 100)
        #expect(try deliver(bench).count == 300)
    }

    @Test func aMistakeThatIsUndoneLetsTheRestWait() throws {
        let bench = try ShardBench()
        try schedule(300, at: { _ in Self.hour }, on: bench)
        bench.setClock(byMilliseconds: 2 * Self.hour)
        let early = try deliver(bench).count
        #expect(early == 10)
        bench.setClock(byMilliseconds: -2 * Self.hour)
        bench.pass(milliseconds: Self.hour / 2)
        #expect(try deliver(bench).isEmpty)
        bench.pass(milliseconds: Self.hour / 2)
        #expect(try deliver(bench).count == 290, "at its time, as if nothing had been")
    }

    @Test func twoStepsAreCaughtUpWithAsOne() throws {
        let bench = try ShardBench()
        try schedule(100, at: { _ in Self.hour }, on: bench)
        try schedule(100, at: { _ in 3 * Self.hour }, on: bench)
        bench.setClock(byMilliseconds: 2 * Self.hour)
        var out = try deliver(bench)
        bench.setClock(byMilliseconds: 2 * Self.hour)
        for _ in 0..<20 {
            let now = try deliver(bench)
            #expect(now.count <= 10)
            out += now
            bench.pass(milliseconds: 100)
        }
        #expect(out == Array(0..<200))
    }

    @Test func aBusyGroupCatchesUpAtTwiceItsRate() throws {
        let bench = try ShardBench(segmentBytes: 4 << 20)
        try schedule(300, at: { _ in Self.hour }, on: bench)
        // 80 a second.
        for _ in 0..<60 {
            for _ in 0..<80 { _ = try bench.submit(user: "often") }
            try bench.sync()
            #expect(try deliver(bench).count == 80)
            bench.pass(milliseconds: 1000)
        }
        bench.setClock(byMilliseconds: 2 * Self.hour)
        #expect(try deliver(bench).count == 16, "160 a second, in ten pieces")
    }

    /// Steps in both directions, little memory: everything comes once, never before the clock says so, and
    /// in the end all of it.
    @Test(arguments: [1, 3, 16, 1000], 0..<8)
    func noStepLosesAnything(limit: Int, seed: UInt64) throws {
        var random = SeededGenerator(seed: seed &* 977 &+ UInt64(limit))
        let store = MemoryStore()
        var now = Now(
            monotonic: MonotonicInstant(nanoseconds: 5_000_000_000),
            wall: WallTimestamp(milliseconds: 1_000_000)
        )
        var queue = HeldQueue(group: GroupID(3), at: now, limit: limit)
        var waiting: Set<Int64> = []
        try queue.reload(at: now, from: store) { _ in false }
        var next: Int64 = 0
        for step in 0..<3000 {
            if step < 400, random.below(3) > 0 {
                let row = HeldRow(
                    message: MessageKey(
                        group: GroupID(3),
                        stream: StreamID(rawValue: 0x10002),
                        offset: Offset(next)
                    ),
                    due: now.wall.advanced(byMilliseconds: Int64(random.below(20_000)) - 500),
                    attempt: 1,
                    reason: .scheduled,
                    position: .zero,
                    since: now.wall
                )
                var batch = StateBatch()
                batch.put(row.key, row.value)
                try store.write(batch)
                try queue.add(row, at: now, from: store, except: { _ in false })
                waiting.insert(next)
                next += 1
            }
            let passed = step < 400 ? Int64(random.below(60)) : 20
            now.monotonic = now.monotonic.advanced(byMilliseconds: passed)
            now.wall = now.wall.advanced(byMilliseconds: passed)
            if step < 400, random.below(40) == 0 {
                let expected = now.wall
                now.wall = now.wall.advanced(byMilliseconds: Int64(random.below(24_000)) - 8000)
                queue.clockSet(from: expected, perSecond: 10 + random.below(90), at: now)
                try queue.reload(at: now, from: store) { _ in false }
            }
            var released: [HeldRow] = []
            try queue.advance(to: now, from: store, except: { _ in false }) { released.append($0) }
            var batch = StateBatch()
            for row in released {
                #expect(row.due <= now.wall, "early")
                #expect(waiting.remove(row.message.offset.rawValue) != nil, "twice")
                batch.delete(row.key)
            }
            try store.write(batch)
        }
        #expect(waiting.isEmpty, "never came out: \(waiting.count)")
    }
}
