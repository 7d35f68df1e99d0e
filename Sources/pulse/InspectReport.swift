// What `pulse inspect` found, for people. Its JSON is in InspectReport+JSON.swift.

import PulseBroker
import PulseCore
import PulseIO
import PulseLog
import PulseServer

struct InspectReport {
    /// One log of the directory, and the state that is folded from it.
    struct Shard {
        var path: String
        var log: LogInspection
        /// Nil when the log's own headers do not say whose it is.
        var state: ShardInspection?
        /// Where its bytes are; nil without a state.
        var disk: DiskUse?
        /// Of the state, and of looking for it.
        var problems: [String] = []
        var notes: [String] = []

        var isClean: Bool { log.isClean && problems.isEmpty }
    }

    var directory: String
    /// What the file FORMAT says; nil for the directory of a log alone.
    var format: String?
    var verified: Bool
    var shards: [Shard] = []
    /// Names of the data directory that are not ours.
    var unknown: [String] = []
    /// What lies in `trash/`.
    var trash: [String] = []

    /// Of the data directory itself.
    var problems: [String] = []

    var isClean: Bool { problems.isEmpty && shards.allSatisfy(\.isClean) }

    private static let ours = ["FORMAT", "LOCK", "WRITERS", "ballast", "trash"]

    init(_ root: String, _ logs: [String], verify: Bool) throws(CommandFailure) {
        directory = root
        verified = verify
        if logs != [root] {
            let names = (try? Path.names(in: root)) ?? []
            unknown = names.filter { !Self.ours.contains($0) && !$0.hasPrefix("shard-") }
            trash = (try? Path.names(in: root + "/trash")) ?? []
            let bytes = (try? Inspect.open(root).contents(of: "FORMAT")) ?? []
            let text = String(decoding: bytes, as: UTF8.self)
            format = text.split(separator: "\n").first.map(String.init)
            do throws(DataDirectory.Refusal) {
                try DataDirectory.refuseForeign(root)
                if bytes.isEmpty, Path.isReadable(root + "/FORMAT") {
                    problems.append("FORMAT is empty; a start writes it again")
                }
            } catch { problems.append("a start refuses this: \(error)") }
        }
        for path in logs { shards.append(try Self.look(at: path, verify)) }
    }

    private static func look(at path: String, _ verify: Bool) throws(CommandFailure) -> Shard {
        let directory = try Inspect.open(path)
        var shard: Shard
        let reader: LogReader?
        do throws(LogError) {
            let log = try LogInspector.inspect(directory, verify: verify, indexer: BrokerIndexer())
            shard = Shard(path: path, log: log)
            reader = try LogReader(directory)
        } catch { throw Inspect.failure(error, path) }
        guard path.hasSuffix("/log") else { return shard }
        let home = String(path.dropLast(4))
        let names = (try? Path.names(in: home)) ?? []
        shard.notes = names.filter { !["log", "state"].contains($0) }.map {
            "\(home)/\($0) is there too"
        }
        var store: RocksReader?
        if names.contains("state") {
            let files = (try? Path.names(in: home + "/state")) ?? []
            for name in files where !Path.isReadable("\(home)/state/\(name)") {
                let file = "\(home)/state/\(name)"
                throw Inspect.failure(StorageError(.open, file: file, reason: .notPermitted))
            }
            do throws(StorageError) {
                store = try RocksReader(path: home + "/state")
            } catch { shard.problems.append("the state store cannot be opened: \(error)") }
        } else {
            shard.notes.append("there is no state store; a start makes it from the log")
        }
        guard let reader else { return shard }
        do throws(ShardError) {
            let state = try ShardInspection.look(at: reader, store, verify: verify)
            shard.state = state
            shard.problems += state.problems
            shard.notes += state.notes
            // A store that cannot be read has been told of above.
            shard.disk = try? state.diskUse(
                of: shard.log,
                store,
                key: reader.identity.key,
                indexes: DiskFiles.sizes(in: path) {
                    $0.hasSuffix(".idx") || $0.hasSuffix(".keys")
                },
                storeBytes: DiskFiles.sizes(in: home + "/state") { _ in true }
            )
        } catch { shard.problems.append("\(error)") }
        return shard
    }

    // MARK: For people

    var lines: [String] {
        var lines: [String] = []
        if let format { lines.append("\(directory): \(format)") }
        lines += problems.map { "PROBLEM: " + $0 }
        for shard in shards {
            lines.append(shard.path)
            lines += shard.log.lines.map { "  " + $0 }
            if let state = shard.state { lines += Self.lines(of: state).map { "  " + $0 } }
            lines += shard.notes.map { "  note: " + $0 }
            lines += shard.problems.map { "  PROBLEM: " + $0 }
        }
        lines += unknown.map { "note: \($0) is not a file of ours" }
        if !trash.isEmpty { lines.append("in trash: \(trash.joined(separator: ", "))") }
        return lines
    }

    private static func lines(of inspection: ShardInspection) -> [String] {
        let state = inspection.state
        let checkpoint = inspection.checkpoint.map { "at \($0.rawValue)" } ?? "none"
        let applied = inspection.applied.map { "up to \($0.rawValue)" } ?? "none"
        var lines = [
            "state: folded up to \(state.applied.rawValue), hash \(hash(inspection)); checkpoint"
                + " \(checkpoint), rows \(applied)"
        ]
        for (stream, end) in state.streams {
            lines.append("stream \(Inspect.name(stream)): end \(end.rawValue)")
        }
        for group in state.groups {
            lines.append("group \(group.name) of \(topic(group.topic))")
            for (stream, progress) in group.streams {
                lines.append(
                    "  \(Inspect.name(stream)): floor \(progress.floor.rawValue), end"
                        + " \(progress.end.rawValue), open \(progress.openCount)"
                )
            }
        }
        let rows = inspection.rows
        lines.append(
            "waiting: \(rows.scheduled) scheduled, \(rows.held) held; \(rows.dead) dead,"
                + " \(rows.templates) template revisions, \(rows.others) other rows"
        )
        for (key, intent) in state.openIntents.sorted(by: { $0.key < $1.key }) {
            lines.append(
                "open intent: group \(key.group.rawValue), \(Inspect.name(key.stream)) offset"
                    + " \(key.offset.rawValue), attempt \(intent.attempt), at \(intent.position.rawValue)"
            )
        }
        return lines
    }

    static func hash(_ inspection: ShardInspection) -> String {
        let digits = String(inspection.stateHash, radix: 16)
        return String(repeating: "0", count: 16 - digits.utf8.count) + digits
    }

    static func topic(_ topic: TopicID) -> String {
        Channel(topic: topic).map { "notify.\($0.name)" } ?? String(topic.rawValue)
    }
}
