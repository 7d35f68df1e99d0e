// LZ4 frames: how the records of a large batch are made smaller. Small ones are left alone: below 4 KiB
// compressing costs more than it saves (256 bytes shrink by 8 %, 4 KiB to a quarter).
//
// Source: LZ4 frame format 1.6.2, as Kafka's codec 3 carries it; spec/03-storage.md, "Record batch".

internal import CLZ4

package enum LZ4Frame {
    package enum Problem: Error, Hashable, Sendable {
        /// Not exactly one whole frame.
        case malformed
        /// It holds more than there is room for: a bomb, or a mistake.
        case tooLarge
    }

    /// Appends one frame around `source`.
    package static func compress(_ source: UnsafeRawBufferPointer, into bytes: inout [UInt8]) {
        let start = bytes.count
        let bound = pulse_lz4_frame_bound(source.count)
        bytes.append(contentsOf: repeatElement(0, count: bound))
        let written = bytes.withUnsafeMutableBytes { target in
            pulse_lz4_compress(
                target.baseAddress.map { $0 + start },
                bound,
                source.baseAddress,
                source.count
            )
        }
        precondition(written > 0, "a frame fits its bound")
        bytes.removeLast(bound - written)
    }

    /// Bytes to make ready for the content of a frame: what it says, as far as that is believable, and
    /// never more than `limit`.
    package static func room(toInflate source: UnsafeRawBufferPointer, limit: Int) -> Int {
        let stated = pulse_lz4_stated_size(source.baseAddress, source.count)
        // LZ4 cannot do better than 255 to 1.
        let possible = min(limit, source.count * 255)
        return stated > 0 && stated <= UInt64(possible) ? Int(stated) : possible
    }

    /// Inflates the one frame that fills `source`; returns the bytes of its content.
    package static func inflate(
        _ source: UnsafeRawBufferPointer,
        into target: UnsafeMutableRawBufferPointer
    ) throws(Problem) -> Int {
        let count = pulse_lz4_inflate(
            target.baseAddress,
            target.count,
            source.baseAddress,
            source.count
        )
        guard count != PULSE_LZ4_TOO_LARGE else { throw .tooLarge }
        guard count >= 0 else { throw .malformed }
        return count
    }
}
