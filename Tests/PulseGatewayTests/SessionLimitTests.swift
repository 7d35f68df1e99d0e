// What a connection may take: bytes, fields, chunks, unanswered requests, and time.

import PulseCore
import PulseGateway
import Testing

@Suite struct SessionLimitTests {
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
