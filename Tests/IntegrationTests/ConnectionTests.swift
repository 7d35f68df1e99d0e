// HTTP connections as they come from the world: kept, pipelined, chunked, broken. Whatever one says,
// the others are served.

import Testing

@Suite("HTTP connections", .serialized, .timeLimit(.minutes(5)))
struct ConnectionTests {
    private static func submission(_ number: Int) -> String {
        #"{"to":"n\#(number)@example.org","channel":"email","#
            + #""content":{"subject":"s","text":"\#(number)"}}"#
    }

    @Test("Twenty requests sent at once are answered in their order")
    func pipelining() throws {
        let broker = try Broker()
        let conversation = try HTTPConversation(port: broker.httpPort)
        var bytes = ""
        for number in 0..<20 {
            // Those that wait for the disk between those that do not.
            bytes +=
                number % 2 == 0
                ? HTTPConversation.request("POST", "/v1/notifications", Self.submission(number))
                : HTTPConversation.request("GET", "/v1/templates/none-\(number)")
        }
        try conversation.wire.send(bytes)
        for number in 0..<20 {
            let answer = try conversation.readAnswer()
            #expect(answer.status == (number % 2 == 0 ? 202 : 404))
            if number % 2 == 0 {
                let id = try #require(try answer.json()["id"]?.text)
                let view = try broker.json("/v1/notifications/\(id)")
                #expect(view["to"]?.text == "n\(number)@example.org")
            }
        }
    }

    @Test("More requests at once than may wait are answered too")
    func deepPipelining() throws {
        let broker = try Broker()
        let conversation = try HTTPConversation(port: broker.httpPort)
        let request = HTTPConversation.request("POST", "/v1/notifications", Self.submission(1))
        try conversation.wire.send(String(repeating: request, count: 300))
        for _ in 0..<300 { #expect(try conversation.readAnswer().status == 202) }
    }

    @Test("A request in single bytes is the same request")
    func singleBytes() throws {
        let broker = try Broker()
        let conversation = try HTTPConversation(port: broker.httpPort)
        let request = HTTPConversation.request("POST", "/v1/notifications", Self.submission(1))
        for byte in request.utf8 { try conversation.wire.send([byte]) }
        #expect(try conversation.readAnswer().status == 202)
    }

    @Test("A client that asks before it sends its body is told to go on")
    func expectation() throws {
        let broker = try Broker()
        let conversation = try HTTPConversation(port: broker.httpPort)
        let body = Self.submission(1)
        try conversation.wire.send(
            "POST /v1/notifications HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                + "Content-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n\r\n"
        )
        #expect(try conversation.readAnswer(hasBody: false).status == 100)
        try conversation.wire.send(body)
        #expect(try conversation.readAnswer().status == 202)

        let other = try HTTPConversation(port: broker.httpPort)
        #expect(try other.ask("GET", "/livez", headers: ["Expect: miracles"]).status == 417)
        #expect(try other.isClosedByServer())
    }

    @Test("A body in chunks is a body")
    func chunks() throws {
        let broker = try Broker()
        let conversation = try HTTPConversation(port: broker.httpPort)
        let body = Array(Self.submission(7).utf8)
        try conversation.wire.send(
            "POST /v1/notifications HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
                + "Content-Type: application/json\r\n\r\n"
        )
        for start in stride(from: 0, to: body.count, by: 7) {
            let chunk = body[start..<min(start + 7, body.count)]
            try conversation.wire.send("\(String(chunk.count, radix: 16))\r\n")
            try conversation.wire.send(Array(chunk) + Array("\r\n".utf8))
        }
        try conversation.wire.send("0\r\n\r\n")
        #expect(try conversation.readAnswer().status == 202)
        #expect(try conversation.ask("GET", "/livez").status == 200)
    }

    @Test("A client of HTTP/1.0, or one that says close, is answered and let go")
    func closing() throws {
        let broker = try Broker()
        for request in [
            "GET /livez HTTP/1.0\r\n\r\n",
            "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        ] {
            let conversation = try HTTPConversation(port: broker.httpPort)
            try conversation.wire.send(request)
            #expect(try conversation.readAnswer().text.hasPrefix("ok"))
            #expect(try conversation.isClosedByServer())
        }
    }

    static let broken: [(String, status: Int, bytes: String)] = [
        ("no HTTP at all", 400, "hello, is it me you're looking for?\r\n\r\n"),
        ("a TLS greeting", 400, "\u{16}\u{03}\u{01}\u{02}\u{00}\u{01}\u{00}\u{01}\r\n\r\n"),
        ("no Host", 400, "GET /livez HTTP/1.1\r\n\r\n"),
        (
            "two lengths", 400,
            "POST /v1/notifications HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
                + "Content-Length: 2\r\n\r\n{}"
        ),
        (
            "a length and chunks", 400,
            "POST /v1/notifications HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
                + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
        (
            "a bad chunk size", 400,
            "POST /v1/notifications HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
                + "Content-Type: application/json\r\n\r\nxyz\r\n{}\r\n"
        ),
        (
            "a header of 20 KiB", 431,
            "GET /livez HTTP/1.1\r\nHost: x\r\nX-Long: \(String(repeating: "a", count: 20 << 10))"
                + "\r\n\r\n"
        ),
        (
            "150 headers", 431,
            "GET /livez HTTP/1.1\r\nHost: x\r\n"
                + (0..<150).map { "X-\($0): y\r\n" }.joined() + "\r\n"
        ),
        (
            "a body announced above 1 MiB", 413,
            "POST /v1/notifications HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                + "Content-Length: 1048577\r\n\r\n"
        ),
    ]

    @Test("What is not HTTP is refused, its connection ends, and the server goes on serving")
    func refusals() throws {
        let broker = try Broker()
        for (name, status, bytes) in Self.broken {
            let conversation = try HTTPConversation(port: broker.httpPort)
            try conversation.wire.send(bytes)
            let answer = try conversation.readAnswer()
            #expect(answer.status == status, "\(name): \(answer.text)")
            #expect(try conversation.isClosedByServer(), "\(name)")
            #expect(try broker.isAlive(), "after \(name)")
        }
    }

    @Test("Chunks that grow past 1 MiB are refused with 413")
    func endlessChunks() throws {
        let broker = try Broker()
        let conversation = try HTTPConversation(port: broker.httpPort)
        try conversation.wire.send(
            "POST /v1/notifications HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
                + "Content-Type: application/json\r\n\r\n"
        )
        let chunk = "10000\r\n\(String(repeating: " ", count: 65_536))\r\n"
        // The server may answer and close before all is sent.
        for _ in 0..<20 where (try? conversation.wire.send(chunk)) == nil { break }
        #expect(try conversation.readAnswer().status == 413)
        #expect(try broker.isAlive())
    }

    @Test("A head that never ends is given up with 408, while others are served")
    func slowHead() throws {
        let broker = try Broker()
        let slow = try HTTPConversation(port: broker.httpPort)
        let start = uptime()
        try slow.wire.send("GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        #expect(try broker.isAlive())
        #expect(try slow.readAnswer().status == 408)
        #expect(uptime() - start >= 9)
        #expect(try slow.isClosedByServer())
    }

    @Test("Connections above the configured number are closed, and there is room again later")
    func connectionLimit() throws {
        let broker = try Broker(configuration: "limits:\n  http_connections: 4\n")
        var open: [HTTPConversation] = []
        for _ in 0..<4 {
            let conversation = try HTTPConversation(port: broker.httpPort)
            #expect(try conversation.ask("GET", "/livez").status == 200)
            open.append(conversation)
        }
        #expect(try HTTPConversation(port: broker.httpPort).isClosedByServer())
        for conversation in open {
            #expect(try conversation.ask("GET", "/livez").status == 200)
        }
        open.removeAll()
        try eventually("room") { (try? broker.isAlive()) == true }
    }

    @Test("Hundreds of connections that say half a request and go do no harm")
    func halfRequests() throws {
        let broker = try Broker()
        for _ in 0..<300 {
            let wire = try Wire(port: broker.httpPort)
            try wire.send("POST /v1/notifications HTTP/1.1\r\nHost: x\r\nCon")
        }
        #expect(try broker.isAlive())
        try eventually("the connections to be forgotten") {
            // The one that asks is there itself.
            try broker.metrics().sum("pulse_connections") <= 2
        }
    }
}
