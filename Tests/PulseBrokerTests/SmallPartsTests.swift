// The small structures of the broker, each against the simplest model that can be right.

import PulseBroker
import PulseCore
import TestDoubles
import Testing

@Suite struct StreamProgressTests {
    @Test(arguments: 0..<40)
    func agreesWithASet(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let start = Int64(random.below(300))
        var progress = StreamProgress(floor: Offset(start), end: Offset(start))
        var done = Set<Int64>()
        var end = start
        for _ in 0..<800 {
            switch random.below(4) {
            case 0:
                end += Int64(random.below(200))
                progress.extend(to: Offset(end))
            default:
                guard end > start else { continue }
                // Near the floor, so that it moves; now and then far away.
                let floor = progress.floor.rawValue
                let reach = random.below(3) == 0 ? end - start : min(end - floor, 70)
                let low = reach == end - start ? start : floor
                guard reach > 0 else { continue }
                let offset = low + Int64(random.below(Int(reach)))
                let isNew = progress.markDone(Offset(offset))
                #expect(isNew == done.insert(offset).inserted)
            }
            var floor = start
            while done.contains(floor) { floor += 1 }
            #expect(progress.floor.rawValue == floor, "seed \(seed)")
            #expect(progress.end.rawValue == end)
            #expect(progress.openCount == Int(end - start) - done.count)
            #expect(progress.doneAboveFloor == done.filter { $0 >= floor }.count)
            let from = start + Int64(random.below(Int(end - start) + 2))
            var expected: Int64? = max(from, floor)
            while let at = expected, at < end, done.contains(at) { expected = at + 1 }
            if let at = expected, at >= end { expected = nil }
            #expect(progress.nextOpen(from: Offset(from))?.rawValue == expected, "seed \(seed)")
            #expect(progress.isDone(Offset(from)) == (from < end && done.contains(from)))
        }
        var bytes: [UInt8] = []
        progress.append(to: &bytes)
        let back = bytes.withUnsafeBytes { buffer -> StreamProgress? in
            var reader = ByteReader(buffer)
            return StreamProgress(&reader)
        }
        var decoded = try #require(back)
        #expect(decoded == progress)
        #expect(decoded.openCount == progress.openCount)
        #expect(decoded.doneAboveFloor == progress.doneAboveFloor)
        // The copy goes on as the original does.
        for offset in progress.floor.rawValue..<end {
            let results = (progress.markDone(Offset(offset)), decoded.markDone(Offset(offset)))
            #expect(results.0 == results.1)
        }
        #expect(decoded == progress && progress.floor.rawValue == end)
    }

    @Test func historyDoesNotShowInTheBytes() {
        var forwards = StreamProgress(floor: Offset(0), end: Offset(500))
        var backwards = forwards
        for offset: Int64 in 0..<400 { forwards.markDone(Offset(offset)) }
        for offset: Int64 in (0..<400).reversed() { backwards.markDone(Offset(offset)) }
        #expect(forwards == backwards)
        #expect(forwards == StreamProgress(floor: Offset(400), end: Offset(500)))
    }

    @Test func malformedBytesAreRefused() {
        func read(_ floor: Int64, _ end: Int64, _ words: UInt32) -> StreamProgress? {
            var bytes: [UInt8] = []
            bytes.append(littleEndian: floor)
            bytes.append(littleEndian: end)
            bytes.append(littleEndian: words)
            return bytes.withUnsafeBytes {
                var reader = ByteReader($0)
                return StreamProgress(&reader)
            }
        }
        #expect(read(0, 0, 0) != nil)
        #expect(read(-1, 0, 0) == nil)
        #expect(read(2, 1, 0) == nil)
        #expect(read(0, 64, 1) == nil)
        #expect(read(0, 64, .max) == nil)
    }
}

@Suite struct LaneSchedulerTests {
    private func share(_ ready: UInt8, turns: Int, strict: Bool = false) -> [Int] {
        var scheduler = LaneScheduler()
        var counts = [0, 0, 0, 0]
        for _ in 0..<turns {
            guard let lane = scheduler.next(ready: ready, criticalMayBeStrict: strict) else {
                continue
            }
            counts[Int(lane.rawValue)] += 1
        }
        return counts
    }

    @Test func everyLaneGetsExactlyItsWeight() {
        #expect(share(0b1111, turns: 29_000) == [16_000, 8000, 4000, 1000])
        #expect(share(0b1110, turns: 13_000) == [0, 8000, 4000, 1000])
        #expect(share(0b1010, turns: 9000) == [0, 8000, 0, 1000])
        #expect(share(0b1000, turns: 77) == [0, 0, 0, 77])
        #expect(share(0, turns: 5) == [0, 0, 0, 0])
    }

    @Test func criticalIsStrictAsLongAsItMay() {
        #expect(share(0b1111, turns: 100, strict: true) == [100, 0, 0, 0])
        #expect(share(0b1110, turns: 13, strict: true) == [0, 8, 4, 1])
    }

    @Test(arguments: 0..<10)
    func bulkMovesWhateverTheOthersDo(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var scheduler = LaneScheduler()
        var sinceBulk = 0
        for _ in 0..<20_000 {
            // Bulk always has work; the others come and go.
            let ready = UInt8(random.below(8)) | 0b1000
            let lane = scheduler.next(ready: ready, criticalMayBeStrict: false)
            #expect(lane.map { ready >> $0.rawValue & 1 == 1 } == true, "only a ready lane")
            sinceBulk = lane == .bulk ? 0 : sinceBulk + 1
            #expect(sinceBulk <= 28, "one in a round of 29, seed \(seed)")
        }
    }
}

@Suite struct CommandCodecTests {
    private static func step(_ random: inout SeededGenerator) -> Command.Step {
        Command.Step(
            message: MessageKey(
                group: GroupID(UInt16(random.below(65_536))),
                stream: StreamID(rawValue: UInt32(truncatingIfNeeded: random.next())),
                offset: Offset(Int64(bitPattern: random.next()))
            ),
            attempt: UInt16(random.below(65_536)),
            previous: LogPosition(random.next()),
            origin: MessageOrigin(rawValue: UInt8(random.below(3))) ?? .fresh,
            heldDue: Int64(bitPattern: random.next())
        )
    }

    private static func text(_ random: inout SeededGenerator) -> String {
        let letters: [Character] = ["a", "é", "😀", " ", "\n"]
        return String((0..<random.below(20)).map { _ in letters[random.below(5)] })
    }

    private static func command(_ random: inout SeededGenerator) -> Command {
        let code = Int32(truncatingIfNeeded: random.next())
        let wall = WallTimestamp(milliseconds: Int64(bitPattern: random.next()))
        switch random.below(7) {
        case 0: return .intent(step(&random))
        case 1: return .delivered(step(&random), code: code, detail: text(&random))
        case 2:
            return .held(
                step(&random),
                due: wall,
                reason: HoldReason(rawValue: UInt8(1 + random.below(4))) ?? .backoff,
                code: code,
                detail: text(&random)
            )
        case 3:
            return .dead(
                step(&random),
                deadOffset: Offset(Int64(bitPattern: random.next())),
                cause: DeathCause(rawValue: UInt8(1 + random.below(3))) ?? .payloadBad,
                code: code,
                detail: text(&random)
            )
        case 4:
            return .templatePut(
                TemplateRow(
                    name: text(&random),
                    channel: Channel.allCases[random.below(4)],
                    subject: text(&random),
                    text: text(&random),
                    html: text(&random),
                    savedAt: wall
                )
            )
        case 5:
            return .groupCreated(
                GroupID(UInt16(random.below(65_536))),
                topic: TopicID(UInt16(random.below(16))),
                name: text(&random),
                starts: (0..<random.below(4)).map { _ in
                    .init(
                        stream: StreamID(rawValue: UInt32(truncatingIfNeeded: random.next())),
                        offset: Offset(Int64(random.below(1000)))
                    )
                }
            )
        default: return .started(at: wall)
        }
    }

    private func read(_ bytes: [UInt8]) -> (commands: [Command], whole: Bool) {
        var found: [Command] = []
        let whole = bytes.withUnsafeBytes { Command.forEach(in: $0) { found.append($0) } }
        return (found, whole)
    }

    @Test func everyCommandRoundTrips() {
        var random = SeededGenerator(seed: 1)
        for _ in 0..<500 {
            let commands = (0..<random.below(6)).map { _ in Self.command(&random) }
            var bytes: [UInt8] = []
            for command in commands { command.append(to: &bytes) }
            let (found, whole) = read(bytes)
            #expect(whole && found == commands)
        }
    }

    @Test func truncatedBytesGiveAPrefixAndSaySo() {
        var random = SeededGenerator(seed: 2)
        for _ in 0..<60 {
            let commands = (0..<3).map { _ in Self.command(&random) }
            var bytes: [UInt8] = []
            var ends: [Int] = [0]
            for command in commands {
                command.append(to: &bytes)
                ends.append(bytes.count)
            }
            for cut in 0..<bytes.count {
                let (found, whole) = read(Array(bytes[..<cut]))
                #expect(whole == ends.contains(cut))
                #expect(found == Array(commands.prefix(found.count)))
            }
        }
    }

    @Test func flippedBitsAndNoiseNeverTrap() {
        var random = SeededGenerator(seed: 3)
        for _ in 0..<20_000 {
            var bytes: [UInt8] = []
            Self.command(&random).append(to: &bytes)
            Self.command(&random).append(to: &bytes)
            for _ in 0...random.below(3) {
                bytes[random.below(bytes.count)] ^= 1 << UInt8(random.below(8))
            }
            let (found, _) = read(bytes)
            // What was read can be written again, whatever it is.
            var again: [UInt8] = []
            for command in found { command.append(to: &again) }
        }
    }
}

@Suite struct HeldQueueTests {
    private let group = GroupID(3)

    private func row(_ offset: Int64, due: Int64) -> HeldRow {
        HeldRow(
            message: MessageKey(
                group: group,
                stream: StreamID(rawValue: 0x10002),
                offset: Offset(offset)
            ),
            due: WallTimestamp(milliseconds: due),
            attempt: 1,
            reason: .backoff,
            position: .zero,
            since: WallTimestamp(milliseconds: due - 10)
        )
    }

    private func now(_ milliseconds: Int64, drift: Int64 = 0) -> Now {
        Now(
            monotonic: MonotonicInstant(nanoseconds: UInt64(milliseconds) * 1_000_000),
            wall: WallTimestamp(milliseconds: 1_000_000 + milliseconds + drift)
        )
    }

    @Test func rowsReadBackAndForeignOnesAreRefused() {
        let row = row(7, due: 1234)
        #expect(HeldRow(StateRow(key: row.key, value: row.value)) == row)
        #expect(row.key.count == 23 && row.value.count == 19)
        for cut in 0..<row.key.count {
            #expect(HeldRow(StateRow(key: Array(row.key[..<cut]), value: row.value)) == nil)
        }
        // A row of 11 bytes is one of rows 1.0.
        for cut in 0..<row.value.count where cut != 11 {
            #expect(HeldRow(StateRow(key: row.key, value: Array(row.value[..<cut]))) == nil)
        }
        #expect(HeldRow(StateRow(key: row.key + [0], value: row.value)) == nil)
    }

    /// Every row comes out once, never early, in due order, although only a few fit into memory; while
    /// rows are added on both sides of what is loaded.
    @Test(arguments: [2, 3, 4, 7, 64, 1000], 0..<6)
    func aSmallMemoryLosesNothing(limit: Int, seed: UInt64) throws {
        var random = SeededGenerator(seed: seed &* 31 &+ UInt64(limit))
        let store = MemoryStore()
        var queue = HeldQueue(group: group, at: now(0), limit: limit)
        var waiting: [Int64: Int64] = [:]
        var time: Int64 = 0
        var next: Int64 = 0
        try queue.reload(at: now(0), from: store) { _ in false }
        for step in 0..<400 {
            if random.below(3) > 0, step < 300 {
                let due = 1_000_000 + time + Int64(random.below(3000))
                let row = row(next, due: due)
                var batch = StateBatch()
                batch.put(row.key, row.value)
                try store.write(batch)
                try queue.add(row, at: now(time), from: store) { _ in false }
                waiting[next] = due
                next += 1
            }
            time += Int64(random.below(60))
            try release(&queue, store, &waiting, at: now(time))
            #expect(queue.countInMemory <= 2 * limit + 1)
        }
        for _ in 0..<4000 where !waiting.isEmpty {
            time += 5
            try release(&queue, store, &waiting, at: now(time))
        }
        #expect(waiting.isEmpty, "rows that never came out: \(waiting), limit \(limit)")
    }

    private func release(
        _ queue: inout HeldQueue,
        _ store: MemoryStore,
        _ waiting: inout [Int64: Int64],
        at now: Now
    ) throws {
        var released: [HeldRow] = []
        try queue.advance(to: now, from: store, except: { _ in false }) { released.append($0) }
        var batch = StateBatch()
        for row in released {
            #expect(row.due <= now.wall, "early")
            #expect(waiting.removeValue(forKey: row.message.offset.rawValue) != nil, "twice")
            batch.delete(row.key)
        }
        try store.write(batch)
    }

    @Test func aLimitOfOneStillMoves() throws {
        let store = MemoryStore()
        var batch = StateBatch()
        for offset: Int64 in 0..<5 {
            let row = row(offset, due: 1_000_010 + offset)
            batch.put(row.key, row.value)
        }
        try store.write(batch)
        var queue = HeldQueue(group: group, at: now(0), limit: 1)
        try queue.reload(at: now(0), from: store) { _ in false }
        var released = 0
        for time: Int64 in 1...200 {
            try queue.advance(to: now(time), from: store, except: { _ in false }) { row in
                released += 1
                var batch = StateBatch()
                batch.delete(row.key)
                try? store.write(batch)
            }
        }
        #expect(released == 5)
    }

    @Test func aSlowWallClockIsWaitedFor() throws {
        let store = MemoryStore()
        var queue = HeldQueue(group: group, at: now(0), limit: 8)
        let row = row(1, due: 1_000_100)
        var batch = StateBatch()
        batch.put(row.key, row.value)
        try store.write(batch)
        try queue.reload(at: now(0), from: store) { _ in false }
        var released: [HeldRow] = []
        // 100 ms of monotonic time went by, of wall time only 60.
        try queue.advance(to: now(100, drift: -40), from: store, except: { _ in false }) {
            released.append($0)
        }
        #expect(released.isEmpty)
        #expect(queue.countInMemory == 1 && queue.nextDeadline != nil)
        try queue.advance(to: now(145, drift: -40), from: store, except: { _ in false }) {
            released.append($0)
        }
        #expect(released == [row])
    }
}
