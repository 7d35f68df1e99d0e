// Ending and beginning: what a signal does, and what a start refuses.

import Glibc
import Testing

@Suite("Start and stop", .serialized, .timeLimit(.minutes(5)))
struct ShutdownTests {
    private static let submission =
        #"{"to":{"email":"a@example.org"},"content":{"subject":"s","text":"t"}}"#

    @Test(
        "A signal drains and exits with 0; the next start finds everything",
        arguments: [SIGTERM, SIGINT]
    )
    func stop(signal: Int32) throws {
        let broker = try Broker()
        #expect(broker.process.output.contains("created a new log"))
        var ids: [String] = []
        for _ in 0..<20 { ids.append(try broker.submit(Self.submission)) }
        broker.process.send(signal)
        #expect(try broker.process.wait() == 0)
        #expect(broker.process.output.contains("draining"))
        try broker.start()
        #expect(broker.process.output.contains("opened a log"))
        #expect(!broker.process.output.contains("torn"))
        for id in ids { try broker.notification(id, reaching: "delivered") }
        #expect(try broker.metrics().sum("pulse_notifications_accepted_total") == 20)
    }

    @Test("An open connection that says nothing does not keep a stop waiting")
    func stopWithIdleConnections() throws {
        let broker = try Broker()
        let http = try HTTPConversation(port: broker.httpPort)
        #expect(try http.ask("GET", "/livez").status == 200)
        let native = try Wire(port: broker.nativePort)
        broker.process.send(SIGTERM)
        #expect(try broker.process.wait() == 0)
        _ = try native.receiveAll()
    }

    @Test("A second process on the same data is refused, and told whose it is")
    func secondProcess() throws {
        let broker = try Broker()
        let second = try ChildProcess(
            try Binary.pulse(),
            Broker.arguments(.development, data: broker.directory.file("data"))
        )
        #expect(try second.wait() != 0)
        #expect(second.output.contains("is used by process \(broker.process.pid)"))
        #expect(try broker.isAlive())
        _ = try broker.submit(Self.submission)
    }

    @Test(
        "A limit that the log's segments are too large for is refused, and the log stays as it is"
    )
    func limitForOtherSegments() throws {
        let broker = try Broker()
        let id = try broker.submit(Self.submission)
        try broker.notification(id, reaching: "delivered")
        broker.process.send(SIGTERM)
        #expect(try broker.process.wait() == 0)
        let limit = "storage: {segment_bytes: 16MiB, retention_bytes: 128MiB}\n"
        let file = try broker.directory.write("limit.yaml", limit)
        let second = try ChildProcess(
            try Binary.pulse(),
            Broker.arguments(
                .development,
                data: broker.directory.file("data"),
                configuration: file
            )
        )
        #expect(try second.wait() == 2)
        #expect(second.output.contains("segments have 64MiB each"), "\(second.output)")
        let third = try Broker(in: broker.directory)
        try third.notification(id, reaching: "delivered")
    }

    @Test("A taken port is refused with its number")
    func takenPort() throws {
        let broker = try Broker()
        let other = try TemporaryDirectory()
        let ports: [(http: Int, native: Int, named: Int)] = [
            (broker.httpPort, 0, broker.httpPort), (0, broker.nativePort, broker.nativePort),
        ]
        for (http, native, named) in ports {
            let second = try ChildProcess(
                try Binary.pulse(),
                Broker.arguments(.development, data: other.file("d"), http: http, native: native)
            )
            #expect(try second.wait() == 75)
            #expect(second.output.contains("\(named)"), "\(second.output)")
        }
    }

    @Test("A data directory below a file cannot be, and the message names the file")
    func belowFile() throws {
        let directory = try TemporaryDirectory()
        let file = try directory.write("file", "mine")
        let process = try ChildProcess(
            try Binary.pulse(),
            Broker.arguments(.development, data: "\(file)/data")
        )
        #expect(try process.wait() == 73)
        #expect(process.output.contains("\(file) is not a directory"), "\(process.output)")
    }

    @Test("Somebody else's directory is refused and stays as it was")
    func foreignDirectory() throws {
        let directory = try TemporaryDirectory()
        try directory.write("thesis.tex", "years of work")
        let process = try ChildProcess(
            try Binary.pulse(),
            Broker.arguments(.development, data: directory.path)
        )
        #expect(try process.wait() == 73)
        #expect(process.output.contains("thesis.tex"), "\(process.output)")
        #expect(TemporaryDirectory.names(in: directory.path) == ["thesis.tex"])
    }

    @Test("A directory of a layout from the future is refused and stays as it was")
    func futureLayout() throws {
        let directory = try TemporaryDirectory()
        try directory.write("FORMAT", "pulse data directory, layout 99\n")
        let process = try ChildProcess(
            try Binary.pulse(),
            Broker.arguments(.development, data: directory.path)
        )
        #expect(try process.wait() == 73)
        #expect(process.output.contains("layout 99"), "\(process.output)")
        #expect(TemporaryDirectory.names(in: directory.path) == ["FORMAT"])
    }

    @Test("Mistakes of a configuration are told with their places, all at once, and exit with 2")
    func badConfiguration() throws {
        let directory = try TemporaryDirectory()
        let file = try directory.write(
            "pulse.yaml",
            """
            retrys:
              base: 1s
            retry:
              base: 10

            """
        )
        let process = try ChildProcess(
            try Binary.pulse(),
            Broker.arguments(.development, data: directory.file("d"), configuration: file)
        )
        #expect(try process.wait() == 2)
        #expect(process.output.contains("\(file):1:1: error: unknown key \"retrys\""))
        #expect(process.output.contains("\(file):4:9: error: retry.base: \"10\""))
        #expect(TemporaryDirectory.names(in: directory.path) == ["pulse.yaml"])
    }

    @Test("What was told to a log of text never forges a line")
    func logLines() throws {
        let broker = try Broker()
        _ = try? broker.ask("GET", "/%0a2026-11-20T00:00:00.000Z%20ERROR%20forged")
        _ = try broker.submit(Self.submission)
        #expect(!broker.process.lines.contains { $0.contains("ERROR") })
    }
}
