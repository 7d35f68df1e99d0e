// All that a data directory tells, as lines of text that do not depend on the version of any format:
// what a golden directory must still say when a later program opens it.

import PulseBroker
import PulseCore
import PulseLog

enum GoldenFacts {
    /// Reads everything through the shard, as a server would: streams, groups, rows, every record with
    /// its story. What opening itself changes (cut-off attempts are counted) is left out.
    static func lines(of shard: Shard) throws -> [String] {
        var lines: [String] = []
        for (stream, end) in shard.state.streams {
            let start = shard.start(of: stream)
            lines.append("stream \(stream.rawValue) from \(start.rawValue) to \(end.rawValue)")
        }
        for group in shard.state.groups {
            lines.append("group \(group.id.rawValue) \(group.topic.rawValue) \(group.name)")
            for (stream, progress) in group.streams {
                lines.append(
                    "  stream \(stream.rawValue) floor \(progress.floor.rawValue)"
                        + " end \(progress.end.rawValue) open \(progress.openCount)"
                )
            }
            lines += try held(group.id, shard)
        }
        for channel in Channel.allCases {
            let ledger = shard.state.ledger(of: channel)
            lines.append(
                "ledger \(channel.name) accepted \(ledger.accepted) delivered \(ledger.delivered)"
                    + " dead \(ledger.dead) scheduled \(ledger.scheduledRows) held \(ledger.heldRows)"
                    + " attempts \(ledger.attempts) retries \(ledger.retries)"
            )
        }
        for template in shard.templates.newest {
            var bytes: [UInt8] = []
            template.row.append(to: &bytes)
            lines.append(
                "template \(template.row.name) at \(template.position.rawValue) \(hash(bytes))"
            )
        }
        for (stream, end) in shard.state.streams {
            lines +=
                stream.lane == .dead
                ? try shard.browse(stream, from: Offset(0), count: Int(end.rawValue)).map {
                    "dead \(stream.rawValue) \($0.offset.rawValue)"
                        + " is \($0.stream.rawValue) \($0.origin.rawValue)"
                }
                : try records(stream, end, shard)
        }
        return lines
    }

    private static func held(_ group: GroupID, _ shard: Shard) throws -> [String] {
        try shard.store.scan(
            from: HeldRow.prefix(group),
            below: HeldRow.prefix(GroupID(group.rawValue + 1)),
            limit: 1_000_000
        ).compactMap(HeldRow.init).map { row in
            "  held \(row.message.stream.rawValue) \(row.message.offset.rawValue)"
                + " due \(row.due.milliseconds) attempt \(row.attempt) \(row.reason.name)"
        }
    }

    private static func records(
        _ stream: StreamID,
        _ end: Offset,
        _ shard: Shard
    ) throws -> [String] {
        var lines: [String] = []
        for number in shard.start(of: stream).rawValue..<end.rawValue {
            let offset = Offset(number)
            let record = try shard.withRecord(stream, offset) { header, key, value in
                "\(header.wall.milliseconds) \(hash([UInt8](key))) \(hash([UInt8](value)))"
            }
            let story = try shard.story(at: stream, offset, withSteps: true)
            let steps =
                story?.steps.map {
                    "\(String(describing: $0.command).prefix { $0 != "(" })@\($0.at.milliseconds)"
                } ?? []
            lines.append(
                "record \(stream.rawValue) \(number) \(record) \(story.map { "\($0.state)" } ?? "none")"
                    + " \(steps.joined(separator: " "))"
            )
        }
        return lines
    }

    static func hash(_ bytes: [UInt8]) -> String { String(XXH3.hash(bytes, seed: 0), radix: 16) }
}
