// A run's result: a table for people, one JSON object for programs, and whether to believe it.

package struct Report: Sendable {
    package enum Verdict: Hashable, Sendable {
        case measured
        case wrongAnswers(String)
        /// The generator itself was late: the numbers are its own, not the server's.
        case generatorBehind(String)

        package var exitCode: Int32 {
            switch self {
            case .measured: 0
            case .wrongAnswers: 1
            case .generatorBehind: 3
            }
        }

        var name: String {
            switch self {
            case .measured: "measured"
            case .wrongAnswers: "wrong_answers"
            case .generatorBehind: "generator_behind"
            }
        }

        var sentence: String {
            switch self {
            case .measured: "every notification was accepted, each under its own identifier"
            case .wrongAnswers(let why), .generatorBehind(let why): why
            }
        }
    }

    package var arguments: BenchArguments
    package var tally: Tally
    package var machine: Machine
    package var commandLine: [String]

    package init(
        arguments: BenchArguments,
        tally: Tally,
        machine: Machine,
        commandLine: [String]
    ) {
        self.arguments = arguments
        self.tally = tally
        self.machine = machine
        self.commandLine = commandLine
    }

    package var verdict: Verdict {
        if let first = tally.others.max(by: { ($0.value, $0.key) < ($1.value, $1.key) }) {
            return .wrongAnswers("\(first.value) answers were \"\(first.key)\"")
        }
        if tally.unanswered > 0 { return .wrongAnswers("\(tally.unanswered) had no answer") }
        if tally.accepted != tally.sent {
            return .wrongAnswers("\(tally.sent) were sent and \(tally.accepted) accepted")
        }
        if !tally.identifiersAreUnique { return .wrongAnswers("an identifier was given twice") }
        let late = Double(tally.lateness.value(at: 0.99)) / 1e6
        if late > arguments.latenessLimit {
            return .generatorBehind(
                "1 request in 100 was due \(Self.fixed(late, 3)) ms or more before the generator "
                    + "came to it (limit \(Self.fixed(arguments.latenessLimit, 3)) ms)"
            )
        }
        return .measured
    }

    private var perSecond: Double {
        tally.elapsedNanoseconds == 0
            ? 0 : Double(tally.accepted) / (Double(tally.elapsedNanoseconds) / 1e9)
    }

    private static let shares: [(String, Double)] = [
        ("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999),
    ]

    private var isOpenLoop: Bool { if case .rate = arguments.pace { true } else { false } }

    // MARK: - For people

    package var table: String {
        var lines: [String] = []
        func row(_ name: String, _ value: String) {
            lines.append(name + String(repeating: " ", count: max(1, 16 - name.count)) + value)
        }
        switch arguments.pace {
        case .rate(let rate): row("pace", "open loop, \(Self.fixed(rate, 0)) a second")
        case .maximum: row("pace", "closed loop, as many as the server takes")
        }
        let interface = arguments.isNative ? "native, \(arguments.batch) a request" : "HTTP"
        row("interface", interface)
        row("connections", "\(arguments.connections), \(arguments.depth) in flight on each")
        row("sent", "\(tally.sent)")
        row("accepted", "\(tally.accepted)")
        for (words, count) in tally.others.sorted(by: { $0.key < $1.key }) {
            row(words, "\(count)")
        }
        if tally.unanswered > 0 { row("unanswered", "\(tally.unanswered)") }
        row("per second", Self.fixed(perSecond, 1))
        for (name, share) in Self.shares {
            row("latency \(name)", milliseconds(tally.latency.value(at: share)) + " ms")
        }
        row("latency max", milliseconds(tally.latency.max) + " ms")
        if isOpenLoop {
            row("lateness p99", milliseconds(tally.lateness.value(at: 0.99)) + " ms")
            row("lateness max", milliseconds(tally.lateness.max) + " ms")
        }
        row("machine", "\(machine.processor), \(machine.cores) cores, \(machine.memoryMiB) MiB")
        row("kernel", machine.kernel)
        row("commit", arguments.commit)
        row("verdict", verdict.sentence)
        return lines.joined(separator: "\n") + "\n"
    }

    // MARK: - For programs

    package var json: String {
        func latencies(_ histogram: LatencyHistogram) -> String {
            var members = Self.shares.map { name, share in
                "\"\(name)\":\(milliseconds(histogram.value(at: share)))"
            }
            members.append("\"max\":\(milliseconds(histogram.max))")
            members.append("\"mean\":\(Self.fixed(histogram.mean / 1e6, 3))")
            return "{" + members.joined(separator: ",") + "}"
        }
        var rate = "null"
        if case .rate(let number) = arguments.pace { rate = Self.fixed(number, 3) }
        let others = tally.others.sorted { $0.key < $1.key }
            .map { "\(Self.quoted($0.key)):\($0.value)" }.joined(separator: ",")
        let members = [
            "\"verdict\":\"\(verdict.name)\"", "\"reason\":\(Self.quoted(verdict.sentence))",
            "\"loop\":\"\(isOpenLoop ? "open" : "closed")\"",
            "\"interface\":\"\(arguments.isNative ? "native" : "http")\"", "\"rate\":\(rate)",
            "\"seconds\":\(Self.fixed(arguments.seconds, 3))",
            "\"warmup\":\(Self.fixed(arguments.warmup, 3))",
            "\"connections\":\(arguments.connections)", "\"depth\":\(arguments.depth)",
            "\"batch\":\(arguments.batch)", "\"sent\":\(tally.sent)",
            "\"accepted\":\(tally.accepted)", "\"unanswered\":\(tally.unanswered)",
            "\"others\":{\(others)}", "\"unique_ids\":\(tally.identifiersAreUnique)",
            "\"per_second\":\(Self.fixed(perSecond, 1))",
            "\"latency_ms\":\(latencies(tally.latency))",
            "\"lateness_ms\":\(isOpenLoop ? latencies(tally.lateness) : "null")",
            "\"machine\":\(Self.quoted(machine.processor))", "\"cores\":\(machine.cores)",
            "\"memory_mib\":\(machine.memoryMiB)", "\"kernel\":\(Self.quoted(machine.kernel))",
            "\"commit\":\(Self.quoted(arguments.commit))",
            "\"command\":\(Self.quoted(commandLine.joined(separator: " ")))",
        ]
        return "{" + members.joined(separator: ",") + "}\n"
    }

    private func milliseconds(_ nanoseconds: UInt64) -> String {
        Self.fixed(Double(nanoseconds) / 1e6, 3)
    }

    /// A number with so many digits after the point.
    package static func fixed(_ number: Double, _ digits: Int) -> String {
        var scale = 1.0
        for _ in 0..<digits { scale *= 10 }
        let whole = UInt64((number * scale).rounded())
        guard digits > 0 else { return "\(whole)" }
        let text = String(whole)
        let padded = String(repeating: "0", count: max(0, digits + 1 - text.count)) + text
        return padded.dropLast(digits) + "." + padded.suffix(digits)
    }

    package static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case _ where scalar.value < 0x20:
                let hex = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
