// Versions of formats: what a newer program wrote is refused with file, byte, found and supported version
// and nothing changed, in every file that has a version; a newer minor number is read.

import PulseBroker
import PulseCore
import PulseIO
import PulseLog
import PulseServer
import Testing

@Suite("Format versions", .serialized)
struct FormatVersionTests {
    /// One file of a directory, changed as a newer program would have written it.
    enum Change: String, CaseIterable {
        case layout, segment, floor, checkpoint, rows
    }

    private static let now = Now(
        monotonic: MonotonicInstant(nanoseconds: 5_000_000_000),
        wall: WallTimestamp(milliseconds: 1_800_000_000_000)
    )

    private static func open(_ path: String) throws {
        let data = try DataDirectory(path: path)
        defer { data.close() }
        let shard = try Shard.open(
            directory: data.log,
            store: data.store,
            configuration: GoldenStory.configuration,
            seed: 7,
            at: now
        )
        try shard.close()
    }

    private static func patch(_ file: String, _ change: (inout [UInt8]) -> Void) throws {
        var bytes = try Files.read(file)
        change(&bytes)
        try Files.write(bytes, to: file)
    }

    /// Puts the checksum of a block of 4,096 bytes right again.
    private static func seal(_ bytes: inout [UInt8], at start: Int) {
        let crc = bytes[start..<start + 4092].withUnsafeBytes { CRC32C.of($0) }
        var little: [UInt8] = []
        little.append(littleEndian: crc)
        bytes.replaceSubrange(start + 4092..<start + 4096, with: little)
    }

    private static func write(_ key: String, _ value: [UInt8], in path: String) throws {
        let store = try RocksStateStore(path: path + "/shard-0/state")
        var batch = StateBatch()
        batch.put(Array(key.utf8), value)
        try store.write(batch)
        try store.flush()
        store.close()
    }

    private static func lastSegment(_ path: String) throws -> String {
        let names = Files.names(in: path + "/shard-0/log")
        return "\(path)/shard-0/log/\(try #require(names.last { $0.hasSuffix(".seg") }))"
    }

    /// Raises the major number in one file; answers what undoes it.
    private static func raise(_ change: Change, in path: String) throws -> () throws -> Void {
        switch change {
        case .layout:
            let file = path + "/FORMAT"
            let before = try Files.read(file)
            try Files.write(Array("pulse data directory, layout 3.0, shards 1\n".utf8), to: file)
            return { try Files.write(before, to: file) }
        case .segment:
            let file = try lastSegment(path)
            let before = try Files.read(file)
            try patch(file) {
                $0[8] = 2
                seal(&$0, at: 0)
            }
            return { try Files.write(before, to: file) }
        case .floor:
            let file = path + "/shard-0/log/floor"
            let before = try Files.read(file)
            try patch(file) {
                for start in [0, 4096] where $0[start] != 0 {
                    $0[start + 45] = 1
                    seal(&$0, at: start)
                }
            }
            return { try Files.write(before, to: file) }
        case .checkpoint:
            let store = try RocksStateStore(path: path + "/shard-0/state")
            let before = try #require(try store.get(Array("checkpoint".utf8)))
            store.close()
            try write("checkpoint", [200] + before.dropFirst(), in: path)
            return { try write("checkpoint", before, in: path) }
        case .rows:
            try write("format", [2, 0, 0, 0], in: path)
            return { try write("format", [1, 0, 0, 0], in: path) }
        }
    }

    @Test(
        "A newer major is refused with its place, and nothing is changed",
        arguments: Change.allCases
    )
    func newerMajor(_ change: Change) throws {
        let golden = try #require(GoldenDirectory.all.first)
        let copy = try golden.copy()
        let undo = try Self.raise(change, in: copy.path)
        let log = copy.path + "/shard-0/log"
        let before = try Files.names(in: log).map { try Files.read("\(log)/\($0)") }
        do {
            try Self.open(copy.path)
            Issue.record("it was opened")
        } catch {
            let text = "\(error)"
            let place =
                switch change {
                case .layout: "FORMAT at byte 29 has layout 3, this program reads up to 2"
                case .segment: ".seg at byte 8 has format 2, this program reads up to 1"
                case .floor: "has format 2, this program reads up to 1"
                case .checkpoint: "checkpoint have format 200, this program reads up to"
                case .rows: "rows have format 2, this program reads up to 1"
                }
            #expect(text.contains(place), "\(text)")
            #expect(text.contains("start a newer Pulse"), "\(text)")
        }
        if change != .checkpoint, change != .rows {
            let after = try Files.names(in: log).map { try Files.read("\(log)/\($0)") }
            #expect(after == before)
        }
        try undo()
        try Self.open(copy.path)
    }

    @Test("A newer minor of the same major is read")
    func newerMinor() throws {
        let golden = try #require(GoldenDirectory.all.first)
        let copy = try golden.copy()
        let format = "pulse data directory, layout 2.7, shards 1\nmore: to come\n"
        try Files.write(Array(format.utf8), to: copy.path + "/FORMAT")
        // The last segment: the chain of its entries begins with the header's checksum, so an empty one.
        try Self.patch(copy.path + "/shard-0/log/floor") {
            for start in [0, 4096] where $0[start] != 0 {
                $0[start + 44] = max($0[start + 44], 9)
                // Minor 1 says where the log begins.
                Self.seal(&$0, at: start)
            }
        }
        try Self.write("format", [1, 0, 9, 0], in: copy.path)
        try Self.open(copy.path)
        #expect(try Files.read(copy.path + "/FORMAT") == Array(format.utf8))
        let store = try RocksStateStore(path: copy.path + "/shard-0/state")
        #expect(try store.get(Array("format".utf8)) == [1, 0, 9, 0])
        store.close()
    }
}
