// Reads the golden vectors beside the tests: hexadecimal with `#` comments, one file per frame.

import Glibc
import PulseCore
import PulseWire

enum Vector {
    /// The bytes of `Vectors/<name>.hex`.
    static func bytes(_ name: String, file: String = #filePath) -> [UInt8] {
        let folder = file.split(separator: "/").dropLast().joined(separator: "/")
        let path = "/\(folder)/Vectors/\(name).hex"
        guard let stream = fopen(path, "r") else { preconditionFailure("no vector at \(path)") }
        defer { fclose(stream) }
        var bytes: [UInt8] = []
        var high: UInt8?
        var inComment = false
        while case let character = getc(stream), character != EOF {
            guard let byte = UInt8(exactly: character) else { continue }
            if byte == UInt8(ascii: "#") { inComment = true }
            if byte == UInt8(ascii: "\n") { inComment = false }
            guard !inComment, let digit = Character(UnicodeScalar(byte)).hexDigitValue else {
                continue
            }
            if let first = high {
                bytes.append(first << 4 | UInt8(digit))
                high = nil
            } else {
                high = UInt8(digit)
            }
        }
        return bytes
    }

    /// Every frame there is.
    static let frames = [
        "hello", "hello-reply", "produce", "produce-reply", "subscribe", "subscribe-reply",
        "unsubscribe", "unsubscribe-reply", "credit", "deliver", "acknowledge",
        "acknowledge-reply", "reject", "reject-reply", "extend", "extend-reply", "status",
        "status-reply", "fetch", "fetch-reply", "put-template", "put-template-reply",
        "list-templates", "list-templates-reply", "ping", "pong", "goodbye", "error",
    ]
}

/// The values in the vectors.
enum Sample {
    static let wall = WallTimestamp(milliseconds: 1_700_000_000_000)
    static let later = wall.advanced(byMilliseconds: 300)
    static let id1 = NotificationID(
        high: 0x1011_1213_1415_1617,
        low: 0x1819_1A1B_1C1D_1E1F
    )
    static let id2 = NotificationID(
        high: 0x2021_2223_2425_2627,
        low: 0x2829_2A2B_2C2D_2E2F
    )
    static let stream = StreamID(topic: TopicID(1), partition: PartitionID(3), lane: .normal)

    static func envelope(_ number: Int, text: String) -> [UInt8] {
        var writer = EnvelopeWriter()
        writer.append(.user, "user-\(number)")
        writer.append(.address, "\(number == 1 ? "a" : "b")@example.org")
        writer.append(.text, text)
        writer.append(.idempotencyKey, "key-\(number)")
        return writer.bytes
    }

    static let first = envelope(1, text: "hello")
    static let second = envelope(2, text: "h\u{E9}llo")

    static func batch() -> [UInt8] {
        var bytes: [UInt8] = []
        var writer = RecordBatchWriter(timestamp: wall, in: &bytes)
        withBytes(of: "user-1", first) {
            writer.append(key: $0, value: $1, timestamp: wall, into: &bytes)
        }
        withBytes(of: "user-2", second) {
            writer.append(key: $0, value: $1, timestamp: later, into: &bytes)
        }
        writer.close(in: &bytes)
        return bytes
    }

    static func token(_ offset: Int64, attempt: UInt16 = 1, lease: UInt64) -> DeliveryToken {
        DeliveryToken(stream: stream, offset: Offset(offset), attempt: attempt, lease: lease)
    }
}

func withBytes<R>(
    of key: String,
    _ value: [UInt8],
    _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) -> R
) -> R {
    Array(key.utf8).withUnsafeBytes { key in value.withUnsafeBytes { body(key, $0) } }
}

/// Decodes bytes that hold whole frames, each handed to `visit` as long as it is valid.
@discardableResult
func decode(
    _ bytes: [UInt8],
    in decoder: FrameDecoder? = nil,
    _ visit: (Frame) throws -> Void = { _ in }
) throws -> Int {
    let decoder = decoder ?? FrameDecoder(frameBytesMax: Limits.frameBytesMax)
    var count = 0
    try bytes.withUnsafeBytes {
        decoder.begin($0)
        while let frame = try decoder.next() {
            count += 1
            try visit(frame)
        }
    }
    return count
}

/// Reads a body as its operation says; the view is dropped.
func readBody(_ frame: Frame) throws(WireError) {
    guard let operation = frame.operation else {
        throw .unexpectedOperation(frame.operationByte)
    }
    let body = frame.body
    switch operation {
    case .hello: _ = try HelloRequest(reading: body)
    case .helloReply: _ = try HelloReply(reading: body)
    case .produce: _ = try ProduceRequestView(reading: body)
    case .produceReply: try ProduceReplyView(reading: body).forEach { _, _ in }
    case .subscribe: _ = try SubscribeRequest(reading: body)
    case .subscribeReply: _ = try SubscribeReply(reading: body)
    case .unsubscribe: _ = try UnsubscribeRequest(reading: body)
    case .credit: _ = try CreditMessage(reading: body)
    case .deliver: try DeliverView(reading: body).forEach { _ in }
    case .acknowledge: for _ in try AcknowledgeView(reading: body).tokens {}
    case .reject: for _ in try RejectView(reading: body).tokens {}
    case .extend: for _ in try ExtendView(reading: body).tokens {}
    case .acknowledgeReply, .rejectReply, .extendReply:
        let view = try SettleReplyView(reading: body)
        if view.stale > 0 { for index in 0..<view.count { _ = view.isStale(index) } }
    case .status: _ = try StatusRequest(reading: body)
    case .statusReply: _ = try StatusReply(reading: body)
    case .fetch: _ = try FetchRequest(reading: body)
    case .fetchReply: try FetchReplyView(reading: body).forEach { _ in }
    case .putTemplate: _ = try TemplateMessage(reading: body)
    case .listTemplates: _ = try ListTemplatesRequest(reading: body)
    case .listTemplatesReply: _ = try ListTemplatesReply(reading: body)
    case .ping, .pong, .putTemplateReply, .unsubscribeReply: try PingMessage.read(body)
    case .goodbye: _ = try GoodbyeMessage(reading: body)
    case .error: _ = try ErrorReply(reading: body)
    }
}
