// A stranger's reader over what the real program wrote: spec/03-storage.md says enough, and what lies on
// the disk is what was acknowledged. The reader is Tests/reader.py: Python, nothing of ours.

import Glibc
import PulseClient
import Testing

@Suite("A reader written from the specification", .serialized, .timeLimit(.minutes(3)))
struct ReaderTests {
    private struct Reading {
        var code: Int32
        var output: String
        /// Records, and commands by kind.
        var counts: [String: Int] = [:]
    }

    private static func read(_ directory: String) throws -> Reading {
        let reader = "\(Binary.packageRoot)/Tests/reader.py"
        let process = try ChildProcess("/usr/bin/env", ["python3", reader, directory])
        var reading = Reading(code: try process.wait(), output: process.output)
        guard let line = process.lines.first, let brace = line.firstIndex(of: "{") else {
            return reading
        }
        for field in line[brace...].split(whereSeparator: { "{}, ".contains($0) }) {
            // `"name":` and its number come one after the other.
            if field.hasPrefix("\"") {
                reading.counts[String(field.dropFirst().dropLast(2)), default: 0] = -1
            } else if let name = reading.counts.first(where: { $0.value == -1 })?.key {
                reading.counts[name] = Int(field)
            }
        }
        return reading
    }

    /// Notifications of every kind of life; returns how many were acknowledged.
    private static func load(_ broker: Broker, _ sink: WebhookSink, round: Int) async throws -> Int
    {
        let template = #"{"channel":"email","subject":"s","text":"Grüße {{name}}, \#(round)"}"#
        let saved = try broker.ask("PUT", "/v1/templates/greeting", template)
        #expect(saved.status == 200 || saved.status == 201)
        var ids: [String] = []
        for number in 0..<60 {
            ids.append(
                try broker.submit(
                    #"{"to":{"email":"n\#(number)@example.org"},"template":"greeting","#
                        + #""data":{"name":"\#(number)"},"idempotency_key":"\#(round)-\#(number)"}"#
                )
            )
            // Refused once, so that it is held, and the very unlucky for ever.
            let path = number % 20 == 0 ? "never" : "twice"
            ids.append(
                try broker.submit(
                    #"{"to":"\#(sink.url("/\(path)/\(round)-\(number)"))","channel":"webhook","#
                        + #""content":{"text":"\#(String(repeating: "x", count: 1 + number * 40))"}}"#
                )
            )
        }
        let later = try broker.submit(
            #"{"to":"a@example.org","channel":"email","deliver_at":\#(wallMilliseconds() + 3_600_000),"#
                + #""content":{"subject":"s","text":"t"}}"#
        )
        #expect(try broker.json("/v1/notifications/\(later)")["status"]?.text == "scheduled")
        let client = try await PulseClient.connect(port: broker.nativePort)
        defer { client.close() }
        let consumer = try await client.subscribe(topic: "notify.email", group: "audit")
        for _ in 0..<60 {
            let delivery = try #require(try await consumer.next())
            delivery.acknowledge()
        }
        try await consumer.flush()
        for id in ids {
            try eventually("\(id) comes to its end") {
                let status = try broker.json("/v1/notifications/\(id)")["status"]?.text
                return status == "delivered" || status == "dead"
            }
        }
        return ids.count + 1
    }

    private static func largestSegment(_ broker: Broker) throws -> String {
        let directory = broker.directory.file("data/shard-0/log")
        let names = TemporaryDirectory.names(in: directory) ?? []
        return "\(directory)/\(try #require(names.last { $0.hasSuffix(".seg") }))"
    }

    private static func flip(_ path: String, at offset: Int) {
        let descriptor = open(path, O_RDWR)
        defer { close(descriptor) }
        var byte: UInt8 = 0
        #expect(pread(descriptor, &byte, 1, offset) == 1)
        byte ^= 0x10
        #expect(pwrite(descriptor, &byte, 1, offset) == 1)
    }

    @Test(
        "Counts what was acknowledged, after kill -9 and after a clean stop, and finds a flipped bit"
    )
    func reads() async throws {
        let sink = try WebhookSink { path, number in
            path.hasPrefix("/never") || number == 1 ? 503 : 200
        }
        let broker = try Broker(
            configuration: WebhookSink.configuration(retry: "20ms", attempts: 3)
        )
        var acknowledged = try await Self.load(broker, sink, round: 0)
        broker.crash()
        let killed = try Self.read(broker.directory.file("data"))
        #expect(killed.code == 0, "\(killed.output)")
        #expect(killed.counts["records"] == acknowledged)

        try broker.start()
        acknowledged += try await Self.load(broker, sink, round: 1)
        broker.process.send(SIGTERM)
        #expect(try broker.process.wait() == 0)
        let stopped = try Self.read(broker.directory.file("data"))
        #expect(stopped.code == 0, "\(stopped.output)")
        #expect(stopped.counts["records"] == acknowledged)
        // Sixty mails and fifty-seven webhooks a round, and as many mails again for the consumer.
        #expect(stopped.counts["delivered"] == 2 * (60 + 57 + 60), "\(stopped.output)")
        #expect(stopped.counts["dead"] == 6)
        #expect(stopped.counts["held"] == 2 * 57 + 6 * 2)
        #expect(stopped.counts["began"] == 2)
        #expect(stopped.counts["template"] == 3)

        // Anywhere in what was written: never missed, and told with the file and the place.
        let segment = try Self.largestSegment(broker)
        for offset in [100, 4096 + 4, 4096 + 61, 9_001, 30_003, 60_007] {
            Self.flip(segment, at: offset)
            let damaged = try Self.read(
                segment.split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" }
            )
            #expect(damaged.code == 1 && damaged.output.contains("PROBLEM: 0000"), "at \(offset)")
            Self.flip(segment, at: offset)
        }
        Self.flip(broker.directory.file("data/shard-0/log/floor"), at: 33)
        #expect(try Self.read(broker.directory.file("data")).code == 1)
    }

    @Test("Reads over the gaps of a repair, and the header that it made again")
    func repaired() async throws {
        let sink = try WebhookSink { path, number in
            path.hasPrefix("/never") || number == 1 ? 503 : 200
        }
        let broker = try Broker(
            configuration: WebhookSink.configuration(retry: "20ms", attempts: 3)
        )
        var acknowledged = try await Self.load(broker, sink, round: 0)
        broker.process.send(SIGTERM)
        #expect(try broker.process.wait() == 0)
        let data = broker.directory.file("data")
        // The segment's header, the first entry, and two more.
        let segment = try Self.largestSegment(broker)
        for offset in [100, 4096 + 4, 20_011, 40_002] { Self.flip(segment, at: offset) }
        #expect(try Self.read(data).code == 1)
        let repair = try ChildProcess(try Binary.pulse(), ["repair", data, "--accept-loss"])
        #expect(try repair.wait(atMost: 60) == 0, "\(repair.output)")

        let repaired = try Self.read(data)
        #expect(repaired.code == 0, "\(repaired.output)")
        #expect(repaired.counts["gaps"] == 3, "\(repaired.output)")
        let lost = try #require(repaired.counts["lost"])
        #expect(repaired.counts["records"] == acknowledged - lost, "\(repaired.output)")
        Self.flip(segment, at: 85)
        #expect(try Self.read(data).code == 1, "the chain that a repaired header states counts")
        Self.flip(segment, at: 85)

        // The log goes on behind its gaps.
        try broker.start()
        acknowledged += try await Self.load(broker, sink, round: 1)
        broker.process.send(SIGTERM)
        #expect(try broker.process.wait() == 0)
        let gone = try Self.read(data)
        #expect(gone.code == 0, "\(gone.output)")
        #expect(gone.counts["records"] == acknowledged - lost, "\(gone.output)")
    }

    @Test(
        "Reads sealed segments, their links and index files, and a log whose beginning was released",
        arguments: ["clean", "killed", "served"]
    )
    func golden(_ kind: String) throws {
        let directory = try TemporaryDirectory()
        let golden = "\(Binary.packageRoot)/Tests/Golden"
        let version = try #require(TemporaryDirectory.names(in: golden)?.max())
        let unpack = try ChildProcess(
            "/usr/bin/env",
            ["tar", "-xJf", "\(golden)/\(version)/\(kind).tar.xz", "-C", directory.path]
        )
        #expect(try unpack.wait() == 0, "\(unpack.output)")
        let whole = try Self.read(directory.path)
        #expect(whole.code == 0, "\(whole.output)")
        #expect(try #require(whole.counts["records"]) > 200)
        guard kind != "served" else { return }
        #expect(whole.counts["released"] == (kind == "killed" ? 1 : nil))
        // The link in a header; a footer, which the next header says again; a page of an index file.
        let log = directory.file("shard-0/log")
        let names = try #require(TemporaryDirectory.names(in: log)).sorted()
        let segments = names.filter { $0.hasSuffix(".seg") }
        let sealed = try #require(segments.dropLast().last)
        let index = try #require(names.last { $0.hasSuffix(".idx") })
        for (name, offset, code) in [
            (try #require(segments.last), 60, Int32(1)), (sealed, (64 << 10) - 4000, 0),
            (index, 5000, 1),
        ] {
            Self.flip("\(log)/\(name)", at: offset)
            #expect(try Self.read(directory.path).code == code, "\(name) at \(offset)")
            Self.flip("\(log)/\(name)", at: offset)
        }
    }
}
