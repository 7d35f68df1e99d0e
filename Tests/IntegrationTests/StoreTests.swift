// The state store, damaged in every way that a file can be: made again from the log and equal to what it
// was, or refused. The log loses no file by it.

import Glibc
import Testing

@Suite("State store", .serialized, .timeLimit(.minutes(3)))
struct StoreTests {
    private static let submission =
        #"{"to":{"email":"a@example.org"},"content":{"subject":"s","text":"t"}}"#
    private static let later =
        #"{"to":{"email":"a@example.org"},"content":{"subject":"s","text":"t"},"#
        + #""deliver_at":"2099-01-01T00:00:00Z"}"#

    /// A stopped broker with thirty delivered and thirty scheduled notifications.
    private static func stopped() throws -> (broker: Broker, ids: [String], saved: String) {
        let broker = try Broker()
        var ids: [String] = []
        for _ in 0..<30 { ids.append(try broker.submit(submission)) }
        for id in ids { try broker.notification(id, reaching: "delivered") }
        for _ in 0..<30 { ids.append(try broker.submit(later)) }
        broker.process.send(SIGTERM)
        #expect(try broker.process.wait() == 0)
        return (broker, ids, try #require(state("state saved", in: broker)))
    }

    /// `position=… hash=…` of a line of the operator's log.
    private static func state(_ message: String, in broker: Broker) -> String? {
        guard let line = broker.process.lines.first(where: { $0.contains(" \(message) ") }) else {
            return nil
        }
        let fields = line.split(separator: " ").filter {
            $0.hasPrefix("position=") || $0.hasPrefix("hash=")
        }
        return fields.joined(separator: " ")
    }

    private static func stateFolder(_ broker: Broker) -> String {
        broker.directory.file("data/shard-0/state")
    }

    private static func logFiles(_ broker: Broker) -> [String] {
        (TemporaryDirectory.names(in: broker.directory.file("data/shard-0/log")) ?? [])
            .filter { $0.hasSuffix(".seg") || $0.hasSuffix(".idx") }.sorted()
    }

    private static func size(_ path: String) -> Int {
        var information = stat()
        return stat(path, &information) == 0 ? Int(information.st_size) : 0
    }

    private static func flip(_ path: String, at offset: Int) {
        let descriptor = open(path, O_RDWR)
        defer { close(descriptor) }
        var byte: UInt8 = 0
        pread(descriptor, &byte, 1, offset)
        byte ^= 0x55
        pwrite(descriptor, &byte, 1, offset)
    }

    enum Harm: String, CaseIterable { case flipped, cut, removed }

    private static func harm(_ path: String, _ harm: Harm) {
        let bytes = size(path)
        switch harm {
        case .flipped: flip(path, at: bytes / 2)
        case .cut: truncate(path, bytes / 2)
        case .removed: unlink(path)
        }
    }

    @Test(
        "Whatever happens to a file of the store, the state is what it was",
        arguments: Harm.allCases
    )
    func everyFile(how: Harm) throws {
        var (broker, ids, saved) = try Self.stopped()
        let names = (TemporaryDirectory.names(in: Self.stateFolder(broker)) ?? []).filter {
            $0 != "LOCK" && !$0.hasPrefix("LOG")
                && Self.size("\(Self.stateFolder(broker))/\($0)") > 0
        }
        #expect(names.contains { $0.hasSuffix(".sst") } && names.contains("CURRENT"))
        let log = Self.logFiles(broker)
        for kind in ["CURRENT", "MANIFEST", ".sst", "OPTIONS", "IDENTITY"] {
            let inFolder = TemporaryDirectory.names(in: Self.stateFolder(broker)) ?? []
            guard let name = inFolder.sorted().last(where: { $0.contains(kind) }) else { continue }
            Self.harm("\(Self.stateFolder(broker))/\(name)", how)
            try broker.start()
            let restored =
                Self.state("state restored", in: broker)
                ?? Self.state("state made from the log", in: broker)
            let words: Comment = "\(how.rawValue) \(name): \(broker.process.output)"
            #expect(restored == saved, words)
            for id in [ids[0], ids[29], ids[30], ids[59]] {
                let expected = id == ids[0] || id == ids[29] ? "delivered" : "scheduled"
                #expect(
                    try broker.json("/v1/notifications/\(id)")["status"]?.text == expected,
                    words
                )
            }
            #expect(try broker.metrics().sum("pulse_notifications_accepted_total") == 60, words)
            #expect(log.allSatisfy(Self.logFiles(broker).contains), words)
            broker.process.send(SIGTERM)
            #expect(try broker.process.wait() == 0, words)
            saved = try #require(Self.state("state saved", in: broker))
        }
    }

    @Test("A damaged store is kept in trash/, and the one made again has the same hash")
    func trash() throws {
        let (broker, _, saved) = try Self.stopped()
        unlink(Self.stateFolder(broker) + "/CURRENT")
        try broker.start()
        #expect(Self.state("state made from the log", in: broker) == saved)
        #expect(broker.process.output.contains("the state store is damaged"))
        let trash = TemporaryDirectory.names(in: broker.directory.file("data/trash")) ?? []
        #expect(trash.count == 1 && trash.allSatisfy { $0.hasSuffix("-state") })
        broker.process.send(SIGTERM)
        #expect(try broker.process.wait() == 0)
        try broker.start()
        #expect(!broker.process.output.contains("damaged"), "the new one is whole")
    }

    @Test("Without the beginning of the log a damaged store is refused with the reason")
    func refused() throws {
        let (broker, _, _) = try Self.stopped()
        let log = broker.directory.file("data/shard-0/log")
        for name in TemporaryDirectory.names(in: log) ?? [] where name.hasPrefix("0000") {
            rename("\(log)/\(name)", "\(log)/00000000000067108864.seg")
        }
        unlink(Self.stateFolder(broker) + "/CURRENT")
        let process = try ChildProcess(
            try Binary.pulse(),
            Broker.arguments(.development, data: broker.directory.file("data"))
        )
        #expect(try process.wait() == 65)
        #expect(process.output.contains("CURRENT is missing"), "\(process.output)")
        #expect(process.output.contains("put a copy in its place"))
        #expect(
            !(TemporaryDirectory.names(in: Self.stateFolder(broker)) ?? []).isEmpty,
            "left as it is"
        )
    }

    @Test("A first start that was cut off while it made the store is begun again")
    func firstStart() throws {
        let directory = try TemporaryDirectory()
        let first = try Broker(in: directory)
        first.crash()
        let log = directory.file("data/shard-0/log")
        for name in TemporaryDirectory.names(in: log) ?? [] { unlink("\(log)/\(name)") }
        unlink(directory.file("data/shard-0/state/CURRENT"))
        // Written only once a start has succeeded.
        unlink(directory.file("data/WRITERS"))
        let again = try Broker(in: directory)
        _ = try again.submit(Self.submission)
    }

    @Test("A store removed while it runs is no reason to fail the stop, and is made again")
    func removedWhileRunning() throws {
        let broker = try Broker()
        let id = try broker.submit(Self.submission)
        try broker.notification(id, reaching: "delivered")
        for name in TemporaryDirectory.names(in: Self.stateFolder(broker)) ?? [] {
            unlink("\(Self.stateFolder(broker))/\(name)")
        }
        rmdir(Self.stateFolder(broker))
        broker.process.send(SIGTERM)
        #expect(try broker.process.wait() == 0, "\(broker.process.output)")
        #expect(broker.process.output.contains("the state was not saved"))
        try broker.start()
        #expect(try broker.json("/v1/notifications/\(id)")["status"]?.text == "delivered")
    }

    @Test("Damage left by the process before is not forgotten")
    func marked() throws {
        let (broker, _, saved) = try Self.stopped()
        let mark = Self.leaveMark(in: broker)
        try broker.start()
        #expect(broker.process.output.contains("block checksum mismatch"))
        #expect(Self.state("state made from the log", in: broker) == saved)
        #expect(access(mark, F_OK) != 0)
    }

    /// What a process leaves that met damage in the store.
    private static func leaveMark(in broker: Broker) -> String {
        let mark = stateFolder(broker) + "/DAMAGED"
        let file = open(mark, O_WRONLY | O_CREAT, 0o600)
        _ = "Corruption: block checksum mismatch\n".withCString { write(file, $0, strlen($0)) }
        close(file)
        return mark
    }

    @Test("Where the log cannot make the store again, a copy in its place is served")
    func markedAndRestored() throws {
        let (broker, ids, _) = try Self.stopped()
        let folder = Self.stateFolder(broker)
        let copy = try ChildProcess("/bin/cp", ["-a", folder, folder + "-copy"])
        #expect(try copy.wait() == 0)
        _ = Self.leaveMark(in: broker)
        // A log whose first segment is not there cannot make a store.
        let log = broker.directory.file("data/shard-0/log")
        let names = TemporaryDirectory.names(in: log) ?? []
        let first = try #require(names.filter { $0.hasSuffix(".seg") }.min())
        let later = "00000000000067108864.seg"
        rename("\(log)/\(first)", "\(log)/\(later)")
        let process = try ChildProcess(
            try Binary.pulse(),
            Broker.arguments(.development, data: broker.directory.file("data"))
        )
        #expect(try process.wait() == 65)
        #expect(process.output.contains("block checksum mismatch"), "\(process.output)")
        rename("\(log)/\(later)", "\(log)/\(first)")
        rename(folder, folder + "-damaged")
        rename(folder + "-copy", folder)
        try broker.start()
        #expect(!broker.process.output.contains("damaged"), "\(broker.process.output)")
        #expect(try broker.json("/v1/notifications/\(ids[0])")["status"]?.text == "delivered")
    }
}
