// The decoder against every way a network can cut and spoil bytes.

import PulseCore
import PulseWire
import Testing

@Suite("Frame decoder")
struct FrameDecoderTests {
    private let all = Vector.frames.flatMap { Vector.bytes($0) }

    @Test("the same frames come out wherever the bytes are split")
    func splitEverywhere() throws {
        for cut in 0...all.count {
            let decoder = FrameDecoder(frameBytesMax: Limits.frameBytesMax)
            var operations: [UInt8] = []
            for part in [all[..<cut], all[cut...]] {
                try decode(Array(part), in: decoder) {
                    operations.append($0.operationByte)
                    try readBody($0)
                }
            }
            #expect(operations.count == Vector.frames.count, "cut at \(cut)")
        }
    }

    @Test("one byte at a time")
    func byteByByte() throws {
        let decoder = FrameDecoder(frameBytesMax: Limits.frameBytesMax)
        var count = 0
        for byte in all {
            count += try decode([byte], in: decoder) { try readBody($0) }
        }
        #expect(count == Vector.frames.count)
        #expect(decoder.position == all.count)
    }

    @Test("a whole frame is lent where it lies, not copied")
    func inPlace() throws {
        let bytes = Vector.bytes("hello") + Vector.bytes("ping") + Vector.bytes("produce")
        try bytes.withUnsafeBytes { input in
            let decoder = FrameDecoder(frameBytesMax: Limits.frameBytesMax)
            decoder.begin(input)
            while let frame = try decoder.next() {
                guard let body = frame.body.baseAddress, let start = input.baseAddress else {
                    continue
                }
                #expect(body - start == frame.position + Frame.headerBytes)
            }
        }
    }

    @Test("no flipped bit is accepted", arguments: Vector.frames)
    func bitFlips(name: String) {
        let good = Vector.bytes(name)
        for bit in 0..<good.count * 8 {
            var bytes = good
            bytes[bit / 8] ^= 1 << UInt8(bit % 8)
            // A larger length waits for more bytes; padding lets the checksum have its say.
            bytes += [UInt8](repeating: 0, count: 64)
            var accepted = 0
            do {
                try decode(bytes) { _ in accepted += 1 }
                // Only a length that points far beyond the input may still wait.
                #expect(bit < 32, "bit \(bit) went unnoticed")
            } catch {
                #expect(error is WireError)
            }
            #expect(accepted == 0, "bit \(bit) was accepted")
        }
    }

    @Test("a length above the limit is refused before its bytes arrive")
    func lengthLimit() {
        let decoder = FrameDecoder()
        var header: [UInt8] = []
        header.append(littleEndian: UInt32(Limits.frameBytesMaxBeforeHello + 1))
        #expect(
            throws: WireError.frameTooLarge(
                length: Limits.frameBytesMaxBeforeHello + 1,
                limit: Limits.frameBytesMaxBeforeHello,
                position: 0
            )
        ) { try decode(header, in: decoder) }
        #expect(throws: WireError.self, "a failure stays") { try decode([0], in: decoder) }
    }

    @Test("the largest legal frame passes, in pieces")
    func largestFrame() throws {
        var bytes: [UInt8] = []
        let frame = OpenFrame(.produce, correlation: 1, in: &bytes)
        bytes.append(
            contentsOf: repeatElement(7, count: Limits.frameBytesMax - Frame.lengthMin)
        )
        frame.close(in: &bytes)
        let decoder = FrameDecoder(frameBytesMax: Limits.frameBytesMax)
        var count = 0
        var index = 0
        while index < bytes.count {
            let end = min(bytes.count, index + 10_007)
            count += try decode(Array(bytes[index..<end]), in: decoder)
            index = end
        }
        #expect(count == 1)
    }

    @Test("a length shorter than a header, a foreign version, a reserved flag")
    func headerMistakes() {
        #expect(throws: WireError.frameTooShort(length: 11, position: 0)) {
            try decode([11, 0, 0, 0])
        }
        #expect(throws: WireError.unsupportedVersion(2, position: 0)) {
            try decode(resealed(Vector.bytes("ping")) { $0[8] = 2 })
        }
        #expect(throws: WireError.reservedFlags(1, position: 0)) {
            try decode(resealed(Vector.bytes("ping")) { $0[10] = 1 })
        }
    }
}

/// Changes a frame and makes its length and checksum right again.
func resealed(_ frame: [UInt8], _ change: (inout [UInt8]) -> Void) -> [UInt8] {
    var bytes = frame
    change(&bytes)
    bytes.patch(at: 0, littleEndian: UInt32(bytes.count - 4))
    let checksum = bytes.withUnsafeBytes { CRC32C.of(UnsafeRawBufferPointer(rebasing: $0[8...])) }
    bytes.patch(at: 4, littleEndian: checksum)
    return bytes
}
