// `pulse inspect` on directories that the real program wrote: whole, running, damaged.

import Glibc
import Testing

@Suite("Inspection", .serialized, .timeLimit(.minutes(5)))
struct InspectTests {
    private struct Answer {
        var code: Int32
        var lines: [String]
        var text: String { lines.joined(separator: "\n") }

        func json() throws -> JSONValue { try JSONValue(parsing: Array((lines.first ?? "").utf8)) }
    }

    private static func inspect(_ broker: Broker, _ flags: String...) throws -> Answer {
        let data = broker.directory.file("data")
        let process = try ChildProcess(try Binary.pulse(), ["inspect", data] + flags)
        let code = try process.wait()
        return Answer(code: code, lines: process.lines)
    }

    /// A broker with mails delivered, one scheduled, and a text message.
    private static func filled() throws -> (Broker, [String]) {
        let broker = try Broker()
        var ids: [String] = []
        for number in 0..<12 {
            ids.append(
                try broker.submit(
                    #"{"to":{"user":"u","email":"n\#(number)@example.org"},"idempotency_key":"k\#(number)","#
                        + #""content":{"subject":"s","text":"Nr. \#(number)"}}"#
                )
            )
        }
        for id in ids { try broker.notification(id, reaching: "delivered") }
        _ = try broker.submit(
            #"{"to":"a@example.org","channel":"email","deliver_at":\#(wallMilliseconds() + 3_600_000),"#
                + #""content":{"subject":"s","text":"later"}}"#
        )
        return (broker, ids)
    }

    private static func stop(_ broker: Broker) throws {
        broker.process.send(SIGTERM)
        #expect(try broker.process.wait() == 0)
    }

    private static func flip(_ path: String, at offset: Int) {
        let descriptor = open(path, O_RDWR)
        defer { close(descriptor) }
        var byte: UInt8 = 0
        #expect(pread(descriptor, &byte, 1, offset) == 1)
        byte ^= 0x10
        #expect(pwrite(descriptor, &byte, 1, offset) == 1)
    }

    @Test("Tells log, state, groups and rows, also while the broker runs, and changes nothing")
    func tells() throws {
        let (broker, _) = try Self.filled()
        #expect(try Self.inspect(broker).code == 0)
        try Self.stop(broker)
        let folders = ["data", "data/shard-0", "data/shard-0/log", "data/shard-0/state"]
        let names = folders.map { TemporaryDirectory.names(in: broker.directory.file($0)) }
        let answer = try Self.inspect(broker, "--verify", "-o", "json")
        #expect(answer.code == 0, "\(answer.text)")
        #expect(folders.map { TemporaryDirectory.names(in: broker.directory.file($0)) } == names)

        let report = try answer.json()
        #expect(report["clean"] == .bool(true) && report["verified"] == .bool(true))
        #expect(report["format"]?.text?.hasPrefix("pulse data directory, layout 2") == true)
        #expect(
            report["unknown"]?.items.isEmpty == true && report["trash"]?.items.isEmpty == true
        )
        let log = try #require(report["logs"]?.items.first)
        #expect(log["segment_bytes"]?.int == 64 << 20)
        let segment = try #require(log["segments"]?.items.first)
        #expect(segment["records"]?.int == 13)
        #expect(log["first"]?.int == 0 && log["generations"]?.items.isEmpty == true)
        let state = try #require(log["state"])
        #expect(state["position"]?.int == segment["end"]?.int)
        #expect(state["checkpoint"]?.int == segment["end"]?.int)
        #expect(state["hash"]?.text?.count == 16)
        #expect(state["released"]?.int == 0)
        #expect(state["scheduled"]?.int == 1 && state["held"]?.int == 0)
        #expect(state["open_intents"]?.items.isEmpty == true)
        let groups = try #require(state["groups"]?.items)
        #expect(
            groups.map { $0["topic"]?.text }
                == ["email", "webhook", "sms", "push"].map { "notify.\($0)" }
        )
        let stream = try #require(groups.first?["streams"]?.items.first)
        #expect(stream["lane"]?.text == "normal" && stream["floor"]?.int == 13)
        let table = try Self.inspect(broker, "--verify")
        #expect(table.code == 0 && table.text.contains("notify.email/0/normal: floor 13"))
    }

    @Test("Dumps entries with what they hold, all or those of a range")
    func dumps() throws {
        let (broker, ids) = try Self.filled()
        try Self.stop(broker)
        let all = try Self.inspect(broker, "--dump", "..", "-o", "json")
        #expect(all.code == 0)
        let entries = try all.lines.map { try JSONValue(parsing: Array($0.utf8)) }
        let records = entries.flatMap { $0["records"]?.items ?? [] }
        #expect(records.count == ids.count + 1)
        #expect(records[3]["notification"]?["text"]?.text == "Nr. 3")
        #expect(records[3]["notification"]?["idempotency_key"]?.text == "k3")
        let commands = entries.flatMap { $0["commands"]?.items ?? [] }
        #expect(commands.count { $0["command"]?.text == "delivered" } == ids.count)
        #expect(commands.first?["command"]?.text == "began")

        let position = try #require(entries[4]["position"]?.int)
        let next = try #require(entries[6]["position"]?.int)
        let some = try Self.inspect(broker, "--dump", "\(position)..\(next)", "-o", "json")
        #expect(some.lines == Array(all.lines[4..<6]))
        #expect(
            try Self.inspect(broker, "--dump", "\(next)..", "-o", "json").lines
                == Array(all.lines[6...])
        )
        let table = try Self.inspect(broker, "--dump", "..\(next)")
        #expect(table.lines.first?.hasPrefix("position=4096  kind=commands") == true)
        #expect(try Self.inspect(broker, "--dump", "9..4").code == 2)
        #expect(try Self.inspect(broker, "--dump", "all").code == 2)
    }

    @Test("Needs to read and nothing more; what may not be read is not called damage")
    func permissions() throws {
        guard getuid() == 0 else { return }
        let (broker, _) = try Self.filled()
        try Self.stop(broker)
        let data = broker.directory.file("data")
        // The group may read what a broker writes; the directory above is the test's own.
        #expect(chmod(broker.directory.path, 0o755) == 0)
        func inspect(group: Int) throws -> Answer {
            let process = try ChildProcess(
                "/usr/bin/setpriv",
                ["--reuid=65534", "--regid=\(group)", "--clear-groups", try Binary.pulse()]
                    + ["inspect", data, "--verify"]
            )
            return Answer(code: try process.wait(), lines: process.lines)
        }
        let member = try inspect(group: 0)
        #expect(member.code == 0, "\(member.text)")
        let stranger = try inspect(group: 65534)
        #expect(
            stranger.code == 77 && stranger.text.contains("permission denied"),
            "\(stranger.text)"
        )
        let segment = broker.directory.file("data/shard-0/log/00000000000000000000.seg")
        #expect(chmod(segment, 0o600) == 0)
        #expect(try inspect(group: 0).code == 77)
    }

    @Test("The disk of a directory is told by its files as the server tells it")
    func disk() throws {
        let (broker, _) = try Self.filled()
        let online = try broker.json("/v1/disk")
        try Self.stop(broker)
        let data = broker.directory.file("data")
        func disk(_ flags: String...) throws -> Answer {
            let process = try ChildProcess(try Binary.pulse(), ["disk", data] + flags)
            return Answer(code: try process.wait(), lines: process.lines)
        }
        let told = try disk("-o", "json")
        #expect(told.code == 0, "\(told.text)")
        let offline = try told.json()
        for reason in ["active", "open", "retained", "waiting_for_release"] {
            #expect(offline["bytes"]?[reason] == online["bytes"]?[reason], "\(reason)")
        }
        #expect(offline["kept"]?["records"] == online["kept"]?["records"])
        #expect(offline["besides"]?["ballast"]?.int ?? 0 > 0)
        let table = try disk()
        #expect(table.code == 0 && table.lines.contains { $0.hasPrefix("bytes.active") })
        #expect(try disk("--http", "127.0.0.1:1").code == 2)
        let segment = broker.directory.file("data/shard-0/log/00000000000000000000.seg")
        Self.flip(segment, at: 4096 + 1000)
        #expect(try disk().code == 65)
    }

    @Test("A directory that a start would refuse is not called clean")
    func format() throws {
        let (broker, _) = try Self.filled()
        try Self.stop(broker)
        let format = broker.directory.file("data/FORMAT")
        for (text, reason) in [
            ("pulse data directory, layout 9, shards 1\n", "start a newer Pulse"),
            ("pulse data directory, layout 0, shards 1\n", "does not know"), ("", "is empty"),
        ] {
            try broker.directory.write("data/FORMAT", text)
            let told = try Self.inspect(broker)
            #expect(told.code == 65 && told.text.contains(reason), "\(told.text)")
        }
        unlink(format)
        #expect(try Self.inspect(broker).code == 65)
    }

    @Test("Damage is told with its place and exit code 65: the log, the state store, a lost store")
    func damage() throws {
        let (broker, _) = try Self.filled()
        try Self.stop(broker)
        let segment = broker.directory.file("data/shard-0/log/00000000000000000000.seg")
        Self.flip(segment, at: 4096 + 1000)
        let log = try Self.inspect(broker, "--verify", "-o", "json")
        #expect(log.code == 65)
        let problem = try log.json()["logs"]?.items.first?["problems"]?.items.first
        #expect(problem?["file"]?.text == "00000000000000000000.seg")
        #expect(try Self.inspect(broker, "--dump", "..").code == 65)
        Self.flip(segment, at: 4096 + 1000)
        #expect(try Self.inspect(broker, "--verify").code == 0)

        let state = broker.directory.file("data/shard-0/state")
        let names = TemporaryDirectory.names(in: state) ?? []
        let table = try #require(names.first { $0.hasSuffix(".sst") })
        Self.flip("\(state)/\(table)", at: 60)
        let store = try Self.inspect(broker, "--verify")
        #expect(
            store.code == 65 && store.text.contains("PROBLEM: the state store"),
            "\(store.text)"
        )
        for name in names { unlink("\(state)/\(name)") }
        #expect(try Self.inspect(broker, "--verify").code == 65)
        rmdir(state)
        // Without it the log tells everything again.
        let without = try Self.inspect(broker, "--verify")
        #expect(without.code == 0 && without.text.contains("there is no state store"))
    }
}
