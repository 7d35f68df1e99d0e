// What pulse-bench makes of its command line and of what it saw.

import PulseBench
import PulseCore
import Testing

@Suite("Report of pulse-bench")
struct ReportTests {
    private static func report(_ change: (inout Tally) -> Void) -> Report {
        var tally = Tally()
        tally.sent = 2
        tally.identifiers = [NotificationID(high: 1, low: 1), NotificationID(high: 1, low: 2)]
        tally.elapsedNanoseconds = 1_000_000_000
        tally.latency.record(1_500_000)
        tally.lateness.record(1000)
        change(&tally)
        return Report(
            arguments: BenchArguments(),
            tally: tally,
            machine: Machine(processor: "a \"fast\" one", cores: 2, memoryMiB: 1, kernel: "6"),
            commandLine: ["pulse-bench", "accept"]
        )
    }

    @Test("A run is believed when all was accepted, once, and the generator kept its times")
    func verdicts() {
        #expect(Self.report { _ in }.verdict == .measured)
        let refused = Self.report { $0.others["503"] = 1 }
        #expect(refused.verdict.exitCode == 1)
        let missing = Self.report { $0.unanswered = 1 }
        #expect(missing.verdict.exitCode == 1)
        let twice = Self.report { $0.identifiers[1] = $0.identifiers[0] }
        #expect(twice.verdict == .wrongAnswers("an identifier was given twice"))
        let late = Self.report { for _ in 0..<100 { $0.lateness.record(9_000_000) } }
        #expect(late.verdict.exitCode == 3)
    }

    @Test("Numbers and texts are written as JSON wants them")
    func writing() {
        #expect(Report.fixed(0, 3) == "0.000")
        #expect(Report.fixed(0.0015, 3) == "0.002")
        #expect(Report.fixed(1234.5, 1) == "1234.5")
        #expect(Report.fixed(167, 0) == "167")
        #expect(Report.quoted("a \"b\"\n\\") == #""a \"b\"\u000a\\""#)
        let json = Self.report { _ in }.json
        #expect(json.contains(#""machine":"a \"fast\" one""#))
        #expect(json.contains(#""latency_ms":{"p50":1.500,"#))
        #expect(json.hasSuffix("}\n"))
    }

    @Test("A command line is read whole or refused")
    func arguments() throws {
        let run = try BenchArguments(
            parsing: ["accept", "--url", "http://localhost:81", "--rate", "167", "--json"])
        #expect((run.host, run.port) == ("localhost", 81))
        #expect(run.pace == .rate(167))
        #expect(run.depth == 1 && run.json)
        #expect(try BenchArguments(parsing: ["accept"]).pace == .rate(1000))
        let native = try BenchArguments(
            parsing: ["accept", "--native", "--max", "--batch", "10", "--connections", "4"])
        #expect(native.port == 7070 && native.depth == 32 && native.batch == 10)
        for wrong in [
            [], ["deliver"], ["accept", "--rate"], ["accept", "--rate", "fast"],
            ["accept", "--max", "--url", "nowhere"], ["accept", "--max", "--batch", "10"],
            ["accept", "--max", "--nosuch"],
            ["accept", "--max", "--seconds", "1", "--warmup", "2"],
        ] {
            #expect(throws: BenchArguments.Mistake.self) {
                _ = try BenchArguments(parsing: wrong)
            }
        }
    }
}
