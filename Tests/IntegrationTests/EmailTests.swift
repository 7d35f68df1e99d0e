// Mail through a real SMTP server.

import Testing

@Suite("Email", .serialized, .timeLimit(.minutes(5)))
struct EmailTests {
    private static func submission(_ to: String) -> String {
        #"{"to":{"email":"\#(to)"},"content":{"subject":"Grüße","text":"Hello,\n.\nbye",""#
            + #"html":"<p>Hello</p>"}}"#
    }

    @Test("A mail arrives once, with its sender, its subject and both its parts")
    func arrives() throws {
        let sink = try MailSink()
        let broker = try Broker(.production, configuration: sink.configuration)
        let id = try broker.submit(Self.submission("ada@example.org"))
        let view = try broker.notification(id, reaching: "delivered")
        #expect(view["attempts"]?.int == 1)
        #expect(view["sent_at"]?.text != nil)
        let mails = try sink.mails(to: "ada@example.org")
        #expect(mails.count == 1)
        let mail = try #require(mails.first)
        #expect(mail.from == "pulse@example.org")
        let unfolded = mail.message.split(separator: "\r\n ", omittingEmptySubsequences: false)
            .joined(separator: " ")
        let lines = unfolded.split(separator: "\r\n", omittingEmptySubsequences: false)
        #expect(lines.contains { $0 == "From: Pulse <pulse@example.org>" })
        #expect(lines.contains { $0.hasPrefix("To: ") && $0.contains("ada@example.org") })
        #expect(lines.contains { $0.hasPrefix("Subject: =?") })
        #expect(lines.contains { $0.hasPrefix("Message-ID: ") && $0.contains(id) })
        #expect(mail.message.contains("multipart/alternative"))
    }

    @Test("A mailbox that does not exist is not tried again, and the cause is kept")
    func deadMailbox() throws {
        let sink = try MailSink()
        let broker = try Broker(.production, configuration: sink.configuration)
        let id = try broker.submit(Self.submission("dead@example.org"))
        let view = try broker.notification(id, reaching: "dead")
        #expect(view["error"]?.text?.contains("550") == true, "\(view)")
        #expect(view["error"]?.text?.contains("no such mailbox here") == true, "\(view)")
        #expect(view["next_attempt_at"] == .null)
        #expect(sink.count("refused", "dead@example.org") == 1)
        let status = try broker.json("/api/notifications/status/\(id)/")
        #expect(status["status"]?.text == "failed")
        #expect(status["error_message"]?.text?.contains("550") == true)
        // The dead letter survives.
        broker.crash()
        try broker.start()
        #expect(try broker.json("/v1/notifications/\(id)")["status"]?.text == "dead")
        #expect(sink.count("refused", "dead@example.org") == 1)
    }

    @Test("A mailbox that is busy is tried again")
    func busyMailbox() throws {
        let sink = try MailSink()
        let broker = try Broker(.production, configuration: sink.configuration)
        let id = try broker.submit(Self.submission("later@example.org"))
        let view = try broker.notification(id, reaching: "delivered")
        #expect(sink.count("deferred", "later@example.org") == 1)
        #expect(try sink.mails(to: "later@example.org").count == 1)
        #expect(view["attempts"]?.int == 2)
        let story = (view["history"]?.items ?? []).compactMap { $0["what"]?.text }
        #expect(story.first == "accepted" && story.last == "delivered", "\(story)")
        #expect(try broker.metrics().sum("pulse_delivery_retries_total") == 1)
    }

    @Test("A mail server that is away is tried until the attempts end")
    func serverAway() throws {
        // A port that nobody listens on: taken, and given back.
        let port = try WebhookSink { _, _ in 200 }.port
        let broker = try Broker(.production, configuration: MailSink.configuration(port: port))
        let id = try broker.submit(Self.submission("ada@example.org"))
        let view = try eventually("a failed attempt") {
            let view = try broker.json("/v1/notifications/\(id)")
            return (view["attempts"]?.int ?? 0) >= 1 && view["error"]?.text != nil ? view : nil
        }
        #expect(view["error"]?.text?.isEmpty == false)
        let end = try broker.notification(id, reaching: "dead")
        #expect(end["attempts"]?.int == 4)
    }

    @Test("Two hundred mails arrive, each once")
    func many() throws {
        let sink = try MailSink()
        let broker = try Broker(.production, configuration: sink.configuration)
        let conversation = try HTTPConversation(port: broker.httpPort)
        var ids: [String] = []
        for index in 0..<200 {
            let answer = try conversation.ask(
                "POST",
                "/v1/notifications",
                Self.submission("n\(index)@example.org")
            )
            ids.append(try #require(try answer.json()["id"]?.text))
        }
        for id in ids { try broker.notification(id, reaching: "delivered", within: 60) }
        for index in 0..<200 {
            #expect(try sink.mails(to: "n\(index)@example.org").count == 1)
        }
    }
}
