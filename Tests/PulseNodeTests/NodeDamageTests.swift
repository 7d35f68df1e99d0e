// A node whose log rots while it serves: nothing new is taken, nothing wrong leaves, nothing is declared
// dead that only cannot be read.

import PulseBroker
import PulseCore
import PulseDelivery
import PulseLog
import PulseNode
import PulseWire
import TestDoubles
import Testing

@Suite struct NodeDamageTests {
    private let segment = "00000000000000000000.seg"

    /// Flips a bit of the first place in the log that holds `text`.
    private func damage(_ bench: NodeBench, _ text: String) throws {
        let wanted = Array(text.utf8)
        var found = false
        bench.directory.damage(segment) { bytes in
            guard
                let at = bytes.indices.first(where: {
                    $0 + wanted.count <= bytes.count
                        && bytes[$0..<$0 + wanted.count].elementsEqual(wanted)
                })
            else { return }
            bytes[at] ^= 1
            found = true
        }
        try #require(found)
    }

    private func submission(_ text: String, key: String, more: String = "") -> String {
        """
        {"to":{"email":"ada@example.org","user":"\(key)"},"content":{"subject":"s","text":"\(text)"},\
        "idempotency_key":"\(key)"\(more)}
        """
    }

    private func send(
        _ bench: NodeBench,
        _ text: String,
        key: String,
        more: String = ""
    ) throws -> String {
        let reply = try bench.exchange(
            "POST",
            "/v1/notifications",
            submission(text, key: key, more: more)
        )
        #expect(reply.status == 202)
        return try #require(reply.field("id"))
    }

    @Test func everyAnswerAboutDamagedDataSaysSo() throws {
        let bench = try NodeBench()
        let lost = try send(bench, "first words", key: "a")
        let whole = try send(bench, "second words", key: "b")
        for call in bench.calls {
            bench.step(
                .providerAnswered(
                    call.id,
                    .answered(code: 250, detail: "ok", retryAfterSeconds: nil)
                )
            )
        }
        #expect(try bench.exchange("GET", "/readyz").status == 200)
        try damage(bench, "first words")
        // Nobody has looked: nobody knows. The first who reads it makes it known.
        #expect(try bench.exchange("GET", "/v1/notifications/\(lost)").status == 503)
        // A list goes as far as it is whole; its next page is refused, and so is one that begins there.
        let page = try bench.exchange("GET", "/v1/notifications")
        #expect(page.status == 200 && page.body.contains(whole) && !page.body.contains(lost))
        let cursor = try #require(page.field("next_cursor"))
        let range = try #require(bench.node.shard.log.damaged.first)
        let place =
            "\(segment) at byte \(range.byte): the entry body fails its checksum; positions"
            + " \(range.from.rawValue) to \(range.to.rawValue)"
        for path in [
            "/v1/notifications/\(lost)", "/v1/notifications?cursor=\(cursor)",
            "/v1/notifications?user=a", "/api/notifications/status/\(lost)/",
            "/api/notifications/list/?user_id=a",
        ] {
            let reply = try bench.exchange("GET", path)
            #expect(reply.status == 503 && reply.body.contains(place), "\(path): \(reply.body)")
            let word =
                path.hasPrefix("/v1") ? "\"code\":\"data_corrupt\"" : "Stored data is corrupt"
            #expect(reply.body.contains(word), "\(path): \(reply.body)")
        }
        let client = try bench.client()
        let refusals = try askNatively(client, lost)
        #expect(refusals.count == 2)
        for refusal in refusals {
            #expect(
                refusal.code == ErrorCode.dataCorrupt.rawValue && refusal.message.contains(place)
            )
        }
        #expect(try bench.exchange("GET", "/v1/notifications/\(whole)").status == 200)
        #expect(try bench.exchange("GET", "/v1/notifications?user=b").status == 200)
        let refused = try bench.exchange("POST", "/v1/notifications", submission("third", key: "c"))
        #expect(refused.status == 503 && refused.body.contains("data_corrupt"))
        #expect(refused.body.contains(place))
        let ready = try bench.exchange("GET", "/readyz")
        #expect(
            ready.status == 503 && ready.body.contains("degraded: data_corrupt: \(segment) at byte")
        )
        #expect(try bench.metric("pulse_log_damaged_ranges") == 1)
        #expect(bench.stopped == nil)
        #expect(bench.events.filter { $0.message.contains("DAMAGED") }.count == 1)
    }

    /// Its state, and a read from the place where it is.
    private func askNatively(_ client: NativeClient, _ lost: String) throws -> [ErrorReply] {
        var refusals: [ErrorReply] = []
        let id = try #require(NotificationID(lost))
        client.askForStatus(id)
        try client.messages { if case .refused(_, let error) = $0 { refusals.append(error) } }
        client.send { _, bytes in client.fetch(from: Offset(0), bytesMax: 4096, into: &bytes) }
        try client.messages { if case .refused(_, let error) = $0 { refusals.append(error) } }
        return refusals
    }

    /// The state was never saved, and the log is folded as far as the damage: what lies behind it may have
    /// gone on, and every answer about it says so, in each dialect and in lists.
    @Test func whatMayHaveChangedBehindDamageSaysSo() throws {
        let bench = try NodeBench()
        let before = try send(bench, "first words", key: "a")
        let lost = try send(bench, "second words", key: "b")
        let behind = try send(bench, "third words", key: "c")
        try damage(bench, "second words")
        try bench.restart()
        #expect(try bench.exchange("GET", "/readyz").status == 503)
        let list = try bench.exchange("GET", "/v1/notifications")
        #expect(list.status == 200 && list.body.contains(behind) && !list.body.contains(before))
        let old = try bench.exchange("GET", "/api/notifications/list/")
        #expect(old.status == 200 && old.field("count") == "1" && old.body.contains(behind))
        let sentence = "the log is damaged: what became of it behind the damage is not known"
        for reply in [list, old] {
            #expect(reply.body.contains(#""uncertain":true"#), "\(reply.body)")
            #expect(reply.body.contains(sentence), "\(reply.body)")
            let cursor = try #require(reply.field("next_cursor"))
            for path in ["/v1/notifications", "/api/notifications/list/"] {
                let next = try bench.exchange("GET", "\(path)?cursor=\(cursor)")
                #expect(next.status == 503 && next.body.contains(segment), "\(next.body)")
            }
        }
        for id in [before, behind] {
            for path in ["/v1/notifications/\(id)", "/api/notifications/status/\(id)/"] {
                let reply = try bench.exchange("GET", path)
                #expect(reply.status == 200 && reply.body.contains(#""uncertain":true"#))
                #expect(reply.body.contains(sentence), "\(reply.body)")
            }
        }
        #expect(try bench.exchange("GET", "/v1/notifications/\(lost)").status == 503)
        #expect(try bench.exchange("GET", "/v1/templates").status == 503)
        #expect(try bench.exchange("GET", "/v1/templates/none").status == 503)
        #expect(bench.calls.isEmpty && bench.stopped == nil)
        // The native read goes as far as it is whole, is refused in the hole, and goes on behind it.
        let client = try bench.client()
        for (offset, word) in [(0, "fetched 1 to 1"), (1, "refused 70"), (2, "fetched 1 to 3")] {
            client.send { _, bytes in
                client.fetch(from: Offset(Int64(offset)), bytesMax: 4096, into: &bytes)
            }
            #expect(try client.hear().words == [word])
        }
    }

    @Test func whatARepairGaveUpIsGoneForEveryQuestion() throws {
        let bench = try NodeBench()
        let lost = try send(bench, "first words", key: "a")
        let whole = try send(bench, "second words", key: "b")
        bench.step(.drainRequested)
        try damage(bench, "first words")
        _ = try LogRepair.perform(
            try LogRepair.plan(bench.directory),
            in: bench.directory,
            trash: MemoryDirectory(),
            stamp: "S",
            at: bench.now.wall
        )
        try bench.restart()
        for (method, path) in [("GET", ""), ("POST", "/cancel")] {
            let reply = try bench.exchange(method, "/v1/notifications/\(lost)\(path)")
            #expect(reply.status == 410 && reply.body.contains("data_lost"), "\(reply.body)")
        }
        let client = try bench.client()
        let id = try #require(NotificationID(lost))
        client.askForStatus(id)
        #expect(try client.hear().words == ["refused \(ErrorCode.dataLost.rawValue)"])
        #expect(bench.stopped == nil)
        #expect(try bench.exchange("GET", "/v1/notifications/\(whole)").status == 200)
    }

    /// What the sample template would be for is not served: the rest is.
    @Test func aDevelopmentNodeServesADamagedLog() throws {
        let bench = try NodeBench(development: true)
        let whole = try send(bench, "second words", key: "b")
        bench.step(.drainRequested)
        try damage(bench, "it is good to have you here")
        try bench.restart()
        #expect(try bench.exchange("GET", "/readyz").status == 503)
        #expect(bench.wake != bench.now.monotonic, "it rests")
        #expect(try bench.exchange("GET", "/v1/templates/welcome").status == 503)
        #expect(try bench.exchange("GET", "/v1/notifications/\(whole)").status != 404)
        #expect(bench.stopped == nil)
    }

    @Test func aMessageWhoseRecordIsDamagedIsLeftAndNotBuried() throws {
        let bench = try NodeBench()
        let lost = try send(
            bench,
            "first words",
            key: "a",
            more: #","deliver_at":"2026-11-18T12:00:00Z""#
        )
        let whole = try send(
            bench,
            "second words",
            key: "b",
            more: #","deliver_at":"2026-11-18T12:00:00Z""#
        )
        #expect(bench.calls.isEmpty)
        try damage(bench, "first words")
        bench.pass(milliseconds: 3 * 86_400_000)
        bench.step(.timeReached)
        bench.step(.timeReached)
        #expect(bench.calls.count == 1, "only the one that can be read")
        for call in bench.calls {
            bench.step(
                .providerAnswered(
                    call.id,
                    .answered(code: 250, detail: "ok", retryAfterSeconds: nil)
                )
            )
        }
        #expect(try bench.status(whole) == "delivered", "outcomes are recorded")
        #expect(try bench.exchange("GET", "/v1/notifications/\(lost)").status == 503)
        #expect(
            try bench.metric(#"pulse_notifications_finished_total{channel="email",state="dead"}"#)
                == 0
        )
        #expect(try bench.metric("pulse_stranded_deliveries") == 1)
        for _ in 0..<5 { bench.pass(milliseconds: 7_200_000) }
        #expect(bench.calls.count == 1)
        #expect(
            try bench.metric(#"pulse_notifications_finished_total{channel="email",state="dead"}"#)
                == 0
        )
        bench.node.checkInvariants()
        // Put back, it is delivered by the next process.
        bench.directory.damage(segment) { bytes in
            let wanted = Array("girst words".utf8)
            let at = bytes.indices.first { bytes[$0...].starts(with: wanted) }
            if let at { bytes[at] ^= 1 }
        }
        try bench.restart()
        bench.pass(milliseconds: 7_200_000)
        #expect(bench.calls.count == 1)
        #expect(try bench.exchange("GET", "/readyz").status == 200)
    }
}
