// A broker that is asked to stop while it has work: what it still does, and what it refuses.

import Glibc
import PulseClient
import Testing

@Suite("Drain", .serialized, .timeLimit(.minutes(5)))
struct DrainTests {
    /// A broker with a webhook call under way that takes its time, so that a stop has to wait.
    private static func busy() throws -> (broker: Broker, sink: WebhookSink, id: String) {
        let sink = try WebhookSink { _, _ in
            pause(milliseconds: 2500)
            return 200
        }
        let broker = try Broker(configuration: WebhookSink.configuration())
        let id = try broker.submit(
            #"{"to":{"url":"\#(sink.url("/slow"))"},"content":{"text":"hook"}}"#
        )
        try eventually("the call") { sink.calls(of: "/slow").count == 1 }
        return (broker, sink, id)
    }

    @Test("While it drains, a broker answers what it is asked and takes nothing new")
    func refuses() throws {
        let (broker, _, id) = try Self.busy()
        let conversation = try HTTPConversation(port: broker.httpPort)
        #expect(try conversation.ask("GET", "/readyz").status == 200)
        broker.process.send(SIGTERM)
        try eventually("the drain") { broker.process.output.contains("draining") }

        let refused = try conversation.ask(
            "POST",
            "/v1/notifications",
            #"{"to":{"email":"a@example.org"},"content":{"subject":"s","text":"t"}}"#
        )
        #expect(refused.status == 503)
        #expect(refused.header("retry-after") != nil)
        #expect(try refused.json()["code"]?.text == "draining")
        let old = try conversation.ask(
            "POST",
            "/api/notifications/send/",
            #"{"user_id":"u","template_name":"welcome","to":"a@example.org","#
                + #""context":{"name":"A"}}"#
        )
        #expect(old.status == 503)
        #expect(try old.json()["error"] != nil)
        #expect(try conversation.ask("GET", "/readyz").status == 503)
        #expect(try conversation.ask("GET", "/livez").status == 200)
        #expect(try conversation.ask("GET", "/v1/notifications/\(id)").status == 200)
        #expect(throws: TestFailure.self) { try HTTPConversation(port: broker.httpPort) }

        #expect(try broker.process.wait() == 0)
        try broker.start()
        #expect(try broker.json("/v1/notifications/\(id)")["status"]?.text == "delivered")
    }

    @Test("A second signal ends it at once, and nothing is lost")
    func secondSignal() throws {
        let (broker, sink, id) = try Self.busy()
        broker.process.send(SIGTERM)
        try eventually("the drain") { broker.process.output.contains("draining") }
        broker.process.send(SIGTERM)
        #expect(try broker.process.wait(atMost: 2) == 130)
        try broker.start()
        // The outcome was never written: the call is made again.
        try broker.notification(id, reaching: "delivered")
        #expect(sink.calls(of: "/slow").count == 2)
        #expect(Set(sink.calls(of: "/slow").compactMap { $0.headers["webhook-id"] }).count == 1)
    }

    @Test("A client whose broker stops sends what it has to the next one")
    func clientGoesOn() async throws {
        let (broker, _, _) = try Self.busy()
        let client = try await PulseClient.connect(port: broker.nativePort)
        defer { client.close() }
        let producer = client.producer()
        func mail(_ number: Int) -> Notification {
            Notification(
                user: "u",
                to: "n\(number)@example.org",
                channel: .email,
                content: Notification.Content(subject: "s", text: "t")
            )
        }
        _ = try await producer.send(mail(0))
        broker.process.send(SIGTERM)
        try eventually("the drain") { broker.process.output.contains("draining") }
        async let later = producer.send(mail(1))
        #expect(try broker.process.wait() == 0)
        try broker.start()
        let receipt = try await later
        try broker.notification("\(receipt.id)", reaching: "delivered")
    }
}
