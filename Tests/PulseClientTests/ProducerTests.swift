// The producing client against a scripted server.

import PulseClient
import PulseCore
import PulseWire
import Testing

private func mail(_ user: String, key: String? = nil) -> Notification {
    Notification(
        user: user,
        to: "\(user)@example.org",
        channel: .email,
        content: Notification.Content(text: "hello"),
        idempotencyKey: key
    )
}

@Suite("Producer", .timeLimit(.minutes(5)))
struct ProducerTests {
    @Test("nobody listens: connect throws and says where")
    func nobodyListens() async {
        do {
            _ = try await PulseClient.connect(port: 1)
            Issue.record("connected to nothing")
        } catch {
            #expect(error.code == .connectionFailed)
            #expect(error.message.contains("127.0.0.1:1"))
        }
    }

    @Test("a receipt carries the id, and duplicates and refusals come apart")
    func verdicts() async throws {
        let server = ScriptedServer { _ in
            { connection, request in
                guard case .produce(let correlation, let view) = request else { return }
                var writer = ProduceReplyWriter(
                    correlation: correlation,
                    in: &connection.answers
                )
                for key in keys(in: view.batch) {
                    let id = NotificationID(high: 7, low: 7)
                    switch key {
                    case "again": writer.append(duplicate: id, into: &connection.answers)
                    case "bad":
                        writer.append(
                            refused: .invalidAddress,
                            "no such domain",
                            into: &connection.answers
                        )
                    default: writer.append(accepted: id, into: &connection.answers)
                    }
                }
                writer.close(in: &connection.answers)
            }
        }
        let client = try await PulseClient.connect(port: server.port)
        let results = await client.producer().send(contentsOf: [
            mail("a", key: "new"), mail("b", key: "again"), mail("c", key: "bad"),
            mail("", key: "empty"),
        ])
        #expect(try results[0].get().isDuplicate == false)
        #expect(try results[0].get().id.description.hasPrefix("00000000-0000-0007"))
        #expect(try results[1].get().isDuplicate)
        #expect(failure(results[2])?.code.name == "invalid_address")
        #expect(failure(results[2])?.message == "no such domain")
        #expect(failure(results[3])?.code == .invalidNotification)
    }

    @Test("answers in another order reach their own senders")
    func outOfOrder() async throws {
        let server = ScriptedServer { _ in
            { connection, request in
                guard case .produce(let correlation, let view) = request else { return }
                // The first topic waits until the second was answered.
                if view.topic.text == "notify.slow" {
                    connection.held.append(correlation)
                } else {
                    accept(1, correlation: correlation, on: connection)
                    for held in connection.held { accept(1, correlation: held, on: connection) }
                }
            }
        }
        let client = try await PulseClient.connect(port: server.port)
        async let slow = client.producer(topic: "notify.slow").send(mail("a"))
        try await Task.sleep(for: .milliseconds(100))
        async let fast = client.producer(topic: "notify.fast").send(mail("b"))
        let (first, second) = try await (slow, fast)
        #expect(first.id.description < second.id.description)
    }

    @Test("a large batch is sent compressed, a small one is not")
    func compression() async throws {
        let server = ScriptedServer { note in
            { connection, request in
                guard case .produce(let correlation, let view) = request else { return }
                let count = envelopes(in: view.batch).count
                note("\(count), \(isCompressed(view.batch))")
                accept(count, correlation: correlation, on: connection)
            }
        }
        let client = try await PulseClient.connect(port: server.port)
        _ = try await client.producer().send(mail("one"))
        let many = (0..<300).map { mail("user-\($0)") }
        for result in await client.producer().send(contentsOf: many) { _ = try result.get() }
        #expect(server.notes.first == "1, false")
        #expect(server.notes.contains { $0.hasSuffix("true") })
    }

    @Test("while one batch is under way, the next one grows")
    func batching() async throws {
        let server = ScriptedServer { note in
            { connection, request in
                guard case .produce(let correlation, let view) = request else { return }
                let count = envelopes(in: view.batch).count
                note("\(count)")
                busyWait(milliseconds: 20)
                accept(count, correlation: correlation, on: connection)
            }
        }
        let client = try await PulseClient.connect(port: server.port)
        let producer = client.producer()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<500 {
                group.addTask { _ = try await producer.send(mail("user-\(number)")) }
            }
            try await group.waitForAll()
        }
        let batches = server.notes.compactMap { Int($0) }
        #expect(batches.reduce(0, +) == 500)
        #expect(batches.count < 50, "\(batches)")
    }

    @Test("what had no answer when the connection broke is sent again, with the same key")
    func resend() async throws {
        let server = ScriptedServer { note in
            { connection, request in
                guard case .produce(let correlation, let view) = request else { return }
                for key in keys(in: view.batch) { note("\(connection.number) \(key)") }
                if connection.number == 1 {
                    connection.isEnding = true
                } else {
                    let count = envelopes(in: view.batch).count
                    accept(count, correlation: correlation, on: connection)
                }
            }
        }
        let client = try await PulseClient.connect(port: server.port)
        _ = try await client.producer().send(mail("a"))
        let notes = server.notes
        #expect(notes.count == 2)
        #expect(notes.first?.dropFirst(2) == notes.last?.dropFirst(2))
        #expect(notes.first?.count == 34, "a key was drawn: \(notes)")
        #expect(server.connectionCount == 2)
    }

    @Test("a draining server's refusal is tried again on the next connection")
    func draining() async throws {
        let server = ScriptedServer { _ in
            { connection, request in
                guard case .produce(let correlation, _) = request else { return }
                if connection.number == 1 {
                    ErrorReply(.draining, "restarting")
                        .encode(correlation: correlation, into: &connection.answers)
                } else {
                    accept(1, correlation: correlation, on: connection)
                }
            }
        }
        let client = try await PulseClient.connect(port: server.port)
        #expect(try await client.producer().send(mail("a")).isDuplicate == false)
    }

    @Test("a server that does not answer: the call times out")
    func timeout() async throws {
        let server = ScriptedServer { _ in { _, _ in } }
        var configuration = ClientConfiguration()
        configuration.requestTimeout = .milliseconds(200)
        let client = try await PulseClient.connect(
            port: server.port,
            configuration: configuration
        )
        await #expect(throws: ClientError.self) { try await client.producer().send(mail("a")) }
    }

    @Test("closing fails what waits")
    func closing() async throws {
        let server = ScriptedServer { _ in { _, _ in } }
        let client = try await PulseClient.connect(port: server.port)
        async let sent = client.producer().send(mail("a"))
        try await Task.sleep(for: .milliseconds(50))
        client.close()
        do {
            _ = try await sent
            Issue.record("nobody answered")
        } catch {
            #expect((error as? ClientError)?.code == .clientClosed)
        }
    }

    private func failure(_ result: Result<Receipt, ClientError>) -> ClientError? {
        if case .failure(let error) = result { error } else { nil }
    }
}

@Suite("Questions", .timeLimit(.minutes(5)))
struct QuestionTests {
    @Test("status, fetch, templates and refusals")
    func questions() async throws {
        let server = ScriptedServer { _ in
            { connection, request in
                let wall = WallTimestamp(milliseconds: 1_700_000_000_000)
                switch request {
                case .status(let correlation, let id) where id.low == 1:
                    StatusReply(
                        state: .dead,
                        channel: .sms,
                        lane: .high,
                        attempts: 5,
                        accepted: wall,
                        updated: wall,
                        errorText: "gone"
                    ).encode(correlation: correlation, into: &connection.answers)
                case .status(let correlation, _):
                    ErrorReply(.notFound, "no such notification")
                        .encode(correlation: correlation, into: &connection.answers)
                case .fetch(let correlation, let request):
                    var writer = FetchReplyWriter(
                        correlation: correlation,
                        in: &connection.answers
                    )
                    Array(request.topic.utf8).withUnsafeBytes {
                        writer.append(
                            Offset(5),
                            wall: wall,
                            id: NotificationID(high: 0, low: 1),
                            key: $0,
                            value: $0,
                            into: &connection.answers
                        )
                    }
                    writer.close(
                        next: Offset(6),
                        logStart: Offset(0),
                        logEnd: Offset(9),
                        in: &connection.answers
                    )
                case .putTemplate(let correlation, _):
                    TemplateMessage.encodeReply(
                        correlation: correlation,
                        into: &connection.answers
                    )
                case .listTemplates(let correlation, let after):
                    var reply = ListTemplatesReply(fitting: [
                        TemplateMessage(name: after.isEmpty ? "a" : "b", channel: .email)
                    ])
                    reply.more = after.isEmpty
                    reply.encode(correlation: correlation, into: &connection.answers)
                default: break
                }
            }
        }
        let client = try await PulseClient.connect(port: server.port)
        let id = try #require(Notification.ID("00000000-0000-0000-0000-000000000001"))
        let status = try await client.status(of: id)
        #expect(status.state == "dead" && status.isFinal && status.error == "gone")
        let other = try #require(Notification.ID("00000000-0000-0000-0000-000000000002"))
        do {
            _ = try await client.status(of: other)
            Issue.record("found")
        } catch { #expect(error.code == .notFound) }
        let page = try await client.fetch(topic: "notify.sms", partition: 1)
        #expect(page.next == 6 && page.records.map(\.user) == ["notify.sms"])
        try await client.putTemplate(Template(name: "a", channel: .email, text: "x"))
        #expect(try await client.templates().map(\.name) == ["a", "b"])
        #expect(try await client.ping() > .zero)
    }
}
