// The consuming client against a scripted server: credit, acknowledgements, lost connections.

import PulseClient
import PulseCore
import PulseWire
import Synchronization
import Testing

/// Hands out numbered deliveries as far as credit goes, and remembers what was settled.
private final class Shelf: Sendable {
    struct State {
        var next: Int64 = 0
        var credit = 0
        var settled: Set<Int64> = []
        var frames = 0
        var mostCredit = 0
    }

    let total: Int64
    let state = Mutex(State())

    init(total: Int64) { self.total = total }

    func hand(_ subscription: UInt32, to connection: ScriptedConnection) {
        state.withLock { state in
            var writer = DeliverWriter(subscription: subscription, in: &connection.answers)
            while state.credit > 0, state.next < total {
                let key = Array("user-\(state.next)".utf8)
                key.withUnsafeBytes {
                    writer.append(
                        DeliveryToken(
                            stream: StreamID(
                                topic: TopicID(1),
                                partition: PartitionID(0),
                                lane: .normal
                            ),
                            offset: Offset(state.next),
                            attempt: 1,
                            lease: UInt64(state.next)
                        ),
                        id: NotificationID(high: 0, low: UInt64(state.next)),
                        wall: WallTimestamp(milliseconds: 0),
                        key: $0,
                        value: $0,
                        into: &connection.answers
                    )
                }
                state.next += 1
                state.credit -= 1
            }
            writer.close(in: &connection.answers)
        }
    }

    func add(_ credit: UInt32) {
        state.withLock {
            $0.credit += Int(credit)
            $0.mostCredit = max($0.mostCredit, $0.credit)
        }
    }

    func settle(
        _ tokens: TokenList,
        _ kind: Settlement,
        _ correlation: UInt32,
        stale: (Int64) -> Bool = { _ in false },
        on connection: ScriptedConnection
    ) {
        state.withLock { state in
            state.frames += 1
            var writer = SettleReplyWriter(
                kind,
                correlation: correlation,
                in: &connection.answers
            )
            for token in tokens {
                state.settled.insert(token.offset.rawValue)
                writer.append(stale: stale(token.offset.rawValue), into: &connection.answers)
            }
            writer.close(in: &connection.answers)
        }
    }

    func script(
        stale: @escaping @Sendable (Int64) -> Bool = { _ in false }
    )
        -> ScriptedServer.Script
    {
        { connection, request in
            switch request {
            case .subscribe(let correlation, let request):
                SubscribeReply(leaseMilliseconds: 1000)
                    .encode(correlation: correlation, into: &connection.answers)
                self.add(request.credit)
                self.hand(request.subscription, to: connection)
            case .credit(let subscription, let add):
                self.add(add)
                self.hand(subscription, to: connection)
            case .acknowledge(let correlation, let view):
                self.settle(
                    view.tokens,
                    .acknowledge,
                    correlation,
                    stale: stale,
                    on: connection
                )
            case .reject(let correlation, let view):
                self.settle(view.tokens, .reject, correlation, stale: stale, on: connection)
            case .extend(let correlation, let view):
                self.settle(view.tokens, .extend, correlation, stale: stale, on: connection)
            case .unsubscribe(let correlation, _):
                UnsubscribeRequest.encodeReply(
                    correlation: correlation,
                    into: &connection.answers
                )
            default: break
            }
        }
    }
}

@Suite("Consumer", .timeLimit(.minutes(5)))
struct ConsumerTests {
    @Test("everything comes in order, credit flows back, acknowledgements travel together")
    func flow() async throws {
        let shelf = Shelf(total: 2000)
        let server = ScriptedServer { _ in shelf.script() }
        let client = try await PulseClient.connect(port: server.port)
        var options = ConsumerOptions()
        options.window = 64
        let consumer = try await client.subscribe(
            topic: "notify.email",
            group: "workers",
            options: options
        )
        var users: [String] = []
        for try await delivery in consumer {
            users.append(delivery.user)
            delivery.acknowledge()
            if users.count == 2000 { break }
        }
        try await consumer.flush()
        #expect(users == (0..<2000).map { "user-\($0)" })
        let state = shelf.state.withLock { ($0.settled.count, $0.frames, $0.mostCredit) }
        #expect(state.0 == 2000)
        #expect(state.1 < 1000, "\(state.1) acknowledge frames")
        #expect(state.2 <= 64)
    }

    @Test("a consumer that settles nothing gets its window and no more")
    func window() async throws {
        let shelf = Shelf(total: 100)
        let server = ScriptedServer { _ in shelf.script() }
        let client = try await PulseClient.connect(port: server.port)
        var options = ConsumerOptions()
        options.window = 8
        let consumer = try await client.subscribe(
            topic: "notify.email",
            group: "workers",
            options: options
        )
        var held: [Delivery] = []
        for _ in 0..<8 { held.append(try #require(try await consumer.next())) }
        let waiting = Task { try await consumer.next()?.user }
        try await Task.sleep(for: .milliseconds(200))
        #expect(shelf.state.withLock { $0.next } == 8)
        // One let go unsettled gives its credit back: somebody waits for it.
        held.removeLast()
        #expect(try await waiting.value == "user-8")
    }

    @Test("a stale acknowledgement is told to who asks")
    func stale() async throws {
        let shelf = Shelf(total: 2)
        let server = ScriptedServer { _ in shelf.script(stale: { $0 == 1 }) }
        let client = try await PulseClient.connect(port: server.port)
        let consumer = try await client.subscribe(topic: "notify.email", group: "workers")
        let first = try #require(try await consumer.next())
        let second = try #require(try await consumer.next())
        try await first.extend(by: .seconds(10))
        try await first.acknowledgeAndConfirm()
        do {
            try await second.acknowledgeAndConfirm()
            Issue.record("it was stale")
        } catch { #expect(error.code == .staleLease) }
    }

    @Test("after a lost connection the consumer subscribes again and goes on")
    func resubscribe() async throws {
        let shelf = Shelf(total: 30)
        let server = ScriptedServer { note in
            let serve = shelf.script()
            return { connection, request in
                if case .subscribe(_, let request) = request { note("credit \(request.credit)") }
                if case .acknowledge = request, connection.number == 1 {
                    // The acknowledgement is lost with the connection, and comes again.
                    note("broken")
                    shelf.state.withLock {
                        $0.next = 0
                        $0.credit = 0
                    }
                    connection.isEnding = true
                    return
                }
                serve(connection, request)
            }
        }
        let client = try await PulseClient.connect(port: server.port)
        var options = ConsumerOptions()
        options.window = 4
        let consumer = try await client.subscribe(
            topic: "notify.email",
            group: "workers",
            options: options
        )
        var seen: Set<String> = []
        while seen.count < 30 {
            let delivery = try #require(try await consumer.next())
            seen.insert(delivery.user)
            delivery.acknowledge()
        }
        try await consumer.flush()
        #expect(server.notes == ["credit 4", "broken", "credit 4"])
        #expect(shelf.state.withLock { $0.settled.count } == 30)
    }

    @Test("a refused subscription throws; a cancelled wait ends the loop")
    func endings() async throws {
        let shelf = Shelf(total: 0)
        let server = ScriptedServer { _ in
            let serve = shelf.script()
            return { connection, request in
                if case .subscribe(let correlation, let request) = request,
                    request.topic == "nowhere"
                {
                    ErrorReply(.unknownTopic, "no topic 'nowhere'")
                        .encode(correlation: correlation, into: &connection.answers)
                } else {
                    serve(connection, request)
                }
            }
        }
        let client = try await PulseClient.connect(port: server.port)
        do {
            _ = try await client.subscribe(topic: "nowhere", group: "workers")
            Issue.record("subscribed to nothing")
        } catch { #expect(error.code == .unknownTopic) }
        let consumer = try await client.subscribe(topic: "notify.email", group: "workers")
        let waiting = Task { try await consumer.next() == nil }
        try await Task.sleep(for: .milliseconds(50))
        waiting.cancel()
        #expect(try await waiting.value)
    }
}
