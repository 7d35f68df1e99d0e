// `pulse inspect DIR --dump FROM..TO`: the entries of a log with what they hold, for people or as a line
// of JSON each.

import PulseBroker
import PulseCore
import PulseIO
import PulseLog

enum InspectDump {
    static func perform(
        _ logs: [String],
        _ text: String,
        _ format: OutputFormat
    ) throws(CommandFailure) -> Int32 {
        guard let range = range(text) else {
            throw .usage(
                "--dump takes two positions, 4096..8192, not \"\(text)\"; see pulse help inspect"
            )
        }
        var isWhole = true
        for path in logs {
            let directory = try Inspect.open(path)
            do throws(LogError) {
                guard let reader = try LogReader(directory) else {
                    Console.complain("\(path): no segment has a header that verifies")
                    isWhole = false
                    continue
                }
                try reader.forEach(in: range) { found in
                    if case .unreadable = found { isWhole = false }
                    let members = Self.members(of: found)
                    switch format {
                    case .json: Console.print(JSON.object(members).line)
                    case .table: for line in Self.lines(of: members) { Console.print(line) }
                    }
                    return true
                }
            } catch { throw Inspect.failure(error, path) }
        }
        return isWhole ? ExitCode.success : ExitCode.damaged
    }

    /// `4096..8192`, `4096..`, `..8192`, `..`; nil when the text is anything else.
    static func range(_ text: String) -> Range<LogPosition>? {
        guard let dots = text.firstIndex(of: "."), text[dots...].hasPrefix("..") else { return nil }
        let parts = [text[..<dots], text[dots...].dropFirst(2)]
        let from = parts[0].isEmpty ? 0 : UInt64(parts[0])
        let to = parts[1].isEmpty ? UInt64.max : UInt64(parts[1])
        guard let from, let to, from <= to else { return nil }
        return LogPosition(from)..<LogPosition(to)
    }

    // MARK: Entries

    private static func members(of found: LogReader.Found) -> [(String, JSON)] {
        switch found {
        case .unreadable(let file, let byte, let position, let reason):
            return [
                ("position", InspectReport.position(position)), ("kind", .text("unreadable")),
                ("file", .text(file)), ("byte", .number(byte)), ("message", .text(reason)),
            ]
        case .entry(let header, let body):
            let isBatch = header.kind == .recordBatch
            var members: [(String, JSON)] = [
                ("position", InspectReport.position(header.position)),
                ("kind", .text(isBatch ? "record_batch" : "commands")),
                ("time", .text(header.wall.rfc3339)), ("bytes", .number(header.bodyLength)),
                ("synced_up_to", InspectReport.position(header.syncedUpTo)),
                ("epoch", .number(Int64(header.epoch.rawValue))),
            ]
            if isBatch {
                members += Inspect.members(of: header.stream)
                members += [
                    ("base_offset", .number(header.baseOffset.rawValue)),
                    ("records", .list(records(header, body))),
                ]
                do throws(RecordBatchError) {
                    try RecordBatch.forEachRecord(in: body) { _ in }
                } catch { members.append(("message", .text("no record batch: \(error)"))) }
            } else {
                var commands: [JSON] = []
                let isWhole = PulseBroker.Command.forEach(in: body) {
                    commands.append(.object(CommandText.members(of: $0)))
                }
                members.append(("commands", .list(commands)))
                if !isWhole {
                    members.append(
                        ("message", .text("what follows is no command this program knows"))
                    )
                }
            }
            return members
        }
    }

    private static func records(_ header: EntryHeader, _ body: UnsafeRawBufferPointer) -> [JSON] {
        var records: [JSON] = []
        func add(_ record: RecordView) {
            let offset = header.baseOffset.advanced(by: record.offsetDelta)
            var members: [(String, JSON)] = [("offset", .number(offset.rawValue))]
            if let key = record.key {
                members.append(("key", .text(String(decoding: key, as: UTF8.self))))
            }
            if let value = record.value {
                members.append(("value_bytes", .number(value.count)))
                if let envelope = Envelope(value) {
                    members.append(("notification", .object(CommandText.members(of: envelope))))
                } else {
                    let digits = value.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
                    members.append(("value_hex", .text(digits)))
                }
            }
            records.append(.object(members))
        }
        do throws(RecordBatchError) {
            try RecordBatch.forEachRecord(in: body, add)
        } catch {
            // Told beside the records, of which there are none.
        }
        return records
    }

    /// An entry on one line, and each record or command on one of its own.
    private static func lines(of members: [(String, JSON)]) -> [String] {
        var words: [String] = []
        var lines: [String] = []
        for (name, value) in members {
            if case .list(let items) = value {
                for case .object(let fields) in items { lines.append("    " + text(fields)) }
            } else {
                words.append(text([(name, value)]))
            }
        }
        return [words.joined(separator: "  ")] + lines
    }

    private static func text(_ members: [(String, JSON)]) -> String {
        members.map { name, value in
            switch value {
            case .text(let text): "\(name)=\(Console.safe(text))"
            case .object(let fields): "\(name)={\(text(fields))}"
            default: "\(name)=\(value.line)"
            }
        }.joined(separator: " ")
    }
}
