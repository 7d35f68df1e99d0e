// The native protocol's frames and bodies, cut into pieces as a network might cut them.

import PulseCore
import PulseWire

extension FuzzTarget {
    /// - However the bytes are cut, the same frames and the same failure come out.
    /// - A body that is read and written again has the same bytes.
    static let frame = FuzzTarget(
        name: "frame",
        inputBytesMax: 4096,
        check: { bytes in
            var draw = Draw(bytes)
            let script = draw.field()
            let stream = WireScript.stream(script)
            let whole = frames(stream, [stream.count])
            let cut = frames(stream, draw.pieces(of: stream.count))
            try require(whole == cut, "frames do not depend on how the bytes are cut")
            let decoder = FrameDecoder(frameBytesMax: Limits.frameBytesMax)
            try stream.withUnsafeBytes { raw in
                decoder.begin(raw)
                while let frame = try? decoder.next() { try WireScript.checkBody(frame) }
            }
        },
        seeds: { WireScript.seeds(cut: true) }
    )

    private static func frames(_ bytes: [UInt8], _ sizes: [Int]) -> [String] {
        var words: [String] = []
        let decoder = FrameDecoder(frameBytesMax: 1024)
        bytes.inPieces(sizes) { piece in
            guard decoder.failure == nil else { return }
            decoder.begin(piece)
            do throws(WireError) {
                while let frame = try decoder.next() {
                    words.append(
                        "\(frame.operationByte) \(frame.correlation) \(frame.position) "
                            + "\(Array(frame.body))"
                    )
                }
            } catch { words.append("\(error)") }
        }
        return words
    }
}

/// Scripts of frames: most are sealed here, so that the fuzzer gets past the checksums.
enum WireScript {
    /// 0, raw bytes; or another first byte, operation, correlation, body.
    static func stream(_ script: [UInt8]) -> [UInt8] {
        var draw = Draw(script)
        var stream: [UInt8] = []
        while !draw.isAtEnd {
            if draw.byte() == 0 {
                stream += draw.field()
                continue
            }
            let operation = draw.byte()
            let correlation = UInt32(draw.byte())
            stream += sealed(operation, correlation, draw.field())
        }
        return stream
    }

    static func sealed(_ operation: UInt8, _ correlation: UInt32, _ body: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = []
        let frame = OpenFrame(.ping, correlation: correlation, in: &bytes)
        bytes[frame.start + 9] = operation
        bytes += body
        frame.close(in: &bytes)
        return bytes
    }

    /// A script of the frames in `stream`, which are well-formed.
    static func script(_ stream: [UInt8]) -> [UInt8] {
        var script = Script()
        let decoder = FrameDecoder(frameBytesMax: Limits.frameBytesMax)
        stream.withUnsafeBytes { raw in
            decoder.begin(raw)
            while let frame = try? decoder.next() {
                script.bytes += [
                    1, frame.operationByte, UInt8(truncatingIfNeeded: frame.correlation),
                ]
                script.add(field: Array(frame.body))
            }
        }
        return script.bytes
    }

    static func seeds(cut: Bool) -> [[UInt8]] {
        WireSeeds.streams.map { stream in
            var seed = Script()
            seed.add(field: script(stream))
            if cut { seed.bytes += [7, 1, 30] }
            return seed.bytes
        }
    }

    /// Reads the body of a whole frame; what can be written again must have the same bytes.
    static func checkBody(_ frame: Frame) throws {
        guard let operation = frame.operation else { return }
        let body = frame.body
        var again: [UInt8] = []
        let number = frame.correlation
        switch operation {
        case .hello:
            guard let it = try? HelloRequest(reading: body),
                isShort([it.clientName, it.clientVersion])
            else { return }
            it.encode(correlation: number, into: &again)
        case .helloReply:
            guard let it = try? HelloReply(reading: body), isShort([it.serverVersion]) else {
                return
            }
            it.encode(correlation: number, into: &again)
        case .subscribe:
            (try? SubscribeRequest(reading: body))?.encode(correlation: number, into: &again)
        case .subscribeReply:
            (try? SubscribeReply(reading: body))?.encode(correlation: number, into: &again)
        case .unsubscribe:
            (try? UnsubscribeRequest(reading: body))?.encode(correlation: number, into: &again)
        case .credit:
            guard number == 0 else { return }
            (try? CreditMessage(reading: body))?.encode(into: &again)
        case .status:
            (try? StatusRequest(reading: body))?.encode(correlation: number, into: &again)
        case .statusReply:
            guard let it = try? StatusReply(reading: body), isShort([it.errorText]) else { return }
            it.encode(correlation: number, into: &again)
        case .fetch:
            (try? FetchRequest(reading: body))?.encode(correlation: number, into: &again)
        case .putTemplate:
            (try? TemplateMessage(reading: body))?.encode(correlation: number, into: &again)
        case .listTemplates:
            (try? ListTemplatesRequest(reading: body))?.encode(correlation: number, into: &again)
        case .listTemplatesReply:
            (try? ListTemplatesReply(reading: body))?.encode(correlation: number, into: &again)
        case .goodbye:
            guard number == 0, let it = try? GoodbyeMessage(reading: body), isShort([it.message])
            else { return }
            it.encode(into: &again)
        case .error:
            guard let it = try? ErrorReply(reading: body), isShort([it.message]) else { return }
            it.encode(correlation: number, into: &again)
        case .acknowledge, .reject, .extend: return try checkTokens(operation, frame)
        default: return readView(operation, body)
        }
        guard !again.isEmpty else { return }
        try require(
            Array(again.dropFirst(Frame.headerBytes)) == Array(body),
            "the body of \(operation) written again has the same bytes"
        )
    }

    /// Texts for people are cut when they are written.
    private static func isShort(_ texts: [String]) -> Bool {
        texts.allSatisfy { $0.utf8.count <= WireText.messageBytesMax }
    }

    private static func checkTokens(_ operation: Operation, _ frame: Frame) throws {
        var again: [UInt8] = []
        let number = frame.correlation
        switch operation {
        case .acknowledge:
            guard let it = try? AcknowledgeView(reading: frame.body) else { return }
            let tokens = Array(it.tokens)
            AcknowledgeView.encode(
                subscription: it.subscription,
                tokens: TokenRuns(tokens),
                correlation: number,
                into: &again
            )
            let read = try withBody(again) { try AcknowledgeView(reading: $0) }
            try require(read?.map { $0 } == tokens, "tokens written again are the same")
        case .reject:
            guard let it = try? RejectView(reading: frame.body) else { return }
            try require(Array(it.tokens).count == it.tokens.count, "as many tokens as counted")
        default:
            guard let it = try? ExtendView(reading: frame.body) else { return }
            try require(Array(it.tokens).count == it.tokens.count, "as many tokens as counted")
        }
    }

    private static func withBody(
        _ bytes: [UInt8],
        _ read: (UnsafeRawBufferPointer) throws -> AcknowledgeView
    ) throws -> [DeliveryToken]? {
        try bytes.withUnsafeBytes { raw in
            Array(try read(UnsafeRawBufferPointer(rebasing: raw[Frame.headerBytes...])).tokens)
        }
    }

    /// Walks everything a view says it has.
    private static func readView(_ operation: Operation, _ body: UnsafeRawBufferPointer) {
        switch operation {
        case .produce: _ = try? ProduceRequestView(reading: body)
        case .produceReply: (try? ProduceReplyView(reading: body))?.forEach { _, _ in }
        case .deliver: (try? DeliverView(reading: body))?.forEach { _ in }
        case .fetchReply: (try? FetchReplyView(reading: body))?.forEach { _ in }
        case .acknowledgeReply, .rejectReply, .extendReply:
            guard let view = try? SettleReplyView(reading: body), view.stale > 0 else { return }
            for index in 0..<view.count { _ = view.isStale(index) }
        default: try? PingMessage.read(body)
        }
    }
}
