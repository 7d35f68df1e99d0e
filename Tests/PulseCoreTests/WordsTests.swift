// The small words: notification identifiers, streams, error codes, limits, the random generator and the
// retry policy.

import PulseCore
import Testing

@Suite struct NotificationIDTests {
    private func stream(_ random: inout SeededGenerator) -> StreamID {
        StreamID(
            topic: TopicID(UInt16(random.below(1 << 12))),
            partition: PartitionID(UInt16(random.below(1 << 10))),
            lane: Lane.allCases[random.below(Lane.allCases.count)]
        )
    }

    @Test func namesItsPlaceThereAndBack() throws {
        var random = SeededGenerator(seed: 1)
        for _ in 0..<5000 {
            let key = random.next()
            let stream = stream(&random)
            let offset = Offset(Int64(random.below(1 << 48)))
            let id = NotificationID(stream: stream, offset: offset, key: key)
            let place = try #require(id.place(key: key))
            #expect(place.stream == stream && place.offset == offset)
            #expect(id.place(key: key ^ 1) == nil, "another data directory's key")
            let text = id.description
            #expect(NotificationID(text) == id)
            #expect(NotificationID(text.uppercased()) == id)
            let letters = Array(text)
            #expect(letters[14] == "8", "version 8")
            #expect("89ab".contains(letters[19]), "the variant of RFC 9562")
        }
        let last = NotificationID(
            stream: StreamID(topic: TopicID(4095), partition: PartitionID(1023), lane: .dead),
            offset: Offset((1 << 48) - 1),
            key: 9
        )
        #expect(last.place(key: 9)?.offset == Offset((1 << 48) - 1))
    }

    @Test func aChangedBitIsNotFound() {
        var random = SeededGenerator(seed: 2)
        for _ in 0..<50 {
            let id = NotificationID(
                stream: stream(&random),
                offset: Offset(Int64(random.below(1000))),
                key: 77
            )
            for bit in 0..<64 {
                var other = id
                other.high ^= 1 << UInt64(bit)
                #expect(other.place(key: 77) == nil)
                other = id
                other.low ^= 1 << UInt64(bit)
                #expect(other.place(key: 77) == nil)
            }
        }
    }

    @Test(arguments: [
        "", "0", "00000000-0000-8000-8000-00000000000", "00000000-0000-8000-8000-0000000000000",
        "00000000000080008000000000000000", "{0000000-0000-8000-8000-000000000000}",
        "00000000_0000-8000-8000-000000000000", "0000000g-0000-8000-8000-000000000000",
        "00000000-0000-8000-8000-00000000000 ", "-0000000-0000-8000-8000-000000000000",
        "٠٠٠٠٠٠٠٠-0000-8000-8000-000000000000", "00000000-0000-8000-8000-0000000000\u{0}0",
    ])
    func refusesWhatIsNoIdentifier(text: String) {
        #expect(NotificationID(text) == nil)
    }

    @Test func appendWritesWhatDescriptionSays() {
        let id = NotificationID(high: 0x0123_4567_89AB_CDEF, low: 0xFEDC_BA98_7654_3210)
        #expect(id.description == "01234567-89ab-cdef-fedc-ba9876543210")
        var bytes: [UInt8] = []
        id.append(to: &bytes)
        #expect(String(decoding: bytes, as: UTF8.self) == id.description)
    }
}

@Suite struct WordsTests {
    @Test func aStreamIsItsThreeParts() {
        for lane in Lane.allCases {
            let stream = StreamID(topic: TopicID(.max), partition: PartitionID(4095), lane: lane)
            #expect(stream.topic == TopicID(.max))
            #expect(stream.partition == PartitionID(4095))
            #expect(stream.lane == lane)
        }
        #expect(StreamID(rawValue: 0x0001_0005).lane == nil)
        #expect(StreamID.none.lane == nil)
        #expect(Channel(topic: TopicID(257)) == nil, "a topic's high byte is not forgotten")
        #expect(Channel(topic: TopicID(0)) == nil && Channel(topic: TopicID(5)) == nil)
    }

    @Test func namesAreUniqueAndReadBack() {
        #expect(Set(ErrorCode.allCases.map(\.name)).count == ErrorCode.allCases.count)
        for lane in Lane.allCases { #expect(Lane(name: lane.name) == lane) }
        for channel in Channel.allCases {
            #expect(Channel(name: channel.name) == channel)
            #expect(Channel(topic: channel.topic) == channel)
        }
        for state in NotificationState.allCases {
            #expect(NotificationState(name: state.name) == state)
            #expect(state.isFinal == [5, 6, 7, 8, 9].contains(state.rawValue))
        }
    }

    @Test func limitsKeepTheirRelations() { Limits.checkRelations() }

    @Test func aStorageErrorSaysWhatWhereAndWhy() {
        let error = StorageError(.write, file: "log-3", byte: 4096, reason: .noSpace)
        #expect(error.description == "write of log-3 at byte 4096: no space left on the device")
    }
}

@Suite struct SeededGeneratorTests {
    @Test func theSameSeedTellsTheSameStory() {
        var one = SeededGenerator(seed: 42)
        var two = SeededGenerator(seed: 42)
        let first = (0..<1000).map { _ in one.next() }
        let second = (0..<1000).map { _ in two.next() }
        #expect(first == second)
        var other = SeededGenerator(seed: 43)
        let third = (0..<1000).map { _ in other.next() }
        #expect(Set(first).isDisjoint(with: third))
    }

    /// The first outputs of xoshiro256** seeded by SplitMix64 from 0, worked out from the published
    /// algorithms by hand and fixed here: a change would make every recorded seed worthless.
    @Test func theStreamNeverChanges() {
        var generator = SeededGenerator(seed: 0)
        let first = [generator.next(), generator.next()]
        #expect(first == [0x99EC_5F36_CB75_F2B4, 0xBF6E_1F78_4956_452A])
    }

    @Test func drawsStayBelowTheirBoundAndReachAllOfIt() {
        var generator = SeededGenerator(seed: 1)
        var seen = Set<Int>()
        for _ in 0..<2000 { seen.insert(generator.below(7)) }
        #expect(seen == Set(0..<7))
        let zeros = (0..<100).map { _ in generator.below(1) }
        #expect(Set(zeros) == [0])
        let large = (0..<100).map { _ in generator.below(.max) }
        #expect(large.allSatisfy { $0 >= 0 })
    }

    @Test func aForkLeavesItsParentAlone() {
        var one = SeededGenerator(seed: 9)
        var two = SeededGenerator(seed: 9)
        var child = one.fork()
        _ = two.fork()
        for _ in 0..<10 { _ = child.next() }
        let next = (one.next(), two.next())
        #expect(next.0 == next.1)
    }
}

@Suite struct RetryPolicyTests {
    @Test func ceilingsDoubleUpToTheCap() {
        let policy = RetryPolicy()
        let ceilings = (1...12).map { policy.ceilingMs(afterAttempt: $0) }
        #expect(
            ceilings == [
                1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000, 256_000, 512_000, 900_000,
                900_000,
            ]
        )
    }

    @Test func hugePoliciesDoNotOverflow() {
        let policy = RetryPolicy(baseMs: 3, factor: .max, capMs: .max, attemptsMax: .max)
        #expect(policy.ceilingMs(afterAttempt: .max) == .max)
        let flat = RetryPolicy(baseMs: 5, factor: 1, capMs: .max)
        #expect(flat.ceilingMs(afterAttempt: .max) == 5)
        #expect(flat.ceilingMs(afterAttempt: 0) == 5 && flat.ceilingMs(afterAttempt: -3) == 5)
    }

    @Test(arguments: [1, 2, 3, 7, 40])
    func delaysStayBetweenFloorAndCeiling(attempt: Int) {
        var random = SeededGenerator(seed: UInt64(attempt))
        for policy in [
            RetryPolicy(), RetryPolicy(baseMs: 1, factor: 1, capMs: 1),
            RetryPolicy(baseMs: 7, factor: 10, capMs: 100),
        ] {
            for _ in 0..<500 {
                let delay = policy.delayMs(afterAttempt: attempt, using: &random)
                #expect(delay >= max(1, policy.baseMs / 10))
                #expect(delay <= policy.ceilingMs(afterAttempt: attempt))
            }
        }
    }

    @Test func aServersWordIsKeptButNotForEver() {
        var random = SeededGenerator(seed: 4)
        let policy = RetryPolicy()
        for asked: Int64 in [-5, 0, 1, 30, 86_400, 90_000, .max] {
            for _ in 0..<100 {
                let delay = policy.delayMs(
                    afterAttempt: 1,
                    retryAtSeconds: asked,
                    using: &random
                )
                let floor = min(max(0, asked), 86_400) * 1000
                #expect(delay >= max(100, floor) && delay < max(100, floor) + 1000)
            }
        }
    }

    @Test func theLastAttemptIsTheLast() {
        let policy = RetryPolicy(attemptsMax: 3)
        #expect([1, 2, 3, 4].map { policy.isLast(attempt: $0) } == [false, false, true, true])
    }
}
