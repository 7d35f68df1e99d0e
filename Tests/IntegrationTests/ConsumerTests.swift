// PulseClient's consumers against the real server: groups, leases, and what comes again.

import PulseClient
import Testing

@Suite("Consuming", .serialized, .timeLimit(.minutes(5)))
struct ConsumerTests {
    /// A broker whose channels have no provider: only consumers take from their topics.
    private static func started() async throws -> (Broker, PulseClient) {
        let broker = try Broker(.production)
        return (broker, try await PulseClient.connect(port: broker.nativePort))
    }

    private static func send(
        _ count: Int,
        with client: PulseClient,
        users: Int = 20
    ) async throws -> Set<String> {
        let results = await client.producer().send(
            contentsOf: (0..<count).map {
                Notification(
                    user: "u\($0 % users)",
                    to: "n\($0)@example.org",
                    channel: .email,
                    content: Notification.Content(subject: "s", text: "\($0)")
                )
            }
        )
        return Set(try results.map { try $0.get().id.description })
    }

    /// The next delivery, which must come.
    private static func next(_ consumer: Consumer) async throws -> Delivery {
        try #require(try await consumer.next())
    }

    @Test("A group reads everything there is and everything that comes, each once")
    func readsAll() async throws {
        let (broker, client) = try await Self.started()
        defer { client.close() }
        let early = try await Self.send(500, with: client)
        let consumer = try await client.subscribe(topic: "notify.email", group: "g")
        let late = try await Self.send(500, with: client)
        var seen: [String] = []
        for _ in 0..<1000 {
            let delivery = try await Self.next(consumer)
            #expect(delivery.attempt == 1)
            #expect(delivery.notification?.user == delivery.user)
            seen.append(delivery.id.description)
            delivery.acknowledge()
        }
        #expect(seen.count == Set(seen).count)
        #expect(Set(seen) == early.union(late))
        try await consumer.flush()
        _ = broker
    }

    @Test("The notifications of one user come in the order in which they were sent")
    func order() async throws {
        let (broker, client) = try await Self.started()
        defer { client.close() }
        _ = try await Self.send(400, with: client, users: 8)
        let consumer = try await client.subscribe(topic: "notify.email", group: "g")
        var last: [String: Int] = [:]
        for _ in 0..<400 {
            let delivery = try await Self.next(consumer)
            let number = try #require(delivery.notification?.content.text.flatMap { Int($0) })
            #expect(last[delivery.user, default: -1] < number)
            last[delivery.user] = number
            delivery.acknowledge()
        }
        _ = broker
    }

    @Test("What is rejected comes again, with attempt 2 and not before its delay")
    func rejects() async throws {
        let (broker, client) = try await Self.started()
        defer { client.close() }
        let ids = try await Self.send(1, with: client)
        let consumer = try await client.subscribe(topic: "notify.email", group: "g")
        let first = try await Self.next(consumer)
        let rejected = wallMilliseconds()
        first.reject(after: .milliseconds(400), reason: "not now")
        try await consumer.flush()
        let second = try await Self.next(consumer)
        #expect(wallMilliseconds() - rejected >= 400)
        #expect(second.attempt == 2)
        #expect(ids == [second.id.description])
        try await second.acknowledgeAndConfirm()
        _ = broker
    }

    @Test("A lease that ends gives the delivery to somebody else; its late holder is told")
    func leaseEnds() async throws {
        let (broker, client) = try await Self.started()
        let other = try await PulseClient.connect(port: broker.nativePort)
        defer {
            client.close()
            other.close()
        }
        _ = try await Self.send(1, with: client)
        var options = ConsumerOptions()
        options.lease = .milliseconds(300)
        options.window = 1
        let slow = try await client.subscribe(topic: "notify.email", group: "g", options: options)
        let held = try await Self.next(slow)
        let quick = try await other.subscribe(topic: "notify.email", group: "g")
        let again = try await Self.next(quick)
        #expect(again.id == held.id)
        #expect(again.attempt == 2)
        let late = await refusal { try await held.acknowledgeAndConfirm() }
        #expect(late?.code == .staleLease)
        try await again.acknowledgeAndConfirm()
    }

    @Test("A lease that is extended is kept")
    func extends() async throws {
        let (broker, client) = try await Self.started()
        let other = try await PulseClient.connect(port: broker.nativePort)
        defer {
            client.close()
            other.close()
        }
        _ = try await Self.send(1, with: client)
        var options = ConsumerOptions()
        options.lease = .milliseconds(500)
        let consumer = try await client.subscribe(
            topic: "notify.email",
            group: "g",
            options: options
        )
        let watcher = try await other.subscribe(topic: "notify.email", group: "g")
        let delivery = try await Self.next(consumer)
        try await delivery.extend(by: .seconds(20))
        try await Task.sleep(for: .milliseconds(1200))
        try await delivery.acknowledgeAndConfirm()
        // Nothing is left for the other.
        let nothing = Task { try await watcher.next()?.id }
        try await Task.sleep(for: .milliseconds(200))
        nothing.cancel()
        #expect(try await nothing.value == nil)
    }

    @Test("Two consumers share a group; two groups each read everything")
    func sharing() async throws {
        let (broker, client) = try await Self.started()
        let other = try await PulseClient.connect(port: broker.nativePort)
        defer {
            client.close()
            other.close()
        }
        var options = ConsumerOptions()
        options.window = 10
        let a = try await client.subscribe(topic: "notify.email", group: "shared", options: options)
        let b = try await other.subscribe(topic: "notify.email", group: "shared", options: options)
        let alone = try await other.subscribe(topic: "notify.email", group: "alone")
        let ids = try await Self.send(600, with: client)

        let tally = Tally()
        func drain(_ consumer: Consumer, as name: String) -> Task<Void, any Error> {
            Task {
                while let delivery = try await consumer.next() {
                    await tally.add(delivery.id.description, name)
                    delivery.acknowledge()
                }
            }
        }
        let tasks = [drain(a, as: "a"), drain(b, as: "b"), drain(alone, as: "alone")]
        let deadline = uptime() + 30
        while await tally.total < 1200, uptime() < deadline {
            try await Task.sleep(for: .milliseconds(10))
        }
        for task in tasks { task.cancel() }
        for task in tasks { try await task.value }
        let (first, second, third) = await (tally.of("a"), tally.of("b"), tally.of("alone"))
        #expect(first.count + second.count == 600)
        #expect(Set(first).union(second) == ids)
        #expect(!first.isEmpty && !second.isEmpty)
        #expect(third.count == 600 && Set(third) == ids)
    }

    @Test("A consumer that leaves gives back what it held, at once")
    func leaves() async throws {
        let (broker, client) = try await Self.started()
        let other = try await PulseClient.connect(port: broker.nativePort)
        defer { client.close() }
        let ids = try await Self.send(10, with: client)
        let leaver = try await other.subscribe(topic: "notify.email", group: "g")
        var held: [Delivery] = []
        for _ in 0..<10 { held.append(try await Self.next(leaver)) }
        other.close()
        let stayer = try await client.subscribe(topic: "notify.email", group: "g")
        var seen: Set<String> = []
        for _ in 0..<10 {
            let delivery = try await Self.next(stayer)
            seen.insert(delivery.id.description)
            delivery.acknowledge()
        }
        #expect(seen == ids)
        _ = broker
    }

    @Test("What was acknowledged stays so over kill -9; what was not comes again")
    func progressSurvives() async throws {
        let (broker, client) = try await Self.started()
        defer { client.close() }
        let ids = try await Self.send(100, with: client)
        let consumer = try await client.subscribe(topic: "notify.email", group: "g")
        var done: Set<String> = []
        for _ in 0..<60 {
            let delivery = try await Self.next(consumer)
            done.insert(delivery.id.description)
            try await delivery.acknowledgeAndConfirm()
        }
        broker.crash()
        try broker.start()
        // The same consumer goes on: its client connects and subscribes again.
        var rest: Set<String> = []
        while rest.count < 40 {
            let delivery = try await Self.next(consumer)
            #expect(!done.contains(delivery.id.description))
            rest.insert(delivery.id.description)
            delivery.acknowledge()
        }
        #expect(done.union(rest) == ids)
    }

    @Test("A stream is browsed page by page without moving anybody")
    func fetch() async throws {
        let (broker, client) = try await Self.started()
        defer { client.close() }
        let ids = try await Self.send(300, with: client)
        var seen: [String] = []
        for partition in 0..<1024 {
            var start = FetchStart.start
            var pages = 0
            while true {
                let page: FetchPage
                do {
                    page = try await client.fetch(
                        topic: "notify.email",
                        partition: partition,
                        from: start,
                        maxBytes: 4096
                    )
                } catch {
                    #expect(error.code == .unknownTopic)
                    #expect(partition > 0)
                    #expect(Set(seen) == ids && seen.count == 300)
                    return
                }
                seen += page.records.map(\.id.description)
                pages += 1
                if page.records.isEmpty, page.next == page.logEnd { break }
                start = .offset(page.next)
            }
            let end = try await client.fetch(
                topic: "notify.email",
                partition: partition,
                from: .end
            )
            #expect(end.records.isEmpty && end.next == end.logEnd)
            let past = await refusal {
                try await client.fetch(
                    topic: "notify.email",
                    partition: partition,
                    from: .offset(end.logEnd + 1)
                )
            }
            #expect(past?.code.name == "offset_out_of_range")
        }
        _ = broker
    }
}

/// Who has seen what.
private actor Tally {
    private var seen: [String: [String]] = [:]

    func add(_ id: String, _ name: String) { seen[name, default: []].append(id) }

    func of(_ name: String) -> [String] { seen[name] ?? [] }

    var total: Int { seen.values.reduce(0) { $0 + $1.count } }
}
