// Commands of the log, and the hot state that a checkpoint saves.

import PulseBroker
import PulseCore

extension FuzzTarget {
    /// - Any bytes are refused or read.
    /// - Commands written again are read as the same commands.
    static let command = FuzzTarget(
        name: "command",
        inputBytesMax: 2048,
        check: { bytes in
            var commands: [Command] = []
            _ = bytes.withUnsafeBytes { Command.forEach(in: $0) { commands.append($0) } }
            var again: [UInt8] = []
            for command in commands { command.append(to: &again) }
            var read: [Command] = []
            let whole = again.withUnsafeBytes { Command.forEach(in: $0) { read.append($0) } }
            try require(whole && read == commands, "commands written again read the same")
        },
        seeds: { seedCommands.map(encoded) + [seedCommands.flatMap(encoded)] }
    )

    /// - Any bytes are refused, or are exactly what the state that was read is written as.
    static let state = FuzzTarget(
        name: "state",
        inputBytesMax: 2048,
        check: { bytes in
            guard let state = ShardState(encoded: bytes) else { return }
            // One of an older version is written as the newest; nothing of it gets lost on the way.
            let written = state.encoded()
            guard bytes[0] == written[0] else {
                return try require(
                    ShardState(encoded: written)?.encoded() == written,
                    "it reads back"
                )
            }
            try require(written == bytes, "a checkpoint that is read is the one written")
        },
        seeds: { [ShardState(segmentBytes: 64 << 20).encoded(), try foldedSeedState().encoded()] }
    )

    static func encoded(_ command: Command) -> [UInt8] {
        var bytes: [UInt8] = []
        command.append(to: &bytes)
        return bytes
    }

    static let seedStream = StreamID(topic: TopicID(1), partition: PartitionID(0), lane: .normal)

    /// A story with every kind of command that is about messages and groups, in a legal order.
    static var seedCommands: [Command] {
        func step(_ offset: Int64, _ attempt: UInt16, _ origin: MessageOrigin) -> Command.Step {
            Command.Step(
                message: MessageKey(group: GroupID(1), stream: seedStream, offset: Offset(offset)),
                attempt: attempt,
                previous: LogPosition(4096),
                origin: origin,
                heldDue: origin == .fresh ? 0 : 1000
            )
        }
        let start = Command.GroupStart(stream: seedStream, offset: Offset(0))
        let template = TemplateRow(
            name: "welcome",
            channel: .email,
            subject: "Hi",
            text: "Hello {{name}}",
            html: "<p>",
            savedAt: WallTimestamp(milliseconds: 1)
        )
        return [
            .groupCreated(GroupID(1), topic: TopicID(1), name: "delivery", starts: [start]),
            .started(at: WallTimestamp(milliseconds: 2)),
            .templatePut(template),
            .intent(step(0, 1, .fresh)),
            .delivered(step(0, 1, .fresh), code: 250, detail: "ok"),
            .intent(step(1, 1, .fresh)),
            .held(
                step(1, 1, .fresh),
                due: WallTimestamp(milliseconds: 1000),
                reason: .backoff,
                code: 451,
                detail: "later"
            ),
            .intent(step(1, 2, .held)),
            .dead(
                step(1, 2, .held),
                deadOffset: Offset(0),
                cause: .recipientDead,
                code: 550,
                detail: "no such user"
            ),
        ]
    }
}
