// Both ends of a native conversation, spoken to by a peer who says what it likes.

import PulseCore
import PulseWire

extension FuzzTarget {
    /// - However the bytes are cut, the same requests and the same answers come out.
    /// - Nothing comes out before a hello that was answered, nor after the end.
    static let session = FuzzTarget(
        name: "session",
        inputBytesMax: 4096,
        check: { bytes in
            var draw = Draw(bytes)
            let script = draw.field()
            var stream = WireScript.stream(script)
            // Most inputs begin politely, or no fuzzer would ever get further.
            if draw.byte() != 0 {
                var hello: [UInt8] = []
                HelloRequest(clientName: "f", clientVersion: "1").encode(
                    correlation: 1,
                    into: &hello
                )
                stream = hello + stream
            }
            let whole = try serverStory(stream, [stream.count])
            let cut = try serverStory(stream, draw.pieces(of: stream.count))
            try require(whole == cut, "requests do not depend on how the bytes are cut")
        },
        seeds: { WireScript.seeds(cut: false).map { $0 + [1, 9, 2] } }
    )

    /// - However the bytes are cut, the same messages and the same failure come out.
    /// - The session ends at the server's first mistake.
    static let client = FuzzTarget(
        name: "client",
        inputBytesMax: 4096,
        check: { bytes in
            var draw = Draw(bytes)
            let script = draw.field()
            let stream = WireScript.stream(script)
            let asked = draw.take(16)
            let whole = try clientStory(stream, [stream.count], asked)
            let cut = try clientStory(stream, draw.pieces(of: stream.count), asked)
            try require(whole == cut, "messages do not depend on how the bytes are cut")
        },
        seeds: {
            let asked: [UInt8] = [2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 2, 3, 4, 6, 7]
            return WireScript.seeds(cut: false).map { $0 + asked + [9, 2] }
        }
    )

    private static func serverStory(_ stream: [UInt8], _ sizes: [Int]) throws -> [String] {
        let greeting = HelloReply(serverVersion: "1", serverID: 1, partitions: 4)
        let session = NativeSession(greeting: greeting)
        var words: [String] = []
        var answers: [UInt8] = []
        try stream.inPieces(sizes) { piece in
            session.begin(piece)
            while let request = session.next(into: &answers) {
                try require(session.isReady, "no request before hello, nor after the end")
                words.append(word(request))
            }
        }
        words.append("\(session.state) \(answers)")
        return words
    }

    private static func word(_ request: NativeRequest) -> String {
        switch request {
        case .produce(let number, let view):
            "produce \(number) \(Array(view.topic)) \(view.lane?.name ?? "") \(Array(view.batch))"
        case .subscribe(let number, let request): "\(number) \(request)"
        case .unsubscribe(let number, let subscription): "unsubscribe \(number) \(subscription)"
        case .credit(let subscription, let add): "credit \(subscription) \(add)"
        case .acknowledge(let number, let view): "ack \(number) \(tokens(view.tokens))"
        case .reject(let number, let view):
            "reject \(number) \(view.delayMilliseconds ?? 0) \(view.reason) \(tokens(view.tokens))"
        case .extend(let number, let view):
            "extend \(number) \(view.milliseconds) \(tokens(view.tokens))"
        case .status(let number, let id): "status \(number) \(id)"
        case .fetch(let number, let request): "\(number) \(request)"
        case .putTemplate(let number, let template): "\(number) \(template)"
        case .listTemplates(let number, let after): "list \(number) \(after)"
        }
    }

    /// Enough of a list to tell it from another.
    private static func tokens(_ list: TokenList) -> String {
        "\(list.count) \(list.prefix(3).map { "\($0)" })"
    }

    private static func clientStory(
        _ stream: [UInt8],
        _ sizes: [Int],
        _ asked: [UInt8]
    ) throws -> [String] {
        let session = ClientSession()
        var ignored: [UInt8] = []
        session.sayHello(name: "f", version: "1", into: &ignored)
        var reply: [UInt8] = []
        HelloReply(serverVersion: "1", serverID: 1, partitions: 4)
            .encode(correlation: 1, into: &reply)
        try reply.withUnsafeBytes { raw in
            session.begin(raw)
            while try session.next() != nil {}
        }
        for number in asked {
            guard let operation = Operation(rawValue: number), operation.reply != nil,
                operation != .hello
            else { continue }
            _ = session.openRequest(operation)
        }
        var words: [String] = []
        var failed = false
        stream.inPieces(sizes) { piece in
            guard !failed else { return }
            session.begin(piece)
            do throws(WireError) {
                while let message = try session.next() { words.append(word(message)) }
            } catch {
                failed = true
                words.append("\(error)")
            }
        }
        words.append("\(session.openCount) \(session.isReady)")
        return words
    }

    private static func word(_ message: ServerMessage) -> String {
        switch message {
        case .produced(let number, let view):
            var words = "produced \(number)"
            view.forEach { words += " \($0) \($1.status) \($1.id) \(Array($1.message))" }
            return words
        case .delivered(let view):
            var words = "delivered \(view.subscription)"
            view.forEach { words += " \($0.token) \(Array($0.key)) \(Array($0.value))" }
            return words
        case .settled(let number, let view):
            let stale = view.stale > 0 ? (0..<min(view.count, 8)).map { view.isStale($0) } : []
            return "settled \(number) \(view.settled) \(stale)"
        case .fetched(let number, let view):
            var words = "fetched \(number) \(view.next) \(view.count)"
            view.forEach { words += " \($0.offset) \(Array($0.key)) \(Array($0.value))" }
            return words
        case .ready, .subscribed, .unsubscribed, .status, .templateSaved, .templates, .pong,
            .goodbye, .refused:
            return "\(message)"
        }
    }
}
