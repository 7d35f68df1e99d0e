// Transcripts of HTTP conversations with a node: bytes in, effects out, nothing in between.

import PulseBroker
import PulseCore
import PulseDelivery
import PulseLog
import PulseNode
import TestDoubles
import Testing

@Suite struct HTTPTranscriptTests {
    private static let hello = """
        {"to":{"email":"ada@example.org","user":"ada"},"content":{"subject":"s","text":"hi"},\
        "idempotency_key":"k"}
        """

    private static let other = """
        {"to":{"email":"bob@example.org"},"content":{"subject":"s","text":"x"},\
        "idempotency_key":"k"}
        """

    @Test func nothingLeavesBeforeTheSync() throws {
        let bench = try NodeBench()
        bench.syncsAtOnce = false
        let connection = bench.open(.http)
        bench.receive(NodeBench.request("POST", "/v1/notifications", Self.hello), on: connection)
        #expect(bench.takeSent(connection).isEmpty, "no answer before the sync that covers it")
        #expect(bench.pendingSyncs.count == 1)
        #expect(bench.calls.isEmpty)
        bench.pass(milliseconds: 5)
        #expect(bench.takeSent(connection).isEmpty)
        bench.settle()
        let reply = try #require(bench.replies(on: connection).first)
        #expect(reply.status == 202)
        let id = try #require(reply.field("id"))
        #expect(NotificationID(id) != nil)
        #expect(bench.calls.count == 1, "and only now the provider is called")
        #expect(try bench.status(id) == "leased")
    }

    @Test func aFailedSyncIsNeverAnswered() throws {
        let bench = try NodeBench()
        bench.directory.failsSyncs = true
        let connection = bench.open(.http)
        bench.receive(NodeBench.request("POST", "/v1/notifications", Self.hello), on: connection)
        #expect(bench.takeSent(connection).isEmpty)
        #expect(bench.stopped?.code == 70)
        bench.directory.failsSyncs = false
        try bench.restart(losing: .unsynced)
        #expect(try bench.metric("pulse_notifications_accepted_total{channel=\"email\"}") == 0)
    }

    @Test func aNotificationIsToldOfOnBothInterfaces() throws {
        let bench = try NodeBench()
        let id = try bench.send()
        let call = try #require(bench.calls.first)
        guard case .smtp(let request) = call.request else {
            Issue.record("an e-mail goes by SMTP")
            return
        }
        #expect(request.recipient == "ada@example.org")
        #expect(
            String(decoding: request.message, as: UTF8.self).contains(id),
            "the id is on the mail"
        )
        bench.step(
            .providerAnswered(
                call.id,
                .answered(code: 250, detail: "2.0.0 queued", retryAfterSeconds: nil)
            )
        )
        let v1 = try bench.exchange("GET", "/v1/notifications/\(id)")
        #expect(
            v1.status == 200 && v1.field("status") == "delivered" && v1.field("attempts") == "1"
        )
        #expect(v1.body.contains("\"what\":\"accepted\"") && v1.body.contains("2.0.0 queued"))
        let compatible = try bench.exchange("GET", "/api/notifications/status/\(id)/")
        #expect(compatible.status == 200 && compatible.field("status") == "sent")
        #expect(compatible.field("notification_id") == id)
        #expect(try bench.exchange("GET", "/v1/notifications/\(id.dropLast())0").status == 404)
        #expect(try bench.exchange("GET", "/api/notifications/status/nonsense/").status == 404)
    }

    /// Defect P1 of system 000: concurrent sends with one key were sent twice.
    @Test(arguments: ["/v1/notifications", "/api/notifications/send/"])
    func sixtyFourAtOnceWithOneKeyAreOne(path: String) throws {
        let bench = try NodeBench()
        _ = try bench.exchange(
            "PUT",
            "/v1/templates/welcome",
            #"{"channel":"email","subject":"s","text":"hi {{name}}"}"#
        )
        let body =
            path.hasPrefix("/v1")
            ? Self.hello
            : """
            {"template_name":"welcome","user_id":"ada","to":"ada@example.org",\
            "context":{"name":"Ada"},"idempotency_key":"k"}
            """
        let connections = (0..<64).map { _ in bench.open(.http) }
        bench.syncsAtOnce = false
        bench.receive(connections.map { ($0, NodeBench.request("POST", path, body)) })
        #expect(connections.allSatisfy { bench.takeSent($0).isEmpty }, "not even the duplicates")
        bench.settle()
        let replies = connections.flatMap { bench.replies(on: $0) }
        #expect(replies.count == 64)
        let ids = replies.compactMap { $0.field(path.hasPrefix("/v1") ? "id" : "notification_id") }
        #expect(Set(ids).count == 1 && ids.count == 64)
        #expect(replies.filter { $0.status == 202 }.count == 1)
        #expect(replies.filter { $0.status == 200 }.count == 63)
        #expect(bench.calls.count == 1, "exactly one delivery")
        #expect(try bench.metric("pulse_notifications_accepted_total{channel=\"email\"}") == 1)
        #expect(try bench.metric("pulse_duplicates_total") == 63)
    }

    @Test func anotherBodyUnderTheSameKey() throws {
        let bench = try NodeBench()
        _ = try bench.exchange(
            "PUT",
            "/v1/templates/welcome",
            #"{"channel":"email","subject":"s","text":"hi {{name}}"}"#
        )
        let id = try bench.send(key: "k")
        let conflict = try bench.exchange(
            "POST",
            "/v1/notifications",
            Self.other
        )
        #expect(conflict.status == 409 && conflict.field("code") == "idempotency_conflict")
        let compatible = try bench.exchange(
            "POST",
            "/api/notifications/send/",
            """
            {"template_name":"welcome","user_id":"bob","to":"bob@example.org",\
            "context":{"name":"Bob"},"idempotency_key":"k"}
            """
        )
        #expect(compatible.status == 200 && compatible.field("notification_id") == id)
        #expect(bench.calls.count == 1)
        try bench.restart()
        let again = try bench.exchange(
            "POST",
            "/v1/notifications",
            Self.other
        )
        #expect(again.status == 409)
    }

    @Test func everythingWrongIsSaidAtOnce() throws {
        let bench = try NodeBench()
        _ = try bench.exchange(
            "PUT",
            "/v1/templates/code",
            #"{"channel":"email","subject":"{{app}}","text":"{{code}}"}"#
        )
        let reply = try bench.exchange(
            "POST",
            "/v1/notifications",
            """
            {"to":{"email":"not an address"},"template":"code","lane":"urgent","data":{"x":1},\
            "deliver_at":"tomorrow","surprise":1}
            """
        )
        #expect(reply.status == 400)
        for word in [
            "to.email", "invalid_address", "data.app", "data.code", "missing_variable", "lane",
            "deliver_at", "surprise",
        ] {
            #expect(reply.body.contains(word), "\(word) in \(reply.body)")
        }
        let unknown = try bench.exchange(
            "POST",
            "/v1/notifications",
            #"{"to":{"email":"nobody"},"template":"nothing","channel":"pigeon"}"#
        )
        #expect(unknown.status == 400)
        for word in ["unknown_template", "unknown_channel"] {
            #expect(unknown.body.contains(word), "\(word) in \(unknown.body)")
        }
        #expect(try bench.metric("pulse_notifications_accepted_total{channel=\"email\"}") == 0)
        let compatible = try bench.exchange(
            "POST",
            "/api/notifications/send/",
            #"{"template_name":"nothing","user_id":"u","to":"a@b.example"}"#
        )
        #expect(compatible.status == 404 || compatible.status == 400)
        #expect(compatible.body.contains("Template not found"), "\(compatible.body)")
    }

    @Test func pipelinedAnswersComeInTheOrderOfTheRequests() throws {
        let bench = try NodeBench()
        bench.syncsAtOnce = false
        let connection = bench.open(.http)
        let requests =
            NodeBench.request("GET", "/livez")
            + NodeBench.request("POST", "/v1/notifications", Self.hello)
            + NodeBench.request("GET", "/nothing")
            + NodeBench.request("POST", "/v1/notifications", Self.hello)
            + NodeBench.request("GET", "/readyz")
        bench.receive(requests, on: connection)
        #expect(bench.replies(on: connection).map(\.status) == [200])
        bench.settle()
        #expect(bench.replies(on: connection).map(\.status) == [202, 404, 200, 200])
    }

    @Test func moreRequestsThanMayWaitAreAllAnsweredInTheEnd() throws {
        let bench = try NodeBench(segmentBytes: 1 << 20)
        bench.syncsAtOnce = false
        let connection = bench.open(.http)
        var requests: [UInt8] = []
        for index in 0..<200 {
            requests += NodeBench.request(
                "POST",
                "/v1/notifications",
                #"{"to":{"email":"ada@example.org"},"content":{"subject":"s","text":"\#(index)"}}"#
            )
        }
        bench.receive(requests, on: connection)
        #expect(bench.paused.contains(connection))
        bench.settle()
        #expect(bench.replies(on: connection).filter { $0.status == 202 }.count == 200)
        #expect(!bench.paused.contains(connection))
    }

    @Test func listsFilterAndPage() throws {
        let bench = try NodeBench()
        var ids: [String] = []
        for index in 0..<7 {
            ids.append(
                try bench.send(to: index % 2 == 0 ? "ada@example.org" : "bob@example.org")
            )
        }
        for call in bench.calls.prefix(3) {
            bench.step(
                .providerAnswered(
                    call.id,
                    .answered(code: 250, detail: "ok", retryAfterSeconds: nil)
                )
            )
        }
        func list(_ query: String) throws -> (ids: [String], next: String?) {
            let reply = try bench.exchange("GET", "/v1/notifications?\(query)")
            #expect(reply.status == 200, "\(reply.body)")
            let parts = reply.body.split(separator: "\"id\":\"").dropFirst()
            let next = reply.field("next_cursor")
            return (parts.map { String($0.prefix(36)) }, next == "null" ? nil : next)
        }
        #expect(try list("").ids == ids.reversed())
        #expect(try list("status=delivered").ids == ids.prefix(3).reversed())
        #expect(try list("status=leased").ids == ids.dropFirst(3).reversed())
        #expect(try list("user=bob@example.org").ids == [ids[5], ids[3], ids[1]])
        #expect(try list("channel=sms").ids.isEmpty)
        var paged: [String] = []
        var cursor: String?
        repeat {
            let page = try list("limit=2" + (cursor.map { "&cursor=\($0)" } ?? ""))
            paged += page.ids
            cursor = page.next
        } while cursor != nil
        #expect(paged == ids.reversed())
        for bad in [
            "limit=0", "limit=501", "limit=x", "status=gone", "channel=x", "cursor=zz", "a=1",
        ] {
            #expect(try bench.exchange("GET", "/v1/notifications?\(bad)").status == 400, "\(bad)")
        }
    }

    @Test func templatesAreSavedListedAndKeepTheirVersions() throws {
        let bench = try NodeBench()
        bench.syncsAtOnce = false
        let connection = bench.open(.http)
        let body = #"{"channel":"email","subject":"Hi","text":"Hello {{name}}"}"#
        bench.receive(NodeBench.request("PUT", "/v1/templates/hello", body), on: connection)
        #expect(bench.takeSent(connection).isEmpty)
        bench.settle()
        let created = try #require(bench.replies(on: connection).first)
        #expect(created.status == 201)
        bench.syncsAtOnce = true
        let read = try bench.exchange("GET", "/v1/templates/hello")
        #expect(read.status == 200 && read.field("text") == "Hello {{name}}")
        #expect(read.field("revision") == created.field("revision"), "the revision it was told")
        let id = try #require(read.field("id"))
        #expect(
            try bench.exchange("GET", "/api/notifications/templates/\(id)/").field("name")
                == "hello"
        )

        // What was accepted before the change is rendered as it was.
        let post = #"{"to":{"email":"a@example.org"},"template":"hello","data":{"name":"Ada"}}"#
        #expect(try bench.exchange("POST", "/v1/notifications", post).status == 202)
        let first = try #require(bench.calls.first)
        bench.step(.providerAnswered(first.id, .notSent(reason: "connection refused")))
        let second = try bench.exchange(
            "PUT",
            "/v1/templates/hello",
            #"{"channel":"email","subject":"Hi","text":"Bye {{name}}"}"#
        )
        #expect(second.status == 200 && second.field("revision") != read.field("revision"))
        bench.pass(milliseconds: 2000)
        let retry = try #require(bench.calls.last)
        #expect(retry.id != first.id)
        guard case .smtp(let mail) = retry.request else { return }
        #expect(String(decoding: mail.message, as: UTF8.self).contains("Hello Ada"))

        for (name, bad) in [
            ("x", #"{"channel":"email","text":"{{#a}}"}"#), ("x", #"{"channel":"fax","text":"a"}"#),
            ("x", "{}"), ("x", "[]"), ("x", "{"),
        ] {
            let reply = try bench.exchange("PUT", "/v1/templates/\(name)", bad)
            #expect(reply.status == 400, "\(bad): \(reply.status)")
        }
        #expect(try bench.exchange("GET", "/v1/templates/x").status == 404)
        try bench.restart()
        #expect(try bench.exchange("GET", "/v1/templates/hello").field("text") == "Bye {{name}}")
    }

    /// A template changed in the same instant: what is accepted must be renderable.
    @Test func aSendThatRacesATemplateChangeIsStillDelivered() throws {
        let bench = try NodeBench()
        _ = try bench.exchange(
            "PUT",
            "/v1/templates/t",
            #"{"channel":"email","subject":"s","text":"{{a}}"}"#
        )
        bench.syncsAtOnce = false
        let connection = bench.open(.http)
        bench.receive(
            NodeBench.request(
                "PUT",
                "/v1/templates/t",
                #"{"channel":"email","subject":"s","text":"{{b}}"}"#
            ),
            on: connection
        )
        // Checked against the old revision, for the new one is not durable yet.
        let other = bench.open(.http)
        bench.receive(
            NodeBench.request(
                "POST",
                "/v1/notifications",
                #"{"to":{"email":"a@example.org"},"template":"t","data":{"a":"1"}}"#
            ),
            on: other
        )
        bench.settle()
        let reply = try #require(bench.replies(on: other).first)
        guard reply.status == 202, let id = reply.field("id") else { return }
        bench.syncsAtOnce = true
        #expect(try bench.status(id) != "dead", "accepted, and then found unrenderable")
    }
}
