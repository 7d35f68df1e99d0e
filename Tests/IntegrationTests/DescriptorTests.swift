// A process that may have few descriptors: said at the start, and nothing is taken for missing.

import Glibc
import Testing

@Suite("Descriptors", .serialized, .timeLimit(.minutes(5)))
struct DescriptorTests {
    private static let submission =
        #"{"to":{"email":"a@example.org"},"content":{"subject":"s","text":"t"}}"#

    private static func limited(
        _ limit: Int,
        _ directory: TemporaryDirectory
    ) throws -> ChildProcess {
        let arguments = Broker.arguments(.development, data: directory.file("data"))
            .joined(separator: " ")
        return try ChildProcess(
            "/bin/sh",
            ["-c", "ulimit -n \(limit) && exec \(try Binary.pulse()) \(arguments)"]
        )
    }

    @Test("With too few it does not start, and says how many it needs")
    func tooFew() throws {
        let directory = try TemporaryDirectory()
        let process = try Self.limited(100, directory)
        #expect(try process.wait() == 71)
        #expect(process.output.contains("may have 100 descriptors and needs 256"))
    }

    @Test("With few, connections beyond them are refused, said once, and the log goes on")
    func few() throws {
        let directory = try TemporaryDirectory()
        let process = try Self.limited(256, directory)
        defer { process.end() }
        let ports = try eventually("a ready line", within: 30) {
            process.lines.lazy.compactMap(Broker.readyPorts).first
        }
        #expect(process.output.contains("fewer descriptors"))
        let first = try HTTPConversation(port: ports.http)
        var idle: [HTTPConversation] = []
        for _ in 0..<400 {
            if let conversation = try? HTTPConversation(port: ports.http) {
                idle.append(conversation)
            }
        }
        for _ in 0..<50 {
            #expect(try first.ask("POST", "/v1/notifications", Self.submission).status == 202)
        }
        try eventually("refused connections", within: 20) {
            process.output.contains("connection refused: too many are open") ? true : nil
        }
        let said = process.lines.filter { $0.contains("connection refused") }
        #expect(said.count < 20, "once, and then now and then: \(said.count)")
        withExtendedLifetime(idle) {}
        process.send(SIGTERM)
        #expect(try process.wait() == 0)
    }
}
