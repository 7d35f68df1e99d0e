// A connection's life: splitting, pipelining, limits, times, and what must be refused.

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

    // MARK: Limits

    static func head(bytes: Int) -> String {
        let start = "GET /livez HTTP/1.1\r\nHost: a\r\nX: "
        return start + String(repeating: "x", count: bytes - start.utf8.count - 4) + "\r\n\r\n"
    }

    @Test(arguments: [1, 7, 1 << 20])
    func `a head may be as large as the limit`(piece: Int) {
        for (size, verdict) in [(0, true), (1, false)] {
            let visitor = Visitor()
            let bytes = Array(Self.head(bytes: Limits.httpHeaderBytesMax + size).utf8)
            for start in stride(from: 0, to: bytes.count, by: piece) {
                visitor.send(Array(bytes[start..<min(start + piece, bytes.count)]))
            }
            #expect((visitor.requests.count == 1) == verdict)
            #expect(visitor.text.hasPrefix("HTTP/1.1 431 ") == !verdict)
            #expect(visitor.session.shouldClose == !verdict)
        }
    }

    @Test func `a head may have as many fields as the limit`() {
        for (more, verdict) in [(-1, true), (0, false)] {
            let visitor = Visitor()
            let fields = Array(repeating: "X: y", count: Limits.httpHeaderFieldsMax + more)
            visitor.send(http("GET /livez", fields))
            #expect((visitor.requests.count == 1) == verdict)
            #expect(visitor.text.hasPrefix("HTTP/1.1 431 ") == !verdict)
        }
    }

    @Test func `a chunked body may be as large as the limit`() {
        let chunk = "10000\r\n" + String(repeating: " ", count: 0x10000) + "\r\n"
        for (chunks, verdict) in [(16, true), (17, false)] {
            let visitor = Visitor()
            visitor.send(
                "POST /v1/notifications HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            for _ in 0..<chunks { visitor.send(chunk) }
            visitor.send("0\r\n\r\n")
            #expect((visitor.requests.count == 1) == verdict)
            #expect(visitor.text.hasPrefix("HTTP/1.1 413 ") == !verdict)
        }
    }

    @Test func `endless chunk headers and trailers are refused`() {
        for line in ["1;x=", "0\r\nX: "] {
            let visitor = Visitor()
            visitor.send(
                "POST /v1/notifications HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            visitor.send(line)
            for _ in 0..<20 { visitor.send(String(repeating: "a", count: 1024)) }
            #expect(visitor.text.hasPrefix("HTTP/1.1 431 "))
            #expect(visitor.session.shouldClose)
        }
    }

    @Test func `too many unanswered requests wait unread`() {
        let visitor = Visitor()
        let count = Limits.httpPipelinedMax + 10
        visitor.send(String(repeating: http("GET /livez"), count: count))
        #expect(visitor.requests.count == Limits.httpPipelinedMax)
        #expect(!visitor.session.canReceiveMore)
        #expect(visitor.session.deadline == .distantFuture)
        for slot in 0..<UInt32(3) { visitor.answer(slot, .live()) }
        #expect(visitor.session.needsResume)
        visitor.resume()
        #expect(visitor.requests.count == Limits.httpPipelinedMax + 3)
        for slot in 3..<UInt32(count - 7) { visitor.answer(slot, .live()) }
        visitor.send(http("GET /metrics"))
        #expect(visitor.requests.count == count + 1)
        #expect(visitor.session.canReceiveMore)
        if case .metrics = visitor.requests.last?.request {} else { Issue.record("out of order") }
    }

    @Test func `a long backlog is parsed whole, in order, one answer at a time`() {
        let visitor = Visitor()
        let count = 1000
        var text = ""
        for number in 0..<count { text += http("GET /v1/templates/t\(number)") }
        let bytes = Array(text.utf8)
        visitor.send(Array(bytes[..<(bytes.count - 5)]))
        visitor.send(Array(bytes[(bytes.count - 5)...]))
        var seen: [String] = []
        while let next = visitor.requests.first {
            visitor.requests.removeFirst()
            if case .template(let name, _) = next.request { seen.append(name) }
            visitor.answer(next.slot, .live())
            visitor.resume()
        }
        #expect(seen == (0..<count).map { "t\($0)" })
        #expect(visitor.session.canReceiveMore)
    }

    @Test func `a shell that reads on regardless loses the connection, not the answers`() {
        let visitor = Visitor()
        visitor.send(String(repeating: http("GET /livez"), count: Limits.httpPipelinedMax))
        let flood = [UInt8](repeating: 65, count: 64 << 10)
        for _ in 0..<20 { visitor.send(flood) }
        for slot in 0..<UInt32(Limits.httpPipelinedMax) {
            #expect(!visitor.session.shouldClose)
            visitor.answer(slot, .live())
        }
        #expect(visitor.session.shouldClose)
    }

    // MARK: Time

    @Test func `an idle connection closes without a word`() {
        let visitor = Visitor()
        visitor.wait(milliseconds: Limits.httpIdleMilliseconds - 1)
        #expect(!visitor.session.shouldClose)
        visitor.wait(milliseconds: 1)
        #expect(visitor.session.shouldClose)
        #expect(visitor.text == "")
    }

    @Test func `a slow head is refused`() {
        let visitor = Visitor()
        visitor.send("GET /li")
        visitor.wait(milliseconds: Limits.httpHeaderMilliseconds - 1)
        visitor.send("vez")
        #expect(!visitor.session.shouldClose)
        visitor.wait(milliseconds: 1)
        #expect(visitor.text.hasPrefix("HTTP/1.1 408 "))
        #expect(visitor.text.contains(#""code":"request_timeout""#))
        #expect(visitor.session.shouldClose)
    }

    @Test func `a slow body is refused`() {
        let visitor = Visitor()
        visitor.send("POST /v1/notifications HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{")
        visitor.wait(milliseconds: Limits.httpBodyMilliseconds)
        #expect(visitor.text.hasPrefix("HTTP/1.1 408 "))
    }

    @Test func `an answer that is owed has no deadline, and idleness counts from it`() {
        let visitor = Visitor()
        visitor.send(http("GET /livez"))
        #expect(visitor.session.deadline == .distantFuture)
        visitor.wait(milliseconds: 2 * Limits.httpIdleMilliseconds)
        visitor.answer(0, .live())
        visitor.wait(milliseconds: 0)
        #expect(!visitor.session.shouldClose)
        visitor.wait(milliseconds: Limits.httpIdleMilliseconds)
        #expect(visitor.session.shouldClose)
    }
}
