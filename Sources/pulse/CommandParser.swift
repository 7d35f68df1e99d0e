// From the words of a command line to a command and what it was given.

import PulseServer

enum CommandParser {
    enum Outcome: Sendable {
        case invocation(Invocation)
        /// Somebody asked for help: on a command, or on all of them.
        case help(Command?)
        case version
    }

    static func parse(_ words: [String]) throws(CommandFailure) -> Outcome {
        guard let first = words.first else { return .help(nil) }
        if first == "--help" || first == "-h" { return .help(nil) }
        if first == "--version" { return .version }
        let command = try command(named: words)
        return try parse(Array(words.dropFirst(command.words.count)), for: command)
    }

    /// The command that the first words name; the longest name wins.
    private static func command(named words: [String]) throws(CommandFailure) -> Command {
        let candidates = CommandTable.all.filter { words.starts(with: $0.words) }
        if let command = candidates.max(by: { $0.words.count < $1.words.count }) { return command }
        let group = CommandTable.all.filter { $0.words.count > 1 && $0.words[0] == words[0] }
        guard group.isEmpty else {
            let names = group.map { $0.words[1] }
            guard words.count > 1, !words[1].hasPrefix("-") else {
                throw .usage("pulse \(words[0]) needs one of: \(names.joined(separator: ", "))")
            }
            throw .usage(
                "pulse \(words[0]) has no verb \"\(words[1])\""
                    + Suggestion.hint(for: words[1], among: names)
                    + "; it has: \(names.joined(separator: ", "))"
            )
        }
        throw .usage(
            "there is no command \"\(words[0])\""
                + Suggestion.hint(for: words[0], among: CommandTable.firstWords)
                + "; see pulse help"
        )
    }

    private static func parse(
        _ words: [String],
        for command: Command
    ) throws(CommandFailure) -> Outcome {
        var invocation = Invocation(command: command, arguments: [], values: [:], format: .table)
        var rest = words[...]
        while let word = rest.popFirst() {
            if word == "--" {
                invocation.arguments += rest
                break
            }
            guard word.hasPrefix("-"), word != "-" else {
                invocation.arguments.append(word)
                continue
            }
            let (name, attached) = split(word)
            guard let flag = command.allFlags.first(where: { $0.name == name || $0.short == name })
            else {
                throw .usage(
                    "pulse \(command.name) has no flag \(name)"
                        + Suggestion.hint(for: name, among: command.allFlags.map(\.name))
                )
            }
            if flag.name == Flag.help.name { return .help(command) }
            let value = try value(of: flag, named: name, attached, from: &rest)
            if invocation.has(flag.name), !flag.repeats {
                throw .usage("\(flag.name) is given twice")
            }
            invocation.values[flag.name, default: []].append(value)
        }
        try check(invocation)
        if let word = invocation[Flag.output.name] {
            guard let format = OutputFormat(rawValue: word) else {
                throw .usage("--output is table or json, not \"\(word)\"")
            }
            invocation.format = format
        }
        return .invocation(invocation)
    }

    /// `--flag=value` and `-n10` carry their value with them.
    private static func split(_ word: String) -> (name: String, attached: String?) {
        if word.hasPrefix("--") {
            guard let equals = word.firstIndex(of: "=") else { return (word, nil) }
            return (String(word[..<equals]), String(word[word.index(after: equals)...]))
        }
        guard word.count > 2 else { return (word, nil) }
        return (String(word.prefix(2)), String(word.dropFirst(2)))
    }

    private static func value(
        of flag: Flag,
        named name: String,
        _ attached: String?,
        from rest: inout ArraySlice<String>
    ) throws(CommandFailure) -> String {
        guard let placeholder = flag.value else {
            if let attached { throw .usage("\(name) takes no value, but has \"\(attached)\"") }
            return ""
        }
        if let attached { return attached }
        guard let next = rest.popFirst() else {
            throw .usage("\(name) needs a value: \(placeholder)")
        }
        return next
    }

    private static func check(_ invocation: Invocation) throws(CommandFailure) {
        let command = invocation.command
        let given = invocation.arguments.count
        let required = command.arguments.filter(\.isRequired).count
        if given < required {
            throw .usage("\(command.arguments[given].name) is missing; usage: \(command.usage)")
        }
        if given > command.arguments.count, !command.lastRepeats {
            let extra = invocation.arguments[command.arguments.count]
            throw .usage("\"\(extra)\" is one argument too many; usage: \(command.usage)")
        }
    }
}
