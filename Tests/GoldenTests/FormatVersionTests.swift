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
        case layout, segment, index, generation, floor, checkpoint, rows
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
    private static func seal(_ bytes: inout [UInt8], at start: Int, seed: UInt32 = 0) {
        let crc = bytes[start..<start + 4092].withUnsafeBytes { CRC32C.of($0, seed: seed) }
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

    private static func last(_ suffix: String, in path: String) throws -> String {
        let names = Files.names(in: path + "/shard-0/log")
        return "\(path)/shard-0/log/\(try #require(names.last { $0.hasSuffix(suffix) }))"
    }

    /// With what the checksums of index files and generations begin: the log's identity.
    private static func seed(_ path: String) throws -> UInt32 {
        let segment = try Files.read(try last(".seg", in: path))
        return segment[16..<32].withUnsafeBytes { CRC32C.of($0) }
    }

    /// A directory with a generation, which no golden one has: nine segments of keys.
    private static func written() throws -> Scratch {
        let scratch = try Scratch()
        let data = try DataDirectory(path: scratch.path + "/data")
        defer { data.close() }
        let shard = try Shard.open(
            directory: data.log,
            store: data.store,
            configuration: GoldenStory.configuration,
            seed: 3,
            at: now
        )
        var number = 0
        while !Files.names(in: scratch.path + "/data/shard-0/log").contains("gen-0-7.keys") {
            number += 1
            try #require(number < 2000, "no generation is ever merged")
            var writer = EnvelopeWriter()
            writer.append(.address, "ada@example.org")
            writer.append(.text, String(repeating: "x", count: 4000))
            writer.append(.idempotencyKey, "key-\(number)")
            let envelope = writer.bytes
            let key = Array("key-\(number)".utf8)
            _ = try envelope.withUnsafeBytes { envelope in
                try key.withUnsafeBytes { key in
                    try shard.submit(
                        NewNotification(
                            channel: .email,
                            lane: .normal,
                            user: key,
                            envelope: envelope,
                            idempotencyKey: key
                        ),
                        at: now
                    )
                }
            }
            if let ticket = try shard.flush(at: now) {
                try shard.log.performSync()
                try shard.synced(ticket, at: now)
            }
            for job in shard.takeLogJobs() {
                try job.perform(in: data.log)
                try shard.jobFinished(job, failure: nil)
            }
        }
        try shard.close()
        return scratch
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
            let file = try last(".seg", in: path)
            let before = try Files.read(file)
            try patch(file) {
                $0[8] = 2
                seal(&$0, at: 0)
            }
            return { try Files.write(before, to: file) }
        case .index, .generation:
            let file = try last(change == .index ? ".idx" : ".keys", in: path)
            let before = try Files.read(file)
            let seed = try seed(path)
            try patch(file) {
                $0[8] += 1
                seal(&$0, at: 0, seed: seed)
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
        let isOwn = change == .index || change == .generation
        let copy = try isOwn ? Self.written() : golden.copy()
        let path = isOwn ? copy.path + "/data" : copy.path
        let undo = try Self.raise(change, in: path)
        let log = path + "/shard-0/log"
        let before = try Files.names(in: log).map { try Files.read("\(log)/\($0)") }
        do {
            try Self.open(path)
            Issue.record("it was opened")
        } catch {
            let text = "\(error)"
            let place =
                switch change {
                case .layout: "FORMAT at byte 29 has layout 3, this program reads up to 2"
                case .segment: ".seg at byte 8 has format 2, this program reads up to 1"
                case .index: ".idx at byte 8 has format 3, this program reads up to 2"
                case .generation:
                    "gen-0-7.keys at byte 8 has format 2, this program reads up to 1"
                case .floor: "has format 2, this program reads up to 1"
                case .checkpoint: "checkpoint have format 200, this program reads up to"
                case .rows: "rows have format 2, this program reads up to 1"
                }
            #expect(text.contains(place), "\(text)")
            #expect(text.contains("start a newer Pulse"), "\(text)")
            #expect(text.contains("or move the file away") == isOwn, "\(text)")
        }
        if change != .checkpoint, change != .rows {
            let after = try Files.names(in: log).map { try Files.read("\(log)/\($0)") }
            #expect(after == before)
        }
        try undo()
        try Self.open(path)
    }

    @Test("A newer minor of the same major is read")
    func newerMinor() throws {
        let golden = try #require(GoldenDirectory.all.first)
        let copy = try golden.copy()
        let format = "pulse data directory, layout 2.7, shards 1\nmore: to come\n"
        try Files.write(Array(format.utf8), to: copy.path + "/FORMAT")
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

    /// In files that have a header block: what is in it is used, and its mark stays.
    @Test("A newer minor of a segment, an index and a generation is read")
    func newerMinorOfFiles() throws {
        let copy = try Self.written()
        let path = copy.path + "/data"
        let seed = try Self.seed(path)
        let files = try [".seg", ".idx", ".keys"].map { try Self.last($0, in: path) }
        for file in files {
            try Self.patch(file) {
                $0[10] = 9
                guard file.hasSuffix(".seg") else { return Self.seal(&$0, at: 0, seed: seed) }
                // Entries follow the header's checksum, which is another now: minor 1 can say where they
                // begin instead. A newer one that changes the header will say so too.
                $0.replaceSubrange(84..<88, with: $0[4096 + 52..<4096 + 56])
                $0[88] = 1
                Self.seal(&$0, at: 0)
            }
        }
        let before = try files.map { try Files.read($0) }
        let data = try DataDirectory(path: path)
        let shard = try Shard.open(
            directory: data.log,
            store: data.store,
            configuration: GoldenStory.configuration,
            seed: 7,
            at: Self.now
        )
        #expect(shard.recovery.damaged.isEmpty && shard.recovery.indexesRebuilt == 0)
        for segment in shard.log.segments.dropLast() { #expect(segment.isIndexed) }
        data.close()
        for (file, bytes) in zip(files, before) {
            let now = try Files.read(file)
            #expect(now.prefix(4096) == bytes.prefix(4096), "\(file)")
        }
    }

    /// Read as what it was: one bit of a counter makes another state of it, and no decoder notices.
    @Test("A checkpoint that is not what was written is a damaged store")
    func changedCheckpoint() throws {
        let golden = try #require(GoldenDirectory.all.last { $0.name.hasSuffix("clean") })
        let copy = try golden.copy()
        // Serving it once gives it today's checkpoint.
        try Self.open(copy.path)
        let store = try RocksStateStore(path: copy.path + "/shard-0/state")
        let row = try #require(try store.get(Shard.checkpointKey))
        store.close()
        #expect(row.first == Checkpoint.version)
        #expect(Checkpoint.state(in: row) != nil)
        var unnoticed = 0
        for byte in row.indices {
            var flipped = row
            flipped[byte] ^= 1
            #expect(Checkpoint.state(in: flipped) == nil, "a bit of byte \(byte)")
            let inner = Array(flipped.dropFirst().dropLast(8))
            if byte > 0, byte < row.count - 8, ShardState(encoded: inner) != nil { unnoticed += 1 }
        }
        #expect(unnoticed > 100, "what the hash is for")
        var flipped = row
        flipped[row.count / 2] ^= 1
        try Self.write("checkpoint", flipped, in: copy.path)
        do {
            try Self.open(copy.path)
            Issue.record("it was taken for a state")
        } catch let error as ShardError {
            #expect(error.isBrokenStore && error.exitCode == 65, "\(error)")
        }
        try Self.write("checkpoint", row, in: copy.path)
        try Self.open(copy.path)
    }
}
