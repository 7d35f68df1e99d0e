// What a node makes of a provider's answers, one class after the other, and of answers that never come.

import PulseBroker
import PulseCore
import PulseDelivery
import PulseNode
import TestDoubles
import Testing

@Suite struct DeliveryTranscriptTests {
    private func answer(_ bench: NodeBench, _ answer: ProviderAnswer) throws {
        let call = try #require(bench.calls.first)
        bench.calls.removeFirst()
        bench.step(.providerAnswered(call.id, answer))
    }

    static let classes: [(ProviderAnswer, String, calls: Int)] = [
        (.answered(code: 250, detail: "2.0.0 ok", retryAfterSeconds: nil), "delivered", 0),
        (.answered(code: 550, detail: "5.1.1 unknown", retryAfterSeconds: nil), "dead", 0),
        (.answered(code: 552, detail: "5.3.4 too big", retryAfterSeconds: nil), "dead", 0),
        (.answered(code: 451, detail: "4.7.1 greylisted", retryAfterSeconds: nil), "held", 1),
        (.notSent(reason: "refused"), "held", 1),
        (.lost(reason: "cut"), "held", 1),
        (.misconfigured(reason: "no TLS"), "held", 1),
        (.forbidden(reason: "private"), "dead", 0),
    ]

    @Test(arguments: classes.indices)
    func anAnswerOfEachClass(index: Int) throws {
        let (given, state, later) = Self.classes[index]
        let bench = try NodeBench()
        let id = try bench.send()
        try answer(bench, given)
        #expect(try bench.status(id) == state, "\(given)")
        bench.pass(milliseconds: 60_000)
        #expect(bench.calls.count == later)
    }

    @Test func attemptsEndInTheDeadLetterLaneWithTheirCause() throws {
        let bench = try NodeBench(attemptsMax: 3)
        let id = try bench.send()
        for _ in 0..<3 {
            try answer(bench, .answered(code: 451, detail: "busy", retryAfterSeconds: nil))
            bench.pass(milliseconds: 10_000)
        }
        #expect(bench.calls.isEmpty)
        let story = try bench.exchange("GET", "/v1/notifications/\(id)")
        #expect(story.field("status") == "dead" && story.field("attempts") == "3")
        #expect(story.body.contains("attempts_used_up") && story.body.contains("busy"))
        let compatible = try bench.exchange("GET", "/api/notifications/status/\(id)/")
        #expect(compatible.field("status") == "failed")
    }

    @Test func aBadConfigurationPausesTheChannelAndCostsNoAttempt() throws {
        let bench = try NodeBench(concurrency: [1, 8, 8, 8])
        let ids = try (0..<3).map { _ in try bench.send() }
        #expect(bench.calls.count == 1)
        try answer(bench, .answered(code: 535, detail: "bad credentials", retryAfterSeconds: nil))
        #expect(bench.calls.isEmpty, "the channel rests")
        #expect(bench.events.contains { $0.level == .error && $0.message.contains("paused") })
        #expect(
            !bench.events.contains { $0.fields.contains { $0.value.contains("ada@") } },
            "no address in the log"
        )
        #expect(try bench.status(ids[0]) == "held" && bench.status(ids[1]) == "ready")
        bench.pass(milliseconds: 29_000)
        #expect(bench.calls.isEmpty)
        let wake = try #require(bench.wake)
        #expect(wake.milliseconds(since: bench.now.monotonic) <= 1001)
        bench.pass(milliseconds: 1002)
        for _ in 0..<3 {
            try answer(bench, .answered(code: 250, detail: "ok", retryAfterSeconds: nil))
        }
        for id in ids {
            let story = try bench.exchange("GET", "/v1/notifications/\(id)")
            #expect(story.field("status") == "delivered" && story.field("attempts") == "1")
        }
    }

    @Test func anotherChannelGoesOnWhileOneRests() throws {
        let bench = try NodeBench()
        _ = try bench.send()
        try answer(bench, .misconfigured(reason: "no TLS"))
        let reply = try bench.exchange(
            "POST",
            "/v1/notifications",
            #"{"to":{"url":"https://hooks.example.org/x","user":"u"},"content":{"text":"t"}}"#
        )
        #expect(reply.status == 202, "\(reply.body)")
        #expect(bench.calls.count == 1)
        guard case .http(let request)? = bench.calls.first?.request else {
            Issue.record("a webhook goes by HTTP")
            return
        }
        #expect(request.url == "https://hooks.example.org/x")
        let id = try #require(reply.field("id"))
        #expect(
            request.headers.contains {
                $0.name.lowercased() == "webhook-id" && $0.value.contains(id)
            }
        )
        try answer(bench, .answered(code: 503, detail: "", retryAfterSeconds: 120))
        bench.pass(milliseconds: 119_000)
        #expect(bench.calls.allSatisfy { if case .smtp = $0.request { true } else { false } })
        bench.calls = []
        bench.pass(milliseconds: 3000)
        #expect(bench.calls.contains { if case .http = $0.request { true } else { false } })
    }

    @Test func anAnswerThatNeverComesIsAnAttempt() throws {
        let bench = try NodeBench()
        let id = try bench.send()
        let lost = try #require(bench.calls.first)
        bench.calls = []
        bench.pass(milliseconds: 9_900)
        #expect(try bench.status(id) == "leased")
        bench.pass(milliseconds: 200)
        #expect(try bench.status(id) == "held")
        bench.pass(milliseconds: 1001)
        #expect(bench.calls.count == 1)
        // It comes after all, when the second attempt is under way.
        bench.step(
            .providerAnswered(lost.id, .answered(code: 250, detail: "ok", retryAfterSeconds: nil))
        )
        #expect(try bench.status(id) == "leased")
        #expect(try bench.metric("pulse_late_outcomes_total") == 1)
        try answer(bench, .answered(code: 250, detail: "ok", retryAfterSeconds: nil))
        bench.step(
            .providerAnswered(lost.id, .answered(code: 250, detail: "ok", retryAfterSeconds: nil))
        )
        #expect(try bench.status(id) == "delivered")
        #expect(try bench.metric("pulse_provider_calls") == 0)
    }

    @Test func aCallThatLeftLateIsWaitedForFromThenOn() throws {
        let bench = try NodeBench()
        let id = try bench.send()
        let call = try #require(bench.calls.first)
        bench.calls = []
        // The sync that made it possible stalled, and the turn's time is long over when it leaves.
        bench.now.monotonic = bench.now.monotonic.advanced(byMilliseconds: 60_000)
        bench.now.wall = bench.now.wall.advanced(byMilliseconds: 60_000)
        bench.step(.callLeft(call.id))
        bench.pass(milliseconds: 9_900)
        #expect(bench.calls.isEmpty, "nobody calls while a call is in flight")
        #expect(try bench.status(id) == "leased")
        bench.step(
            .providerAnswered(call.id, .answered(code: 250, detail: "ok", retryAfterSeconds: nil))
        )
        #expect(try bench.status(id) == "delivered")
    }

    @Test func noMoreCallsAtOnceThanTheChannelMay() throws {
        let bench = try NodeBench(concurrency: [3, 8, 8, 8])
        for _ in 0..<10 { _ = try bench.send() }
        #expect(bench.calls.count == 3)
        var most = 3
        var delivered = 0
        while !bench.calls.isEmpty {
            try answer(bench, .answered(code: 250, detail: "ok", retryAfterSeconds: nil))
            delivered += 1
            most = max(most, bench.calls.count)
        }
        #expect(delivered == 10 && most == 3)
    }

    @Test func aChannelWithoutAProviderKeepsWhatItAccepts() throws {
        let bench = try NodeBench()
        let reply = try bench.exchange(
            "POST",
            "/v1/notifications",
            #"{"to":{"phone":"+4915112345678"},"content":{"text":"t"}}"#
        )
        #expect(reply.status == 202, "\(reply.body)")
        bench.pass(milliseconds: 600_000)
        #expect(try bench.status(try #require(reply.field("id"))) == "ready")
    }

    @Test func theCatcherShowsTheNewestFirst() throws {
        let bench = try NodeBench(providers: .catchers, development: true)
        var ids: [String] = []
        for index in 0..<3 { ids.append(try bench.send(text: "number \(index)")) }
        for id in ids { #expect(try bench.status(id) == "delivered") }
        let outbox = try bench.exchange("GET", "/dev/outbox")
        #expect(outbox.status == 200)
        let order = ["number 2", "number 1", "number 0"].compactMap {
            outbox.body.ranges(of: $0).first?.lowerBound
        }
        #expect(order.count == 3 && order == order.sorted())
        // The sample template that --dev brings along can be used at once.
        let reply = try bench.exchange(
            "POST",
            "/v1/notifications",
            #"{"to":{"email":"a@example.org"},"template":"welcome","data":{"name":"<Ada>"}}"#
        )
        #expect(reply.status == 202, "\(reply.body)")
        let plain = try NodeBench(providers: .catchers)
        #expect(try plain.exchange("GET", "/dev/outbox").status == 404)
    }

    @Test func aCrashBetweenCallAndAnswerIsTriedAgainUnderTheSameName() throws {
        let bench = try NodeBench(attemptsMax: 3)
        let id = try bench.send()
        var names: Set<String> = []
        for _ in 0..<3 {
            let call = try #require(bench.calls.first)
            guard case .smtp(let request) = call.request else { return }
            let mail = String(decoding: request.message, as: UTF8.self)
            let line = mail.split(separator: "\r\n").first { $0.hasPrefix("Message-ID:") }
            names.insert(String(line ?? ""))
            try bench.restart()
        }
        #expect(names.count == 1, "the receiver can tell a repeat: \(names)")
        #expect(bench.calls.isEmpty)
        #expect(try bench.status(id) == "dead")
    }

    /// Two nodes fed the same inputs do the same, effect for effect.
    @Test func theSameInputsGiveTheSameBytes() throws {
        func run() throws -> [UInt8] {
            let bench = try NodeBench()
            for index in 0..<30 {
                _ = try bench.send(
                    to: "user\(index % 4)@example.org",
                    key: "k\(index % 20)-\(index)"
                )
                if let call = bench.calls.first, index % 3 == 0 {
                    bench.calls.removeFirst()
                    bench.step(
                        .providerAnswered(
                            call.id,
                            .answered(code: 451, detail: "x", retryAfterSeconds: nil)
                        )
                    )
                }
                bench.pass(milliseconds: 137)
            }
            let list = try bench.exchange("GET", "/v1/notifications?limit=500")
            return Array(list.body.utf8) + bench.node.shard.state.encoded()
        }
        let first = try run()
        #expect(try run() == first)
    }
}
