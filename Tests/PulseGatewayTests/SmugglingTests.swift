// Requests that two servers could read differently, and plain garbage: refused, and closed.

import PulseCore
import PulseGateway
import Testing

@Suite struct SmugglingTests {
    static let post = "POST /v1/notifications HTTP/1.1\r\nHost: a\r\n"
    static let chunked = post + "Transfer-Encoding: chunked\r\n\r\n"

    @Test(arguments: [
        // Two lengths, or a length and a coding.
        post + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        post + "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
        post + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        post + "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        post + "Content-Length: 2, 2\r\n\r\n{}",
        post + "Content-Length: +2\r\n\r\n{}",
        post + "Content-Length: -2\r\n\r\n{}",
        post + "Content-Length: 0x2\r\n\r\n{}",
        post + "Content-Length: \r\n\r\n{}",
        post + "Content-Length: 99999999999999999999\r\n\r\n{}",
        // Codings that end otherwise than in one `chunked`.
        post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        post + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        post + "Transfer-Encoding: identity\r\n\r\n",
        post + "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        // Line endings and folding.
        "GET /livez HTTP/1.1\nHost: a\n\n",
        "GET /livez HTTP/1.1\r\nHost: a\r\nX: b\nY: c\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: a\r\nX: b\rY: c\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: a\r\nX:\r\n\tc\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: a\r\nX: b\r\n \r\n\r\n",
        "GET /livez HTTP/1.1\r\n Host: a\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: a\r\nX: b\r\r\n\r\n",
        // Names and values.
        "GET /livez HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: a\r\nX: b\u{0}c\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: a\r\n\u{0}X: b\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        // Hosts.
        "GET /livez HTTP/1.1\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: a, b\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET /livez HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
        // Request lines.
        "GET  /livez HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /livez  HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /li\u{0}vez HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /livez HTTP/2.0\r\nHost: a\r\n\r\n",
        "GET /livez HTTP/1.2\r\nHost: a\r\n\r\n",
        "GET /livez http/1.1\r\nHost: a\r\n\r\n",
        "GET /livez\r\nHost: a\r\n\r\n",
        "\r\n\r\nGET /livez HTTP/1.1\r\nHost: a\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\u{16}\u{3}\u{1}",
        // Chunks.
        chunked + "g\r\n",
        chunked + "0x2\r\n{}\r\n0\r\n\r\n",
        chunked + "2 \r\n{}\r\n0\r\n\r\n",
        chunked + "2\n{}\r\n0\r\n\r\n",
        chunked + "2\r\n{}0\r\n\r\n",
        chunked + "2\r\n{}}\r\n0\r\n\r\n",
        chunked + "-2\r\n{}\r\n0\r\n\r\n",
        chunked + "\r\n{}\r\n0\r\n\r\n",
        chunked + "2;\u{0}=x\r\n{}\r\n0\r\n\r\n",
        chunked + "0\r\nX: y\r\n z\r\n\r\n",
        chunked + "0\r\nX: y\nZ: z\r\n\r\n",
        chunked + "0\r\nContent-Length: 5\r\n\r\n",
        // The same of a header that we decide by.
        post + "Content-Type: application/json\r\nContent-Type: text/plain\r\n\r\n",
        post + "Idempotency-Key: a\r\nIdempotency-Key: b\r\n\r\n",
    ])
    func `is refused and closed`(text: String) {
        let visitor = Visitor()
        visitor.send(text + http("GET /metrics"))
        #expect(visitor.requests.isEmpty)
        #expect(visitor.text.hasPrefix("HTTP/1.1 400 Bad Request\r\n"))
        #expect(visitor.text.contains("\r\nConnection: close\r\n"))
        #expect(visitor.text.contains(#""code":"malformed_http""#))
        #expect(visitor.session.shouldClose)
    }

    @Test func `a chunk size that overflows is too large`() {
        let visitor = Visitor()
        visitor.send(Self.chunked + "ffffffffffffffff\r\n")
        #expect(visitor.text.hasPrefix("HTTP/1.1 413 "))
        let other = Visitor()
        other.send(Self.chunked + "10000000000000002\r\n{}")
        #expect(other.text.hasPrefix("HTTP/1.1 400 "))
    }

    @Test func `a refusal waits for the answers before it`() {
        let visitor = Visitor()
        visitor.send(http("GET /livez") + "\u{0}")
        #expect(visitor.takeText() == "")
        #expect(!visitor.session.shouldClose)
        visitor.answer(0, .live())
        #expect(visitor.text.contains("ok\nHTTP/1.1 400 "))
        #expect(visitor.session.shouldClose)
    }

    @Test func `an absolute target and an empty line before it are forgiven`() {
        let text = "\r\nGET http://pulse:8000/livez HTTP/1.1\r\nHost: pulse:8000\r\n\r\n"
        if case .live = request(text) {} else { Issue.record("not /livez") }
    }

    /// Mutations of good requests, and noise, in random pieces: nothing may trap, and whatever comes
    /// out must be answerable.
    @Test func `random bytes never stop the process`() {
        var random = SeededGenerator(seed: 4_2026)
        let seeds = [
            SessionTests.submit, SessionTests.chunked, http("GET /v1/notifications?limit=5"),
        ]
        for round in 0..<4000 {
            var bytes: [UInt8] = []
            for _ in 0...random.below(3) { bytes += Array(seeds[random.below(seeds.count)].utf8) }
            for _ in 0..<random.below(6) {
                let at = random.below(bytes.count)
                switch random.below(3) {
                case 0: bytes[at] = UInt8(truncatingIfNeeded: random.next())
                case 1: bytes.remove(at: at)
                default: bytes.insert([0, 10, 13, 32, 34, 123][random.below(6)], at: at)
                }
            }
            if round % 8 == 0 {
                bytes = (0..<random.below(300)).map { _ in UInt8(truncatingIfNeeded: random.next())
                }
            }
            let visitor = Visitor()
            var rest = bytes[...]
            while !rest.isEmpty {
                let piece = rest.prefix(1 + random.below(60))
                rest = rest.dropFirst(piece.count)
                visitor.send(Array(piece))
            }
            for request in visitor.requests.shuffled(using: &random) {
                visitor.answer(request.slot, .live())
            }
            visitor.wait(milliseconds: Limits.httpBodyMilliseconds)
            visitor.wait(milliseconds: Limits.httpIdleMilliseconds)
            let isOver = visitor.session.shouldClose || visitor.session.deadline > visitor.now
            #expect(isOver, "round \(round)")
        }
    }
}
