// Webhooks to a server that fails, comes back, and counts.

import Testing

@Suite("Webhooks", .serialized, .timeLimit(.minutes(5)))
struct WebhookTests {
    private static func submission(_ url: String) -> String {
        #"{"to":{"url":"\#(url)"},"content":{"text":"hook"}}"#
    }

    @Test("500 and then 200: the same call again, under the same webhook-id")
    func triedAgain() throws {
        let sink = try WebhookSink { _, number in number == 1 ? 500 : 200 }
        let broker = try Broker(.production, configuration: WebhookSink.configuration())
        let id = try broker.submit(Self.submission(sink.url("/hook")))
        let view = try broker.notification(id, reaching: "delivered")
        let calls = sink.calls(of: "/hook")
        #expect(calls.count == 2)
        #expect(view["attempts"]?.int == 2)
        let names = Set(calls.compactMap { $0.headers["webhook-id"] })
        #expect(names.count == 1)
        #expect(names.first?.contains(id) == true)
        #expect(calls.allSatisfy { $0.headers["webhook-timestamp"] != nil })
        #expect(calls.allSatisfy { $0.headers["content-type"] == "application/json" })
        let body = try JSONValue(parsing: Array(try #require(calls.first).body.utf8))
        #expect("\(body)".contains("hook"))
    }

    @Test("410 ends at once; 400 and 404 may be a deployment and are tried until attempts end")
    func refused() throws {
        let sink = try WebhookSink { path, _ in
            switch path {
            case "/gone": 410
            case "/bad": 400
            default: 404
            }
        }
        let broker = try Broker(
            .production,
            configuration: WebhookSink.configuration(retry: "20ms", attempts: 3)
        )
        for (path, calls) in [("/gone", 1), ("/bad", 3), ("/missing", 3)] {
            let id = try broker.submit(Self.submission(sink.url(path)))
            let view = try broker.notification(id, reaching: "dead")
            #expect(sink.calls(of: path).count == calls, "\(path)")
            #expect(view["error"]?.text?.isEmpty == false)
        }
    }

    @Test("Attempts end, and what is left is a dead letter with its cause")
    func attemptsEnd() throws {
        let sink = try WebhookSink { _, _ in 503 }
        let broker = try Broker(
            .production,
            configuration: WebhookSink.configuration(retry: "20ms", attempts: 3)
        )
        let id = try broker.submit(Self.submission(sink.url("/down")))
        let view = try broker.notification(id, reaching: "dead")
        #expect(view["attempts"]?.int == 3)
        #expect(view["attempts_max"]?.int == 3)
        #expect(view["error"]?.text?.contains("503") == true, "\(view)")
        #expect(sink.calls(of: "/down").count == 3)
    }

    @Test("A retry that is waited for survives kill -9 and happens after the restart")
    func heldRetrySurvives() throws {
        let sink = try WebhookSink { _, number in number == 1 ? 500 : 200 }
        let broker = try Broker(
            .production,
            configuration: WebhookSink.configuration(retry: "3s")
        )
        let id = try broker.submit(Self.submission(sink.url("/held")))
        let held = try eventually("the first failure") {
            let view = try broker.json("/v1/notifications/\(id)")
            return view["attempts"]?.int == 1 && view["error"]?.text != nil ? view : nil
        }
        #expect(held["next_attempt_at"]?.text != nil)
        broker.crash()
        try broker.start()
        let view = try broker.notification(id, reaching: "delivered")
        #expect(view["attempts"]?.int == 2)
        let calls = sink.calls(of: "/held")
        #expect(calls.count == 2)
        #expect(Set(calls.compactMap { $0.headers["webhook-id"] }).count == 1)
    }

    @Test("A private address is not called unless the configuration allows it")
    func privateAddress() throws {
        let sink = try WebhookSink { _, _ in 200 }
        let broker = try Broker(
            .production,
            configuration: "providers:\n  webhook:\n    kind: http\n"
        )
        let answer = try broker.ask(
            "POST",
            "/v1/notifications",
            Self.submission(sink.url("/inside"))
        )
        if answer.status == 202, let id = try answer.json()["id"]?.text {
            try broker.notification(id, reaching: "dead")
        } else {
            #expect(answer.status == 400)
        }
        #expect(sink.calls(of: "/inside").isEmpty)
    }

    @Test("A stop waits for the call under way, and its outcome is not forgotten")
    func drainWaitsForCall() throws {
        let sink = try WebhookSink { _, _ in
            pause(milliseconds: 800)
            return 200
        }
        let broker = try Broker(.production, configuration: WebhookSink.configuration())
        let id = try broker.submit(Self.submission(sink.url("/slow")))
        try eventually("the call") { sink.calls(of: "/slow").count == 1 }
        broker.process.send(15)
        #expect(try broker.process.wait() == 0)
        try broker.start()
        let view = try broker.json("/v1/notifications/\(id)")
        #expect(view["status"]?.text == "delivered", "\(view)")
        #expect(sink.calls(of: "/slow").count == 1)
    }
}
