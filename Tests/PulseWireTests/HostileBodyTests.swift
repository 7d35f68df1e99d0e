// Bodies with a right checksum and wrong content: refused with an error, never a trap.

import PulseCore
import PulseWire
import Testing

@Suite("Hostile bodies")
struct HostileBodyTests {
    @Test("every truncated body is refused", arguments: Vector.frames)
    func truncated(name: String) throws {
        let good = Vector.bytes(name)
        for length in Frame.headerBytes..<max(good.count, Frame.headerBytes) {
            let bytes = resealed(good) { $0.removeSubrange(length...) }
            try decode(bytes) { frame in
                // A record batch is checked by the log, so only its beginning is ours to miss.
                if frame.operation == .produce, length >= Frame.headerBytes + 15 { return }
                #expect(throws: WireError.self, "\(name) of \(length) bytes") {
                    try readBody(frame)
                }
            }
        }
    }

    @Test("left-over bytes are refused", arguments: Vector.frames.filter { $0 != "produce" })
    func trailing(name: String) throws {
        try decode(resealed(Vector.bytes(name)) { $0.append(0) }) { frame in
            #expect(throws: WireError.self) { try readBody(frame) }
        }
    }

    @Test("random changes of a body never trap", arguments: Vector.frames)
    func mutated(name: String) throws {
        let good = Vector.bytes(name)
        guard good.count > Frame.headerBytes else { return }
        var generator = SeededGenerator(seed: 0x5EED)
        for _ in 0..<2000 {
            let bytes = resealed(good) {
                for _ in 0...generator.below(4) {
                    let index = Frame.headerBytes + generator.below(good.count - 16)
                    $0[index] =
                        generator.chance(perThousand: 300) ? 0xFF : UInt8(generator.below(256))
                }
            }
            try decode(bytes) { frame in try? readBody(frame) }
        }
    }

    @Test("random bodies of every operation never trap")
    func randomBodies() throws {
        var generator = SeededGenerator(seed: 7)
        for operation in Operation.allCases {
            for _ in 0..<1000 {
                var bytes: [UInt8] = []
                let frame = OpenFrame(operation, correlation: 1, in: &bytes)
                for _ in 0..<generator.below(80) {
                    bytes.append(
                        generator.chance(perThousand: 400) ? 0 : UInt8(generator.below(256))
                    )
                }
                frame.close(in: &bytes)
                try decode(bytes) { frame in try? readBody(frame) }
            }
        }
    }

    @Test("random bytes never trap a session")
    func randomStreams() {
        var generator = SeededGenerator(seed: 99)
        for _ in 0..<2000 {
            let session = NativeSession(greeting: greeting)
            var answers: [UInt8] = []
            var bytes = generator.chance(perThousand: 500) ? Vector.bytes("hello") : []
            for _ in 0..<generator.below(200) { bytes.append(UInt8(generator.below(256))) }
            bytes.withUnsafeBytes {
                session.begin($0)
                while session.next(into: &answers) != nil {}
            }
        }
    }

    @Test("a run cannot stand for more tokens than the limit, nor leave the number range")
    func tokenBombs() throws {
        func acknowledge(_ runs: [(offset: Int64, lease: UInt64, count: UInt16)]) -> [UInt8] {
            var bytes: [UInt8] = []
            let frame = OpenFrame(.acknowledge, correlation: 1, in: &bytes)
            bytes.append(littleEndian: UInt32(7))
            bytes.append(littleEndian: UInt16(runs.count))
            for run in runs {
                Sample.token(run.offset, lease: run.lease).append(to: &bytes)
                bytes.append(1)
                bytes.append(littleEndian: run.count)
            }
            frame.close(in: &bytes)
            return bytes
        }
        for bad in [
            acknowledge([(0, 0, 65_535)]), acknowledge([(0, 0, 5000), (0, 0, 5001)]),
            acknowledge([(.max, 0, 2)]), acknowledge([(0, .max, 2)]), acknowledge([(0, 0, 0)]),
            acknowledge([(-1, 0, 1)]), acknowledge([]),
        ] {
            try decode(bad) { frame in
                #expect(throws: WireError.self) { try AcknowledgeView(reading: frame.body) }
            }
        }
        try decode(acknowledge([(0, 0, 5000), (5000, 9, 5000)])) {
            let tokens = try AcknowledgeView(reading: $0.body).tokens
            #expect(tokens.count == 10_000)
        }
    }

    @Test("tokens survive being written as runs, in any order")
    func runsRoundTrip() throws {
        var generator = SeededGenerator(seed: 3)
        for _ in 0..<200 {
            var tokens: [DeliveryToken] = []
            var offset: Int64 = 0
            var lease: UInt64 = 50
            for _ in 0...generator.below(40) {
                offset += generator.chance(perThousand: 800) ? 1 : Int64(generator.below(9))
                lease &+= UInt64(generator.below(3))
                tokens.append(
                    Sample.token(offset, attempt: UInt16(1 + generator.below(2)), lease: lease)
                )
            }
            var bytes: [UInt8] = []
            AcknowledgeView.encode(
                subscription: 1,
                tokens: TokenRuns(tokens),
                correlation: 1,
                into: &bytes
            )
            try decode(bytes) {
                let read = try Array(AcknowledgeView(reading: $0.body).tokens)
                #expect(read == tokens)
            }
        }
    }
}

let greeting = HelloReply(serverVersion: "test", serverID: 1, partitions: 4)
