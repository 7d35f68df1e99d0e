// The client's face: connect once, then produce, consume and ask, from as many tasks as you like.
//
//     tasks --calls--> PulseClient --> Mutex<ClientMachine> <-- ConnectionDriver --poll--> socket
//                                      decides                  one thread, does
//
// One connection carries everything; requests are pipelined, and what has no answer yet when the
// connection breaks is sent again on the next one.

internal import PulseCore
internal import PulseWire

/// A connection to a Pulse server that mends itself.
public final class PulseClient: Sendable {
    let driver: ConnectionDriver

    private init(driver: ConnectionDriver) { self.driver = driver }

    deinit { driver.close() }

    /// Connects and shakes hands.
    ///
    /// - Throws: When the first attempt fails. Later failures are mended in the background.
    public static func connect(
        host: String = "127.0.0.1",
        port: Int = 7070,
        configuration: ClientConfiguration = ClientConfiguration()
    ) async throws(ClientError) -> PulseClient {
        guard let port = UInt16(exactly: port) else {
            throw ClientError(.connectionFailed, "\(port) is not a port number")
        }
        let driver = try ConnectionDriver(host: host, port: port, configuration: configuration)
        let opened: Result<Void, ClientError> = await withCheckedContinuation { promise in
            driver.change { $0.awaitOpen(promise) }
            driver.start()
        }
        try opened.get()
        return PulseClient(driver: driver)
    }

    /// Sends to `topic`, or, without one, to the topic of each notification's channel.
    public func producer(topic: String? = nil) -> Producer {
        Producer(client: self, topic: topic)
    }

    /// Joins a consumer group. The consumer's deliveries come as an asynchronous sequence.
    public func subscribe(
        topic: String,
        group: String,
        options: ConsumerOptions = ConsumerOptions()
    ) async throws(ClientError) -> Consumer {
        try Self.checkName("topic", topic)
        try Self.checkName("group", group)
        let driver = driver
        let opened: Result<UInt32, ClientError> = await withCheckedContinuation { promise in
            driver.change {
                $0.subscribe(topic: topic, group: group, options: options, promise)
            }
        }
        return Consumer(client: self, subscription: try opened.get(), topic: topic)
    }

    public func status(of id: Notification.ID) async throws(ClientError) -> NotificationStatus {
        let answer = try await ask(.status(StatusRequest(id: id.value)))
        guard case .status(let reply) = answer else { throw Self.foreign }
        return NotificationStatus(reply)
    }

    /// Reads a stream without a group; nothing changes on the server.
    public func fetch(
        topic: String,
        partition: Int,
        lane: Notification.Lane = .normal,
        from start: FetchStart = .start,
        maxBytes: Int = 256 << 10
    ) async throws(ClientError) -> FetchPage {
        try Self.checkName("topic", topic)
        guard let number = UInt16(exactly: partition), number < 1 << 12 else {
            throw ClientError(
                ClientError.Code(ErrorCode.invalidRequest.name),
                "there is no partition \(partition)"
            )
        }
        let request = FetchRequest(
            topic: topic,
            partition: PartitionID(number),
            lane: lane.value,
            from: start.value,
            bytesMax: UInt32(clamping: maxBytes)
        )
        guard case .page(let page) = try await ask(.fetch(request)) else { throw Self.foreign }
        return page
    }

    /// Saves a template, replacing one of the same name.
    public func putTemplate(_ template: Template) async throws(ClientError) {
        guard case .saved = try await ask(.putTemplate(try template.message())) else {
            throw Self.foreign
        }
    }

    /// All templates, by name.
    public func templates() async throws(ClientError) -> [Template] {
        var all: [Template] = []
        while true {
            let answer = try await ask(.listTemplates(after: all.last?.name ?? ""))
            guard case .templates(let reply) = answer else { throw Self.foreign }
            all.append(contentsOf: reply.templates.map(Template.init))
            guard reply.more, !reply.templates.isEmpty else { return all }
        }
    }

    /// The time a question takes to the server and back.
    public func ping() async throws(ClientError) -> Duration {
        let start = SystemTime.now().monotonic
        _ = try await ask(.ping)
        let end = SystemTime.now().monotonic
        return .nanoseconds(Int64(clamping: end.nanoseconds - start.nanoseconds))
    }

    /// Ends the connection. Calls still waiting fail with ``ClientError/Code/clientClosed``.
    public func close() { driver.close() }

    func ask(_ question: Question) async throws(ClientError) -> Answer {
        let driver = driver
        let answer: Result<Answer, ClientError> = await withCheckedContinuation { promise in
            let now = SystemTime.now().monotonic
            driver.change { $0.ask(question, at: now, promise) }
        }
        return try answer.get()
    }

    static func checkName(_ field: String, _ name: String) throws(ClientError) {
        guard !name.isEmpty, name.utf8.count <= 255 else {
            throw ClientError(
                ClientError.Code(ErrorCode.invalidRequest.name),
                "a \(field) has 1 to 255 bytes, not \(name.utf8.count)"
            )
        }
    }

    private static let foreign = ClientError(
        .protocolViolation,
        "the server answered another question"
    )
}
