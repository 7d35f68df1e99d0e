// A shell in memory: it feeds a node bytes and times, performs its effects, and keeps what was sent.

import PulseBroker
import PulseCore
import PulseDelivery
import PulseLog
import PulseNode
import PulseWire
import TestDoubles
import Testing

final class NodeBench {
    let directory = MemoryDirectory()
    let store = MemoryStore()
    var configuration: NodeConfiguration
    private(set) var node: Node
    var now: Now
    private var effects = EffectQueue()

    /// What left on each connection and was not looked at yet.
    private var sent: [ConnectionID: [UInt8]] = [:]
    private(set) var closed: Set<ConnectionID> = []
    private(set) var paused: Set<ConnectionID> = []
    private(set) var pendingSyncs: [SyncTicket] = []
    var calls: [(id: CallID, request: ProviderRequest)] = []
    private(set) var events: [LogEvent] = []
    private(set) var wake: MonotonicInstant?
    private(set) var drained = false
    private(set) var stopped: (code: Int32, reason: String)?
    private(set) var jobs: [(JobID, Job)] = []
    private var lastConnection: UInt64 = 0
    /// Syncs complete by themselves, as soon as the turn has ended.
    var syncsAtOnce = true
    /// What the store says to its next flush, instead of doing it.
    var failNextFlush: StorageError?
    /// What the disk says to the next note in the floor.
    var failNextFloor: StorageError?

    static let smtp = SMTPEndpoint(host: "mail.example.org", port: 25, security: .none)
    static var delivering: ProviderSettings {
        guard let from = Mailbox("Pulse <pulse@example.org>") else {
            preconditionFailure("a good address")
        }
        return ProviderSettings(
            email: .smtp(smtp, from: from, timeoutMilliseconds: 5000),
            webhook: .http(allowsPrivateAddresses: true, timeoutMilliseconds: 5000),
            sms: .none,
            push: .catcher
        )
    }

    init(
        providers: ProviderSettings = NodeBench.delivering,
        development: Bool = false,
        partitions: Int = 1,
        attemptsMax: Int = 3,
        concurrency: [Int] = [8, 8, 8, 8],
        segmentBytes: Int = 256 << 10
    ) throws {
        configuration = NodeConfiguration(
            shard: ShardConfiguration(
                log: LogConfiguration(segmentBytes: segmentBytes),
                retry: RetryPolicy(attemptsMax: attemptsMax),
                partitions: partitions
            ),
            providers: providers,
            concurrency: concurrency,
            development: development
        )
        now = Now(
            monotonic: MonotonicInstant(nanoseconds: 9_000_000_000),
            wall: WallTimestamp(milliseconds: 1_795_000_000_000)
        )
        node = try Node(
            configuration: configuration,
            directory: directory,
            store: store,
            seed: 5,
            at: now
        )
        endTurn()
    }

    // MARK: - Turns

    func step(_ inputs: Input...) {
        for input in inputs { node.step(input, at: now, into: &effects) }
        endTurn()
    }

    private func endTurn() {
        node.endTurn(at: now, into: &effects)
        perform()
        node.checkInvariants()
        if syncsAtOnce { settle() }
    }

    /// Lets every sync and every job complete.
    func settle() {
        for _ in 0..<10_000 {
            if !jobs.isEmpty {
                let (id, job) = jobs.removeFirst()
                var failure: StorageError?
                if case .flushStore = job, let planned = failNextFlush {
                    failNextFlush = nil
                    failure = planned
                } else if job.isFloor, let planned = failNextFloor {
                    failNextFloor = nil
                    failure = planned
                } else {
                    do throws(StorageError) {
                        try job.perform(in: directory, store: store)
                    } catch { failure = error }
                }
                node.step(.jobFinished(id, failure: failure), at: now, into: &effects)
            } else if !pendingSyncs.isEmpty {
                guard performSync() else { return }
            } else if wake == now.monotonic {
                wake = nil
                node.step(.timeReached, at: now, into: &effects)
            } else {
                return
            }
            node.endTurn(at: now, into: &effects)
            perform()
            node.checkInvariants()
        }
        Issue.record("the node never comes to rest")
    }

    /// The oldest sync asked for; false when it fails, which stops the process.
    private func performSync() -> Bool {
        let ticket = pendingSyncs.removeFirst()
        do {
            try node.shard.log.performSync()
        } catch {
            stopped = (70, "\(error)")
            return false
        }
        node.step(.synced(ticket), at: now, into: &effects)
        return true
    }

    /// Lets every sync complete that was asked for, and no job.
    func performSyncs() {
        while !pendingSyncs.isEmpty, performSync() { endTurn() }
    }

    func pass(milliseconds: Int64) {
        now.monotonic = now.monotonic.advanced(byMilliseconds: milliseconds)
        now.wall = now.wall.advanced(byMilliseconds: milliseconds)
        step(.timeReached)
    }

    func restart(losing loss: MemoryDirectory.Loss = .nothing) throws {
        directory.crash(loss)
        store.crash { _ in 0 }
        sent = [:]
        closed = []
        pendingSyncs = []
        calls = []
        jobs = []
        wake = nil
        drained = false
        effects.removeAll()
        node = try Node(
            configuration: configuration,
            directory: directory,
            store: store,
            seed: 6,
            at: now
        )
        endTurn()
    }

    private func perform() {
        for effect in effects.effects {
            switch effect {
            case .sync(let ticket): pendingSyncs.append(ticket)
            case .send(let connection, let range):
                #expect(!closed.contains(connection), "nothing is sent after a close")
                sent[connection, default: []] += effects.bytes[range]
            case .close(let connection, _): closed.insert(connection)
            case .pauseReading(let connection): paused.insert(connection)
            case .resumeReading(let connection): paused.remove(connection)
            case .wake(let time): wake = time
            case .call(let id, let request): calls.append((id, request))
            case .run(let id, let job): jobs.append((id, job))
            case .log(let event): events.append(event)
            case .drained: drained = true
            case .stop(let code, let reason): stopped = (code, reason)
            }
        }
        effects.removeAll()
    }

    // MARK: - Connections

    func open(_ kind: ConnectionKind) -> ConnectionID {
        lastConnection += 1
        let id = ConnectionID(lastConnection)
        step(.opened(id, kind))
        return id
    }

    func receive(_ bytes: [UInt8], on connection: ConnectionID) {
        bytes.withUnsafeBytes { step(.received(connection, $0)) }
    }

    /// Steps several conversations' bytes in one turn.
    func receive(_ pieces: [(ConnectionID, [UInt8])]) {
        for (connection, bytes) in pieces {
            bytes.withUnsafeBytes { node.step(.received(connection, $0), at: now, into: &effects) }
        }
        endTurn()
    }

    func takeSent(_ connection: ConnectionID) -> [UInt8] {
        sent.removeValue(forKey: connection) ?? []
    }

    // MARK: - HTTP

    struct Reply {
        var status: Int
        var headers: [String]
        var body: String

        /// The text of a string or the digits of a number, under a name that occurs once.
        func field(_ name: String) -> String? { body.field(name) }
    }

    static func request(_ method: String, _ path: String, _ body: String? = nil) -> [UInt8] {
        var text = "\(method) \(path) HTTP/1.1\r\nHost: localhost\r\n"
        if let body {
            text += "Content-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n"
            text += "\r\n\(body)"
        } else {
            text += "\r\n"
        }
        return Array(text.utf8)
    }

    func replies(on connection: ConnectionID) -> [Reply] {
        var rest = takeSent(connection)[...]
        var replies: [Reply] = []
        while !rest.isEmpty {
            let mark: [UInt8] = [13, 10, 13, 10]
            guard
                let end = rest.indices.first(where: { rest[$0...].starts(with: mark) })
            else {
                Issue.record("half an answer: \(String(decoding: rest, as: UTF8.self))")
                break
            }
            let lines = String(decoding: rest[..<end], as: UTF8.self)
                .split(separator: "\r\n").map(String.init)
            let status = Int(lines[0].split(separator: " ")[1]) ?? 0
            let length =
                lines.first { $0.lowercased().hasPrefix("content-length: ") }
                .flatMap { Int($0.dropFirst(16)) } ?? 0
            let start = end + 4
            replies.append(
                Reply(
                    status: status,
                    headers: lines,
                    body: String(decoding: rest[start..<start + length], as: UTF8.self)
                )
            )
            rest = rest[(start + length)...]
        }
        return replies
    }

    /// One request on a connection of its own, answered.
    func exchange(_ method: String, _ path: String, _ body: String? = nil) throws -> Reply {
        let connection = open(.http)
        receive(Self.request(method, path, body), on: connection)
        let reply = replies(on: connection).first
        step(.closed(connection))
        return try #require(reply, "no answer to \(method) \(path)")
    }

    func send(
        to: String = "ada@example.org",
        text: String = "hello",
        key: String? = nil,
        more: String = ""
    ) throws -> String {
        let key = key.map { ",\"idempotency_key\":\"\($0)\"" } ?? ""
        let reply = try exchange(
            "POST",
            "/v1/notifications",
            """
            {"to":{"email":"\(to)"},"content":{"subject":"s","text":"\(text)"}\(key)\(more)}
            """
        )
        #expect(reply.status == 202, "\(reply.body)")
        return try #require(reply.field("id"))
    }

    func status(_ id: String) throws -> String? {
        try exchange("GET", "/v1/notifications/\(id)").field("status")
    }

    /// The value of a metric line, given as it stands before the value.
    func metric(_ line: String) throws -> Int {
        let text = try exchange("GET", "/metrics").body
        let found = text.split(separator: "\n").first { $0.hasPrefix(line + " ") }
        return try #require(found.flatMap { Int($0.dropFirst(line.count + 1)) }, "no \(line)")
    }

    // MARK: - Native

    func client() throws -> NativeClient {
        let client = NativeClient(bench: self, connection: open(.native))
        client.send { session, bytes in
            session.sayHello(name: "test", version: "1", into: &bytes)
        }
        guard case .ready? = try client.next() else {
            Issue.record("no greeting")
            return client
        }
        return client
    }
}

extension String {
    func field(_ name: String) -> String? {
        let mark = "\"\(name)\":"
        guard let start = ranges(of: mark).first?.upperBound else { return nil }
        let rest = self[start...]
        if rest.hasPrefix("\"") { return String(rest.dropFirst().prefix { $0 != "\"" }) }
        return String(rest.prefix { $0 != "," && $0 != "}" && $0 != "]" })
    }
}
