// What no client of ours would say on the native port, and that the server outlives it.

import PulseCore
import PulseWire
import Testing

@Suite("Frames", .serialized, .timeLimit(.minutes(5)))
struct FrameTests {
    private static func hello(version: UInt8 = 1) -> [UInt8] {
        var bytes: [UInt8] = []
        HelloRequest(clientName: "vandal", clientVersion: "1", protocolVersion: version)
            .encode(correlation: 1, into: &bytes)
        return bytes
    }

    private static func frame(
        _ operation: UInt8,
        correlation: UInt32 = 2,
        version: UInt8 = 1,
        flags: UInt16 = 0,
        body: [UInt8] = []
    ) -> [UInt8] {
        var covered: [UInt8] = [version, operation]
        covered.append(littleEndian: flags)
        covered.append(littleEndian: correlation)
        covered += body
        var bytes: [UInt8] = []
        bytes.append(littleEndian: UInt32(covered.count + 4))
        bytes.append(littleEndian: covered.withUnsafeBytes { CRC32C.of($0) })
        return bytes + covered
    }

    /// Operation, correlation and error code of every frame in `bytes`.
    private static func read(_ bytes: [UInt8]) throws -> [(UInt8, UInt32, ErrorCode?)] {
        var frames: [(UInt8, UInt32, ErrorCode?)] = []
        try bytes.withUnsafeBytes { bytes in
            let decoder = FrameDecoder(frameBytesMax: Limits.frameBytesMax)
            decoder.begin(bytes)
            while let frame = try decoder.next() {
                let code =
                    frame.operation == .error
                    ? ErrorCode(rawValue: try ErrorReply(reading: frame.body).code) : nil
                frames.append((frame.operationByte, frame.correlation, code))
            }
        }
        return frames
    }

    private static var wrongChecksum: [UInt8] {
        var bytes = frame(0x0D)
        bytes[4] ^= 1
        return bytes
    }

    private static var long: [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(littleEndian: UInt32(Limits.frameBytesMax + 1))
        return bytes + Array(repeating: 0, count: 64)
    }

    static let fatal: [(String, bytes: [UInt8], code: ErrorCode)] = [
        ("no hello first", frame(0x0D, correlation: 1), .handshakeRequired),
        ("text", Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8), .frameTooLarge),
        (
            "a frame above 4 KiB before hello", frame(0x01, body: Array(repeating: 0, count: 5000)),
            .frameTooLarge
        ),
        ("a length of 3", [3, 0, 0, 0] + Array(repeating: 0, count: 16), .malformedFrame),
        ("version 2 of the frame", frame(0x01, version: 2), .unsupportedVersion),
        ("a hello of version 0", hello(version: 0), .unsupportedVersion),
        ("a hello without a body", frame(0x01), .malformedFrame),
        ("a wrong checksum", hello() + wrongChecksum, .malformedFrame),
        ("flags", hello() + frame(0x0D, flags: 1), .malformedFrame),
        ("a frame above the limit", hello() + long, .frameTooLarge),
        ("version 7 after hello", hello() + frame(0x0D, version: 7), .unsupportedVersion),
        ("a credit of two bytes", hello() + frame(0x05, body: [1, 2]), .malformedFrame),
    ]

    @Test("Broken framing is answered with an error, the connection ends, the server stays")
    func fatalFrames() throws {
        let broker = try Broker()
        for (name, bytes, code) in Self.fatal {
            let wire = try Wire(port: broker.nativePort)
            try wire.send(bytes)
            let frames = try Self.read(try wire.receiveAll())
            #expect(frames.last?.0 == 0xFF, "\(name)")
            #expect(frames.last?.2 == code, "\(name): \(String(describing: frames.last?.2))")
            #expect(try broker.isAlive(), "after \(name)")
        }
    }

    @Test("A request that cannot be read or is not known is refused, and the connection stays")
    func refusedRequests() throws {
        let broker = try Broker()
        let wire = try Wire(port: broker.nativePort)
        var produce: [UInt8] = []
        produce.append(string16: "notify.email")
        produce.append(0xFF)
        try wire.send(
            Self.hello() + Self.hello()
                + Self.frame(0x3F, correlation: 3)
                + Self.frame(0x81, correlation: 4)
                + Self.frame(0x09, correlation: 5, body: [1, 2, 3])
                + Self.frame(0x02, correlation: 6, body: produce + Array(repeating: 7, count: 80))
                + Self.frame(0x04, correlation: 7, body: [9, 0, 0, 0])
                + Self.frame(0x0D, correlation: 8)
        )
        var bytes: [UInt8] = []
        var frames: [(UInt8, UInt32, ErrorCode?)] = []
        while !frames.contains(where: { $0.1 == 6 }) || !frames.contains(where: { $0.1 == 8 }) {
            let next = try wire.receive()
            try #require(!next.isEmpty, "the connection ended after \(frames)")
            bytes += next
            frames = try Self.read(bytes)
        }
        func code(_ correlation: UInt32) -> ErrorCode? {
            frames.last { $0.1 == correlation }?.2
        }
        #expect(frames.first?.0 == 0x81)
        #expect(code(1) == .unknownOperation)
        #expect(code(3) == .unknownOperation)
        #expect(code(4) == .unknownOperation)
        #expect(code(5) == .malformedFrame)
        #expect(code(6) == .corruptBatch)
        #expect(code(7) == .unknownSubscription)
        #expect(frames.contains { $0.0 == 0x8D && $0.1 == 8 })
    }

    @Test("Frames of random bytes never bring the server down", arguments: 0..<4)
    func noise(seed: UInt64) throws {
        let broker = try Broker()
        var random = SeededGenerator(seed: seed)
        for _ in 0..<150 {
            let wire = try Wire(port: broker.nativePort)
            var bytes = random.next() % 4 == 0 ? [] : Self.hello()
            for _ in 0..<(random.next() % 8) {
                let length = Int(random.next() % 200)
                let body = (0..<length).map { _ in UInt8(truncatingIfNeeded: random.next()) }
                bytes += Self.frame(
                    UInt8(random.next() % 16),
                    correlation: UInt32(random.next() % 5),
                    body: body
                )
            }
            // The server may close before all is sent.
            try? wire.send(bytes)
        }
        #expect(try broker.isAlive())
        #expect(broker.process.isRunning)
        try eventually("the connections to be forgotten") {
            try broker.metrics().sum("pulse_connections") <= 2
        }
    }
}
