// The first five minutes of a new user: start, send, look.

import PulseClient
import Testing

@Suite("Quick start", .serialized, .timeLimit(.minutes(5)))
struct QuickStartTests {
    @Test("Start with --dev, send on the path of system 000, and see it in the outbox")
    func sendAndLook() throws {
        let broker = try Broker()
        let answer = try broker.ask(
            "POST",
            "/api/notifications/send/",
            #"{"user_id":"u1","template_name":"welcome","to":"ada@example.org","#
                + #""context":{"name":"Ada"}}"#
        )
        #expect(answer.status == 202)
        #expect(answer.header("content-type") == "application/json")
        let receipt = try answer.json()
        #expect(receipt.names == ["notification_id", "status"])
        #expect(receipt["status"]?.text == "queued")
        let id = try #require(receipt["notification_id"]?.text)

        let caught = try eventually("the notification in the outbox") { try broker.outbox().first }
        #expect(caught["id"]?.text == id)
        #expect(caught["channel"]?.text == "email")
        #expect(caught["to"]?.text == "ada@example.org")
        #expect(caught["user"]?.text == "u1")
        #expect(caught["subject"]?.text == "Welcome, Ada")
        #expect(caught["html"]?.text?.contains("<b>Ada</b>") == true)

        let status = try eventually("the status 'sent'") {
            let status = try broker.json("/api/notifications/status/\(id)/")
            return status["status"]?.text == "sent" ? status : nil
        }
        #expect(status["notification_id"]?.text == id)
        #expect(status["template_name"]?.text == "welcome")
        #expect(status["user_id"]?.text == "u1")
        #expect(status["sent_at"]?.text != nil)
        #expect(status["error_message"] == .null)
    }

    @Test("The identifier that one interface gives, all three can read")
    func oneIdentifier() async throws {
        let broker = try Broker()
        let client = try await PulseClient.connect(port: broker.nativePort)
        defer { client.close() }

        let old = try broker.ask(
            "POST",
            "/api/notifications/send",
            #"{"user_id":"a","template_name":"welcome","to":"a@example.org","#
                + #""context":{"name":"A"}}"#
        )
        let new = try broker.submit(
            #"{"to":{"email":"b@example.org"},"content":{"subject":"Hi","text":"there"}}"#
        )
        let native = try await client.producer().send(
            Notification(
                user: "c",
                to: "+15550100",
                channel: .sms,
                content: Notification.Content(text: "Your code is 1")
            )
        )
        let oldID = try #require(try old.json()["notification_id"]?.text)

        for id in [oldID, new, native.id.description] {
            try broker.notification(id, reaching: "delivered")
            #expect(try broker.json("/api/notifications/status/\(id)")["status"]?.text == "sent")
            let state = try await client.status(of: try #require(Notification.ID(id))).state
            #expect(state == "delivered")
        }
        let listed = try broker.json("/v1/notifications")["notifications"]?.items ?? []
        #expect(Set(listed.compactMap { $0["id"]?.text }).count == 3)
        #expect(try broker.json("/api/notifications/list/")["count"]?.int == 3)
    }

    @Test("The outbox is a page too, without script, and what was caught is escaped in it")
    func outboxPage() throws {
        let broker = try Broker()
        let id = try broker.submit(
            #"{"to":"x@example.org","channel":"email","#
                + #""content":{"subject":"<script>alert(1)</script>","text":"a & b"}}"#
        )
        try broker.notification(id, reaching: "delivered")
        let page = try broker.ask("GET", "/dev/", headers: ["Accept: text/html"])
        #expect(page.status == 200)
        #expect(page.header("content-type")?.hasPrefix("text/html") == true)
        #expect(page.header("content-security-policy")?.contains("default-src 'none'") == true)
        #expect(page.text.contains("&lt;script&gt;alert(1)&lt;/script&gt;"))
        #expect(page.text.contains("a &amp; b"))
        #expect(!page.text.contains("<script>"))
        #expect(page.text.contains(id))
    }

    @Test("Without --dev there is no outbox, and a channel without provider waits")
    func production() throws {
        let broker = try Broker(.production)
        #expect(try broker.ask("GET", "/dev/outbox").status == 404)
        #expect(try broker.json("/v1/templates")["templates"]?.items.isEmpty == true)
        let id = try broker.submit(
            #"{"to":"x@example.org","channel":"email","content":{"subject":"s","text":"t"}}"#
        )
        #expect(try broker.json("/v1/notifications/\(id)")["status"]?.text == "ready")
    }
}
