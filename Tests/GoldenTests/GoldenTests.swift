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
            let state = try #require(try store.get(Array("checkpoint".utf8)))
            store.close()
            text = "state \(state[0]) \(GoldenFacts.hash(state))\n"
        }
        let (shard, data) = try Self.open(copy.path + "/data")
        text += try GoldenFacts.lines(of: shard).joined(separator: "\n") + "\n"
        data.close()
        try Files.write(Array(text.utf8), to: path + ".expect")
    }
}
