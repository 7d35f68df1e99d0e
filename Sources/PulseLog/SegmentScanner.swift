// Walks the entries of one segment file from front to back, verifying each, through one window of
// memory. Used by recovery, replay, rebuilding of indexes and inspection.

import PulseCore

final class SegmentScanner {
    enum Step {
        /// A verified entry; the body is valid until the next call.
        case entry(EntryHeader, UnsafeRawBufferPointer)
        /// No room for another header before the footer.
        case full
        /// The entry at ``byte`` is not there or is not right. With a header: only the body is bad.
        case fault(EntryFault, EntryHeader?)
    }

    /// Bytes read at once: large enough that a scan is bound by memory, not by calls.
    static let windowBytes = 256 << 10

    let file: any LogFile
    let base: UInt64
    let geometry: SegmentGeometry
    let checksums: LogChecksums
    /// Where the next entry begins, in bytes of the file.
    var byte: Int
    /// What the next entry's chain must be, or nil to trust the first one read.
    var chain: UInt32?

    private let window: RawBuffer
    private var windowStart = 0
    private var windowCount = 0
    /// Bytes of the file that the disk refused to read; they stand in the window as zeros.
    private var unreadable: [Range<Int>] = []

    init(
        file: any LogFile,
        number: UInt64,
        geometry: SegmentGeometry,
        checksums: LogChecksums,
        byte: Int,
        chain: UInt32?,
        window: RawBuffer? = nil
    ) {
        self.file = file
        self.base = geometry.base(of: number)
        self.geometry = geometry
        self.checksums = checksums
        self.byte = byte
        self.chain = chain
        self.window = window ?? RawBuffer(capacity: min(Self.windowBytes, geometry.segmentBytes))
    }

    var position: UInt64 { base + UInt64(byte) }

    /// Whether the medium failed to give some of the bytes asked for.
    var hasUnreadBytes: Bool { !unreadable.isEmpty }

    /// Reads the entry at ``byte`` and moves past it when it verifies.
    func next() throws(LogError) -> Step {
        let at = byte
        let step = try decodeNext()
        guard !unreadable.isEmpty, case .fault(_, let header) = step else { return step }
        let end = header.map { Int($0.endPosition.rawValue - base) } ?? at + EntryHeader.bytes
        let isUnread = unreadable.contains { $0.overlaps(at..<end) }
        return isUnread ? .fault(.unreadable, header) : step
    }

    private func decodeNext() throws(LogError) -> Step {
        let room = geometry.entriesEnd - byte
        guard room >= EntryHeader.bytes else { return .full }
        let head = try bytes(at: byte, count: EntryHeader.bytes)
        let header: EntryHeader
        switch EntryHeader.decode(head, at: position, room: room, checksums) {
        case .fault(let fault): return .fault(fault, nil)
        case .entry(let decoded): header = decoded
        }
        if !Mutant.isOn(.skipChain), let chain, chain != header.chain { return .fault(.chain, nil) }
        let padded = EntryHeader.padded(header.bodyLength)
        let start = try bytes(at: byte, count: EntryHeader.bytes + padded) + EntryHeader.bytes
        let body = UnsafeRawBufferPointer(start: start, count: padded)
        if let fault = header.bodyFault(body, checksums) { return .fault(fault, header) }
        stepOver(header)
        return .entry(header, UnsafeRawBufferPointer(start: start, count: header.bodyLength))
    }

    /// Moves past an entry whose header verifies, whatever its body.
    func stepOver(_ header: EntryHeader) {
        byte = Int(header.endPosition.rawValue - base)
        chain = header.nextChain(checksums)
    }

    /// The first place at or after `start` with a verifying header of this segment, body unseen.
    func nextHeader(from start: Int) throws(LogError) -> (byte: Int, header: EntryHeader)? {
        var at = (start + 7) & ~7
        while at + EntryHeader.bytes <= geometry.entriesEnd {
            // First what the window still has: a search goes on behind each header that it finds.
            let left = at >= windowStart ? windowStart + windowCount - at : 0
            let wanted = left >= EntryHeader.bytes ? left : Self.windowBytes
            let stride = min(wanted, geometry.entriesEnd - at) & ~7
            let chunk = try bytes(at: at, count: stride)
            var index = 0
            while index + EntryHeader.bytes <= stride {
                if chunk.little(index, as: UInt32.self) == EntryHeader.magic,
                    case .entry(let header) = EntryHeader.decode(
                        chunk + index,
                        at: base + UInt64(at + index),
                        room: geometry.entriesEnd - at - index,
                        checksums
                    )
                {
                    return (at + index, header)
                }
                index += 8
            }
            at += index
        }
        return nil
    }

    /// Steps over a fault at ``byte``, with its header where only the body is bad: to where the segment
    /// reads well again, but not beyond `limit`.
    ///
    /// - Returns: The bytes stepped over.
    func skip(_ header: EntryHeader?, limit: Int) throws(LogError) -> Range<Int> {
        let at = byte
        if let header, header.endPosition.rawValue - base <= UInt64(limit) {
            stepOver(header)
        } else {
            let next = header == nil ? try nextHeader(from: at + 8)?.byte : nil
            byte = max(min(next ?? limit, limit), at + 8)
            chain = nil
        }
        return at..<byte
    }

    /// `count` bytes of the file, zeros where it is too short; valid until the next call.
    private func bytes(at start: Int, count: Int) throws(LogError) -> UnsafeRawPointer {
        if start >= windowStart, start + count <= windowStart + windowCount {
            return UnsafeRawPointer(window.base + (start - windowStart))
        }
        window.reserve(count, keeping: 0)
        let wanted = max(count, min(window.capacity, geometry.segmentBytes - start))
        windowCount = 0
        let target = window.mutableBytes(0..<wanted)
        let got = try read(into: target, at: start)
        if got < wanted { window.zero(got..<wanted) }
        windowStart = start
        windowCount = wanted
        return UnsafeRawPointer(window.base)
    }

    private func read(
        into target: UnsafeMutableRawBufferPointer,
        at start: Int
    ) throws(LogError) -> Int {
        try readThrough(file, into: target, at: start) { unreadable.append($0) }
    }
}

extension SegmentGeometry {
    /// One past the last byte of a segment before its footer, at or after `start`, that is not zero.
    func endOfData(in file: any LogFile, from start: Int) throws(LogError) -> Int {
        let buffer = RawBuffer(capacity: SegmentScanner.windowBytes)
        var end = entriesEnd
        while end > start {
            let count = min(SegmentScanner.windowBytes, end - start)
            let chunk = buffer.mutableBytes(0..<count)
            let got = try readThrough(file, into: chunk, at: end - count)
            if !UnsafeRawBufferPointer(rebasing: chunk[..<got]).isAllZero {
                var index = got
                while index > 0, chunk[index - 1] == 0 { index -= 1 }
                return end - count + index
            }
            end -= count
        }
        return start
    }
}

/// Reads as much as there is; bytes that the medium has lost read as zeros, and are told of.
func readThrough(
    _ file: any LogFile,
    into target: UnsafeMutableRawBufferPointer,
    at start: Int,
    lost: (Range<Int>) -> Void = { _ in }
) throws(LogError) -> Int {
    do throws(StorageError) {
        return try file.read(into: target, at: start)
    } catch {
        guard error.isUnreadable else { throw .storage(error) }
    }
    // One bad sector must not hide the rest, nor may it depend on where a read begins what it hides.
    return try readPieces(of: SegmentGeometry.blockBytes, file, into: target, at: start, lost)
}

/// The smallest part of a file that a medium loses.
private let sectorBytes = 512

private func readPieces(
    of pieceBytes: Int,
    _ file: any LogFile,
    into target: UnsafeMutableRawBufferPointer,
    at start: Int,
    _ lost: (Range<Int>) -> Void
) throws(LogError) -> Int {
    var got = 0
    while got < target.count {
        let count = min(pieceBytes - (start + got) % pieceBytes, target.count - got)
        let piece = UnsafeMutableRawBufferPointer(rebasing: target[got..<got + count])
        var part = count
        do throws(StorageError) {
            part = try file.read(into: piece, at: start + got)
        } catch {
            guard error.isUnreadable else { throw .storage(error) }
            if pieceBytes > sectorBytes {
                part = try readPieces(of: sectorBytes, file, into: piece, at: start + got, lost)
            } else {
                for index in piece.indices { piece[index] = 0 }
                lost(start + got..<start + got + count)
            }
        }
        got += part
        guard part == count else { return got }
    }
    return got
}

extension StorageError {
    /// EIO: the medium lost these bytes. Anything else (no descriptors, a dying machine) says nothing of
    /// the data and must never be taken for damage.
    var isUnreadable: Bool {
        if operation == .read, case .failed(code: 5, _) = reason { true } else { false }
    }
}

/// Reads one 4,096-byte block; false when the file is too short for it or the disk cannot read it.
func readBlock(
    _ file: any LogFile,
    at byte: Int,
    into buffer: RawBuffer
) throws(LogError) -> Bool {
    var isLost = false
    return try readBlock(file, at: byte, into: buffer, lost: &isLost)
}

/// The same, telling whether it was the disk that could not read it.
func readBlock(
    _ file: any LogFile,
    at byte: Int,
    into buffer: RawBuffer,
    lost: inout Bool
) throws(LogError) -> Bool {
    buffer.reserve(SegmentGeometry.blockBytes, keeping: 0)
    let target = buffer.mutableBytes(0..<SegmentGeometry.blockBytes)
    do throws(StorageError) {
        return try file.read(into: target, at: byte) == SegmentGeometry.blockBytes
    } catch {
        guard error.isUnreadable else { throw .storage(error) }
        lost = true
        return false
    }
}
