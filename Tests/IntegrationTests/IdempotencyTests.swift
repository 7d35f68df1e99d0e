// One key, one notification: at the same time, after a crash, and with another body.

import Testing

@Suite("Idempotency", .serialized, .timeLimit(.minutes(5)))
struct IdempotencyTests {
    private static func old(_ key: String, name: String = "Ada") -> String {
        #"{"user_id":"u","template_name":"welcome","to":"a@example.org","#
            + #""context":{"name":"\#(name)"},"idempotency_key":"\#(key)"}"#
    }

    private static func new(_ key: String, text: String = "t") -> String {
        #"{"to":{"email":"a@example.org"},"content":{"subject":"s","text":"\#(text)"},"#
            + #""idempotency_key":"\#(key)"}"#
    }

    @Test("64 posts of one key at the same time make one delivery")
    func parallel() throws {
        let broker = try Broker()
        let port = broker.httpPort
        for path in ["/api/notifications/send/", "/v1/notifications"] {
            let before = try broker.outbox().count
            let isOld = path.hasPrefix("/api")
            let answers = try together(64) { _ in
                try HTTPConversation(port: port)
                    .ask("POST", path, isOld ? Self.old("same") : Self.new("other"))
            }
            #expect(answers.count { $0.status == 202 } == 1, "\(path)")
            #expect(answers.count { $0.status == 200 } == 63, "\(path)")
            let name = isOld ? "notification_id" : "id"
            let ids = Set(try answers.compactMap { try $0.json()[name]?.text })
            #expect(ids.count == 1, "\(path)")
            try broker.notification(try #require(ids.first), reaching: "delivered")
            #expect(try broker.outbox().count == before + 1, "\(path)")
        }
        #expect(try broker.metrics().sum("pulse_notifications_accepted_total") == 2)
        #expect(try broker.metrics().sum("pulse_duplicates_total") == 126)
    }

    @Test("A key survives kill -9, on both interfaces")
    func survivesCrash() throws {
        let broker = try Broker()
        let first = try broker.ask("POST", "/api/notifications/send/", Self.old("k1"))
        #expect(first.status == 202)
        let id = try #require(try first.json()["notification_id"]?.text)
        let other = try broker.submit(Self.new("k2"))
        broker.crash()
        try broker.start()

        let again = try broker.ask("POST", "/api/notifications/send/", Self.old("k1"))
        #expect(again.status == 200)
        #expect(try again.json()["notification_id"]?.text == id)
        let answer = try broker.ask("POST", "/v1/notifications", Self.new("k2"))
        #expect(answer.status == 200)
        #expect(try answer.json()["id"]?.text == other)
        #expect(try answer.json()["duplicate"] == .bool(true))
        #expect(try broker.metrics().sum("pulse_notifications_accepted_total") == 2)
    }

    @Test("A key used for something else is a conflict on /v1, the first answer on the old paths")
    func conflict() throws {
        let broker = try Broker()
        let id = try broker.submit(Self.new("k", text: "one"))
        let answer = try broker.ask("POST", "/v1/notifications", Self.new("k", text: "two"))
        #expect(answer.status == 409)
        #expect(try answer.json()["code"]?.text == "idempotency_conflict")

        let first = try broker.ask("POST", "/api/notifications/send/", Self.old("o", name: "A"))
        let second = try broker.ask("POST", "/api/notifications/send/", Self.old("o", name: "B"))
        #expect((first.status, second.status) == (202, 200))
        let ids = try [first, second].map { try $0.json()["notification_id"]?.text }
        #expect(ids[0] == ids[1])

        broker.crash()
        try broker.start()
        let later = try broker.ask("POST", "/v1/notifications", Self.new("k", text: "three"))
        #expect(later.status == 409)
        #expect(try broker.json("/v1/notifications/\(id)")["idempotency_key"]?.text == "k")
    }

    @Test("After its window a key is new again, also over a restart")
    func window() throws {
        let broker = try Broker(configuration: "idempotency:\n  window: 1s\n")
        let first = try broker.submit(Self.new("w"))
        let other = try broker.submit(Self.new("v"))
        pause(milliseconds: 1300)
        #expect(try broker.submit(Self.new("w")) != first)
        broker.crash()
        try broker.start()
        #expect(try broker.submit(Self.new("v")) != other)
    }

    @Test("The header is as good as the field; when they differ the request is refused")
    func header() throws {
        let broker = try Broker()
        let body = #"{"to":{"email":"a@example.org"},"content":{"subject":"s","text":"t"}}"#
        let first = try broker.ask(
            "POST",
            "/v1/notifications",
            body,
            headers: ["Idempotency-Key: \"h\""]
        )
        let second = try broker.ask("POST", "/v1/notifications", Self.new("h"))
        #expect((first.status, second.status) == (202, 200))
        let third = try broker.ask(
            "POST",
            "/v1/notifications",
            Self.new("h"),
            headers: ["Idempotency-Key: i"]
        )
        #expect(third.status == 400)
    }
}
