// Commands of the log and notification envelopes as named fields, for `pulse inspect --dump`.

import PulseBroker
import PulseCore

enum CommandText {
    static func members(of command: PulseBroker.Command) -> [(String, JSON)] {
        switch command {
        case .intent(let step):
            return named("intent", step)
        case .delivered(let step, let code, let detail):
            return named("delivered", step) + ending(code, detail)
        case .held(let step, let due, let reason, let code, let detail):
            return named("held", step) + [
                ("due", .text(due.rfc3339)), ("reason", .text(reason.name)),
            ] + ending(code, detail)
        case .dead(let step, let deadOffset, let cause, let code, let detail):
            return named("dead", step) + [
                ("dead_offset", .number(deadOffset.rawValue)), ("cause", .text(cause.name)),
            ] + ending(code, detail)
        case .templatePut(let row):
            return [
                ("command", .text("template")), ("name", .text(row.name)),
                ("channel", .text(row.channel.name)), ("saved", .text(row.savedAt.rfc3339)),
                ("subject", .text(row.subject)), ("text", .text(row.text)),
                ("html", .text(row.html)),
            ]
        case .groupCreated(let group, let topic, let name, let starts):
            return [
                ("command", .text("group")), ("group", .number(Int(group.rawValue))),
                ("topic", .text(InspectReport.topic(topic))), ("name", .text(name)),
                (
                    "starts",
                    .list(
                        starts.map {
                            .object(
                                Inspect.members(of: $0.stream) + [
                                    ("offset", .number($0.offset.rawValue))
                                ]
                            )
                        }
                    )
                ),
            ]
        case .started(let wall):
            return [("command", .text("began")), ("time", .text(wall.rfc3339))]
        case .cancelled(let step):
            return named("cancelled", step)
        case .kept, .released, .expired, .forgot, .told, .clockSet, .remembered, .keysOver,
            .settled:
            return ofRetention(command)
        }
    }

    private static func ofRetention(_ command: PulseBroker.Command) -> [(String, JSON)] {
        switch command {
        case .kept(let record):
            let place = Inspect.members(of: record.stream)
            return [("command", .text("kept"))] + place + [
                ("offset", .number(record.offset.rawValue)),
                ("position", InspectReport.position(record.position)),
                ("time", .text(record.wall.rfc3339)), ("bytes", .number(record.value.count)),
            ]
        case .released(let below):
            let number = Int64(clamping: below)
            return [("command", .text("released")), ("below_segment", .number(number))]
        case .expired(let expiry):
            let group = Int(expiry.group.rawValue)
            let place = Inspect.members(of: expiry.stream)
            return [("command", .text("expired")), ("group", .number(group))] + place + [
                ("from_offset", .number(expiry.from.rawValue)),
                ("to_offset", .number(expiry.to.rawValue)),
                ("waiting", .number(expiry.waiting.count)),
            ]
        case .forgot(let rows):
            return [("command", .text("forgot")), ("rows", .number(rows.count))]
        case .remembered(let piece):
            return [
                ("command", .text("remembered")), ("to", InspectReport.position(piece.to)),
                ("keys", .number(piece.keys.count)),
            ]
        case .keysOver(let over):
            return [("command", .text("keys_over")), ("keys", .number(over.digests.count))]
        case .settled(let reckoning):
            return [
                ("command", .text("settled")), ("streams", .number(reckoning.streams.count)),
            ]
        case .told(let wall, let end):
            return [
                ("command", .text("told")), ("time", .text(wall.rfc3339)),
                ("end", .object(members(of: end))),
            ]
        case .clockSet(let milliseconds, let cause):
            let why = ["set", "start", "confirmed"][Int(cause.rawValue) - 1]
            return [
                ("command", .text("clock_set")), ("milliseconds", .number(milliseconds)),
                ("cause", .text(why)),
            ]
        default: return []
        }
    }

    private static func named(
        _ name: String,
        _ step: PulseBroker.Command.Step
    ) -> [(String, JSON)] {
        [("command", .text(name)), ("group", .number(Int(step.message.group.rawValue)))]
            + Inspect.members(of: step.message.stream) + [
                ("offset", .number(step.message.offset.rawValue)),
                ("attempt", .number(Int(step.attempt))),
                ("previous", InspectReport.position(step.previous)),
                ("from", .text(origin(step.origin))),
            ]
    }

    private static func origin(_ origin: MessageOrigin) -> String {
        switch origin {
        case .fresh: "ready"
        case .scheduled: "scheduled"
        case .held: "held"
        }
    }

    private static func ending(_ code: Int32, _ detail: String) -> [(String, JSON)] {
        [("code", .number(Int64(code))), ("detail", .text(detail))]
    }

    static func members(of envelope: Envelope) -> [(String, JSON)] {
        let texts: [(String, UnsafeRawBufferPointer?)] = [
            ("user", envelope.user), ("address", envelope.address), ("template", envelope.template),
            ("subject", envelope.subject), ("text", envelope.text), ("html", envelope.html),
            ("title", envelope.title), ("device_token", envelope.deviceToken),
            ("idempotency_key", envelope.idempotencyKey),
        ]
        var members = texts.compactMap { name, bytes in
            bytes.map { (name, JSON.text(String(decoding: $0, as: UTF8.self))) }
        }
        if let due = envelope.deliverAt { members.append(("deliver_at", .text(due.rfc3339))) }
        if let lane = envelope.requestedLane {
            members.append(("requested_lane", .text(lane.name)))
        }
        if !envelope.data.isEmpty {
            members.append(
                (
                    "data",
                    .object(
                        envelope.data.map {
                            (
                                String(decoding: $0.name, as: UTF8.self),
                                .text(String(decoding: $0.value, as: UTF8.self))
                            )
                        }
                    )
                )
            )
        }
        return members
    }
}
