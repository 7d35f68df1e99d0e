// PulseClient's producer against the real server, read back over HTTP.

import PulseClient
import Testing

@Suite("Producing", .serialized, .timeLimit(.minutes(5)))
struct ProducerTests {
    private static func mail(
        _ number: Int,
        key: String? = nil,
        text: String = "t"
    ) -> Notification {
        Notification(
            user: "user-\(number % 50)",
            to: "n\(number)@example.org",
            channel: .email,
            content: Notification.Content(subject: "Subject \(number)", text: text),
            idempotencyKey: key
        )
    }

    @Test("A thousand sends at once are all accepted, and each can be read over HTTP")
    func thousand() async throws {
        let broker = try Broker()
        let client = try await PulseClient.connect(port: broker.nativePort)
        defer { client.close() }
        let producer = client.producer()
        var receipts: [Int: Receipt] = [:]
        try await withThrowingTaskGroup(of: (Int, Receipt).self) { group in
            for number in 0..<1000 {
                group.addTask { (number, try await producer.send(Self.mail(number))) }
            }
            for try await (number, receipt) in group { receipts[number] = receipt }
        }
        #expect(receipts.count == 1000)
        #expect(Set(receipts.values.map(\.id)).count == 1000)
        #expect(receipts.values.allSatisfy { !$0.isDuplicate })

        let conversation = try HTTPConversation(port: broker.httpPort)
        for (number, receipt) in receipts {
            let answer = try conversation.ask("GET", "/v1/notifications/\(receipt.id)")
            #expect(answer.status == 200)
            let view = try answer.json()
            #expect(view["to"]?.text == "n\(number)@example.org")
            #expect(view["user"]?.text == "user-\(number % 50)")
        }
        try eventually("all delivered") {
            try broker.metrics().sum("pulse_notifications_finished_total", "delivered") == 1000
        }
        #expect(try broker.metrics().sum("pulse_notifications_accepted_total") == 1000)
    }

    @Test("A repeat gets the first identifier; another body under the key is a conflict")
    func duplicates() async throws {
        let broker = try Broker()
        let client = try await PulseClient.connect(port: broker.nativePort)
        defer { client.close() }
        let producer = client.producer()
        let first = try await producer.send(Self.mail(1, key: "k"))
        let again = try await producer.send(Self.mail(1, key: "k"))
        #expect(!first.isDuplicate)
        #expect(again.isDuplicate)
        #expect(again.id == first.id)
        let conflict = await refusal { try await producer.send(Self.mail(1, key: "k", text: "x")) }
        #expect(conflict?.code == .idempotencyConflict)
        #expect(conflict?.isRetryable == false)

        // And the same key many times in one batch.
        let results = await producer.send(
            contentsOf: (0..<100).map { _ in Self.mail(2, key: "batch") }
        )
        let receipts = try results.map { try $0.get() }
        #expect(receipts.count { !$0.isDuplicate } == 1)
        #expect(Set(receipts.map(\.id)).count == 1)
    }

    @Test("A refused notification says why, and its neighbours in the batch are taken")
    func refusals() async throws {
        let broker = try Broker()
        let client = try await PulseClient.connect(port: broker.nativePort)
        defer { client.close() }
        let producer = client.producer()
        let text = Notification.Content(subject: "s", text: "t")
        let bad: [(Notification, String)] = [
            (
                Notification(user: "u", to: "nowhere", channel: .email, content: text),
                "invalid_address"
            ),
            (Notification(user: "u", to: "a@example.org", channel: .email), "validation_failed"),
            (
                Notification(user: "u", to: "a@example.org", channel: .email, template: "nosuch"),
                "unknown_template"
            ),
            (
                Notification(user: "u", to: "a@example.org", channel: .email, template: "welcome"),
                "missing_variable"
            ),
        ]
        for (notification, code) in bad {
            let results = await producer.send(
                contentsOf: [Self.mail(1), notification, Self.mail(2)])
            #expect((try? results[0].get()) != nil)
            #expect((try? results[2].get()) != nil)
            let failure = await refusal { try results[1].get() }
            #expect(failure?.code.name == code)
            #expect(failure?.message.isEmpty == false)
        }
        let nowhere = await refusal {
            try await client.producer(topic: "nosuch").send(Self.mail(1))
        }
        #expect(nowhere?.code == .unknownTopic)
        let nobody = try #require(Notification.ID("00000000-0000-8001-8800-000000000000"))
        let unknown = await refusal { try await client.status(of: nobody) }
        #expect(unknown?.code == .notFound)
    }

    @Test("A template is saved by one interface, listed by the other, and used")
    func templates() async throws {
        let broker = try Broker()
        let client = try await PulseClient.connect(port: broker.nativePort)
        defer { client.close() }
        for index in 0..<150 {
            try await client.putTemplate(
                Template(name: "t-\(index)", channel: .sms, text: "\(index) {{ name }}")
            )
        }
        let all = try await client.templates()
        #expect(all.count == 151)
        #expect(all.map(\.name) == all.map(\.name).sorted())
        #expect(try broker.json("/v1/templates/t-7")["text"]?.text == "7 {{ name }}")
        let receipt = try await client.producer().send(
            Notification(
                user: "u",
                to: "+15550100",
                channel: .sms,
                template: "t-7",
                data: ["name": "Ada"]
            )
        )
        try broker.notification("\(receipt.id)", reaching: "delivered")
        #expect(try broker.outbox().first?["text"]?.text == "7 Ada")
        let broken = await refusal {
            try await client.putTemplate(Template(name: "b", channel: .sms, text: "{{ open"))
        }
        #expect(broken?.code.name == "invalid_template")
        let duration = try await client.ping()
        #expect(duration > .zero)
    }

    @Test("A notification for later is scheduled, and one of half a megabyte is carried")
    func laterAndLarge() async throws {
        let broker = try Broker()
        let client = try await PulseClient.connect(port: broker.nativePort)
        defer { client.close() }
        var later = Self.mail(1)
        later.deliverAt = .now.advanced(by: .seconds(3600))
        let receipt = try await client.producer().send(later)
        let status = try await client.status(of: receipt.id)
        #expect(status.state == "scheduled")
        #expect(status.isFinal == false)
        #expect(status.dueAt == later.deliverAt)

        let text = String(repeating: "Pulse ", count: 80_000)
        let large = try await client.producer().send(Self.mail(2, text: text))
        try broker.notification("\(large.id)", reaching: "delivered")
        #expect(try broker.outbox().first?["text"]?.text == text)
        let tooLarge = await refusal {
            try await client.producer().send(
                Self.mail(3, text: String(repeating: "x", count: 600_000))
            )
        }
        #expect(tooLarge?.code == .invalidNotification)
    }

    @Test("What is sent while the server restarts arrives, once")
    func reconnect() async throws {
        let broker = try Broker()
        let client = try await PulseClient.connect(port: broker.nativePort)
        defer { client.close() }
        let producer = client.producer()
        let before = try await producer.send(Self.mail(0))
        broker.crash()
        async let sent = producer.send(contentsOf: (1...200).map { Self.mail($0) })
        try broker.start()
        let receipts = try await sent.map { try $0.get() }
        #expect(Set(receipts.map(\.id)).count == 200)
        let state = try await client.status(of: before.id).state
        #expect(["delivered", "ready", "leased"].contains(state))
        try eventually("the ledger of 201") {
            try broker.metrics().sum("pulse_notifications_finished_total") == 201
        }
        #expect(try broker.metrics().sum("pulse_notifications_accepted_total") == 201)
    }
}

/// The client's error of a call that fails; nil when it does not.
func refusal(_ call: () async throws -> some Any) async -> ClientError? {
    do {
        _ = try await call()
        return nil
    } catch {
        return error as? ClientError
    }
}
