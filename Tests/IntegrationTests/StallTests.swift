// A disk whose syncs hang: strace lets every fdatasync of the running broker wait.

import Glibc
import Testing

@Suite("Stalled disk", .serialized, .timeLimit(.minutes(5)))
struct StallTests {
    private static let submission =
        #"{"to":{"email":"a@example.org"},"content":{"subject":"s","text":"t"}}"#
    private static let strace = "/usr/bin/strace"
    private static var mayTrace: Bool { access(strace, X_OK) == 0 && geteuid() == 0 }

    @Test(
        "While a sync hangs, questions are answered and new work is refused; then it goes on",
        .enabled(if: mayTrace)
    )
    func stall() throws {
        let broker = try Broker()
        _ = try broker.submit(Self.submission)
        let tracer = try ChildProcess(
            Self.strace,
            ["-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync"]
                + ["-e", "inject=fdatasync:delay_enter=3000000", "-p", "\(broker.process.pid)"]
        )
        // The first one is met by the loop itself; the following have a thread of their own.
        try eventually("a sync that took long", within: 60) {
            _ = try? broker.ask("POST", "/v1/notifications", Self.submission)
            return broker.process.output.contains("a sync took long") ? true : nil
        }
        let refused = try eventually("a refusal while a sync hangs", within: 60) {
            () -> HTTPAnswer? in
            let port = broker.httpPort
            onThread {
                _ = try? HTTPConversation(port: port).ask(
                    "POST",
                    "/v1/notifications",
                    Self.submission
                )
            }
            // Until it counts as stalled; asked too early, this one waits for the sync too.
            usleep(1_300_000)
            let answer = try broker.ask("POST", "/v1/notifications", Self.submission)
            guard answer.status == 503 else { return nil }
            return answer
        }
        #expect(refused.text.contains("disk_stalled"), "\(refused.text)")
        #expect(broker.process.output.contains("the disk stalls"))
        tracer.end()
        try eventually("a broker that is ready again", within: 30) {
            try broker.ask("GET", "/readyz").status == 200 ? true : nil
        }
        let id = try broker.submit(Self.submission)
        try broker.notification(id, reaching: "delivered")
        #expect(try broker.metrics().sum("pulse_disk_stalls_total") > 0)
        broker.process.send(SIGTERM)
        #expect(try broker.process.wait() == 0)
    }
}
