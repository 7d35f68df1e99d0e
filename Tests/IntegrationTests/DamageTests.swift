// A log that something has written into: refused with the place, never served as if it were whole.

import Glibc
import Testing

@Suite("Damage", .serialized, .timeLimit(.minutes(5)))
struct DamageTests {
    private static let submission =
        #"{"to":{"email":"a@example.org"},"content":{"subject":"s","text":"t"}}"#

    /// A stopped broker with twenty notifications, and the path of its only segment.
    private static func stopped() throws -> (broker: Broker, segment: String, ids: [String]) {
        let broker = try Broker()
        var ids: [String] = []
        for _ in 0..<20 { ids.append(try broker.submit(submission)) }
        for id in ids { try broker.notification(id, reaching: "delivered") }
        broker.process.send(SIGTERM)
        #expect(try broker.process.wait() == 0)
        let directory = broker.directory.file("data/shard-0/log")
        let names = TemporaryDirectory.names(in: directory) ?? []
        // The largest file is the segment: it is reserved whole.
        let sizes = names.map { name -> (Int, String) in
            var information = stat()
            stat("\(directory)/\(name)", &information)
            return (Int(information.st_size), name)
        }
        let segment = try #require(sizes.max { $0.0 < $1.0 }?.1)
        return (broker, "\(directory)/\(segment)", ids)
    }

    private static func flip(_ path: String, at offset: Int) throws {
        let descriptor = open(path, O_RDWR)
        defer { close(descriptor) }
        var byte: UInt8 = 0
        #expect(pread(descriptor, &byte, 1, offset) == 1)
        byte ^= 0x40
        #expect(pwrite(descriptor, &byte, 1, offset) == 1)
    }

    @Test("After a bit fell in the log it is served read-only, and the place is told")
    func middle() throws {
        let (broker, segment, ids) = try Self.stopped()
        try Self.flip(segment, at: 4096 + 1500)
        try broker.start()
        let name = try #require(segment.split(separator: "/").last)
        let line = broker.process.lines.first { $0.contains("DAMAGED, read-only: \(name) at byte") }
        #expect(line != nil, "\(broker.process.output)")
        #expect(broker.process.lines.contains { $0.contains(" ERROR ") })
        let readiness = try broker.ask("GET", "/readyz")
        #expect(readiness.status == 503)
        #expect(readiness.text.contains("data_corrupt"))
        let refused = try broker.ask("POST", "/v1/notifications", Self.submission)
        #expect(refused.status >= 500)
        #expect(try refused.json()["code"]?.text == "data_corrupt")
        // What is whole can be read.
        let last = try #require(ids.last)
        #expect(try broker.json("/v1/notifications/\(last)")["id"]?.text == last)
        broker.process.send(SIGTERM)
        #expect(try broker.process.wait() == 0)
        // Put back, it is whole again: nothing was changed meanwhile.
        try Self.flip(segment, at: 4096 + 1500)
        try broker.start()
        #expect(!broker.process.output.contains("DAMAGED"))
        _ = try broker.submit(Self.submission)
        for id in ids {
            #expect(try broker.json("/v1/notifications/\(id)")["status"]?.text == "delivered")
        }
    }

    @Test("The state store is only a copy: without it the log tells everything again")
    func lostState() throws {
        let (broker, _, ids) = try Self.stopped()
        let state = broker.directory.file("data/shard-0/state")
        for name in TemporaryDirectory.names(in: state) ?? [] { unlink("\(state)/\(name)") }
        try broker.start()
        for id in ids {
            #expect(try broker.json("/v1/notifications/\(id)")["status"]?.text == "delivered")
        }
        #expect(try broker.metrics().sum("pulse_notifications_accepted_total") == 20)
        #expect(try broker.metrics().sum("pulse_notifications_finished_total") == 20)
    }

    private static func pulse(_ arguments: String...) throws -> (code: Int32, output: String) {
        let process = try ChildProcess(try Binary.pulse(), arguments)
        let code = try process.wait(atMost: 60)
        return (code, process.output)
    }

    @Test("A file whose name is no place of a segment is left alone, by a start and by a repair")
    func stray() throws {
        let (broker, segment, ids) = try Self.stopped()
        let data = broker.directory.file("data")
        let name = "00000000000000004096.seg"
        try broker.directory.write("data/shard-0/log/\(name)", "no segment")
        for arguments in [[data], [data, "--accept-loss"]] {
            let process = try ChildProcess(try Binary.pulse(), ["repair"] + arguments)
            #expect(try process.wait(atMost: 60) == 0, "\(process.output)")
        }
        try broker.start()
        #expect(!broker.process.output.contains("DAMAGED"), "\(broker.process.output)")
        for id in ids {
            #expect(try broker.json("/v1/notifications/\(id)")["status"]?.text == "delivered")
        }
        #expect(segment.hasSuffix("00000000000000000000.seg"))
    }

    @Test("A log that was there and is gone is not begun anew")
    func goneLog() throws {
        let (broker, _, _) = try Self.stopped()
        let log = broker.directory.file("data/shard-0/log")
        for name in TemporaryDirectory.names(in: log) ?? [] { unlink("\(log)/\(name)") }
        let data = broker.directory.file("data")
        let process = try ChildProcess(try Binary.pulse(), ["serve", "--dev", "--data", data])
        #expect(try process.wait(atMost: 60) == 65)
        #expect(process.output.contains("was served before"), "\(process.output)")
        #expect(TemporaryDirectory.names(in: log) == [])
    }

    @Test(
        "A bit that fell in a sealed segment is met, told, given up by a repair, and the rest goes on"
    )
    func repair() throws {
        let broker = try Broker(configuration: "storage:\n  segment_bytes: 16MiB\n")
        // Text that no compression makes smaller: the first segment fills up.
        var state: UInt64 = 1
        let letters = (0..<500_000).map { _ -> UInt8 in
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return UInt8(ascii: "A") + UInt8(state >> 40 & 0x1F) % 26
        }
        let text = String(decoding: letters, as: UTF8.self)
        let long = #"{"to":{"email":"a@example.org"},"content":{"subject":"s","text":"\#(text)"}}"#
        var ids: [String] = []
        for _ in 0..<40 { ids.append(try broker.submit(long)) }
        for id in ids { try broker.notification(id, reaching: "delivered") }
        broker.process.send(SIGTERM)
        #expect(try broker.process.wait() == 0)
        let data = broker.directory.file("data")
        let name = "00000000000000000000.seg"
        try Self.flip("\(data)/shard-0/log/\(name)", at: 3_000_000)

        // Sealed segments are trusted until they are read.
        try broker.start()
        #expect(try broker.ask("GET", "/readyz").status == 200)
        let statuses = try ids.map { try broker.ask("GET", "/v1/notifications/\($0)").status }
        let lost = try #require(statuses.firstIndex(of: 503))
        #expect(statuses.count { $0 == 200 } == 39)
        let readiness = try broker.ask("GET", "/readyz")
        #expect(readiness.status == 503, "\(readiness.text)")
        #expect(readiness.text.hasPrefix("degraded: data_corrupt: \(name) at byte"))
        #expect(try broker.ask("POST", "/v1/notifications", Self.submission).status == 503)
        #expect(try broker.metrics().sum("pulse_log_damaged_ranges") == 1)
        let refused = try Self.pulse("repair", data)
        #expect(refused.code == 1 && refused.output.contains("is used by process"))
        broker.process.send(SIGTERM)
        #expect(try broker.process.wait() == 0)

        let told = try Self.pulse("repair", data)
        #expect(told.code == 65, "\(told.output)")
        #expect(told.output.contains(name) && told.output.contains("offsets \(lost) to \(lost)"))
        #expect(TemporaryDirectory.names(in: "\(data)/trash") == nil, "nothing was changed")
        let done = try Self.pulse("repair", data, "--accept-loss")
        #expect(done.code == 0, "\(done.output)")
        #expect(TemporaryDirectory.names(in: "\(data)/trash")?.count == 1)
        let inspected = try Self.pulse("inspect", data, "--verify")
        #expect(inspected.code == 0 && inspected.output.contains("a gap"), "\(inspected.output)")
        #expect(try Self.pulse("repair", data).code == 0)

        for _ in 0..<2 {
            try broker.start()
            #expect(try broker.ask("GET", "/readyz").status == 200, "\(broker.process.output)")
            for (index, id) in ids.enumerated() {
                let answer = try broker.ask("GET", "/v1/notifications/\(id)")
                #expect(answer.status == (index == lost ? 410 : 200))
                if index == lost { #expect(try answer.json()["code"]?.text == "data_lost") }
            }
            #expect(
                try broker.json("/v1/notifications?limit=100")["notifications"]?.items.count == 39
            )
            #expect(try broker.metrics().sum("pulse_notifications_finished_total") == 40)
            broker.process.send(SIGTERM)
            #expect(try broker.process.wait() == 0)
        }
        try broker.start()
        let id = try broker.submit(Self.submission)
        try broker.notification(id, reaching: "delivered")
    }

    @Test("A segment cut below what was promised is served read-only, and told")
    func truncated() throws {
        let (broker, segment, ids) = try Self.stopped()
        #expect(truncate(segment, 4096 + 3000) == 0)
        try broker.start()
        let name = try #require(segment.split(separator: "/").last)
        #expect(
            broker.process.lines.contains { $0.contains("DAMAGED, read-only: \(name) at byte") }
        )
        #expect(try broker.ask("GET", "/readyz").text.contains("data_corrupt"))
        let first = try #require(ids.first)
        #expect(try broker.ask("GET", "/v1/notifications/\(first)").status == 200)
        let last = try #require(ids.last)
        #expect(try broker.ask("GET", "/v1/notifications/\(last)").status == 503)
        broker.process.send(SIGTERM)
        #expect(try broker.process.wait() == 0)
    }
}
