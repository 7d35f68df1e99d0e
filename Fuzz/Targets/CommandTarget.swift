// Commands of the log, and the hot state that a checkpoint saves.

import PulseBroker
import PulseCore

extension FuzzTarget {
    /// - Any bytes are refused, or are exactly what the commands that were read are written as.
    /// - What was read before the first bad command, too.
    static let command = FuzzTarget(
        name: "command",
        inputBytesMax: 2048,
        check: { bytes in
            var commands: [Command] = []
            let whole = bytes.withUnsafeBytes { Command.forEach(in: $0) { commands.append($0) } }
            var again: [UInt8] = []
            for command in commands { command.append(to: &again) }
            try require(
                again.elementsEqual(bytes.prefix(again.count)),
                "commands are written again as they were"
            )
            try require(!whole || again.count == bytes.count, "and all of them")
        },
        seeds: { SeedStory.commands.map(encoded) + [SeedStory.commands.flatMap(encoded)] }
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
        seeds: {
            try SeedStory.states().flatMap { state in
                ShardState.readableVersions.map { state.encoded(version: $0) } + [state.encoded()]
            }
        }
    )

    static func encoded(_ command: Command) -> [UInt8] {
        var bytes: [UInt8] = []
        command.append(to: &bytes)
        return bytes
    }
}
