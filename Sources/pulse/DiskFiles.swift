// `pulse disk DIR`: where the bytes of a data directory are, told by its files. Beside a running server
// too; what only its memory knows, the policy above all, is for the server to tell.

import Glibc
import PulseBroker
import PulseCore
import PulseGateway
import PulseIO

enum DiskFiles {
    static func perform(_ root: String, _ format: OutputFormat) throws(CommandFailure) -> Int32 {
        let report = try Inspect.report(of: root, verify: false)
        guard let shard = report.shards.first, let state = shard.state, let use = shard.disk else {
            throw CommandFailure(
                ExitCode.damaged,
                "damaged",
                "what \(root) holds does not tell its state; see pulse inspect \(root)"
            )
        }
        let document = json(root, state, use)
        switch format {
        case .json: Console.print(document.line)
        case .table:
            Disk.printTable(JSONRows.of(document.line) ?? [])
        }
        guard report.isClean else {
            Console.complain("not everything verifies; see pulse inspect \(root)")
            return ExitCode.damaged
        }
        return ExitCode.success
    }

    private static func json(_ root: String, _ state: ShardInspection, _ use: DiskUse) -> JSON {
        let book = state.state.book
        let bytes = DiskUse.Reason.allCases.map { ($0.rawValue, JSON.number(use[$0])) }
        let expired = state.state.groups.reduce(UInt64(0)) { $0 + $1.expired }
        return .object([
            ("bytes", .object(bytes + [("total", .number(use.total))])),
            (
                "kept",
                .object([
                    ("records", .number(Int64(clamping: book.keptRecords))),
                    ("bytes", .number(Int64(clamping: book.keptBytes))),
                    ("evacuated", .number(Int64(clamping: book.evacuated))),
                    ("expired", .number(Int64(clamping: expired))),
                ])
            ),
            ("pin", use.pin.map(json) ?? .null),
            (
                "besides",
                .object([
                    ("ballast", .number(size(of: root + "/ballast"))),
                    ("trash", .number(sizes(in: root + "/trash") { _ in true })),
                ])
            ),
        ])
    }

    private static func json(_ pin: DiskPin) -> JSON {
        .object([
            ("segment", .number(Int64(clamping: pin.segment))), ("since", .text(pin.since.rfc3339)),
            ("group", .text(pin.group)),
            ("topic", .text(Channel(topic: pin.topic)?.name ?? "")), ("id", .text("\(pin.id)")),
            ("state", .text(pin.isWaiting ? "waiting" : "ready")),
        ])
    }

    private static func size(of path: String) -> Int {
        var status = stat()
        return stat(path, &status) == 0 ? Int(status.st_size) : 0
    }

    /// Bytes of the files in a directory whose names are wanted; 0 when it is not there.
    static func sizes(in path: String, _ isWanted: (String) -> Bool) -> Int {
        let names = (try? Path.names(in: path, filesOnly: true)) ?? []
        return names.filter(isWanted).reduce(0) { $0 + size(of: "\(path)/\($1)") }
    }
}
