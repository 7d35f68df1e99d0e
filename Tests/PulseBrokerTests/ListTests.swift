// Lists: newest first, by channel and recipient, page by page, against a list that the test keeps.

import PulseBroker
import PulseCore
import PulseLog
import Testing

@Suite struct ListTests {
    private struct Entry {
        var id: NotificationID
        var user: String
        var channel: Channel
    }

    private func fill(_ bench: ShardBench, count: Int, seed: UInt64) throws -> [Entry] {
        var random = SeededGenerator(seed: seed)
        var entries: [Entry] = []
        for index in 0..<count {
            let user = "user-\(random.below(3))"
            let channel = Channel.allCases[random.below(4)]
            let outcome = try bench.submit(
                user: user,
                text: "\(index)",
                lane: Lane.allCases[random.below(4)],
                channel: channel
            )
            entries.append(Entry(id: outcome.id, user: user, channel: channel))
            if random.below(3) == 0 { try bench.sync() }
        }
        try bench.sync()
        return entries.reversed()
    }

    /// All pages, as a client would ask for them.
    private func pages(
        _ bench: ShardBench,
        channel: Channel?,
        user: String?,
        limit: Int,
        examineMax: Int = 5000,
        keeping matches: (NotificationStory) -> Bool = { _ in true }
    ) throws -> [NotificationID] {
        var found: [NotificationID] = []
        var place: Shard.ListPlace?
        for _ in 0..<1000 {
            var page = 0
            func visit(_ story: NotificationStory) -> Bool {
                if matches(story) {
                    found.append(story.id)
                    page += 1
                }
                return page < limit
            }
            let next: Shard.ListPlace?
            if let user {
                let bytes = Array(user.utf8)
                next = try bytes.withUnsafeBytes {
                    try bench.shard.walkNewestFirst(
                        channel: channel,
                        user: $0,
                        olderThan: place,
                        examineMax: examineMax,
                        visit
                    )
                }
            } else {
                next = try bench.shard.walkNewestFirst(
                    channel: channel,
                    user: nil,
                    olderThan: place,
                    examineMax: examineMax,
                    visit
                )
            }
            guard let next else { return found }
            #expect(next != place, "a cursor moves")
            place = next
        }
        Issue.record("the list never ends")
        return found
    }

    @Test(arguments: [1, 2, 7, 50, 500], 0..<3)
    func everyPageSizeGivesTheSameList(limit: Int, seed: UInt64) throws {
        let bench = try ShardBench(segmentBytes: 64 << 10, partitions: 2)
        let model = try fill(bench, count: 120, seed: seed)
        for channel in [nil] + Channel.allCases.map(Optional.some) {
            for user in [nil, "user-0", "user-2", "nobody"] {
                let expected = model.filter {
                    (channel == nil || $0.channel == channel) && (user == nil || $0.user == user)
                }
                let found = try pages(bench, channel: channel, user: user, limit: limit)
                #expect(
                    found == expected.map(\.id),
                    "channel \(channel?.name ?? "any"), user \(user ?? "any"), limit \(limit)"
                )
            }
        }
    }

    /// A filter that matches little is answered in small bites, and nothing is lost between them.
    @Test(arguments: [3, 10, 33], [nil, "user-1"] as [String?])
    func aBoundOnWhatIsLookedAtLosesNothing(examineMax: Int, user: String?) throws {
        let bench = try ShardBench(segmentBytes: 64 << 10)
        let model = try fill(bench, count: 120, seed: 5)
        var wanted = Set<NotificationID>()
        for (index, entry) in model.enumerated() where index % 17 == 3 { wanted.insert(entry.id) }
        let expected = model.filter { wanted.contains($0.id) && (user == nil || $0.user == user) }
        let found = try pages(
            bench,
            channel: nil,
            user: user,
            limit: 50,
            examineMax: examineMax
        ) { wanted.contains($0.id) }
        #expect(found == expected.map(\.id))
    }

    /// What outlived its segment is listed behind what is in the log.
    @Test(arguments: [1, 3, 50], [2, 5000])
    func keptRecordsAreListed(limit: Int, examineMax: Int) throws {
        let bench = try ShardBench(
            segmentBytes: 32 << 10,
            window: 60_000,
            retention: 60_000
        )
        let year: Int64 = 365 * 86_400_000
        var model: [Entry] = []
        for index in 0..<60 {
            let user = "user-\(index % 3)"
            let channel = Channel.allCases[index % 2]
            // Most of them end, and go.
            let stays = index % 5 < 2
            let due = bench.now.wall.advanced(byMilliseconds: stays ? year : 1)
            let outcome = try bench.submit(
                user: user,
                text: String(repeating: "x", count: 900),
                lane: Lane.allCases[index % 3],
                channel: channel,
                deliverAt: due
            )
            if stays { model.append(Entry(id: outcome.id, user: user, channel: channel)) }
            try bench.sync()
        }
        func deliverAll() throws {
            for channel in Channel.allCases {
                while true {
                    let leases = try bench.dispatch(channel, slots: 100)
                    if leases.isEmpty { break }
                    for lease in leases {
                        try bench.shard.settle(
                            lease.id,
                            .delivered(code: 250, detail: ""),
                            at: bench.now
                        )
                    }
                    try bench.sync()
                }
            }
        }
        bench.pass(milliseconds: 1000)
        try deliverAll()
        bench.pass(milliseconds: 180_000)
        let late = try fill(bench, count: 150, seed: 3)
        try deliverAll()
        for _ in 0..<60 {
            bench.pass(milliseconds: 110)
            try bench.shard.reachedTime(bench.now)
            try bench.shard.releaseOldSegments(at: bench.now)
            try bench.sync()
        }
        #expect(bench.shard.state.book.keptRecords > 0)
        #expect(bench.shard.log.firstNumber > 0)
        let oldest = bench.shard.log.firstPosition
        for channel in [nil, .email, Channel.allCases[1]] as [Channel?] {
            for user in [nil, "user-0", "user-2", "nobody"] {
                let found = try pages(
                    bench,
                    channel: channel,
                    user: user,
                    limit: limit,
                    examineMax: examineMax
                )
                let expected = (late + model.reversed()).filter {
                    (channel == nil || $0.channel == channel) && (user == nil || $0.user == user)
                }
                let ended = try expected.filter {
                    try bench.shard.story(of: $0.id, withSteps: false) != nil
                }
                #expect(
                    found.filter { id in expected.contains { $0.id == id } } == ended.map(\.id),
                    "channel \(channel?.name ?? "any"), user \(user ?? "any")"
                )
                #expect(Set(found).count == found.count && oldest > .zero)
            }
        }
    }

    @Test func aListGoesOnWhereItStoppedAlthoughNewOnesCome() throws {
        let bench = try ShardBench()
        let model = try fill(bench, count: 20, seed: 9)
        var first: [NotificationID] = []
        let place = try bench.shard.walkNewestFirst(
            channel: nil,
            user: nil,
            olderThan: nil,
            examineMax: 100
        ) {
            first.append($0.id)
            return first.count < 8
        }
        _ = try fill(bench, count: 5, seed: 10)
        try bench.restart()
        var rest: [NotificationID] = []
        let end = try bench.shard.walkNewestFirst(
            channel: nil,
            user: nil,
            olderThan: place,
            examineMax: 100
        ) {
            rest.append($0.id)
            return true
        }
        #expect(end == nil)
        #expect(first + rest == model.map(\.id))
    }

    @Test func anyCursorIsHarmless() throws {
        let bench = try ShardBench()
        _ = try fill(bench, count: 10, seed: 1)
        for position: UInt64 in [0, 1, 4096, 5000, .max, 1 << 63] {
            for offset: Int64 in [0, -1, .max, .min, 3] {
                _ = try bench.shard.walkNewestFirst(
                    channel: nil,
                    user: nil,
                    olderThan: .init(position: LogPosition(position), offset: Offset(offset)),
                    examineMax: 100
                ) { _ in true }
                let user = Array("user-0".utf8)
                _ = try user.withUnsafeBytes {
                    try bench.shard.walkNewestFirst(
                        channel: nil,
                        user: $0,
                        olderThan: .init(position: LogPosition(position), offset: Offset(offset)),
                        examineMax: 100
                    ) { _ in true }
                }
            }
        }
    }

    @Test func anIdentifierOfNothingIsNothing() throws {
        let bench = try ShardBench()
        let id = try bench.accept()
        var random = SeededGenerator(seed: 3)
        for _ in 0..<1000 {
            let other = NotificationID(high: random.next(), low: random.next())
            #expect(try bench.shard.story(of: other, withSteps: true)?.id == nil)
        }
        // The next offset, rightly signed, but not there yet; and the lane dead, which has no records.
        let place = try #require(id.place(key: bench.shard.log.identity.key))
        let next = bench.shard.id(place.stream, place.offset.advanced(by: 1))
        #expect(try bench.shard.story(of: next, withSteps: true)?.id == nil)
        let dead = StreamID(topic: Channel.email.topic, partition: PartitionID(0), lane: .dead)
        #expect(
            try bench.shard.story(of: bench.shard.id(dead, Offset(0)), withSteps: true)?.id == nil
        )
        let foreign = StreamID(topic: TopicID(99), partition: PartitionID(0), lane: .high)
        #expect(
            try bench.shard.story(of: bench.shard.id(foreign, Offset(0)), withSteps: true)?.id
                == nil
        )
    }
}
