// pulse-bench against the real server: a measuring program must not measure wrongly.

import Testing

@Suite("pulse-bench", .serialized, .timeLimit(.minutes(5)))
struct BenchProgramTests {
    private static func run(_ arguments: [String]) throws -> (status: Int32, output: String) {
        let process = try ChildProcess(try Binary.bench(), arguments)
        let status = try process.wait(atMost: 60)
        return (status, process.output)
    }

    /// One second, and no opinion on the lateness of a busy machine.
    private static let short = [
        "--seconds", "1", "--warmup", "0", "--lateness-limit", "10000", "--commit", "abc", "--json",
    ]

    @Test("An open loop sends what it was told to, and the server has counted the same")
    func openLoop() throws {
        let broker = try Broker()
        let (status, output) = try Self.run(
            ["accept", "--url", "127.0.0.1:\(broker.httpPort)", "--rate", "100"] + Self.short
        )
        #expect(status == 0, "\(output)")
        let report = try JSONValue(parsing: Array(output.utf8.filter { $0 != 10 }))
        #expect(report["verdict"]?.text == "measured")
        #expect(report["sent"]?.int == 100)
        #expect(report["accepted"]?.int == 100)
        #expect(report["unique_ids"] == .bool(true))
        #expect(report["commit"]?.text == "abc")
        #expect(report["latency_ms"]?["p99"] != nil)
        #expect(try broker.metrics().sum("pulse_notifications_accepted_total") == 100)
    }

    @Test("A closed loop counts as the server does, on both interfaces")
    func closedLoop() throws {
        let broker = try Broker()
        let runs = [
            ["--url", "127.0.0.1:\(broker.httpPort)", "--connections", "8"],
            [
                "--url", "127.0.0.1:\(broker.nativePort)", "--connections", "2", "--native",
                "--batch", "5",
            ],
        ]
        var accepted = 0
        for run in runs {
            let (status, output) = try Self.run(["accept", "--max"] + run + Self.short)
            #expect(status == 0, "\(output)")
            let report = try JSONValue(parsing: Array(output.utf8.filter { $0 != 10 }))
            accepted += try #require(report["accepted"]?.int)
            #expect(
                try broker.metrics().sum("pulse_notifications_accepted_total") == accepted
            )
        }
    }

    @Test("Refusals make a run wrong, not fast")
    func refusals() throws {
        let broker = try Broker()
        let (status, output) = try Self.run(
            ["accept", "--url", "127.0.0.1:\(broker.httpPort)", "--rate", "50", "--template", "no"]
                + Self.short
        )
        #expect(status == 1)
        #expect(output.contains("wrong_answers") && output.contains("400"), "\(output)")
    }

    @Test("A server that dies in the middle makes a run wrong, and the run ends")
    func serverDies() throws {
        let broker = try Broker()
        let process = try ChildProcess(
            try Binary.bench(),
            ["accept", "--url", "127.0.0.1:\(broker.httpPort)", "--rate", "200", "--seconds", "30"]
        )
        try eventually("some load") {
            try broker.metrics().sum("pulse_notifications_accepted_total") > 20
        }
        broker.crash()
        // 3 on a machine so busy that the generator was late as well.
        let code = try process.wait()
        #expect(code == 1 || code == 3, "\(process.output)")
    }

    @Test("No server and no sense are told apart by the exit code")
    func mistakes() throws {
        #expect(try Self.run(["accept", "--rate", "x"]).status == 2)
        #expect(try Self.run(["--help"]).status == 0)
        let port = try WebhookSink { _, _ in 200 }.port
        let (status, output) = try Self.run(["accept", "--url", "127.0.0.1:\(port)", "--max"])
        #expect(status == 75)
        #expect(output.contains("cannot be reached"))
    }
}
