// Transcripts of native conversations with a node, spoken through the client's own session.

import PulseBroker
import PulseCore
import PulseDelivery
import PulseNode
import PulseWire
import TestDoubles
import Testing

@Suite struct NativeTranscriptTests {
    private func quiet() throws -> NodeBench { try NodeBench(providers: ProviderSettings()) }

    @Test func produceIsAnsweredAfterTheSync() throws {
        let bench = try quiet()
        let client = try bench.client()
        bench.syncsAtOnce = false
        client.produce(NativeClient.batch([("ada", NativeClient.envelope())]))
        #expect(bench.takeSent(client.connection).isEmpty)
        bench.settle()
        let reply = try client.verdicts()
        #expect(reply.verdicts.map(\.status) == [.accepted])
        let id = try #require(reply.verdicts.first).id
        client.askForStatus(id)
        #expect(try client.hear().words == ["status ready"])
    }

    @Test func aMixedBatchGetsAVerdictForEachRecord() throws {
        let bench = try quiet()
        let client = try bench.client()
        client.produce(NativeClient.batch([("ada", NativeClient.envelope(key: "old"))]))
        let old = try #require(try client.verdicts().verdicts.first)
        let conflict = NativeClient.envelope(text: "other", key: "old")
        client.produce(
            NativeClient.batch([
                ("ada", NativeClient.envelope(key: "new")),
                ("ada", NativeClient.envelope(key: "old")),
                ("ada", conflict),
                ("ada", NativeClient.envelope(key: "new")),
                ("ada", NativeClient.envelope(address: "nonsense")),
                ("bob", NativeClient.envelope(user: "ada")),
                ("ada", NativeClient.envelope(text: nil, template: "nothing")),
                ("ada", [1, 9, 9]),
                ("ada", NativeClient.envelope(text: nil)),
                ("ada", NativeClient.envelope(key: "last")),
            ])
        )
        let verdicts = try client.verdicts().verdicts
        #expect(
            verdicts.map(\.status) == [
                .accepted, .duplicate, .refused, .duplicate, .refused, .refused, .refused, .refused,
                .refused, .accepted,
            ]
        )
        let codes: [ErrorCode] = [
            .idempotencyConflict, .invalidAddress, .validationFailed, .unknownTemplate,
            .invalidRequest, .validationFailed,
        ]
        #expect(
            verdicts.filter { $0.status == .refused }.map(\.code) == codes.map(\.rawValue)
        )
        #expect(verdicts[1].id == old.id && verdicts[2].id == old.id)
        #expect(verdicts[3].id == verdicts[0].id)
        #expect(try bench.metric(#"pulse_notifications_accepted_total{channel="email"}"#) == 3)
    }

    @Test func aCompressedBatchIsTakenInAndDelivered() throws {
        let bench = try quiet()
        let client = try bench.client()
        let records = (0..<200).map { index in
            (user: "ada", bytes: NativeClient.envelope(key: "key \(index)"))
        }
        let batch = NativeClient.batch(records, compressing: true)
        #expect(batch[22] == 3 && batch.count < NativeClient.batch(records).count / 2)
        client.produce(batch)
        let first = try client.verdicts().verdicts
        #expect(first.count == 200 && first.allSatisfy { $0.status == .accepted })
        // Again: found by their keys, although they lie compressed.
        client.produce(batch)
        let again = try client.verdicts().verdicts
        #expect(again.allSatisfy { $0.status == .duplicate } && again.map(\.id) == first.map(\.id))
        client.subscribe(credit: 300)
        bench.settle()
        let deliveries = try client.hear().deliveries
        #expect(deliveries.map(\.id) == first.map(\.id))
        #expect(deliveries.allSatisfy { $0.user == "ada" })
    }

    /// Every refusal of a whole batch leaves at once, though somebody else's sync hangs.
    @Test func refusalsDoNotWaitForSomebodyElsesSync() throws {
        let bench = try quiet()
        let other = try bench.client()
        let client = try bench.client()
        bench.syncsAtOnce = false
        other.produce(NativeClient.batch([("ada", NativeClient.envelope())]))
        client.produce(
            NativeClient.batch([("ada", NativeClient.envelope())]),
            topic: "notify.pigeon"
        )
        #expect(try client.verdicts().errors.map(\.code) == [ErrorCode.unknownTopic.rawValue])
        var broken = NativeClient.batch([("ada", NativeClient.envelope())])
        broken[broken.count - 1] ^= 1
        client.produce(broken)
        #expect(try client.verdicts().errors.map(\.code) == [ErrorCode.corruptBatch.rawValue])
        // Nor does a batch of which no record is taken in; one that names a record waits for it.
        client.produce(
            NativeClient.batch((0..<2).map { _ in ("ada", NativeClient.envelope(address: "bad")) })
        )
        #expect(try client.verdicts().verdicts.map(\.status) == [.refused, .refused])
        let full: Int64 = 1 << 30
        bench.step(.disk(DiskStatus(freeBytes: full, totalBytes: full, isStalled: true)))
        client.produce(NativeClient.batch([("ada", NativeClient.envelope())]))
        #expect(try client.verdicts().errors.map(\.code) == [ErrorCode.diskStalled.rawValue])
        #expect(bench.takeSent(other.connection).isEmpty, "what is durable later is said later")
        bench.step(.disk(DiskStatus(freeBytes: full, totalBytes: full)))
        bench.syncsAtOnce = true
        bench.settle()
        #expect(try other.verdicts().verdicts.map(\.status) == [.accepted])
        client.produce(NativeClient.batch([("ada", NativeClient.envelope(address: "bad"))]))
        #expect(try client.verdicts().verdicts.map(\.status) == [.refused])
        client.produce(NativeClient.batch([("ada", NativeClient.envelope(key: "k"))]))
        #expect(try client.verdicts().verdicts.map(\.status) == [.accepted])
        client.produce(NativeClient.batch([("ada", NativeClient.envelope(key: "k"))]))
        #expect(try client.verdicts().verdicts.map(\.status) == [.duplicate])
    }

    /// A client that asks for more than a turn may answer is refused; its neighbour is not.
    @Test func onlyWhoAsksForTooMuchIsOverloaded() throws {
        let bench = try NodeBench(providers: ProviderSettings(), segmentBytes: 4 << 20)
        let greedy = try bench.client()
        let modest = try bench.client()
        let text = String(repeating: "x", count: 400 << 10)
        for _ in 0..<2 {
            greedy.produce(
                NativeClient.batch([
                    ("ada", NativeClient.envelope(text: text)),
                    ("ada", NativeClient.envelope(text: text)),
                ])
            )
        }
        #expect(
            try greedy.verdicts().verdicts.map(\.status) == Array(repeating: .accepted, count: 4)
        )
        var asks: [UInt8] = []
        for _ in 0..<14 { greedy.fetch(from: Offset(0), bytesMax: 1 << 20, into: &asks) }
        var ask: [UInt8] = []
        modest.fetch(from: Offset(0), bytesMax: 1 << 10, into: &ask)
        bench.receive([(greedy.connection, asks), (modest.connection, ask)])
        let answers = try greedy.hear().words
        let refusal = "refused \(ErrorCode.overloaded.rawValue)"
        #expect(answers.contains(refusal) && answers.first != refusal, "\(answers)")
        #expect(try modest.hear().words == ["fetched 1 to 1"])
    }

    @Test func subscribeDeliverAcknowledge() throws {
        let bench = try quiet()
        let client = try bench.client()
        client.produce(
            NativeClient.batch([
                ("ada", NativeClient.envelope()), ("bob", NativeClient.envelope(user: "bob")),
            ])
        )
        _ = try client.verdicts()
        client.subscribe()
        let (words, deliveries) = try client.hear()
        #expect(words == ["subscribed", "delivered 2"])
        #expect(deliveries.map(\.user) == ["ada", "bob"])
        #expect(deliveries.allSatisfy { $0.token.attempt == 1 })

        bench.syncsAtOnce = false
        client.acknowledge(deliveries.map(\.token))
        #expect(bench.takeSent(client.connection).isEmpty, "settled means durable")
        bench.settle()
        bench.syncsAtOnce = true
        #expect(try client.hear().words == ["settled 2 stale 0"])
        // Repeated: at once and harmless.
        client.acknowledge(deliveries.map(\.token))
        #expect(try client.hear().words == ["settled 2 stale 0"])
        #expect(try bench.metric(#"pulse_notifications{channel="email",state="ready"}"#) == 2)
    }

    /// The second subscriber finds the group there already: nothing is written, and still it is answered.
    @Test func subscribingToAnExistingGroupIsAnsweredAtOnce() throws {
        let bench = try quiet()
        let first = try bench.client()
        first.subscribe()
        #expect(try first.hear().words == ["subscribed"])
        let second = try bench.client()
        second.subscribe()
        #expect(try second.hear().words == ["subscribed"])
    }

    @Test func rejectedAndExtended() throws {
        let bench = try quiet()
        let client = try bench.client()
        client.produce(NativeClient.batch([("ada", NativeClient.envelope())]))
        _ = try client.verdicts()
        client.subscribe(lease: 1000)
        let first = try #require(try client.hear().deliveries.first)
        client.reject([first.token], delay: 500)
        #expect(try client.hear().words == ["settled 1 stale 0"])
        bench.pass(milliseconds: 490)
        #expect(try client.hear().words.isEmpty)
        bench.pass(milliseconds: 11)
        let second = try #require(try client.hear().deliveries.first)
        #expect(second.token.attempt == 2 && second.id == first.id)
        bench.pass(milliseconds: 900)
        client.extend([second.token, first.token], milliseconds: 1000)
        #expect(try client.hear().words == ["settled 1 stale 1"])
        bench.pass(milliseconds: 900)
        client.acknowledge([second.token])
        #expect(try client.hear().words == ["settled 1 stale 0"])
        client.reject([second.token], delay: nil)
        #expect(try client.hear().words == ["settled 0 stale 1"])
    }

    @Test func aLeaseThatRanOutIsGivenToSomebodyElse() throws {
        let bench = try quiet()
        let first = try bench.client()
        first.produce(NativeClient.batch([("ada", NativeClient.envelope())]))
        _ = try first.verdicts()
        first.subscribe(credit: 1, lease: 1000)
        let lost = try #require(try first.hear().deliveries.first)
        let second = try bench.client()
        second.subscribe(lease: 60_000)
        _ = try second.hear()
        bench.step(.closed(first.connection))
        let again = try #require(try second.hear().deliveries.first)
        #expect(
            again.id == lost.id && again.token.attempt == 1 && again.token.lease != lost.token.lease
        )
        second.acknowledge([lost.token])
        #expect(
            try second.hear().words == ["settled 0 stale 1"],
            "another's token is worth nothing"
        )
        second.acknowledge([again.token])
        #expect(try second.hear().words == ["settled 1 stale 0"])
    }

    @Test func anAcknowledgementAfterTheLeaseIsStale() throws {
        let bench = try quiet()
        let client = try bench.client()
        client.produce(NativeClient.batch([("ada", NativeClient.envelope())]))
        _ = try client.verdicts()
        client.subscribe(credit: 1, lease: 100)
        let delivery = try #require(try client.hear().deliveries.first)
        bench.pass(milliseconds: 101)
        client.acknowledge([delivery.token])
        #expect(try client.hear().words == ["settled 0 stale 1"], "late is recorded, not applied")
        #expect(try bench.metric("pulse_late_outcomes_total") == 1)
    }

    @Test func creditIsWhatItIs() throws {
        let bench = try quiet()
        let client = try bench.client()
        client.produce(
            NativeClient.batch((0..<5).map { _ in ("ada", NativeClient.envelope()) })
        )
        _ = try client.verdicts()
        client.subscribe(credit: 2)
        #expect(try client.hear().words == ["subscribed", "delivered 2"])
        client.send { _, bytes in CreditMessage(subscription: 1, add: 1).encode(into: &bytes) }
        #expect(try client.hear().words == ["delivered 1"])
        client.send { _, bytes in CreditMessage(subscription: 99, add: 1).encode(into: &bytes) }
        client.send { _, bytes in CreditMessage(subscription: 1, add: .max).encode(into: &bytes) }
        #expect(try client.hear().words == ["delivered 2"])
    }

    @Test func subscriptionsHaveTheirLimits() throws {
        let bench = try quiet()
        let client = try bench.client()
        client.subscribe(number: 1)
        client.subscribe(number: 1, group: "other")
        client.subscribe(number: 2, topic: "nothing")
        for number: UInt32 in 10..<26 { client.subscribe(number: number, credit: 0) }
        let words = try client.hear().words
        let expected =
            ["subscribed", "refused \(ErrorCode.invalidRequest.rawValue)"]
            + ["refused \(ErrorCode.unknownTopic.rawValue)"]
            + [String](repeating: "subscribed", count: 15)
            + ["refused \(ErrorCode.tooManySubscriptions.rawValue)"]
        #expect(words.sorted() == expected.sorted())
        client.acknowledge(
            [DeliveryToken(stream: StreamID(rawValue: 1), offset: Offset(0), attempt: 1, lease: 1)],
            subscription: 77
        )
        #expect(try client.hear().words == ["refused \(ErrorCode.unknownSubscription.rawValue)"])
    }

    /// P6: what a slow consumer has not read is bounded, whatever credit it gave.
    @Test func aConsumerThatDoesNotReadIsGivenNothingMore() throws {
        let bench = try quiet()
        let client = try bench.client()
        client.subscribe(credit: 1000)
        _ = try client.hear()
        bench.step(.backlog(client.connection, bytes: Limits.outgoingBytesMax))
        let producer = try bench.client()
        producer.produce(NativeClient.batch([("ada", NativeClient.envelope())]))
        #expect(try producer.verdicts().verdicts.count == 1)
        #expect(try client.hear().words.isEmpty)
        bench.step(.backlog(client.connection, bytes: 0))
        #expect(try client.hear().words == ["delivered 1"])
    }

    @Test func aGroupHasAName() throws {
        let bench = try quiet()
        let client = try bench.client()
        client.subscribe(group: "")
        #expect(try client.hear().words == ["refused \(ErrorCode.invalidRequest.rawValue)"])
    }

    @Test func fetchBrowsesWithoutATrace() throws {
        let bench = try quiet()
        let client = try bench.client()
        client.produce(
            NativeClient.batch((0..<5).map { _ in ("ada", NativeClient.envelope()) })
        )
        _ = try client.verdicts()
        func fetch(
            _ from: FetchRequest.Start,
            lane: Lane = .normal,
            bytesMax: UInt32 = 1 << 20
        )
            throws -> [String]
        {
            client.send { session, bytes in
                FetchRequest(
                    topic: "notify.email",
                    partition: PartitionID(0),
                    lane: lane,
                    from: from,
                    bytesMax: bytesMax
                ).encode(correlation: session.openRequest(.fetch), into: &bytes)
            }
            return try client.hear().words
        }
        #expect(try fetch(.start) == ["fetched 5 to 5"])
        #expect(try fetch(.offset(Offset(3))) == ["fetched 2 to 5"])
        #expect(try fetch(.end) == ["fetched 0 to 5"])
        #expect(try fetch(.start, bytesMax: 0) == ["fetched 1 to 1"], "one however long")
        #expect(try fetch(.start, lane: .dead) == ["fetched 0 to 0"])
        #expect(
            try fetch(.offset(Offset(6))) == ["refused \(ErrorCode.offsetOutOfRange.rawValue)"]
        )
        #expect(
            try fetch(.offset(Offset(.max))) == ["refused \(ErrorCode.offsetOutOfRange.rawValue)"]
        )
        #expect(try bench.metric(#"pulse_notifications{channel="email",state="ready"}"#) == 5)
    }

    @Test func templatesOverTheWire() throws {
        let bench = try quiet()
        let client = try bench.client()
        func put(_ template: TemplateMessage) throws -> [String] {
            client.send { session, bytes in
                template.encode(correlation: session.openRequest(.putTemplate), into: &bytes)
            }
            return try client.hear().words
        }
        #expect(
            try put(TemplateMessage(name: "b", channel: .sms, text: "{{x}}")) == ["template saved"]
        )
        #expect(
            try put(TemplateMessage(name: "a", channel: .sms, text: "hi")) == ["template saved"]
        )
        let refused = try put(TemplateMessage(name: "c", channel: .sms, text: "{{#x}}"))
        #expect(refused == ["refused \(ErrorCode.invalidTemplate.rawValue)"])
        for name in ["", String(repeating: "n", count: 101), "a\u{0}b", "line\nbreak"] {
            let words = try put(TemplateMessage(name: name, channel: .sms, text: "hi"))
            #expect(words.first?.hasPrefix("refused") == true, "name of \(name.utf8.count) bytes")
        }
        client.send { session, bytes in
            ListTemplatesRequest().encode(
                correlation: session.openRequest(.listTemplates),
                into: &bytes
            )
        }
        #expect(try client.hear().words == ["templates a,b"])
        #expect(try bench.exchange("GET", "/v1/templates/a").status == 200)
    }

    /// Before its hello is answered a client knows no other message than the answer.
    @Test func drainingSaysNothingToAClientThatHasNotSaidHello() throws {
        let bench = try quiet()
        let connection = ConnectionID(77)
        bench.step(.opened(connection, .native))
        bench.step(.drainRequested)
        #expect(bench.takeSent(connection).isEmpty)
    }

    @Test func drainingSaysGoodbyeTakesSettlementsAndRefusesTheRest() throws {
        let bench = try quiet()
        let client = try bench.client()
        client.produce(NativeClient.batch([("ada", NativeClient.envelope())]))
        _ = try client.verdicts()
        client.subscribe()
        let delivery = try #require(try client.hear().deliveries.first)
        bench.syncsAtOnce = false
        client.acknowledge([delivery.token])
        bench.step(.drainRequested)
        bench.settle()
        let words = try client.hear().words
        #expect(words.contains("goodbye \(ErrorCode.draining.rawValue)"))
        #expect(words.contains("settled 1 stale 0"))
        #expect(bench.drained)
    }

    @Test func brokenFramesAreRefusedAndTheNodeLives() throws {
        let bench = try quiet()
        var random = SeededGenerator(seed: 4)
        for _ in 0..<300 {
            let connection = bench.open(.native)
            var bytes: [UInt8] = []
            HelloRequest(clientName: "x", clientVersion: "1").encode(correlation: 1, into: &bytes)
            SubscribeRequest(
                subscription: 1,
                topic: "notify.email",
                group: "g",
                start: .earliest,
                credit: 5
            ).encode(correlation: 2, into: &bytes)
            let batch = NativeClient.batch([("ada", NativeClient.envelope())])
            batch.withUnsafeBytes {
                ProduceRequestView.encode(
                    topic: "notify.email",
                    lane: nil,
                    batch: $0,
                    correlation: 3,
                    into: &bytes
                )
            }
            for _ in 0..<random.below(3) {
                bytes[random.below(bytes.count)] ^= 1 << UInt8(random.below(8))
            }
            // In pieces, as a network would.
            var rest = bytes[...]
            while !rest.isEmpty, !bench.closed.contains(connection) {
                let count = min(rest.count, 1 + random.below(200))
                bench.receive(Array(rest.prefix(count)), on: connection)
                rest = rest.dropFirst(count)
            }
            bench.step(.closed(connection))
            #expect(bench.stopped == nil)
        }
        #expect(try bench.exchange("GET", "/livez").status == 200)
    }
}
