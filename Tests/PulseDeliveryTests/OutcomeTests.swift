// What providers answer and what it means; and how long to wait.

import PulseCore
import PulseDelivery
import Testing

@Suite("Outcomes") struct OutcomeTests {
    static let replies: [(Int, String, OutcomeClass)] = [
        (250, "250 2.0.0 OK queued", .accepted),
        (252, "", .accepted),
        (421, "4.3.2 shutting down", .retryBackoff),
        (450, "450 4.2.0 greylisted", .retryBackoff),
        (451, "local error", .retryBackoff),
        (452, "452 4.2.2 mailbox full", .retryBackoff),
        (354, "go on", .retryBackoff),
        (550, "550 5.1.1 user unknown", .recipientDead),
        (550, "5.1.1 user unknown", .recipientDead),
        (550, "550-5.1.1 user unknown", .recipientDead),
        (550, "user unknown", .recipientDead),
        (550, "550 5.7.1 blocked as spam", .payloadBad),
        (550, "550 5.2.1 disabled", .recipientDead),
        (552, "552 5.2.2 mailbox full", .payloadBad),
        (550, "550 5.1.8 bad sender", .configBad),
        (553, "553 5.1.3 bad address syntax", .recipientDead),
        (553, "553 sender refused", .configBad),
        (554, "554 transaction failed", .payloadBad),
        (554, "554 5.7.1 relay access denied", .payloadBad),
        (535, "535 5.7.8 bad credentials", .configBad),
        (530, "530 5.7.0 must issue STARTTLS first", .configBad),
        (530, "authentication required", .configBad),
        (502, "not implemented", .configBad),
        (556, "domain takes no mail", .recipientDead),
        // The reply's class wins over an enhanced code of another class.
        (550, "550 4.1.1 muddle", .recipientDead),
        (451, "451 5.1.1 muddle", .retryBackoff),
        (554, "554 1.2.3.4 is on a blocklist", .payloadBad),
        (554, "554 999.1.1 nonsense", .payloadBad),
    ]

    @Test("SMTP replies", arguments: replies)
    func smtp(code: Int, detail: String, expected: OutcomeClass) {
        let answer = ProviderAnswer.answered(code: code, detail: detail, retryAfterSeconds: nil)
        #expect(Outcome.classify(.email, answer).outcome == expected)
    }

    static let answers: [(Int, Int64?, OutcomeClass)] = [
        (200, nil, .accepted), (204, nil, .accepted), (299, 5, .accepted),
        (410, nil, .recipientDead), (410, 60, .recipientDead),
        (429, nil, .retryBackoff), (429, 30, .retryAt(seconds: 30)),
        (503, 120, .retryAt(seconds: 120)), (503, 0, .retryAt(seconds: 0)),
        (503, -1, .retryBackoff), (500, nil, .retryBackoff), (502, nil, .retryBackoff),
        (408, nil, .retryBackoff), (425, nil, .retryBackoff), (301, nil, .retryBackoff),
        (400, nil, .retryBackoff), (401, nil, .retryBackoff), (404, nil, .retryBackoff),
        (100, nil, .retryBackoff), (0, nil, .retryBackoff),
    ]

    @Test("Webhook answers, after Standard Webhooks", arguments: answers)
    func webhook(status: Int, retryAfter: Int64?, expected: OutcomeClass) {
        let answer = ProviderAnswer.answered(
            code: status,
            detail: "",
            retryAfterSeconds: retryAfter
        )
        #expect(Outcome.classify(.webhook, answer).outcome == expected)
    }

    @Test("Answers without a code mean the same on every channel", arguments: Channel.allCases)
    func withoutCode(channel: Channel) {
        func outcome(_ answer: ProviderAnswer) -> OutcomeClass {
            Outcome.classify(channel, answer).outcome
        }
        #expect(outcome(.notSent(reason: "refused")) == .retryBackoff)
        #expect(outcome(.lost(reason: "timeout")) == .ambiguous)
        #expect(outcome(.misconfigured(reason: "no STARTTLS")) == .configBad)
        #expect(outcome(.forbidden(reason: "private address")) == .payloadBad)
    }

    @Test("Details are one safe line of at most 200 bytes")
    func details() {
        func detail(_ code: Int, _ text: String) -> String {
            Outcome.classify(
                .email,
                .answered(code: code, detail: text, retryAfterSeconds: nil)
            ).detail
        }
        #expect(detail(550, "550 5.1.1 unknown") == "550 5.1.1 unknown")
        #expect(detail(550, "5.1.1 unknown") == "550 5.1.1 unknown")
        #expect(detail(250, "") == "250")
        #expect(detail(451, "a\r\nb\u{1B}[31m\u{2028}c") == "451 a  b [31m c")
        let long = detail(451, String(repeating: "é", count: 300))
        #expect(long.utf8.count == 200)
        #expect(long.hasSuffix("é"))
        #expect(Outcome.classify(.sms, .lost(reason: "x")).detail == "no answer: x")
    }

    @Test("Every class has a word of its own")
    func names() {
        let all: [OutcomeClass] = [
            .accepted, .retryAt(seconds: 1), .retryBackoff, .recipientDead, .payloadBad, .configBad,
            .ambiguous,
        ]
        #expect(Set(all.map(\.name)).count == 7)
    }
}

@Suite("Retry policy") struct RetryPolicyTests {
    @Test("Ceilings double to the cap and stay there")
    func ceilings() {
        let policy = RetryPolicy()
        let ceilings = (1...12).map { policy.ceilingMs(afterAttempt: $0) }
        #expect(
            ceilings == [
                1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000, 256_000, 512_000, 900_000,
                900_000,
            ]
        )
        #expect(policy.ceilingMs(afterAttempt: .max) == 900_000)
        #expect(policy.ceilingMs(afterAttempt: 0) == 1000)
        let flat = RetryPolicy(baseMs: 5, factor: 1, capMs: 100, attemptsMax: 1)
        #expect(flat.ceilingMs(afterAttempt: .max) == 5)
        let steep = RetryPolicy(baseMs: 1, factor: .max, capMs: .max, attemptsMax: 1)
        #expect(steep.ceilingMs(afterAttempt: 5) == .max)
    }

    @Test("Delays fill the range between a tenth of the base and the ceiling")
    func delays() {
        let policy = RetryPolicy()
        var random = SeededGenerator(seed: 7)
        for attempt in 1...12 {
            let ceiling = policy.ceilingMs(afterAttempt: attempt)
            let delays = (0..<2000).map { _ in
                policy.delayMs(afterAttempt: attempt, using: &random)
            }
            #expect(delays.allSatisfy { (100...ceiling).contains($0) })
            #expect((delays.min() ?? 0) < 100 + ceiling / 50)
            #expect((delays.max() ?? 0) > ceiling - ceiling / 50)
        }
        let tiny = RetryPolicy(baseMs: 1, factor: 2, capMs: 1, attemptsMax: 2)
        #expect(tiny.delayMs(afterAttempt: 3, using: &random) == 1)
    }

    @Test("A server's time is never undercut, and cut at a day")
    func serverTime() {
        let policy = RetryPolicy()
        var random = SeededGenerator(seed: 7)
        for _ in 0..<200 {
            let delay = policy.delayMs(afterAttempt: 1, retryAtSeconds: 60, using: &random)
            #expect((60_000..<61_000).contains(delay))
            let long = policy.delayMs(afterAttempt: 1, retryAtSeconds: .max, using: &random)
            #expect((86_400_000..<86_401_000).contains(long))
            let none = policy.delayMs(afterAttempt: 1, retryAtSeconds: 0, using: &random)
            #expect((100..<1100).contains(none))
        }
    }

    @Test("The same seed gives the same delays")
    func deterministic() {
        var a = SeededGenerator(seed: 42)
        var b = SeededGenerator(seed: 42)
        let policy = RetryPolicy()
        for attempt in 1...20 {
            #expect(
                policy.delayMs(afterAttempt: attempt, using: &a)
                    == policy.delayMs(afterAttempt: attempt, using: &b)
            )
        }
        #expect(!policy.isLast(attempt: 5))
        #expect(policy.isLast(attempt: 6))
    }
}
