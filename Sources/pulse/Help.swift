// Help, made from the command table.

import PulseServer

enum Help {
    static func overview() -> [String] {
        let rows = CommandTable.all.map { ["  " + $0.name, $0.summary] }
        return [
            "Pulse, a durable broker for notifications.", "",
            "usage: pulse COMMAND [arguments] [flags]", "",
        ]
            + Table(rows: rows).lines
            + [
                "",
                "Every command takes -o table|json and --help; pulse help COMMAND explains one.",
                "Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 conflict, 5 unreachable.",
            ]
    }

    static func text(of command: Command) -> [String] {
        var lines = ["pulse \(command.name): \(command.summary)", "", "usage: \(command.usage)"]
        if !command.details.isEmpty { lines += ["", command.details] }
        let rows = command.allFlags.map { ["  " + $0.usage, $0.summary] }
        lines += ["", "flags:"] + Table(rows: rows).lines
        if !command.examples.isEmpty {
            lines += ["", "examples:"] + command.examples.map { "  " + $0 }
        }
        return lines
    }

    static func json(of command: Command) -> JSON {
        .object([
            ("command", .text(command.name)), ("summary", .text(command.summary)),
            ("usage", .text(command.usage)), ("details", .text(command.details)),
            (
                "flags",
                .list(
                    command.allFlags.map { flag in
                        .object([
                            ("name", .text(flag.name)), ("short", .text(optional: flag.short)),
                            ("value", .text(optional: flag.value)),
                            ("repeats", .boolean(flag.repeats)), ("summary", .text(flag.summary)),
                        ])
                    }
                )
            ),
            ("examples", .texts(command.examples)),
        ])
    }

    /// `pulse help [COMMAND]`.
    static func perform(_ invocation: Invocation) throws(CommandFailure) -> Int32 {
        let words = invocation.arguments
        guard !words.isEmpty else {
            show(nil, as: invocation.format)
            return ExitCode.success
        }
        let matches = CommandTable.all.filter { $0.words.starts(with: words) }
        guard !matches.isEmpty else {
            let name = words.joined(separator: " ")
            throw CommandFailure(
                ExitCode.notFound,
                "not_found",
                "there is no command \"\(name)\""
                    + Suggestion.hint(for: name, among: CommandTable.all.map(\.name))
            )
        }
        switch invocation.format {
        case .json:
            let documents = matches.map(json)
            Console.print((documents.count == 1 ? documents[0] : JSON.list(documents)).line)
        case .table:
            for (index, command) in matches.enumerated() {
                if index > 0 { Console.print("") }
                show(command, as: .table)
            }
        }
        return ExitCode.success
    }

    static func show(_ command: Command?, as format: OutputFormat) {
        switch format {
        case .table:
            for line in command.map(text) ?? overview() { Console.print(line) }
        case .json:
            Console.print((command.map(json) ?? .list(CommandTable.all.map(json))).line)
        }
    }
}
