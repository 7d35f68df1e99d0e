// Both session machines as transcripts: what comes in, what comes out.

import PulseCore
import PulseWire
import Testing

@Suite("Server session")
struct NativeSessionTests {
    /// Feeds frames and tells the story: requests as words, answers as operations and codes.
    private func story(
        _ session: NativeSession = NativeSession(greeting: greeting),
        _ frames: [UInt8]...
    ) throws -> [String] {
        var lines: [String] = []
        for bytes in frames {
            var answers: [UInt8] = []
            bytes.withUnsafeBytes {
                session.begin($0)
                while let request = session.next(into: &answers) { lines.append(word(request)) }
            }
            try decode(answers) { frame in
                if frame.operation == .error {
                    let code = ErrorCode(rawValue: try ErrorReply(reading: frame.body).code)
                    lines.append("-> error \(code?.name ?? "?") #\(frame.correlation)")
                } else {
                    let name = frame.operation.map { "\($0)" } ?? "?"
                    lines.append("-> \(name) #\(frame.correlation)")
                }
            }
        }
        if session.isClosing { lines.append("closing") }
        return lines
    }

    private func word(_ request: NativeRequest) -> String {
        switch request {
        case .produce(let correlation, _): "produce #\(correlation)"
        case .subscribe(let correlation, let request): "subscribe \(request.group) #\(correlation)"
        case .unsubscribe(let correlation, let subscription):
            "unsubscribe \(subscription) #\(correlation)"
        case .credit(let subscription, let add): "credit \(subscription) +\(add)"
        case .acknowledge(let correlation, let view):
            "acknowledge \(view.tokens.count) #\(correlation)"
        case .reject(let correlation, let view): "reject \(view.reason) #\(correlation)"
        case .extend(let correlation, let view): "extend \(view.milliseconds) #\(correlation)"
        case .status(let correlation, _): "status #\(correlation)"
        case .fetch(let correlation, let request): "fetch \(request.topic) #\(correlation)"
        case .putTemplate(let correlation, let template): "put \(template.name) #\(correlation)"
        case .listTemplates(let correlation, let after): "list after \(after) #\(correlation)"
        }
    }

    @Test("a whole conversation")
    func conversation() throws {
        let names = [
            "hello", "produce", "subscribe", "credit", "acknowledge", "reject", "extend", "status",
            "fetch", "put-template", "list-templates", "ping", "unsubscribe",
        ]
        #expect(
            try story(NativeSession(greeting: greeting), names.flatMap { Vector.bytes($0) }) == [
                "produce #2", "subscribe workers #3", "credit 7 +128", "acknowledge 5 #5",
                "reject mailbox full #6", "extend 60000 #7", "status #8", "fetch notify.sms #9",
                "put welcome #10", "list after alarm #11", "unsubscribe 7 #4",
                "-> helloReply #1", "-> pong #12",
            ]
        )
    }

    @Test("nothing comes before hello")
    func handshakeRequired() throws {
        #expect(
            try story(NativeSession(greeting: greeting), Vector.bytes("produce")) == [
                "-> error handshake_required #2", "closing",
            ]
        )
        #expect(
            try story(
                NativeSession(greeting: greeting),
                Vector.bytes("ping"),
                Vector.bytes("hello")
            ) == ["-> error handshake_required #12", "closing"]
        )
    }

    @Test("a client that speaks no version of ours is refused")
    func version() throws {
        let hello = resealed(Vector.bytes("hello")) { $0[$0.count - 1] = 0 }
        #expect(
            try story(NativeSession(greeting: greeting), hello) == [
                "-> error unsupported_version #1", "closing",
            ]
        )
    }

    @Test("a large frame is refused before the handshake and taken after it")
    func limits() throws {
        var template: [UInt8] = []
        TemplateMessage(
            name: "long",
            channel: .email,
            text: String(repeating: "x", count: 10_000)
        ).encode(correlation: 9, into: &template)
        #expect(
            try story(NativeSession(greeting: greeting), template) == [
                "-> error frame_too_large #0", "closing",
            ]
        )
        #expect(
            try story(NativeSession(greeting: greeting), Vector.bytes("hello") + template) == [
                "put long #9", "-> helloReply #1",
            ]
        )
    }

    @Test("a bad body is refused and the connection stays")
    func badBody() throws {
        let bad = resealed(Vector.bytes("status")) { $0.removeLast() }
        #expect(
            try story(
                NativeSession(greeting: greeting),
                Vector.bytes("hello"),
                bad + Vector.bytes("status")
            ) == ["-> helloReply #1", "status #8", "-> error malformed_frame #8"]
        )
    }

    @Test("a bad credit, which has no answer, ends the connection")
    func badCredit() throws {
        let bad = resealed(Vector.bytes("credit")) { $0.removeLast() }
        #expect(
            try story(
                NativeSession(greeting: greeting),
                Vector.bytes("hello"),
                bad + Vector.bytes("status")
            ) == ["-> helloReply #1", "-> error malformed_frame #0", "closing"]
        )
    }

    @Test("unknown operations, a server's operations and a second hello are refused politely")
    func unexpected() throws {
        let unknown = resealed(Vector.bytes("ping")) { $0[9] = 0x33 }
        #expect(
            try story(
                NativeSession(greeting: greeting),
                Vector.bytes("hello"),
                unknown,
                Vector.bytes("status-reply"),
                Vector.bytes("hello"),
                Vector.bytes("ping")
            ) == [
                "-> helloReply #1", "-> error unknown_operation #12",
                "-> error unknown_operation #8", "-> error unknown_operation #1", "-> pong #12",
            ]
        )
    }

    @Test("a spoiled frame ends the connection; what came before it counts")
    func spoiled() throws {
        var bytes = Vector.bytes("hello") + Vector.bytes("status") + Vector.bytes("ping")
        bytes[bytes.count - 1] ^= 1
        #expect(
            try story(NativeSession(greeting: greeting), bytes, Vector.bytes("ping")) == [
                "status #8", "-> helloReply #1", "-> error malformed_frame #0", "closing",
            ]
        )
    }
}

@Suite("Client session")
struct ClientSessionTests {
    private func ready() throws -> ClientSession {
        let session = ClientSession()
        var hello: [UInt8] = []
        session.sayHello(name: "orders", version: "1.2.3", into: &hello)
        #expect(hello == Vector.bytes("hello"))
        let words = try hear(session, Vector.bytes("hello-reply"))
        #expect(words == ["ready"])
        #expect(session.isReady)
        return session
    }

    private func hear(_ session: ClientSession, _ bytes: [UInt8]) throws -> [String] {
        var words: [String] = []
        try bytes.withUnsafeBytes {
            session.begin($0)
            while let message = try session.next() {
                switch message {
                case .ready: words.append("ready")
                case .produced(let correlation, let view):
                    words.append("produced \(view.count) #\(correlation)")
                case .delivered(let view): words.append("delivered \(view.count)")
                case .refused(let correlation, let reply):
                    words.append("refused \(reply.code) #\(correlation)")
                case .pong(let correlation): words.append("pong #\(correlation)")
                case .goodbye: words.append("goodbye")
                case .status(let correlation, _): words.append("status #\(correlation)")
                case .subscribed, .unsubscribed, .settled, .fetched, .templateSaved, .templates:
                    words.append("other")
                }
            }
        }
        return words
    }

    @Test("answers match their requests in any order")
    func outOfOrder() throws {
        let session = try ready()
        let produce = session.openRequest(.produce)
        let ping = session.openRequest(.ping)
        #expect((produce, ping) == (2, 3))
        var bytes: [UInt8] = []
        PingMessage.encodeReply(correlation: ping, into: &bytes)
        #expect(
            try hear(session, bytes + Vector.bytes("deliver") + Vector.bytes("produce-reply"))
                == ["pong #3", "delivered 2", "produced 3 #2"]
        )
        #expect(session.openCount == 0)
    }

    @Test("an answer nobody asked for, or of another kind, breaks the connection")
    func foreignAnswers() throws {
        #expect(throws: WireError.unknownCorrelation(2)) {
            try hear(try ready(), Vector.bytes("produce-reply"))
        }
        let session = try ready()
        _ = session.openRequest(.ping)
        #expect(throws: WireError.unexpectedOperation(0x82)) {
            try hear(session, Vector.bytes("produce-reply"))
        }
    }

    @Test("a refused handshake is told, pushes before it are a mistake")
    func refusedHandshake() throws {
        let session = ClientSession()
        var bytes: [UInt8] = []
        session.sayHello(name: "a", version: "1", into: &bytes)
        bytes.removeAll()
        ErrorReply(.unsupportedVersion, "no").encode(correlation: 1, into: &bytes)
        #expect(try hear(session, bytes) == ["refused 2 #1"])
        #expect(throws: WireError.handshakeRequired) {
            try hear(session, Vector.bytes("deliver"))
        }
    }

    @Test("after goodbye settling is still possible")
    func goodbye() throws {
        let session = try ready()
        #expect(try hear(session, Vector.bytes("goodbye")) == ["goodbye"])
        #expect(!session.isReady)
        #expect(session.takesRequests)
    }
}
