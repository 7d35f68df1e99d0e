// Runs one command line from start to exit code.

import Glibc
import PulseClient

enum Program {
    static func run(_ words: [String]) -> Int32 {
        do throws(CommandFailure) {
            switch try CommandParser.parse(words) {
            case .help(let command):
                Help.show(command, as: .table)
                return ExitCode.success
            case .version:
                Console.print("pulse \(Version.current)")
                return ExitCode.success
            case .invocation(let invocation): return perform(invocation)
            }
        } catch {
            return report(error, as: .table)
        }
    }

    private static func perform(_ invocation: Invocation) -> Int32 {
        switch invocation.command.action {
        case .local(let action):
            do throws(CommandFailure) {
                return try action(invocation)
            } catch { return report(error, as: invocation.format) }
        case .remote(let action):
            Task.detached {
                do throws(CommandFailure) {
                    let client = try await Client.connect(invocation)
                    try await action(invocation, client)
                    exit(ExitCode.success)
                } catch { exit(report(error, as: invocation.format)) }
            }
            // The task ends the process; this thread has nothing else to do.
            while true { pause() }
        }
    }

    /// Says why a command failed, on standard error, in the format that was asked for.
    private static func report(_ failure: CommandFailure, as format: OutputFormat) -> Int32 {
        switch format {
        case .table:
            // A mistake on the command line speaks for itself; elsewhere the stable word goes first.
            let word = failure.exitCode == ExitCode.usage ? "" : failure.code + ": "
            Console.complain("pulse: " + word + Console.safe(failure.message))
        case .json:
            let error = JSON.object([
                ("code", .text(failure.code)), ("message", .text(failure.message)),
                ("exit_code", .number(Int64(failure.exitCode))),
            ])
            Console.complain(JSON.object([("error", error)]).line)
        }
        return failure.exitCode
    }
}
