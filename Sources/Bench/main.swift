// pulse-bench: measures how fast a running Pulse accepts notifications, and whether its answers add up.

import Glibc
import PulseBench

func complain(_ sentence: String) {
    let line = Array("pulse-bench: \(sentence)\n".utf8)
    _ = write(2, line, line.count)
}

let words = Array(CommandLine.arguments.dropFirst())
if words.isEmpty || words.contains("--help") || words.contains("-h") {
    print(BenchArguments.usage, terminator: "")
    exit(words.isEmpty ? 2 : 0)
}
do {
    let arguments = try BenchArguments(parsing: words)
    let tally = try LoadLoop(arguments).run()
    let report = Report(
        arguments: arguments,
        tally: tally,
        machine: .current(),
        commandLine: ["pulse-bench"] + words
    )
    print(arguments.json ? report.json : report.table, terminator: "")
    exit(report.verdict.exitCode)
} catch let mistake as BenchArguments.Mistake {
    complain("\(mistake); see pulse-bench --help")
    exit(2)
} catch {
    complain("\(error)")
    exit(75)
}
