// Data directories of earlier releases, opened by this program: everything in them is still there.

import Glibc
import PulseBroker
import PulseCore
import PulseIO
import PulseLog
import PulseServer
import Testing

@Suite("Golden directories", .serialized)
struct GoldenTests {
    /// A day after the stories end.
    private static let later = Now(
        monotonic: MonotonicInstant(nanoseconds: 5_000_000_000),
        wall: WallTimestamp(milliseconds: 1_800_000_000_000)
    )

    private static func open(_ path: String) throws -> (Shard, DataDirectory) {
        let data = try DataDirectory(path: path)
        let shard = try Shard.open(
            directory: data.log,
            store: data.store,
            configuration: GoldenStory.configuration,
            seed: 7,
            at: later
        )
        return (shard, data)
    }

    @Test(
        "Recovers, folds to the same state, and serves every record",
        arguments: GoldenDirectory.all
    )
    func serves(_ golden: GoldenDirectory) throws {
        let copy = try golden.copy()
        let (shard, data) = try Self.open(copy.path)
        #expect(shard.recovery.damaged.isEmpty)
        shard.checkInvariants()
        let facts = try GoldenFacts.lines(of: shard)
        try shard.close()
        data.close()
        let text = String(decoding: try Files.read(golden.expectations), as: UTF8.self)
        let expected = text.split(separator: "\n").filter { !$0.hasPrefix("state ") }.map(
            String.init
        )
        #expect(expected.count > 100)
        for (line, wanted) in zip(facts, expected) where line != wanted {
            Issue.record("says \"\(line)\", expected \"\(wanted)\"")
            break
        }
        #expect(facts.count == expected.count)
    }

    private static func text(_ golden: GoldenDirectory) throws -> [String] {
        let text = String(decoding: try Files.read(golden.expectations), as: UTF8.self)
        return text.split(separator: "\n").map(String.init)
    }

    private static func look(
        _ path: String,
        verify: Bool = true
    ) throws -> (log: LogInspection, state: ShardInspection) {
        let directory = try DiskDirectory(opening: path + "/shard-0/log")
        let store = try RocksReader(path: path + "/shard-0/state")
        let reader = try #require(try LogReader(directory))
        return (
            try LogInspector.inspect(directory, verify: verify),
            try ShardInspection.look(at: reader, store, verify: verify)
        )
    }

    /// The bytes of every file of a directory, by path.
    private static func image(_ path: String) throws -> [String: UInt64] {
        var image: [String: UInt64] = [:]
        for folder in ["", "/shard-0", "/shard-0/log", "/shard-0/state"] {
            for name in Files.names(in: path + folder)
            where !["shard-0", "log", "state"].contains(name) {
                image["\(folder)/\(name)"] = XXH3.hash(
                    try Files.read("\(path)\(folder)/\(name)"),
                    seed: 0
                )
            }
        }
        return image
    }

    @Test(
        "Inspection finds the state that was recorded, and changes nothing",
        arguments: GoldenDirectory.all
    )
    func inspects(_ golden: GoldenDirectory) throws {
        let copy = try golden.copy()
        let before = try Self.image(copy.path)
        let (log, state) = try Self.look(copy.path)
        #expect(try Self.image(copy.path) == before)
        #expect(state.problems == [])
        let isTorn = golden.name.hasSuffix("killed")
        #expect(log.problems.count == (isTorn ? 1 : 0), "\(log.problems)")
        #expect(log.problems.allSatisfy { $0.text.contains("torn tail") })
        let version = state.state.encoded()[0]
        let hash = String(state.stateHash, radix: 16)
        let lines = try Self.text(golden)
        // What an older version says is compared by what it means, not by its bytes.
        if lines.contains(where: { $0.hasPrefix("state \(version) ") }) {
            #expect(lines.contains("state \(version) \(hash)"), "state \(version) \(hash)")
        }
        // What opening it arrives at is the same, but for the entry that says so.
        #expect(state.rows.held + state.rows.scheduled == lines.count { $0.hasPrefix("  held ") })
        #expect(state.rows.dead == lines.count { $0.hasPrefix("dead ") })
    }

    @Test("A flipped bit in any file is found", arguments: GoldenDirectory.all.prefix(1))
    func finds(_ golden: GoldenDirectory) throws {
        let copy = try golden.copy()
        // Brought up to date first: an index of an older format is not read, but made again.
        let (shard, data) = try Self.open(copy.path)
        for job in shard.takeLogJobs() {
            try job.perform(in: data.log)
            try shard.jobFinished(job, failure: nil)
        }
        try shard.close()
        data.close()
        let log = copy.path + "/shard-0/log"
        let state = copy.path + "/shard-0/state"
        var places: [(file: String, byte: Int)] = []
        for name in Files.names(in: log) where !name.hasPrefix("spare") {
            let size = try Files.read("\(log)/\(name)").count
            // The last segment is not full: what is behind its end belongs to nobody.
            let used = name == "00000000000000327680.seg" ? 30_000 : size
            places += [20, 4500, used - 60].filter { $0 < used }.map { ("\(log)/\(name)", $0) }
        }
        for name in Files.names(in: state) where name.hasSuffix(".sst") {
            places += [100, 3000].map { ("\(state)/\(name)", $0) }
        }
        #expect(places.count > 30)
        for place in places {
            var bytes = try Files.read(place.file)
            guard place.byte < bytes.count else { continue }
            bytes[place.byte] ^= 0x20
            try Files.write(bytes, to: place.file)
            var isFound = false
            do {
                let found = try Self.look(copy.path)
                isFound = !found.log.problems.isEmpty || !found.state.problems.isEmpty
            } catch { isFound = true }
            #expect(isFound, "\(place)")
            bytes[place.byte] ^= 0x20
            try Files.write(bytes, to: place.file)
        }
        let healed = try Self.look(copy.path)
        #expect(healed.log.isClean && healed.state.problems.isEmpty)
    }

    // MARK: - Making them (Scripts/golden.sh)

    private static let writesTo = getenv("PULSE_GOLDEN_WRITE").map { String(cString: $0) }
    private static let records = getenv("PULSE_GOLDEN_RECORD").map { String(cString: $0) }

    @Test("Writes golden directories", .enabled(if: writesTo != nil))
    func write() throws {
        let root = try #require(Self.writesTo)
        for ending in [GoldenEnding.clean, .killed] {
            let path = "\(root)/\(ending.rawValue)"
            let story = try GoldenStory(ending, at: path)
            let state = try story.tell()
            var image = path
            if ending == .killed {
                // What a power cut leaves: all that was synced, and half of the last turn.
                let torn = story.torn
                image = path + "-image"
                try Files.run(["cp", "-r", path, image])
                let name = try #require(torn.file.split(separator: "/").last)
                let file = "\(image)/shard-0/log/\(name)"
                var bytes = try Files.read(file)
                for at in torn.byte + 200..<bytes.count - 4096 { bytes[at] = 0 }
                try Files.write(bytes, to: file)
            }
            try Files.write(
                Array("state \(state[0]) \(GoldenFacts.hash(state))\n".utf8),
                to: image + ".expect"
            )
        }
    }

    @Test("Adds the hash of a new hot state", .enabled(if: getenv("PULSE_GOLDEN_REHASH") != nil))
    func rehash() throws {
        for golden in GoldenDirectory.all {
            let copy = try golden.copy()
            let state = try Self.look(copy.path).state
            let line = "state \(state.state.encoded()[0]) \(String(state.stateHash, radix: 16))"
            var lines = try Self.text(golden)
            if !lines.contains(line) { lines.insert(line, at: 0) }
            let text = lines.joined(separator: "\n") + "\n"
            try Files.write(Array(text.utf8), to: golden.expectations)
        }
    }

    @Test("Notes what a golden directory says", .enabled(if: records != nil))
    func record() throws {
        let path = try #require(Self.records)
        let copy = try Scratch()
        try Files.run(["cp", "-r", path, copy.path + "/data"])
        var text =
            (try? Files.read(path + ".expect")).map { String(decoding: $0, as: UTF8.self) } ?? ""
        if text.isEmpty {
            // Stopped cleanly by a real server: the checkpoint is the whole state.
            let store = try RocksStateStore(path: copy.path + "/data/shard-0/state")
            let row = try #require(try store.get(Array("checkpoint".utf8)))
            store.close()
            let state = try #require(Checkpoint.encoded(in: row))
            text = "state \(state[0]) \(GoldenFacts.hash(state))\n"
        }
        let (shard, data) = try Self.open(copy.path + "/data")
        text += try GoldenFacts.lines(of: shard).joined(separator: "\n") + "\n"
        data.close()
        try Files.write(Array(text.utf8), to: path + ".expect")
    }
}
