// Numbers that add up: every notification accepted is counted in exactly one place.

import Testing

@Suite("Metrics", .serialized, .timeLimit(.minutes(5)))
struct MetricsTests {
    @Test("The text is well formed, and the ledger balances through deliveries, deaths and a crash")
    func balance() throws {
        let sink = try WebhookSink { path, _ in path == "/gone" ? 410 : 200 }
        let broker = try Broker(configuration: WebhookSink.configuration())
        let conversation = try HTTPConversation(port: broker.httpPort)
        func post(_ to: String, _ rest: String = "") throws {
            let answer = try conversation.ask(
                "POST",
                "/v1/notifications",
                #"{"to":{\#(to)},"content":{"subject":"s","text":"t"}\#(rest)}"#
            )
            #expect(answer.status == 202, "\(answer.text)")
        }
        for index in 0..<10 { try post(#""email":"n\#(index)@example.org""#) }
        for _ in 0..<5 { try post(#""phone":"+15550100""#) }
        for _ in 0..<3 { try post(#""url":"\#(sink.url("/ok"))""#) }
        for _ in 0..<2 { try post(#""url":"\#(sink.url("/gone"))""#) }
        let later = wallMilliseconds() + 3_600_000
        for _ in 0..<4 { try post(#""email":"l@example.org""#, #","deliver_at":\#(later)"#) }
        #expect(try conversation.ask("POST", "/v1/notifications", "{}").status == 400)

        func check(_ metrics: MetricsReading) {
            #expect(metrics.sum("pulse_notifications_accepted_total") == 24)
            for channel in ["email", "webhook", "sms", "push"] {
                let label = "channel=\"\(channel)\""
                #expect(
                    metrics.sum("pulse_notifications_accepted_total", label)
                        == metrics.sum("pulse_notifications_finished_total", label)
                        + metrics.sum("pulse_notifications", label),
                    "\(channel)"
                )
            }
        }
        func settled() throws -> MetricsReading {
            try eventually("all to be settled") {
                let metrics = try broker.metrics()
                check(metrics)
                return metrics.sum("pulse_notifications_finished_total") == 20 ? metrics : nil
            }
        }
        let metrics = try settled()
        #expect(metrics.sum("pulse_notifications_finished_total", "state=\"delivered\"") == 18)
        #expect(metrics.sum("pulse_notifications_finished_total", "state=\"dead\"") == 2)
        #expect(metrics.sum("pulse_notifications", "state=\"scheduled\"") == 4)
        #expect(metrics.sum("pulse_caught_total") == 15)
        #expect(metrics.sum("pulse_refused_total") == 1)
        #expect(metrics.sum("pulse_provider_answers_total", "class=\"accepted\"") == 3)
        #expect(metrics.sum("pulse_http_answers_total", "status=\"4xx\"") >= 1)
        #expect(metrics.types["pulse_notifications"] == "gauge")

        let counts = try broker.json("/v1/status")["counts"]
        #expect(counts?["email.accepted"]?.int == 14)
        #expect(counts?["email.delivered"]?.int == 10)
        #expect(counts?["webhook.dead"]?.int == 2)

        broker.crash()
        try broker.start()
        let again = try settled()
        #expect(again.sum("pulse_notifications_finished_total", "state=\"dead\"") == 2)
        #expect(again.sum("pulse_notifications", "state=\"scheduled\"") == 4)
    }
}
