// What `pulse inspect -o json` prints. Names of fields stay as they are; new ones may come.
//
// Source: spec/03-storage.md, "Inspection".

import PulseBroker
import PulseCore
import PulseLog

extension InspectReport {
    var json: JSON {
        .object([
            ("directory", .text(directory)), ("format", .text(optional: format)),
            ("clean", .boolean(isClean)), ("verified", .boolean(verified)),
            ("problems", .list(problems.map { .object([("message", .text($0))]) })),
            ("logs", .list(shards.map(Self.json))), ("unknown", .texts(unknown)),
            ("trash", .texts(trash)),
        ])
    }

    private static func json(of shard: Shard) -> JSON {
        let log = shard.log
        let damage = log.problems.map { problem in
            JSON.object([
                ("file", .text(problem.file)), ("byte", .number(problem.byte)),
                ("message", .text(problem.text)),
            ])
        }
        let others = shard.problems.map { JSON.object([("message", .text($0))]) }
        return .object([
            ("path", .text(shard.path)), ("clean", .boolean(shard.isClean)),
            ("verified", .boolean(log.verified)), ("segment_bytes", .number(log.segmentBytes)),
            ("floor", position(log.floor)), ("first", position(log.first)),
            ("spares", .number(log.spares)), ("generations", .texts(log.generations)),
            ("segments", .list(log.segments.map(json))),
            ("state", shard.state.map(json) ?? .null),
            ("notes", .texts(log.notes + shard.notes)), ("problems", .list(damage + others)),
        ])
    }

    static func position(_ position: LogPosition?) -> JSON {
        position.map { .number(Int64(clamping: $0.rawValue)) } ?? .null
    }

    private static func json(of segment: LogInspection.SegmentLine) -> JSON {
        .object([
            ("name", .text(segment.name)), ("sealed", .boolean(segment.isSealed)),
            ("indexed", .boolean(segment.hasIndex)), ("base", position(segment.base)),
            ("end", position(segment.end)), ("used_bytes", .number(segment.usedBytes)),
            ("record_batches", .number(segment.recordBatches)),
            ("records", .number(segment.records)), ("commands", .number(segment.commands)),
            ("first_time", .text(segment.firstWall.rfc3339)),
            ("latest_time", .text(segment.latestWall.rfc3339)),
        ])
    }

    private static func json(of inspection: ShardInspection) -> JSON {
        let state = inspection.state
        let rows = inspection.rows
        let streams = state.streams.map { stream, end in
            JSON.object(Inspect.members(of: stream) + [("end", .number(end.rawValue))])
        }
        let intents = state.openIntents.sorted { $0.key < $1.key }.map { key, intent in
            JSON.object(
                [("group", .number(Int(key.group.rawValue)))] + Inspect.members(of: key.stream) + [
                    ("offset", .number(key.offset.rawValue)),
                    ("attempt", .number(Int(intent.attempt))),
                    ("position", position(intent.position)),
                ]
            )
        }
        return .object([
            ("position", position(state.applied)), ("hash", .text(hash(inspection))),
            ("checkpoint", position(inspection.checkpoint)),
            ("checkpoint_version", inspection.checkpointVersion.map { .number(Int($0)) } ?? .null),
            ("applied", position(inspection.applied)),
            (
                "released",
                .number(Int64(clamping: state.book.releasedBelow) * Int64(state.book.segmentBytes))
            ), ("streams", .list(streams)),
            ("groups", .list(state.groups.map(json))), ("open_intents", .list(intents)),
            ("scheduled", .number(rows.scheduled)), ("held", .number(rows.held)),
            ("dead", .number(rows.dead)), ("template_revisions", .number(rows.templates)),
            ("other_rows", .number(rows.others)),
        ])
    }

    private static func json(of group: GroupState) -> JSON {
        let streams = group.streams.map { stream, progress in
            JSON.object(
                Inspect.members(of: stream) + [
                    ("floor", .number(progress.floor.rawValue)),
                    ("end", .number(progress.end.rawValue)), ("open", .number(progress.openCount)),
                ]
            )
        }
        return .object([
            ("id", .number(Int(group.id.rawValue))), ("topic", .text(topic(group.topic))),
            ("name", .text(group.name)), ("streams", .list(streams)),
        ])
    }
}

extension Inspect {
    /// The fields that name a stream.
    static func members(of stream: StreamID) -> [(String, JSON)] {
        [
            ("topic", .text(InspectReport.topic(stream.topic))),
            ("partition", .number(Int(stream.partition.rawValue))),
            ("lane", .text(optional: stream.lane?.name)),
        ]
    }
}
