// The notification envelope: every field there and back, every way it can be malformed, and noise.

import PulseCore
import Testing

@Suite struct EnvelopeTests {
    private func parse<R>(_ bytes: [UInt8], _ body: (Envelope?) -> R) -> R {
        bytes.withUnsafeBytes { body(Envelope($0)) }
    }

    private func isWellFormed(_ bytes: [UInt8]) -> Bool { parse(bytes) { $0 != nil } }

    private var full: [UInt8] {
        var writer = EnvelopeWriter()
        writer.append(.user, "u-1")
        writer.append(.address, "ada@example.org")
        writer.append(.template, "welcome")
        writer.append(.subject, "Grüße")
        writer.append(.text, String(repeating: "long ", count: 100))
        writer.append(.html, "<p>hi</p>")
        writer.append(.title, "t")
        writer.append(.deviceToken, "d")
        writer.append(.idempotencyKey, "key-1")
        writer.append(datum: "name", "Ada")
        writer.append(datum: "name", "twice is legal here")
        writer.append(datum: "", "")
        writer.append(deliverAt: WallTimestamp(milliseconds: -5))
        writer.append(.requestedLane, byte: Lane.high.rawValue)
        writer.append(.origin, byte: EnvelopeOrigin.native.rawValue)
        return writer.bytes
    }

    @Test func everyFieldRoundTrips() throws {
        try full.withUnsafeBytes { bytes in
            let envelope = try #require(Envelope(bytes))
            #expect(envelope.user?.text == "u-1")
            #expect(envelope.address?.text == "ada@example.org")
            #expect(envelope.template?.text == "welcome")
            #expect(envelope.subject?.text == "Grüße")
            #expect(envelope.text?.count == 500)
            #expect(envelope.html?.text == "<p>hi</p>")
            #expect(envelope.title?.text == "t")
            #expect(envelope.deviceToken?.text == "d")
            #expect(envelope.idempotencyKey?.text == "key-1")
            #expect(envelope.data.map(\.name.text) == ["name", "name", ""])
            #expect(envelope.data.map(\.value.text) == ["Ada", "twice is legal here", ""])
            #expect(envelope.deliverAt == WallTimestamp(milliseconds: -5))
            #expect(envelope.requestedLane == .high)
            #expect(envelope.origin == .native)
            #expect(Envelope.deliverAt(in: bytes) == envelope.deliverAt)
            #expect(Envelope.idempotencyKey(in: bytes)?.text == "key-1")
        }
    }

    @Test func nothingIsAnEnvelopeOfNothing() {
        #expect(isWellFormed([]))
        #expect(parse([]) { $0?.user == nil && $0?.data.isEmpty == true })
    }

    @Test func unknownTagsAreSkippedWhereverTheyStand() {
        let unknown: [UInt8] = [200, 3, 0xFF, 0xFE, 0xFD]
        let known: [UInt8] = [1, 1, 0x61]
        for bytes in [unknown + known, known + unknown, unknown + unknown + known] {
            #expect(parse(bytes) { $0?.user?.text } == "a")
        }
    }

    static let malformed: [(String, [UInt8])] = [
        ("a tag alone", [1]),
        ("a length past the end", [1, 2, 0x61]),
        ("a huge length", [1, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 0x61]),
        ("an endless length", [1] + [UInt8](repeating: 0xFF, count: 11)),
        ("a field twice", [1, 1, 0x61, 1, 1, 0x62]),
        ("an empty field twice", [4, 0, 4, 0]),
        ("text that is not UTF-8", [5, 1, 0xFF]),
        ("text cut inside a letter", [5, 1, 0xC3]),
        ("a surrogate", [5, 3, 0xED, 0xA0, 0x80]),
        ("a time of seven bytes", [12, 7, 0, 0, 0, 0, 0, 0, 0]),
        ("a time of nine bytes", [12, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("two times", [12, 8, 0, 0, 0, 0, 0, 0, 0, 0, 12, 8, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("an empty lane", [13, 0]),
        ("an unknown lane", [13, 1, 9]),
        ("the lane dead", [13, 1, 4]),
        ("two lanes", [13, 1, 1, 13, 1, 1]),
        ("an unknown origin", [14, 1, 0]),
        ("a long origin", [14, 2, 1, 1]),
        ("a datum without a name's length", [11, 0]),
        ("a datum whose name is too long", [11, 2, 5, 0x61]),
        ("a datum whose name is no text", [11, 2, 1, 0xFF]),
        ("a datum whose value is no text", [11, 3, 1, 0x61, 0xFF]),
    ]

    @Test(arguments: malformed.indices)
    func refuses(index: Int) {
        let (what, bytes) = Self.malformed[index]
        #expect(!isWellFormed(bytes), "\(what)")
        #expect(!isWellFormed([200, 0] + bytes), "\(what), after another field")
    }

    @Test func everyTruncationIsRefusedOrStopsBetweenFields() {
        let bytes = full
        for cut in 0..<bytes.count {
            let part = Array(bytes[..<cut])
            part.withUnsafeBytes {
                if let envelope = Envelope($0) { #expect(envelope.origin == nil) }
                _ = Envelope.deliverAt(in: $0)
                _ = Envelope.idempotencyKey(in: $0)
            }
        }
    }

    @Test func noiseAndFlippedBitsNeverTrap() {
        var random = SeededGenerator(seed: 21)
        let sample = full
        for round in 0..<20_000 {
            var bytes: [UInt8]
            if round % 2 == 0 {
                bytes = sample
                for _ in 0...random.below(4) {
                    bytes[random.below(bytes.count)] ^= 1 << UInt8(random.below(8))
                }
            } else {
                bytes = (0..<random.below(64)).map { _ in UInt8(random.below(256)) }
                if !bytes.isEmpty { bytes[0] = UInt8(random.below(16)) }
            }
            bytes.withUnsafeBytes { buffer in
                guard let envelope = Envelope(buffer) else { return }
                // What it hands out lies inside what it was given.
                let parts =
                    [envelope.user, envelope.text, envelope.subject] + envelope.data.map(\.value)
                for case let part? in parts where !part.isEmpty {
                    #expect(part.count <= buffer.count)
                    #expect(String(validating: part, as: UTF8.self) != nil)
                }
            }
        }
    }

    @Test func theQuickLooksAgreeWithTheWholeParse() {
        var random = SeededGenerator(seed: 22)
        let sample = full
        for _ in 0..<5000 {
            var bytes = sample
            bytes[random.below(bytes.count)] ^= 1 << UInt8(random.below(8))
            bytes.withUnsafeBytes { buffer in
                guard let envelope = Envelope(buffer) else { return }
                #expect(Envelope.deliverAt(in: buffer) == envelope.deliverAt)
                #expect(
                    Envelope.idempotencyKey(in: buffer)?.text == envelope.idempotencyKey?.text
                )
            }
        }
    }
}
