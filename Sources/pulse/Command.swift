// What a command is: words, arguments, flags, help and the code that performs it. Parsing and help both
// read the same description, so neither can know something that the other does not.

import PulseClient

/// A named option.
struct Flag: Sendable {
    /// With its dashes: `--data`.
    var name: String
    /// One dash and one letter: `-n`.
    var short: String?
    /// What its value stands for in help; nil for a switch.
    var value: String?
    /// Whether it may be given more than once; otherwise a second one is a mistake.
    var repeats = false
    var summary: String

    init(
        _ name: String,
        short: String? = nil,
        value: String? = nil,
        repeats: Bool = false,
        _ summary: String
    ) {
        self.name = name
        self.short = short
        self.value = value
        self.repeats = repeats
        self.summary = summary
    }

    /// How help shows it: `-n, --count N`.
    var usage: String {
        let names = short.map { "\($0), \(name)" } ?? name
        return value.map { "\(names) \($0)" } ?? names
    }
}

/// A positional argument.
struct Argument: Sendable {
    var name: String
    var isRequired = true

    /// How help shows it: `ID`, `[VERB]`.
    var usage: String { isRequired ? name : "[\(name)]" }
}

/// One thing the program can do.
struct Command: Sendable {
    /// `["template", "put"]`.
    var words: [String]
    var arguments: [Argument] = []
    /// Whether the last argument may be given many times.
    var lastRepeats = false
    var flags: [Flag] = []
    /// One line, no full stop.
    var summary: String
    /// What help says below the usage line; may be empty.
    var details = ""
    var examples: [String] = []
    var action: Action

    enum Action: Sendable {
        /// Runs on the main thread and returns the process's exit code.
        case local(@Sendable (Invocation) throws(CommandFailure) -> Int32)
        /// Is given a connection to the server that `--server` or `PULSE_SERVER` names.
        case remote(@Sendable (Invocation, PulseClient) async throws(CommandFailure) -> Void)
    }

    var name: String { words.joined(separator: " ") }

    /// The flags of this command and those that every command of its kind has.
    var allFlags: [Flag] {
        let server: [Flag] =
            switch action {
            case .remote: [Flag.server]
            case .local: []
            }
        return flags + server + [Flag.output, Flag.help]
    }

    var usage: String {
        var parts = ["pulse", name]
        parts += arguments.map(\.usage)
        if lastRepeats { parts[parts.count - 1] += "..." }
        if !flags.isEmpty { parts.append("[flags]") }
        return parts.joined(separator: " ")
    }
}

extension Flag {
    static let output = Flag(
        "--output",
        short: "-o",
        value: "table|json",
        "How to print the result"
    )
    static let help = Flag("--help", short: "-h", "Show help for this command")
    static let server = Flag(
        "--server",
        value: "HOST:PORT",
        "The server's native address (or PULSE_SERVER; default \(Client.standardServer))"
    )
}

/// One call of a command, parsed.
struct Invocation: Sendable {
    var command: Command
    var arguments: [String]
    /// By the flag's name with dashes; a switch has one empty value.
    var values: [String: [String]]
    var format: OutputFormat

    /// The last value given for a flag.
    subscript(flag: String) -> String? { values[flag]?.last }

    func has(_ flag: String) -> Bool { values[flag] != nil }
    func all(_ flag: String) -> [String] { values[flag] ?? [] }
}

/// How a command ends, in the process's exit code.
enum ExitCode {
    static let success: Int32 = 0
    static let failed: Int32 = 1
    static let usage: Int32 = 2
    static let notFound: Int32 = 3
    static let conflict: Int32 = 4
    static let unreachable: Int32 = 5
    /// What is on the disk may not be read by this user; sysexits.h calls it EX_NOPERM.
    static let notPermitted: Int32 = 77
    /// Data on the disk does not verify; sysexits.h calls it EX_DATAERR.
    static let damaged: Int32 = 65
}

/// Why a command did not do what it was asked.
struct CommandFailure: Error, Sendable {
    var exitCode: Int32
    /// A stable word, the same as in every other interface.
    var code: String
    var message: String

    init(_ exitCode: Int32, _ code: String, _ message: String) {
        self.exitCode = exitCode
        self.code = code
        self.message = message
    }

    /// The command line is wrong.
    static func usage(_ message: String) -> CommandFailure {
        CommandFailure(ExitCode.usage, "usage", message)
    }

    /// Something of this machine failed.
    static func failed(_ message: String) -> CommandFailure {
        CommandFailure(ExitCode.failed, "failed", message)
    }
}
