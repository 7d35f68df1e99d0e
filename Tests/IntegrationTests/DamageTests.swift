// A log that something has written into: refused with the place, never served as if it were whole.

import Glibc
import Testing

@Suite("Damage", .serialized, .timeLimit(.minutes(2)))
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
}
