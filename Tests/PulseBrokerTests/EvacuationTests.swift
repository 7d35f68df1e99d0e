// Nothing pins the log: what is not finished moves out of the way, and is still what it was.

import PulseBroker
import PulseCore
import PulseLog
import TestDoubles
import Testing

@Suite struct EvacuationTests {
    private let minute: Int64 = 60_000
    private let year: Int64 = 365 * 86_400_000

    private func bench(
        seed: UInt64 = 1,
        window: Int64 = 60_000,
        retention: Int64 = 60_000,
        policy: RetentionPolicy = RetentionPolicy()
    ) throws -> ShardBench {
        try ShardBench(
            seed: seed,
            retry: RetryPolicy(baseMs: 100, capMs: 1000, attemptsMax: 3),
            segmentBytes: 32 << 10,
            checkpointBytes: 16 << 10,
            window: window,
            retention: retention,
            policy: policy
        )
    }

    /// Lets a message's segment go: time passes, traffic goes by, retention runs.
    private func letGo(_ bench: ShardBench, _ position: LogPosition) throws {
        bench.pass(milliseconds: 3 * minute)
        try bench.traffic()
        try bench.retain()
        #expect(bench.shard.log.firstPosition > position, "its segment is gone")
    }

    @Test func aMessageDueInAYearOutlivesItsSegment() throws {
        let bench = try bench()
        let due = bench.now.wall.advanced(byMilliseconds: year)
        let id = try bench.accept(user: "ada", text: "far", deliverAt: due)
        let before = try bench.story(id)
        try bench.traffic()
        try letGo(bench, before.recordPosition)
        #expect(bench.shard.state.book.keptRecords == 1)
        for stop in [ShardBench.Stop.kill, .powerCut, .tornPowerCut, .clean] {
            try bench.restart(stop)
            let story = try bench.story(id)
            #expect(story.state == .scheduled && story.acceptedAt == before.acceptedAt)
            #expect(story.envelope == before.envelope)
            #expect(story.recordPosition == before.recordPosition)
        }
        #expect(bench.balance.scheduled == 1 && bench.balance.isBalanced)
        bench.pass(milliseconds: year)
        let lease = try #require(try bench.dispatch().first)
        try bench.shard.withRecord(lease.message.stream, lease.message.offset) {
            header,
            key,
            value in
            #expect(key.elementsEqual("ada".utf8) && header.wall == before.acceptedAt)
            #expect(value.elementsEqual(before.envelope))
        }
        try bench.shard.settle(lease.id, .delivered(code: 250, detail: "at last"), at: bench.now)
        try bench.sync()
        #expect(try bench.state(of: id) == .delivered)
        // Its end is told by a row when the entry is gone, and then goes itself.
        try bench.traffic()
        let end = bench.now.wall
        #expect(try bench.state(of: id) == .delivered)
        bench.pass(milliseconds: 3 * minute)
        try bench.traffic()
        try bench.retain(turns: 80)
        #expect(try bench.shard.story(of: id, withSteps: true)?.state == nil, "\(end)")
        #expect(bench.shard.state.book.keptRecords == 0 && bench.shard.state.book.keptBytes == 0)
        let left = bench.store.rows.filter { [0x6B, 0x78, 0x65, 0x79, 0x77].contains($0.key[0]) }
        #expect(left.isEmpty, "no row is left behind")
    }

    @Test(arguments: ["scheduled", "held", "ready", "of a group", "rejected by a group"])
    func whateverIsOpenIsKept(_ why: String) throws {
        let bench = try bench()
        var consumer: SubscriptionID?
        if why.hasSuffix("group") {
            consumer = try bench.subscribe(credit: why == "of a group" ? 0 : 1)
            try bench.sync()
        }
        let due: WallTimestamp? =
            why == "scheduled" ? bench.now.wall.advanced(byMilliseconds: 600 * minute) : nil
        let channel: Channel = why == "ready" ? .sms : .email
        let id = try bench.accept(text: "keep me", channel: channel, deliverAt: due)
        let before = try bench.story(id)
        if why == "held" {
            let lease = try #require(try bench.dispatch().first)
            let wait = AttemptOutcome.retry(
                afterMilliseconds: 600 * minute,
                reason: .backoff,
                code: 451,
                detail: "long"
            )
            try bench.shard.settle(lease.id, wait, at: bench.now)
            try bench.sync()
        } else if why == "rejected by a group" {
            let handout = try #require(try bench.deal().first)
            let wait = AttemptOutcome.retry(
                afterMilliseconds: 30 * minute,
                reason: .rejected,
                code: 0,
                detail: "later"
            )
            try bench.shard.settle(handout.lease.id, wait, at: bench.now)
            try bench.sync()
        }
        if why != "of a group" { try bench.traffic() }
        if why == "of a group" {
            // Everything else is acknowledged: the group is not idle, only this one stays.
            consumer.map { bench.shard.addCredit(10_000, to: $0) }
            try bench.traffic()
            for handout in try bench.deal() where handout.lease.message.offset.rawValue > 0 {
                try bench.shard.settle(
                    handout.lease.id,
                    .delivered(code: 0, detail: ""),
                    at: bench.now
                )
            }
            try bench.sync()
        } else if let consumer {
            bench.shard.addCredit(10_000, to: consumer)
            for handout in try bench.deal() {
                try bench.shard.settle(
                    handout.lease.id,
                    .delivered(code: 0, detail: ""),
                    at: bench.now
                )
            }
            try bench.sync()
        }
        bench.pass(milliseconds: 3 * minute)
        if why != "ready" { try bench.deliverAll() }
        try bench.retain()
        #expect(bench.shard.state.book.keptRecords == 1, "\(bench.shard.state.book.segments.count)")
        #expect(bench.shard.log.firstPosition > before.recordPosition)
        try bench.restart(.powerCut)
        let story = try bench.story(id)
        #expect(String(decoding: story.envelope, as: UTF8.self).contains("keep me"))
        #expect(bench.shard.balance(of: channel).isBalanced)
        switch why {
        case "scheduled": #expect(story.state == .scheduled)
        case "held":
            #expect(story.state == .held && story.attempts == 1)
            bench.pass(milliseconds: 600 * minute)
            #expect(try bench.dispatch().first?.attempt == 2, "the attempt is not forgotten")
        case "ready":
            #expect(story.state == .ready)
            #expect(try bench.dispatch(.sms).first?.message.offset == story.offset)
        default:
            #expect(
                story.state == .delivered && story.attempts == 1 && story.steps.count == 1,
                "how it was delivered is not forgotten: \(story.state)"
            )
            let rows = bench.store.rows.filter { $0.key.first == 0x78 && $0.key.count == 15 }
            #expect(rows.count == 1)
            bench.pass(milliseconds: 30 * minute)
            _ = try bench.subscribe(connection: 9, credit: 10_000)
            let handouts = try bench.deal()
            #expect(handouts.contains { $0.lease.message.offset == story.offset })
        }
    }

    @Test func crashesAtEveryStepLoseNothing() throws {
        for seed in UInt64(0)..<12 {
            let bench = try bench(seed: seed &* 31 &+ 5)
            var random = SeededGenerator(seed: seed)
            var far: [NotificationID] = []
            for _ in 0..<12 {
                let due = bench.now.wall.advanced(byMilliseconds: year)
                far.append(try bench.accept(text: "far \(far.count)", deliverAt: due))
                try bench.traffic(40)
            }
            bench.pass(milliseconds: 3 * minute)
            try bench.traffic(40)
            for _ in 0..<60 {
                bench.pass(milliseconds: 110)
                try bench.shard.reachedTime(bench.now)
                try bench.shard.releaseOldSegments(at: bench.now)
                if random.below(3) > 0 { try bench.sync() }
                if random.below(6) == 0 {
                    try bench.restart([.kill, .powerCut, .tornPowerCut][random.below(3)])
                }
                for (index, id) in far.enumerated() {
                    let story = try bench.story(id)
                    #expect(story.state == .scheduled, "seed \(seed)")
                    #expect(
                        String(decoding: story.envelope, as: UTF8.self).contains("far \(index)")
                    )
                }
            }
            try bench.retain()
            #expect(bench.balance.scheduled == 12 && bench.balance.isBalanced)
            #expect(bench.shard.log.segments.count < 8, "seed \(seed)")
        }
    }

    @Test func theFoldGivesTheSameRowsAgain() throws {
        // Nothing is released here: the files are held back by a checkpoint that never comes.
        let bench = try ShardBench(
            segmentBytes: 32 << 10,
            checkpointBytes: 1 << 30,
            window: minute,
            retention: minute
        )
        let due = bench.now.wall.advanced(byMilliseconds: 10 * minute)
        for place in 0..<5 { _ = try bench.accept(text: "far", key: "k\(place)", deliverAt: due) }
        try bench.traffic()
        bench.pass(milliseconds: 3 * minute)
        for _ in 0..<30 {
            bench.pass(milliseconds: 1)
            try bench.shard.releaseOldSegments(at: bench.now)
            guard let ticket = try bench.shard.flush(at: bench.now) else { continue }
            try bench.shard.log.performSync()
            try bench.shard.synced(ticket, at: bench.now)
        }
        #expect(bench.shard.state.book.releasedBelow > 0)
        #expect(bench.shard.log.firstPosition == LogPosition(4096), "the files are still there")
        try bench.expectReplayGivesTheSame()
    }

    @Test func aKeyStillFindsItsRecord() throws {
        let bench = try bench(
            window: 1000 * minute,
            retention: 1000 * minute,
            policy: RetentionPolicy(bytes: 160 << 10)
        )
        let due = bench.now.wall.advanced(byMilliseconds: year)
        let first = try bench.submit(text: "once", key: "order-17", deliverAt: due)
        try bench.sync()
        let before = try bench.story(first.id)
        try bench.traffic(1000)
        try bench.retain()
        #expect(bench.shard.log.firstPosition > before.recordPosition)
        let again = try bench.submit(text: "once", key: "order-17", deliverAt: due)
        #expect(again.kind == .duplicate && again.id == first.id)
        let other = try bench.submit(text: "twice", key: "order-17", deliverAt: due)
        #expect(other.kind == .conflict)
        #expect(try bench.submit(text: "once", key: "order-1").kind == .accepted)
        bench.pass(milliseconds: 1001 * minute)
        let later = try bench.submit(text: "once", key: "order-17", deliverAt: due)
        #expect(later.kind == .accepted, "the window is over, kept or not")
    }

    @Test func sizeIsKeptUnderTraffic() throws {
        let bytes: Int64 = 320 << 10
        let bench = try bench(
            retention: 10_000 * minute,
            policy: RetentionPolicy(bytes: bytes)
        )
        let far = try bench.accept(
            text: "far",
            deliverAt: bench.now.wall.advanced(byMilliseconds: year)
        )
        var most = 0
        for _ in 0..<200 {
            try bench.traffic(20)
            try bench.retain(turns: 2)
            most = max(most, bench.shard.log.usage.total)
        }
        #expect(bench.shard.log.appendPosition.rawValue > 2 << 20)
        #expect(most <= Int(bytes) + Int(bytes) / 10 + (32 << 10), "\(most)")
        #expect(try bench.state(of: far) == .scheduled)
        #expect(bench.shard.state.book.evacuated == 1)
    }

    /// The backlog of the delivery group is never dropped, whatever the size.
    @Test func aBacklogStays() throws {
        let bench = try bench(policy: RetentionPolicy(bytes: 160 << 10))
        var ids: [NotificationID] = []
        for _ in 0..<600 {
            ids.append(try bench.submit(text: String(repeating: "b", count: 400)).id)
        }
        try bench.sync()
        bench.pass(milliseconds: 3 * minute)
        try bench.retain()
        #expect(bench.shard.log.usage.total > 320 << 10)
        for id in ids { #expect(try bench.state(of: id) == .ready) }
        try bench.deliverAll()
        try bench.retain()
        #expect(bench.shard.log.usage.total <= 192 << 10, "\(bench.shard.log.usage)")
        #expect(bench.balance.delivered == 600)
    }

    /// What is finished behind a backlog goes: the backlog is copied once as much as itself would be freed.
    @Test(arguments: ["ready", "scheduled"])
    func aBacklogDoesNotPinWhatIsFinishedBehindIt(_ what: String) throws {
        let bench = try bench()
        let due = what == "scheduled" ? bench.now.wall.advanced(byMilliseconds: year) : nil
        // Nobody leases SMS here: as on a channel without a provider.
        let text = String(repeating: "b", count: 400)
        for _ in 0..<200 { _ = try bench.submit(text: text, channel: .sms, deliverAt: due) }
        try bench.sync()
        let end = bench.shard.log.appendPosition
        try bench.traffic(60)
        bench.pass(milliseconds: 3 * minute)
        try bench.retain()
        #expect(bench.shard.log.firstPosition == LogPosition(4096), "it costs more than it frees")
        try bench.traffic(600)
        bench.pass(milliseconds: 3 * minute)
        try bench.traffic(60)
        try bench.retain(turns: 80)
        #expect(bench.shard.state.book.keptRecords == 200)
        #expect(bench.shard.log.firstPosition > end)
        try bench.restart(.tornPowerCut)
        let ledger = bench.shard.balance(of: .sms)
        #expect((what == "ready" ? ledger.ready : ledger.scheduled) == 200)
    }

    @Test func aGroupThatNobodyReadsLosesItsShareAndItIsSaid() throws {
        let bench = try bench()
        let consumer = try bench.subscribe(credit: 0)
        try bench.sync()
        try bench.traffic()
        bench.shard.unsubscribe(consumer)
        let segments = bench.shard.log.segments.count
        bench.pass(milliseconds: minute / 2)
        try bench.retain()
        #expect(bench.shard.state.groups.last?.expired == 0, "not before its time")
        bench.pass(milliseconds: 3 * minute)
        try bench.traffic(20)
        try bench.retain()
        let group = try #require(bench.shard.state.groups.last)
        #expect(group.name == "audit" && group.expired > 250)
        #expect(bench.shard.log.segments.count < segments)
        #expect(bench.shard.takeLosers().map(\.name) == ["audit"])
        try bench.restart(.tornPowerCut)
        #expect(bench.shard.state.groups.last?.expired == group.expired)
        // What is left is still given out, nothing else.
        _ = try bench.subscribe(connection: 2, credit: 10_000)
        for handout in try bench.deal() {
            let message = handout.lease.message
            try bench.shard.withRecord(message.stream, message.offset) { _, _, value in
                #expect(!value.isEmpty)
            }
        }
    }

    @Test func aGroupWithAReaderKeepsItsBacklog() throws {
        let bench = try bench()
        _ = try bench.subscribe(credit: 0)
        try bench.sync()
        try bench.traffic()
        bench.pass(milliseconds: 3 * minute)
        try bench.retain()
        #expect(bench.shard.state.groups.last?.expired == 0)
        #expect(bench.shard.log.firstPosition == LogPosition(4096))
    }

    @Test func topicsHaveTheirOwnAge() throws {
        var topics = [RetentionPolicy.Topic](repeating: .init(), count: 4)
        topics[Int(Channel.sms.rawValue) - 1].ageMilliseconds = 60 * minute
        let bench = try bench(policy: RetentionPolicy(topics: topics))
        let text = String(repeating: "s", count: 400)
        _ = try bench.accept(text: text, channel: .sms)
        for lease in try bench.dispatch(.sms) {
            try bench.shard.settle(lease.id, .delivered(code: 0, detail: ""), at: bench.now)
        }
        try bench.sync()
        try bench.traffic()
        bench.pass(milliseconds: 3 * minute)
        try bench.traffic(20)
        try bench.retain()
        #expect(bench.shard.log.firstPosition == LogPosition(4096), "a text message is required")
        bench.pass(milliseconds: 60 * minute)
        try bench.retain()
        #expect(bench.shard.log.firstPosition > LogPosition(4096))
    }

    @Test func aTopicsSizeCountsItsNewerRecords() throws {
        var topics = [RetentionPolicy.Topic](repeating: .init(), count: 4)
        topics[Int(Channel.email.rawValue) - 1].bytes = 64 << 10
        let bench = try bench(
            retention: 10_000 * minute,
            policy: RetentionPolicy(topics: topics)
        )
        try bench.traffic(600)
        try bench.retain()
        let kept = bench.shard.log.segments.reduce(0) { $0 + $1.usedBytes }
        #expect(kept > 64 << 10 && kept < 320 << 10, "\(kept)")
    }

    @Test func oldRevisionsOfTemplatesGoAndNeededOnesStay() throws {
        let bench = try bench()
        func save(_ text: String) throws {
            let row = TemplateRow(
                name: "welcome",
                channel: .email,
                subject: "s",
                text: text,
                html: "",
                savedAt: bench.now.wall
            )
            _ = try bench.shard.put(row, at: bench.now)
            try bench.sync()
        }
        func revisions() -> [String] {
            bench.store.rows.filter { $0.key[0] == 0x74 }.compactMap { row in
                row.value.withUnsafeBytes { bytes in
                    var reader = ByteReader(bytes)
                    return TemplateRow(&reader)?.text
                }
            }
        }
        try save("one")
        try save("two")
        var writer = EnvelopeWriter()
        writer.append(.template, "welcome")
        writer.append(deliverAt: bench.now.wall.advanced(byMilliseconds: 100 * minute))
        let envelope = writer.bytes
        let far = try Array("ada".utf8).withUnsafeBytes { user in
            try envelope.withUnsafeBytes {
                try bench.shard.submit(
                    NewNotification(
                        channel: .email,
                        lane: .normal,
                        user: user,
                        envelope: $0,
                        idempotencyKey: nil
                    ),
                    at: bench.now
                )
            }
        }
        try bench.sync()
        for text in ["three", "four", "five"] { try save(text) }
        let record = try bench.story(far.id)
        try bench.traffic()
        try letGo(bench, record.recordPosition)
        bench.pass(milliseconds: minute)
        try bench.retain()
        #expect(revisions() == ["two", "five"])
        let found = try bench.shard.templates.revision(
            named: "welcome",
            before: record.recordPosition,
            in: bench.store
        )
        #expect(found?.row.text == "two", "what was accepted is what is sent")
        try bench.restart(.powerCut)
        #expect(bench.shard.templates.revision(named: "welcome")?.row.text == "five")
        bench.pass(milliseconds: 100 * minute)
        try bench.deliverAll()
        bench.pass(milliseconds: 3 * minute)
        try bench.traffic()
        try bench.retain(turns: 80)
        bench.pass(milliseconds: minute)
        try bench.retain()
        #expect(revisions() == ["five"], "nothing needs the other any more")
    }

    @Test func manyHeldMessagesDoNotStopRetention() throws {
        let bench = try bench()
        let due = bench.now.wall.advanced(byMilliseconds: year)
        for _ in 0..<40 {
            for _ in 0..<500 { _ = try bench.submit(text: "f", deliverAt: due) }
            try bench.sync()
        }
        let end = bench.shard.log.appendPosition
        bench.pass(milliseconds: 3 * minute)
        try bench.traffic()
        // Nearly all of it is open: only a size moves it.
        #expect(bench.balance.scheduled == 20_000)
        bench.configuration.retention = RetentionPolicy(bytes: 192 << 10)
        try bench.restart(.clean)
        try bench.retain(turns: 1500)
        #expect(bench.shard.state.book.keptRecords == 20_000)
        #expect(bench.shard.log.firstPosition > end)
        #expect(bench.balance.scheduled == 20_000 && bench.balance.isBalanced)
    }
}
