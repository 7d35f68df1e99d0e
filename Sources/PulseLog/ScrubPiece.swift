// A piece of scrubbing: some bytes of one sealed segment, read from the disk and verified, off the thread
// that serves. Damage that nobody has asked for yet is found while its neighbours are still whole, and
// while a copy may still exist.

package import PulseCore

/// Verifies a stretch of a sealed segment: its header block, entries with their chain, its footer; then
/// of its index file and its generation.
///
/// `@unchecked Sendable`: made by the log's thread, performed on one other, and read by the log's thread
/// only after the end of the job was told to it.
package final class ScrubPiece: @unchecked Sendable {
    package let segment: UInt64
    let file: any LogFile
    let geometry: SegmentGeometry
    let checksums: LogChecksums
    let footer: SegmentFooter
    private let bytesMax: Int

    /// Where the next entry begins, and what its chain must be; nil behind a damaged one.
    private(set) var byte: Int
    private(set) var chain: UInt32?
    /// Whether the segment was read to its end.
    private(set) var isScanned: Bool
    /// What of its index file and generation is still to be verified.
    private(set) var checks: [KeyTableCheck]
    /// What did not verify, of the segment.
    package private(set) var damaged: [DamagedRange] = []
    private(set) var damagedTables: [KeyTable] = []
    /// Bytes read and verified in this piece.
    package private(set) var bytes = 0

    init(
        _ segment: Segment,
        footer: SegmentFooter,
        checks: [KeyTableCheck],
        after earlier: ScrubPiece?,
        bytesMax: Int,
        geometry: SegmentGeometry,
        checksums: LogChecksums
    ) {
        self.segment = segment.number
        self.file = segment.file
        self.footer = footer
        self.bytesMax = bytesMax
        self.geometry = geometry
        self.checksums = checksums
        self.checks = checks
        isScanned = earlier?.isScanned ?? false
        byte = earlier?.byte ?? geometry.entriesStart
        chain = earlier == nil ? segment.startChain : earlier?.chain
    }

    private var end: Int { geometry.byte(of: footer.end - 1) + 1 }
    /// Whether this piece reached the end of its segment, and of what belongs to it.
    package var isWhole: Bool { isScanned && checks.isEmpty }

    /// Reads and verifies. What does not verify is noted in ``damaged``, not thrown.
    ///
    /// - Throws: When the file cannot be read at all; the piece may be asked for again.
    package func perform() throws(StorageError) {
        do throws(LogError) {
            if !isScanned { try scan() }
            while var check = checks.first, bytes < bytesMax {
                let start = check.byte
                try check.perform(bytesMax: bytesMax - bytes)
                bytes += check.byte - start
                if check.damagedByte != nil { damagedTables.append(check.table) }
                if check.isOver { checks.removeFirst() } else { checks[0] = check }
            }
        } catch {
            guard case .storage(let failure) = error else {
                preconditionFailure("a scan fails only where the file cannot be read")
            }
            throw failure
        }
    }

    private func scan() throws(LogError) {
        if byte == geometry.entriesStart {
            // What the disk holds is of interest, not what memory remembers.
            file.dropCache()
            try storage { () throws(StorageError) in try verifyBlocks() }
        }
        let scanner = SegmentScanner(
            file: file,
            number: segment,
            geometry: geometry,
            checksums: checksums,
            byte: byte,
            chain: chain
        )
        let start = byte
        while scanner.byte < end, scanner.byte - start < bytesMax {
            let at = scanner.byte
            switch try scanner.next() {
            case .entry: break
            case .full:
                note(at, until: end, "the entries end before the segment's end")
                scanner.byte = end
            case .fault(let fault, let header?):
                scanner.stepOver(header)
                note(at, until: scanner.byte, fault.reason)
            case .fault(let fault, nil):
                let next = try scanner.nextHeader(from: at + 8)?.byte ?? end
                note(at, until: min(next, end), fault.reason)
                scanner.byte = min(next, end)
                scanner.chain = nil
            }
        }
        byte = scanner.byte
        chain = scanner.chain
        bytes += byte - start
        isScanned = byte >= end
        if isScanned {
            if let chain, chain != footer.chain {
                note(end, until: end, "the chain of the entries is not the footer's")
            }
            file.dropCache()
        }
    }

    private func verifyBlocks() throws(StorageError) {
        let buffer = RawBuffer(capacity: SegmentGeometry.blockBytes)
        let block = buffer.mutableBytes(0..<SegmentGeometry.blockBytes)
        if try reads(block, at: 0),
            case .header(let header) = SegmentHeader.decode(UnsafeRawPointer(buffer.base)),
            header.number == segment, header.firstChain(checksums) == chain
        {
            bytes += block.count
        } else {
            note(0, until: geometry.entriesStart, "the segment header does not verify")
        }
        let found =
            try reads(block, at: geometry.entriesEnd)
            ? SegmentFooter.decode(
                UnsafeRawPointer(buffer.base),
                number: segment,
                geometry: geometry,
                checksums
            ) : nil
        if found == footer {
            bytes += block.count
        } else {
            note(geometry.entriesEnd, until: geometry.segmentBytes, "the footer does not verify")
        }
    }

    /// False when the file is too short, or when the disk cannot read it: that is what scrubbing looks for.
    private func reads(
        _ block: UnsafeMutableRawBufferPointer,
        at byte: Int
    ) throws(StorageError) -> Bool {
        do throws(StorageError) {
            return try file.read(into: block, at: byte) == block.count
        } catch {
            guard error.isUnreadable else { throw error }
            return false
        }
    }

    private func note(_ from: Int, until: Int, _ reason: String) {
        let base = geometry.base(of: segment)
        damaged.append(
            DamagedRange(
                file: LogFileName.name(ofSegment: base),
                byte: from,
                from: LogPosition(base + UInt64(from)),
                to: LogPosition(base + UInt64(until)),
                reason: reason
            )
        )
    }
}
