// `pulse tail TOPIC`: the newest records of a topic, and those that come. Reads without a group: nobody
// else's deliveries change.

import PulseClient
import PulseCore

struct Tail {
    static let countMax = 100_000
    static let flags = [
        Flag(
            "--count",
            short: "-n",
            value: "N",
            "How many of the newest to begin with (default 10)"
        ),
        Flag("--follow", short: "-f", "Go on with what comes"),
        Flag("--lane", value: "LANE", "One lane only, or dead (default: all but dead)"),
    ]

    /// One lane of one partition, and where to read on.
    private struct Stream {
        var lane: Notification.Lane
        var partition: Int
        var next: Int64
        var start: Int64
    }

    /// A record and the stream it was read from.
    private struct Line {
        var lane: Notification.Lane
        var partition: Int
        var record: FetchedRecord
    }

    private let client: PulseClient
    private let topic: String
    private let format: OutputFormat
    private var streams: [Stream] = []

    static func perform(
        _ invocation: Invocation,
        _ client: PulseClient
    ) async throws(CommandFailure) {
        let count = try Word.count(invocation["--count"] ?? "10", of: "--count", upTo: countMax)
        var lanes: [Notification.Lane] = [.critical, .high, .normal, .bulk]
        if let word = invocation["--lane"] { lanes = [try Word.lane(word)] }
        // `email` is short for `notify.email`.
        let word = invocation.arguments[0]
        var tail = Tail(
            client: client,
            topic: Notification.Channel(name: word)?.topic ?? word,
            format: invocation.format
        )
        try await tail.open(lanes)
        try await tail.showNewest(count)
        if invocation.has("--follow") { try await tail.follow() }
    }

    private init(client: PulseClient, topic: String, format: OutputFormat) {
        self.client = client
        self.topic = topic
        self.format = format
    }

    /// Finds the topic's partitions by asking for one after the other until there is none.
    private mutating func open(_ lanes: [Notification.Lane]) async throws(CommandFailure) {
        var partition = 0
        while true {
            for lane in lanes {
                do throws(CommandFailure) {
                    let page = try await fetch(lane, partition, .end)
                    streams.append(
                        Stream(
                            lane: lane,
                            partition: partition,
                            next: page.logEnd,
                            start: page.logStart
                        )
                    )
                } catch {
                    if error.code == ErrorCode.unknownTopic.name, partition > 0 { return }
                    throw error
                }
            }
            partition += 1
        }
    }

    private mutating func showNewest(_ count: Int) async throws(CommandFailure) {
        var lines: [Line] = []
        for index in streams.indices {
            let end = streams[index].next
            streams[index].next = max(streams[index].start, end - Int64(count))
            while streams[index].next < end {
                let more = try await read(index)
                guard !more.isEmpty else { break }
                lines += more
            }
        }
        show(Array(ordered(lines).suffix(count)))
    }

    private mutating func follow() async throws(CommandFailure) {
        while true {
            var lines: [Line] = []
            for index in streams.indices { lines += try await read(index) }
            show(ordered(lines))
            if lines.isEmpty { try? await Task.sleep(for: .milliseconds(200)) }
        }
    }

    private mutating func read(_ index: Int) async throws(CommandFailure) -> [Line] {
        let stream = streams[index]
        let page = try await fetch(stream.lane, stream.partition, .offset(stream.next))
        streams[index].next = page.next
        return page.records.map {
            Line(lane: stream.lane, partition: stream.partition, record: $0)
        }
    }

    private func fetch(
        _ lane: Notification.Lane,
        _ partition: Int,
        _ start: FetchStart
    ) async throws(CommandFailure) -> FetchPage {
        try await Client.asking { () throws(ClientError) in
            try await client.fetch(topic: topic, partition: partition, lane: lane, from: start)
        }
    }

    /// By the time of acceptance; records of one stream stay in their order.
    private func ordered(_ lines: [Line]) -> [Line] {
        lines.enumerated().sorted {
            ($0.element.record.acceptedAt, $0.offset) < ($1.element.record.acceptedAt, $1.offset)
        }.map(\.element)
    }

    // MARK: - Printing

    private func show(_ lines: [Line]) {
        for line in lines {
            switch format {
            case .table: Console.print(text(of: line))
            case .json: Console.print(json(of: line).line)
            }
        }
    }

    private func text(of line: Line) -> String {
        let record = line.record
        let notification = record.notification
        let about =
            notification?.template ?? notification?.content.subject
            ?? notification?.content.text.map { String($0.prefix(60)) } ?? ""
        let cells = [
            "\(record.acceptedAt)", Table.pad(line.lane.name, to: 8),
            Table.pad("\(line.partition)/\(record.offset)", to: 8), "\(record.id)",
            notification?.to ?? record.user, about,
        ]
        return cells.map(Console.safe).joined(separator: "  ")
    }

    private func json(of line: Line) -> JSON {
        let record = line.record
        let notification = record.notification
        let data = (notification?.data ?? [:]).sorted { $0.key < $1.key }
        return .object([
            ("topic", .text(topic)), ("partition", .number(line.partition)),
            ("lane", .text(line.lane.name)), ("offset", .number(record.offset)),
            ("accepted_at", .text("\(record.acceptedAt)")), ("id", .text("\(record.id)")),
            ("user", .text(record.user)), ("to", .text(optional: notification?.to)),
            ("template", .text(optional: notification?.template)),
            ("data", .object(data.map { ($0.key, JSON.text($0.value)) })),
            ("subject", .text(optional: notification?.content.subject)),
            ("text", .text(optional: notification?.content.text)),
            ("html", .text(optional: notification?.content.html)),
            ("idempotency_key", .text(optional: notification?.idempotencyKey)),
            ("deliver_at", .text(optional: notification?.deliverAt.map { "\($0)" })),
        ])
    }
}
