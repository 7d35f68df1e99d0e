// `pulse config`: whether a configuration is right, and what it comes to.

import PulseServer

enum Config {
    /// `pulse config check FILE`: every mistake at once, where it is.
    static func check(_ invocation: Invocation) throws(CommandFailure) -> Int32 {
        let path = invocation.arguments[0]
        let loaded = Configuration.load(
            file: (path, try ConfigurationFlags.read(path)),
            environment: Environment.all
        )
        var problems: [ConfigurationProblem] = []
        if case .failure(let found) = loaded { problems = found.problems }
        switch invocation.format {
        case .table:
            for problem in problems { Console.complain("\(problem)") }
            if problems.isEmpty { Console.print("\(path): ok") }
        case .json:
            let list = problems.map { problem in
                JSON.object([
                    ("origin", .text("\(problem.origin)")), ("message", .text(problem.message)),
                ])
            }
            Console.print(
                JSON.object([
                    ("file", .text(path)), ("ok", .boolean(problems.isEmpty)),
                    ("problems", .list(list)),
                ]).line
            )
        }
        return problems.isEmpty ? ExitCode.success : ExitCode.failed
    }

    /// `pulse config show`: every key, its value (secrets are hidden) and where it came from.
    static func show(_ invocation: Invocation) throws(CommandFailure) -> Int32 {
        switch try ConfigurationFlags.load(invocation) {
        case .failure(let problems):
            for problem in problems.problems { Console.complain("\(problem)") }
            throw CommandFailure(
                ExitCode.failed,
                "invalid_configuration",
                "the configuration is not usable"
            )
        case .success(let configuration):
            let rows = configuration.entries.map {
                [$0.key.path, $0.value ?? "-", "\($0.origin)"]
            }
            let json = configuration.entries.map { entry in
                JSON.object([
                    ("key", .text(entry.key.path)), ("value", .text(optional: entry.value)),
                    ("origin", .text("\(entry.origin)")), ("variable", .text(entry.key.variable)),
                ])
            }
            Console.show(
                Table(columns: ["KEY", "VALUE", "ORIGIN"], rows: rows),
                .list(json),
                as: invocation.format
            )
            return ExitCode.success
        }
    }
}
