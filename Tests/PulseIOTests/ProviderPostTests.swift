// Posts through libcurl to a scripted web server, and the addresses that may not be posted to.

import PulseCore
import PulseDelivery
import PulseIO
import Synchronization
import Testing

@Suite struct ProviderPostTests {
    @Test func aPostArrivesWithItsHeadersAndBody() throws {
        let server = try WebServer("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
        defer { server.stop() }
        let answer = try Calls().post(
            server.url,
            body: "{\"a\":1}",
            headers: [("Content-Type", "application/json"), ("X-Empty", "")]
        )

        #expect(answer == .answered(code: 200, detail: "done", retryAfterSeconds: nil))
        let request = try #require(server.requests.first)
        #expect(request.head.first == "POST /hook HTTP/1.1")
        #expect(request.head.contains("Content-Type: application/json"))
        #expect(request.head.contains("X-Empty:"))
        #expect(!request.head.contains { $0.hasPrefix("Expect") })
        #expect(request.body == "{\"a\":1}")
    }

    @Test func aDelayAskedForInSecondsOrAsADateIsTold() throws {
        let server = try WebServer(
            "HTTP/1.1 429 Slow Down\r\nRetry-After: 17\r\nContent-Length: 0\r\n\r\n"
        )
        defer { server.stop() }
        #expect(
            try Calls().post(server.url)
                == .answered(code: 429, detail: "", retryAfterSeconds: 17)
        )

        let dated = try WebServer(
            "HTTP/1.1 503 Later\r\nRetry-After: Fri, 01 Jan 2100 00:00:00 GMT\r\n"
                + "Content-Length: 0\r\n\r\n"
        )
        defer { dated.stop() }
        guard
            case .answered(code: 503, detail: _, retryAfterSeconds: let seconds?) =
                try Calls().post(dated.url)
        else {
            Issue.record("no delay was told")
            return
        }
        let expected = 4_102_444_800 - SystemClocks.now().wall.milliseconds / 1000
        #expect(abs(seconds - expected) <= 2)
    }

    @Test func errorsAndRedirectsAreAnswersToo() throws {
        let server = try WebServer("HTTP/1.1 500 Oops\r\nContent-Length: 3\r\n\r\na\nb")
        defer { server.stop() }
        #expect(
            try Calls().post(server.url)
                == .answered(code: 500, detail: "a b", retryAfterSeconds: nil)
        )

        let moved = try WebServer(
            "HTTP/1.1 301 Moved\r\nLocation: \(server.url)\r\nContent-Length: 0\r\n\r\n"
        )
        defer { moved.stop() }
        #expect(
            try Calls().post(moved.url)
                == .answered(code: 301, detail: "", retryAfterSeconds: nil)
        )
        #expect(server.requests.count == 1)
    }

    @Test func anEndlessBodyIsCutAndStillAnswered() throws {
        let server = try WebServer(
            "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n"
                + String(repeating: "é", count: 100_000)
        )
        defer { server.stop() }
        let answer = try Calls().post(server.url)
        #expect(
            answer
                == .answered(
                    code: 200,
                    detail: String(repeating: "é", count: 100),
                    retryAfterSeconds: nil
                )
        )
    }

    @Test func aServerThatHangsHasTheRequestAndItsOutcomeIsUnknown() throws {
        let server = try WebServer("")
        defer { server.stop() }
        let answer = try Calls().post(server.url, timeoutMilliseconds: 150)
        guard case .lost = answer else {
            Issue.record("\(String(describing: answer))")
            return
        }
        #expect(server.requests.count == 1)
    }

    @Test func nobodyListeningAndNoSuchHostAreNotSent() throws {
        let server = try WebServer("")
        server.stop()
        for url in [server.url, "http://no-such-host.invalid/"] {
            let answer = try Calls().post(url)
            guard case .notSent = answer else {
                Issue.record("\(url): \(String(describing: answer))")
                continue
            }
        }
    }

    @Test(arguments: [
        "http://127.0.0.1:9/", "http://localhost:9/", "http://[::1]:9/", "http://0x7f.1:9/",
        "http://[::ffff:127.0.0.1]:9/", "http://169.254.169.254/", "http://0.0.0.0:9/",
        "ftp://example.org/", "file:///etc/passwd", "not a url", "http://a b/",
    ])
    func whatMayNotBeCalledIsForbidden(url: String) throws {
        let answer = try Calls().post(url, allowsPrivateAddresses: false)
        guard case .forbidden = answer else {
            Issue.record("\(String(describing: answer))")
            return
        }
    }

    @Test func aPooledPrivateConnectionDoesNotServeAGuardedCall() throws {
        let server = try WebServer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        defer { server.stop() }
        let calls = try Calls()
        _ = try calls.post(server.url)
        _ = try calls.post(server.url)
        #expect(server.connections == 1)

        let answer = try calls.post(server.url, allowsPrivateAddresses: false)
        guard case .forbidden = answer else {
            Issue.record("\(String(describing: answer))")
            return
        }
        #expect(server.requests.count == 2)
    }

    @Test func aHeaderCannotCarryAnother() throws {
        let answer = try Calls().post("http://127.0.0.1:9/", headers: [("A", "b\r\nC: d")])
        guard case .misconfigured = answer else {
            Issue.record("\(String(describing: answer))")
            return
        }
    }
}

/// Answers every request with the same bytes and keeps the requests; empty bytes are silence.
private final class WebServer: Sendable {
    struct Request: Sendable {
        var head: [String]
        var body: String
    }

    private final class Box: Sendable {
        let requests = Mutex<[Request]>([])
    }

    private let box = Box()
    private let server: ScriptedServer

    var url: String { "http://127.0.0.1:\(server.port)/hook" }
    var requests: [Request] { box.requests.withLock { $0 } }
    var connections: Int { server.connections }

    init(_ answer: String) throws {
        let box = box
        server = try ScriptedServer { peer in
            while let request = Self.request(from: peer) {
                box.requests.withLock { $0.append(request) }
                if answer.isEmpty { peer.hang() } else { peer.say(answer) }
            }
        }
    }

    func stop() { server.stop() }

    private static func request(from peer: ScriptedConversation) -> Request? {
        var head: [String] = []
        var length = 0
        while let line = peer.line() {
            if line.isEmpty {
                guard let body = peer.bytes(length) else { return nil }
                return Request(head: head, body: String(decoding: body, as: UTF8.self))
            }
            head.append(line)
            let parts = line.split(separator: " ")
            if parts.first == "Content-Length:", let count = parts.last.flatMap({ Int($0) }) {
                length = count
            }
        }
        return nil
    }
}
