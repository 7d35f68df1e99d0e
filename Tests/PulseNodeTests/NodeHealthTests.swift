// A node at its limits and at its end: slow clients, a full disk, draining, and what the metrics say.

import PulseBroker
import PulseCore
import PulseDelivery
import PulseLog
import PulseNode
import TestDoubles
import Testing

@Suite struct NodeHealthTests {
    private let hello = """
        {"to":{"email":"ada@example.org","user":"ada"},"content":{"subject":"s","text":"hi"},\
        "idempotency_key":"k"}
        """

    @Test func aSlowClientIsSentAway() throws {
        let bench = try NodeBench()
        let connection = bench.open(.http)
        bench.receive(Array("POST /v1/notifications HTTP/1.1\r\nHos".utf8), on: connection)
        for _ in 0..<9 {
            bench.pass(milliseconds: 1000)
            bench.receive([0x61], on: connection)
        }
        #expect(!bench.closed.contains(connection))
        bench.pass(milliseconds: 1100)
        #expect(bench.closed.contains(connection), "a header gets ten seconds, drop by drop or not")
        #expect(bench.replies(on: connection).first?.status == 408)
        let idle = bench.open(.http)
        bench.pass(milliseconds: 119_000)
        #expect(!bench.closed.contains(idle))
        bench.pass(milliseconds: 2000)
        #expect(bench.closed.contains(idle) && bench.takeSent(idle).isEmpty)
    }

    /// What is asked for in a moment may take an hour to read: answers are made as they leave.
    @Test func aClientThatAsksForMuchGetsItPieceByPiece() throws {
        let bench = try NodeBench()
        let text = String(repeating: "x", count: 200_000)
        for number in 0..<4 {
            let body = "{\"channel\":\"sms\",\"text\":\"\(text)\"}"
            #expect(try bench.exchange("PUT", "/v1/templates/t\(number)", body).status == 201)
        }
        let asking = Array(repeating: NodeBench.request("GET", "/v1/templates"), count: 30)
        let connection = bench.open(.http)
        bench.syncsAtOnce = false
        bench.receive(asking.flatMap { $0 }, on: connection)
        // One answer has 800 KB: two pass the limit of a turn, and the turn's end gives two more.
        #expect(bench.takeSent(connection).count < 4_000_000)
        bench.step(.backlog(connection, bytes: 2 * Limits.outgoingBytesMax))
        let waiting = bench.takeSent(connection).count
        for _ in 0..<5 { bench.step(.timeReached) }
        #expect(waiting < 2_000_000 && bench.takeSent(connection).isEmpty)
        bench.step(.backlog(connection, bytes: 0))
        var left = 0
        for _ in 0..<40 {
            let sent = bench.takeSent(connection).count
            #expect(sent < 4_000_000)
            left += sent
            bench.step(.timeReached)
        }
        #expect(left > 20_000_000, "and in the end all of it")
        bench.syncsAtOnce = true
        bench.step(.timeReached)
    }

    @Test func theWakeItAsksForComesInTime() throws {
        let bench = try NodeBench()
        let connection = bench.open(.http)
        bench.receive([0x50], on: connection)
        let wake = try #require(bench.wake)
        let wait = wake.milliseconds(since: bench.now.monotonic)
        #expect(wait <= 10_001)
        bench.receive(Array("OST".utf8), on: connection)
        bench.step(.closed(connection))
    }

    @Test func aClientThatDoesNotReadIsNotReadFrom() throws {
        let bench = try NodeBench()
        let connection = bench.open(.http)
        bench.step(.backlog(connection, bytes: Limits.outgoingBytesMax))
        #expect(bench.paused.contains(connection))
        bench.step(.backlog(connection, bytes: 0))
        #expect(!bench.paused.contains(connection))
    }

    @Test func aFullDiskRefusesAndRecovers() throws {
        let bench = try NodeBench(providers: ProviderSettings(), segmentBytes: 32 << 10)
        bench.directory.capacity = 200 << 10
        let long = String(repeating: "x", count: 4000)
        let body = """
            {"to":{"email":"a@example.org"},"content":{"subject":"s","text":"\(long)"}}
            """
        var refused: NodeBench.Reply?
        var accepted = 0
        for _ in 0..<200 where refused == nil {
            let reply = try bench.exchange("POST", "/v1/notifications", body)
            if reply.status == 202 { accepted += 1 } else { refused = reply }
        }
        #expect(refused?.status == 503, "\(refused?.body ?? "never full")")
        #expect(bench.stopped == nil, "the disk is full, the node lives")
        #expect(try bench.exchange("GET", "/readyz").status == 503)
        #expect(try bench.exchange("GET", "/v1/notifications?limit=1").status == 200)
        bench.directory.capacity = .max
        bench.pass(milliseconds: 5000)
        bench.pass(milliseconds: 5000)
        #expect(try bench.exchange("POST", "/v1/notifications", body).status == 202)
        #expect(
            try bench.metric("pulse_notifications_accepted_total{channel=\"email\"}")
                == accepted + 1
        )
    }

    // MARK: - Health

    @Test func drainingRefusesFinishesAndSaysSo() throws {
        let bench = try NodeBench()
        let id = try bench.send()
        let connection = bench.open(.http)
        bench.step(.drainRequested)
        #expect(!bench.drained, "a delivery is under way")
        bench.receive(NodeBench.request("GET", "/readyz"), on: connection)
        bench.receive(NodeBench.request("POST", "/v1/notifications", hello), on: connection)
        bench.receive(NodeBench.request("GET", "/livez"), on: connection)
        bench.receive(NodeBench.request("GET", "/v1/notifications/\(id)"), on: connection)
        let replies = bench.replies(on: connection)
        #expect(replies.map(\.status) == [503, 503, 200, 200])
        #expect(replies.first?.body == "draining\n")
        let call = try #require(bench.calls.first)
        bench.step(
            .providerAnswered(call.id, .answered(code: 250, detail: "ok", retryAfterSeconds: nil))
        )
        #expect(bench.drained)
        try bench.restart(losing: .unsynced)
        #expect(try bench.status(id) == "delivered", "what was drained is durable")
        #expect(bench.calls.isEmpty)
    }

    @Test func aDrainDoesNotWaitForEver() throws {
        let bench = try NodeBench()
        let id = try bench.send()
        bench.step(.drainRequested)
        bench.pass(milliseconds: 9999)
        #expect(!bench.drained)
        bench.pass(milliseconds: 2)
        #expect(bench.drained)
        try bench.restart(losing: .unsynced)
        bench.pass(milliseconds: 2000)
        #expect(try bench.status(id) == "leased", "tried again after the restart")
    }

    /// Scrubbing stops with the drain: a piece that is due must not ask for turn after turn.
    @Test func aDrainingNodeSleepsThoughScrubbingIsDue() throws {
        let bench = try NodeBench()
        _ = try bench.send()
        bench.pass(milliseconds: 55_000)
        _ = try bench.send()
        bench.step(.drainRequested)
        bench.pass(milliseconds: 6000)
        #expect(!bench.drained)
        let wake = try #require(bench.wake)
        #expect(wake > bench.now.monotonic)
    }

    /// The machine slept, or somebody set the wall clock: nothing else would wake an idle broker for hours.
    @Test func aClockThatWasSetIsNoticedSoon() throws {
        let bench = try NodeBench()
        _ = try bench.send(more: #","deliver_at":"2026-11-18T15:00:00Z""#)
        #expect(bench.calls.isEmpty)
        bench.now.wall = bench.now.wall.advanced(byMilliseconds: 30 * 86_400_000)
        let wake = try #require(bench.wake)
        let wait = wake.milliseconds(since: bench.now.monotonic)
        #expect(wait <= Limits.clockLookMilliseconds)
        bench.pass(milliseconds: wait)
        // A tick of the wheel.
        bench.pass(milliseconds: 100)
        #expect(bench.calls.count == 1)
    }

    @Test func nothingHeldIsNoReasonToWake() throws {
        let bench = try NodeBench()
        let wake = try #require(bench.wake)
        #expect(wake.milliseconds(since: bench.now.monotonic) > Limits.clockLookMilliseconds)
    }

    /// A pass over the sealed segments that finds one of them damaged.
    @Test func aPassOfScrubbingIsCounted() throws {
        let bench = try NodeBench(providers: ProviderSettings(), segmentBytes: 32 << 10)
        let long = String(repeating: "x", count: 4000)
        bench.configuration.shard.scrubIntervalMilliseconds = 60_000
        try bench.restart()
        for _ in 0..<30 { _ = try bench.send(text: long) }
        let sealed = bench.node.shard.log.segments.filter(\.isSealed)
        try #require(sealed.count > 2)
        // The first pass was over before there was anything.
        #expect(try bench.metric("pulse_scrub_passes_total") == 1)
        for name in ["bytes", "segments", "damaged", "failures"] {
            #expect(try bench.metric("pulse_scrub_\(name)_total") == 0)
        }
        bench.directory.damage(sealed[1].name) { $0[9000] ^= 0x10 }
        for _ in 0..<200 where bench.node.shard.scrubbing.passesEnded == 1 {
            bench.pass(milliseconds: 1000)
        }
        #expect(try bench.metric("pulse_scrub_passes_total") == 2)
        #expect(try bench.metric("pulse_scrub_segments_total") == sealed.count)
        #expect(try bench.metric("pulse_scrub_damaged_total") == 1)
        #expect(try bench.metric("pulse_scrub_failures_total") == 0)
        let bytes = sealed.reduce(0) { $0 + $1.usedBytes }
        #expect(try bench.metric("pulse_scrub_bytes_total") >= bytes)
        let range = try #require(bench.node.shard.log.damaged.first)
        #expect(range.file == sealed[1].name)
        let told = bench.events.filter { $0.message == "scrub found damage" }
        #expect(told.map(\.level) == [.error])
        #expect(told.first?.fields == [.init("range", "\(range)")])
        #expect(try bench.exchange("GET", "/readyz").body.contains(range.file))
    }

    @Test func metricsTellTheLedger() throws {
        let bench = try NodeBench()
        let ids = try (0..<6).map { _ in try bench.send() }
        _ = try bench.send(more: #","deliver_at":"2099-01-01T00:00:00Z""#)
        let answers: [ProviderAnswer] = [
            .answered(code: 250, detail: "ok", retryAfterSeconds: nil),
            .answered(code: 550, detail: "5.1.1 no such user", retryAfterSeconds: nil),
            .answered(code: 451, detail: "later", retryAfterSeconds: nil),
            .lost(reason: "cut"),
        ]
        for (call, answer) in zip(bench.calls, answers) {
            bench.step(.providerAnswered(call.id, answer))
        }
        let text = try bench.exchange("GET", "/metrics").body
        for line in [
            #"pulse_notifications_accepted_total{channel="email"} 7"#,
            #"pulse_notifications_finished_total{channel="email",state="delivered"} 1"#,
            #"pulse_notifications_finished_total{channel="email",state="dead"} 1"#,
            #"pulse_notifications{channel="email",state="held"} 2"#,
            #"pulse_notifications{channel="email",state="leased"} 2"#,
            #"pulse_notifications{channel="email",state="ready"} 0"#,
            #"pulse_notifications{channel="email",state="scheduled"} 1"#,
            #"pulse_delivery_attempts_total{channel="email"} 6"#,
            #"pulse_delivery_retries_total{channel="email"} 2"#,
            #"pulse_provider_answers_total{class="ambiguous"} 1"#,
            "pulse_provider_calls 2",
            "pulse_index_damaged_total 0",
            "pulse_index_given_up 0",
        ] {
            #expect(text.contains(line + "\n"), "\(line)")
        }
        #expect(try bench.metric("pulse_index_memory_bytes") > 0)
        #expect(try bench.status(ids[1]) == "dead")
        try bench.restart()
        let unknown = try bench.metric(#"pulse_delivery_unknown_outcomes_total{channel="email"}"#)
        #expect(unknown == 2, "two calls were cut off")
        // Every family is announced before its samples, and every line is well formed.
        var family = ""
        for line in text.split(separator: "\n") {
            if line.hasPrefix("# HELP ") {
                family = String(line.split(separator: " ")[2])
            } else if !line.hasPrefix("# TYPE ") {
                let name = String(line.prefix { $0 != "{" && $0 != " " })
                #expect(name == family)
                #expect(line.split(separator: " ").last.flatMap { UInt64($0) } != nil)
            }
        }
    }
}
