// `pulse inspect DIR`: looks at a data directory and changes nothing.

import PulseBroker
import PulseCore
import PulseIO
import PulseLog

enum Inspect {
    static let flags = [
        Flag("--verify", "Check every byte, and indexes and state against the log"),
        Flag("--dump", value: "FROM..TO", "Show the entries between two positions, both optional"),
    ]

    static func perform(_ invocation: Invocation) throws(CommandFailure) -> Int32 {
        let root = invocation.arguments[0]
        if let range = invocation["--dump"] {
            return try InspectDump.perform(try logs(of: root), range, invocation.format)
        }
        let report = try report(of: root, verify: invocation.has("--verify"))
        switch invocation.format {
        case .table: for line in report.lines { Console.print(Console.safe(line)) }
        case .json: Console.print(report.json.line)
        }
        return report.isClean ? ExitCode.success : ExitCode.damaged
    }

    static func report(of root: String, verify: Bool) throws(CommandFailure) -> InspectReport {
        try InspectReport(root, try logs(of: root), verify: verify)
    }

    /// The logs of a directory that is there and has some.
    private static func logs(of root: String) throws(CommandFailure) -> [String] {
        guard Path.isDirectory(root) else {
            throw CommandFailure(ExitCode.notFound, "not_found", "\(root) is not a directory")
        }
        let logs: [String]
        do throws(StorageError) {
            logs = try Self.logs(below: root)
        } catch { throw Self.failure(error) }
        guard !logs.isEmpty else {
            throw CommandFailure(
                ExitCode.notFound,
                "not_found",
                "there is no log in \(root): no segment was found"
            )
        }
        return logs
    }

    /// The directories that hold segments: the one given, or those of its shards.
    private static func logs(below root: String, depth: Int = 0) throws(StorageError) -> [String] {
        var found: [String] = []
        for name in try Path.names(in: root) {
            if name.hasSuffix(".seg") { return [root] }
            let path = root + "/" + name
            // What a repair has set aside is damaged by definition.
            guard depth < 2, name != "trash", Path.isDirectory(path) else { continue }
            // What is not ours, lost+found say, may be closed to us.
            if Path.isReadable(path) || name.hasPrefix("shard-") || name == "log" {
                found += try logs(below: path, depth: depth + 1)
            }
        }
        return found
    }

    static func open(_ path: String) throws(CommandFailure) -> DiskDirectory {
        do throws(StorageError) {
            return try DiskDirectory(opening: path, readsOnly: true)
        } catch { throw failure(error) }
    }

    /// That we may not look says nothing of what is there.
    static func failure(_ error: StorageError) -> CommandFailure {
        guard error.reason == .notPermitted else { return .failed(error.description) }
        return CommandFailure(
            ExitCode.notPermitted,
            "not_permitted",
            "\(error): this user may not read it; its owner or its group may"
        )
    }

    static func failure(_ error: LogError, _ path: String) -> CommandFailure {
        if case .storage(let failed) = error, failed.reason == .notPermitted {
            return failure(failed)
        }
        return CommandFailure(ExitCode.damaged, "damaged", "\(path): \(error)")
    }

    /// `notify.email/0/normal`; the number of a stream that is none.
    static func name(_ stream: StreamID) -> String {
        guard let lane = stream.lane else { return String(stream.rawValue) }
        let topic = Channel(topic: stream.topic).map { "notify.\($0.name)" }
        return "\(topic ?? String(stream.topic.rawValue))/\(stream.partition.rawValue)/\(lane.name)"
    }
}
