// A connection's life: splitting, pipelining, expectations, and how it ends.

import PulseCore
import PulseGateway
import Testing

@Suite struct SessionTests {
    static let submit = http(
        "POST /v1/notifications",
        ["Idempotency-Key: k1"],
        body: #"{"to":{"email":"ada@example.org"},"template":"welcome","data":{"n":"A\u00e9"}}"#
    )
    static let chunked =
        "POST /v1/notifications HTTP/1.1\r\nHost: pulse\r\nContent-Type: application/json\r\n"
        + "Transfer-Encoding: chunked\r\n\r\n"
        + "1f;x=\"y\"\r\n{\"to\":\"+49301234\",\"channel\":\"sm\r\n"
        + "16\r\ns\",\"template\":\"login\"}\r\n0\r\nTrailer: ignored\r\n\r\n"

    /// What a request came to, short enough to compare.
    static func story(_ pieces: [String]) -> String {
        let visitor = Visitor()
        for piece in pieces { visitor.send(piece) }
        let requests = visitor.requests.map { "\($0.slot) \($0.request)" }.joined(separator: "|")
        visitor.answerDecided()
        return requests + "|" + visitor.text + "|\(visitor.session.shouldClose)"
    }

    @Test(arguments: [
        submit, chunked, submit + chunked + submit,
        http("GET /livez") + "\r\n" + http("GET /metrics"),
        http("PUT /v1/notifications", body: "{}") + http("GET /nowhere"),
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET / HTTP/1.1\nHost: a\n\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
        // Found by noise: two reasons to refuse, and the first must win however it was split.
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: x\r\nTransfer-Encoding: chunked\r\n\r\n!\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ])
    func `a request split anywhere is the same request`(text: String) {
        let whole = Self.story([text])
        for index in text.utf8.indices.dropFirst() {
            let pieces = [String(text[..<index]), String(text[index...])]
            guard Self.story(pieces) == whole else {
                #expect(Self.story(pieces) == whole, "split before \(pieces[1].prefix(20))")
                return
            }
        }
        let visitor = Visitor()
        for byte in text.utf8 { visitor.send([byte]) }
        let requests = visitor.requests.map { "\($0.slot) \($0.request)" }.joined(separator: "|")
        visitor.answerDecided()
        #expect(requests + "|" + visitor.text + "|\(visitor.session.shouldClose)" == whole)
    }

    @Test func `a chunked body is put together`() {
        guard case .submit(let submission) = request(Self.chunked) else {
            Issue.record("no submission")
            return
        }
        #expect(submission.channel == .sms)
        #expect(submission.address == "+49301234")
        #expect(submission.template == "login")
        #expect(submission.errors.isEmpty)
    }

    @Test func `answers leave in the order of the requests`() {
        let visitor = Visitor()
        visitor.send(http("GET /livez") + http("GET /readyz") + http("GET /metrics"))
        #expect(visitor.requests.map(\.slot) == [0, 1, 2])
        visitor.answer(2, .text(200, "third"))
        visitor.answer(1, .text(200, "second"))
        #expect(visitor.takeText() == "")
        visitor.answer(0, .text(200, "first"))
        let texts = visitor.takeText().split(separator: "\r\n\r\n").map { $0.prefix(6) }
        #expect(texts == ["HTTP/1", "firstH", "second", "third"])
        #expect(!visitor.session.shouldClose)
    }

    @Test func `an answer is written to the byte`() {
        let visitor = Visitor()
        visitor.send(http("GET /livez"))
        visitor.answer(0, .live())
        #expect(
            visitor.takeText()
                == "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
                + "Content-Length: 3\r\n\r\nok\n"
        )
        visitor.send(http("HEAD /livez", ["Connection: close"]))
        visitor.answer(1, .live())
        #expect(
            visitor.takeText()
                == "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
                + "Content-Length: 3\r\nConnection: close\r\n\r\n"
        )
        #expect(visitor.session.shouldClose)
    }

    @Test func `a header cannot be ended from inside`() {
        let visitor = Visitor()
        visitor.send(http("GET /livez"))
        let evil = HTTPResponse.Header("X-\r\nA", "b\r\n\r\nHTTP/1.1 200 OK\u{0}\u{7F}")
        visitor.answer(0, HTTPResponse(status: 200, .text, body: [], headers: [evil]))
        #expect(visitor.text.hasSuffix("\r\nX-A: bHTTP/1.1 200 OK\r\n\r\n"))
    }

    @Test func `HTTP 1.0 is answered and closed`() {
        let visitor = Visitor()
        visitor.send("GET /livez HTTP/1.0\r\n\r\nGET /livez HTTP/1.0\r\n\r\n")
        #expect(visitor.requests.count == 1)
        visitor.answer(0, .live())
        #expect(visitor.session.shouldClose)
        #expect(visitor.text.contains("Connection: close"))
    }

    @Test func `nothing is read after a request that closes`() {
        let visitor = Visitor()
        visitor.send(http("GET /livez", ["Connection: Close"]) + http("GET /metrics"))
        visitor.send(http("GET /metrics"))
        #expect(visitor.requests.count == 1)
        #expect(!visitor.session.shouldClose)
        visitor.answer(0, .live())
        #expect(visitor.session.shouldClose)
    }

    // MARK: Expectations

    static let expecting =
        "POST /v1/notifications HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n"
        + "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n"

    @Test func `a client that asks is told to continue`() {
        let visitor = Visitor()
        visitor.send(Self.expecting)
        #expect(visitor.takeText() == "HTTP/1.1 100 Continue\r\n\r\n")
        visitor.send("{}")
        #expect(visitor.requests.count == 1)
    }

    @Test func `continue waits for the answers before it`() {
        let visitor = Visitor()
        visitor.send(http("GET /livez") + Self.expecting)
        #expect(visitor.takeText() == "")
        visitor.answer(0, .live())
        #expect(visitor.takeText().hasSuffix("ok\nHTTP/1.1 100 Continue\r\n\r\n"))
    }

    @Test func `a body that is already here needs no continue`() {
        let visitor = Visitor()
        visitor.send(Self.expecting + "{}")
        #expect(visitor.takeText() == "")
        #expect(visitor.requests.count == 1)
    }

    @Test func `another expectation is refused`() {
        let visitor = Visitor()
        visitor.send(http("GET /livez", ["Expect: miracles"]))
        #expect(visitor.text.hasPrefix("HTTP/1.1 417 "))
        #expect(visitor.session.shouldClose)
    }

    @Test func `a body announced too large is refused before it is sent`() {
        let visitor = Visitor()
        visitor.send(
            "POST /v1/notifications HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
                + "Content-Length: \(Limits.httpBodyBytesMax + 1)\r\n\r\n"
        )
        #expect(visitor.text.hasPrefix("HTTP/1.1 413 "))
        #expect(visitor.text.contains(#""code":"body_too_large""#))
        #expect(visitor.session.shouldClose)
    }
}
