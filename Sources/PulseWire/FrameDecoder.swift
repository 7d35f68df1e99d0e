// Bytes in, whole frames out. Frames that are whole in the input are handed out where they lie;
// only one that straddles two inputs is copied.
//
//     input 1                 input 2                     input 3
//     [frame A][frame B][fra  me C][frame D][frame E, 1s  t half ...
//      in place in place  `----+----' in place `------------+---
//                          kept, completed                kept
//
// Source: spec/02-wire.md, "Frame".

internal import PulseCore

/// Cuts a connection's bytes into frames. Drive it with ``begin(_:)``, then ``next()`` until nil.
///
/// Invariants:
/// - `kept[0..<keptCount]` is a strict prefix of one frame, or, while it is lent, that whole frame;
/// - a length is compared with the limit before anything is reserved for it, and space grows with
///   the bytes that arrived, never with the bytes promised;
/// - after a failure no further frame comes out: the place of the next one is unknown.
///
/// A class because it owns the memory that it lends. Not shared: its connection's thread uses it.
package final class FrameDecoder {
    /// The largest length accepted now; raised when the handshake is done.
    package var frameBytesMax: Int
    /// Where the next frame begins, in bytes of the connection.
    package private(set) var position = 0
    package private(set) var failure: WireError?

    private var kept = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    private var keptCount = 0
    private var keptIsLent = false
    private var input = UnsafeRawBufferPointer(start: nil, count: 0)

    /// Space above this is given back when the frame that needed it is done.
    private static let keptBytesIdleMax = 16 << 10

    package init(frameBytesMax: Int = Limits.frameBytesMaxBeforeHello) {
        self.frameBytesMax = frameBytesMax
    }

    deinit { kept.deallocate() }

    /// Takes the next bytes of the connection; they stay borrowed until ``next()`` answers nil.
    package func begin(_ bytes: UnsafeRawBufferPointer) {
        precondition(input.isEmpty, "the previous bytes are drained before new ones come")
        input = bytes
    }

    /// The next whole frame, or nil when the input is used up; a begun frame is kept for later.
    ///
    /// The frame's body is valid until the next call, and no longer than the input.
    package func next() throws(WireError) -> Frame? {
        if let failure {
            input = UnsafeRawBufferPointer(start: nil, count: 0)
            throw failure
        }
        if keptIsLent { returnKept() }
        do {
            return keptCount == 0 ? try nextInPlace() : try nextFromKept()
        } catch {
            failure = error
            input = UnsafeRawBufferPointer(start: nil, count: 0)
            throw error
        }
    }

    /// Ignores the rest of the input: the connection is about to close.
    package func discardInput() {
        input = UnsafeRawBufferPointer(start: nil, count: 0)
    }

    private func nextInPlace() throws(WireError) -> Frame? {
        guard input.count >= 4 else {
            keep(input.count)
            return nil
        }
        let total = 4 + (try checkedLength(input))
        guard input.count >= total else {
            keep(input.count)
            return nil
        }
        let frame = UnsafeRawBufferPointer(rebasing: input[..<total])
        input = UnsafeRawBufferPointer(rebasing: input[total...])
        return try read(frame)
    }

    private func nextFromKept() throws(WireError) -> Frame? {
        if keptCount < 4 { keep(min(4 - keptCount, input.count)) }
        guard keptCount >= 4 else { return nil }
        let total = 4 + (try checkedLength(UnsafeRawBufferPointer(kept)))
        keep(min(total - keptCount, input.count))
        guard keptCount == total else { return nil }
        keptIsLent = true
        return try read(UnsafeRawBufferPointer(rebasing: kept[..<total]))
    }

    private func checkedLength(_ bytes: UnsafeRawBufferPointer) throws(WireError) -> Int {
        let length = Int(UInt32(littleEndian: bytes.loadUnaligned(as: UInt32.self)))
        guard length <= frameBytesMax else {
            throw .frameTooLarge(length: length, limit: frameBytesMax, position: position)
        }
        guard length >= Frame.lengthMin else {
            throw .frameTooShort(length: length, position: position)
        }
        return length
    }

    /// Reads the header of exactly one frame, checking all of it.
    private func read(_ frame: UnsafeRawBufferPointer) throws(WireError) -> Frame {
        let start = position
        let checksum = UInt32(
            littleEndian: frame.loadUnaligned(fromByteOffset: 4, as: UInt32.self)
        )
        guard CRC32C.of(UnsafeRawBufferPointer(rebasing: frame[8...])) == checksum else {
            throw .badChecksum(position: start)
        }
        guard frame[8] == Frame.version else {
            throw .unsupportedVersion(frame[8], position: start)
        }
        let flags = UInt16(littleEndian: frame.loadUnaligned(fromByteOffset: 10, as: UInt16.self))
        guard flags == 0 else { throw .reservedFlags(flags, position: start) }
        position += frame.count
        return Frame(
            operationByte: frame[9],
            correlation: UInt32(
                littleEndian: frame.loadUnaligned(fromByteOffset: 12, as: UInt32.self)
            ),
            body: UnsafeRawBufferPointer(rebasing: frame[Frame.headerBytes...]),
            position: start
        )
    }

    /// Moves `count` bytes from the input to the end of `kept`.
    private func keep(_ count: Int) {
        guard count > 0 else { return }
        if keptCount + count > kept.count { grow(to: keptCount + count) }
        UnsafeMutableRawBufferPointer(rebasing: kept[keptCount..<keptCount + count])
            .copyMemory(from: UnsafeRawBufferPointer(rebasing: input[..<count]))
        keptCount += count
        input = UnsafeRawBufferPointer(rebasing: input[count...])
    }

    private func grow(to count: Int) {
        let larger = UnsafeMutableRawBufferPointer.allocate(
            byteCount: max(count, kept.count * 2, 512),
            alignment: 8
        )
        larger.copyMemory(from: UnsafeRawBufferPointer(rebasing: kept[..<keptCount]))
        kept.deallocate()
        kept = larger
    }

    private func returnKept() {
        keptCount = 0
        keptIsLent = false
        if kept.count > Self.keptBytesIdleMax {
            kept.deallocate()
            kept = UnsafeMutableRawBufferPointer(start: nil, count: 0)
        }
    }
}
