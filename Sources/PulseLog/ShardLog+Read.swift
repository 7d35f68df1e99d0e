// Reading entries back: one by position, or all in order. Everything is verified on every read.

package import PulseCore

extension ShardLog {
    /// Bytes read at once for a single entry: most entries whole, in one call.
    private static let readAhead = 4096

    /// Calls `body` with the verified entry at `position`, written or still in the turn's buffer.
    /// The bytes are valid during the call. One positional read unless the entry is large.
    package func read<R>(
        at position: LogPosition,
        _ body: (EntryHeader, UnsafeRawBufferPointer) throws(LogError) -> R
    ) throws(LogError) -> R {
        let at = position.rawValue
        guard let segment = segment(at: at), at & 7 == 0,
            geometry.byte(of: at) >= geometry.entriesStart, at < segment.end,
            gap(over: position) == nil
        else {
            // Of a file that is missing, say.
            if let range = knownDamage(at: at) { throw .damaged(range) }
            throw .noEntry(at: position)
        }
        let room = geometry.entriesEnd - geometry.byte(of: at)
        if at >= written, let pointer = turn.pointer(to: at) {
            let header = try decode(pointer, of: segment, at: at, room: room)
            try verify(pointer, header, in: segment)
            return try body(
                header,
                UnsafeRawBufferPointer(
                    start: pointer + EntryHeader.bytes,
                    count: header.bodyLength
                )
            )
        }
        let buffer = scratch ?? RawBuffer(capacity: Self.readAhead)
        scratch = nil
        defer { scratch = buffer }
        let byte = geometry.byte(of: at)
        let isSmall = configuration.buggify?.fires(.smallRead) == true
        let first = min(isSmall ? EntryHeader.bytes : Self.readAhead, room)
        // Read-ahead must not meet damage that lies behind the entry.
        var got = try fillAhead(buffer, first, from: segment, at: byte)
        if got == nil { got = try fill(buffer, 0..<EntryHeader.bytes, of: at, from: segment) }
        guard let got, got >= EntryHeader.bytes else {
            throw damage(segment, at, "the file ends here")
        }
        let header = try decode(UnsafeRawPointer(buffer.base), of: segment, at: at, room: room)
        let size = header.storedBytes
        if size > got {
            buffer.reserve(size, keeping: got)
            let more = try fill(buffer, got..<size, of: at, from: segment)
            let end = got + more
            guard end >= EntryHeader.bytes + header.bodyLength else {
                throw damage(segment, at, "the file ends inside the entry")
            }
            // Only padding is missing: the entry is whole, and a scan takes it as such.
            if end < size { buffer.zero(end..<size) }
        }
        let pointer = UnsafeRawPointer(buffer.base)
        try verify(pointer, header, in: segment)
        return try body(
            header,
            UnsafeRawBufferPointer(start: pointer + EntryHeader.bytes, count: header.bodyLength)
        )
    }

    /// Visits all entries from `from` on, in order, verified and with their chain checked, until
    /// the append position or until `visit` answers false. Starts at the oldest entry when `from`
    /// is older and what lay before was released, and where the log goes on when it lies in a gap.
    /// Throws ``LogError/damaged(_:)`` at damage: nothing is ever skipped.
    ///
    /// `visit` may read; it must not append.
    package func scan(
        from: LogPosition,
        _ visit: (EntryHeader, UnsafeRawBufferPointer) throws(LogError) -> Bool
    ) throws(LogError) {
        let begin = gap(over: from)?.to.rawValue ?? from.rawValue
        let start = max(begin, firstPosition.rawValue)
        let window = RawBuffer(capacity: min(SegmentScanner.windowBytes, geometry.segmentBytes))
        var previous: Segment?
        for segment in kept where segment.end > start {
            if let previous, previous.number + 1 != segment.number {
                throw damage(previous, previous.end, "the next segment is missing")
            }
            let base = segment.base + UInt64(geometry.entriesStart)
            try expectNoLoss(from: previous?.end ?? begin, to: base)
            guard try scan(segment, from: max(start, base), window, visit) else { return }
            previous = segment
        }
        try expectNoLoss(from: max(previous?.end ?? from.rawValue, start), to: position)
    }

    /// Throws when recovery found that something is lost between an end and what is read next.
    private func expectNoLoss(from: UInt64, to: UInt64) throws(LogError) {
        guard from < to else { return }
        let lost = damaged.first { $0.from.rawValue < to && $0.to.rawValue > from }
        if let lost { throw .damaged(lost) }
    }

    /// Scans one segment; false when the visitor has had enough.
    private func scan(
        _ segment: Segment,
        from start: UInt64,
        _ window: RawBuffer,
        _ visit: (EntryHeader, UnsafeRawBufferPointer) throws(LogError) -> Bool
    ) throws(LogError) -> Bool {
        let byte = geometry.byte(of: start)
        let scanner = SegmentScanner(
            file: segment.file,
            number: segment.number,
            geometry: geometry,
            checksums: checksums,
            byte: byte,
            chain: byte == geometry.entriesStart ? segment.startChain : nil,
            window: window
        )
        while scanner.position < segment.end {
            let at = scanner.position
            if at >= written {
                var goOn = true
                let header = try read(at: LogPosition(at)) {
                    (header, body) throws(LogError) -> EntryHeader in
                    goOn = try visit(header, body)
                    return header
                }
                guard goOn else { return false }
                scanner.stepOver(header)
                continue
            }
            switch try scanner.next() {
            case .entry(let header, let body):
                guard try visit(header, body) else { return false }
            case .full:
                throw damage(segment, at, "the entries end before the segment's end")
            case .fault(let fault, _):
                throw damage(segment, at, fault.reason)
            }
        }
        return true
    }

    private func decode(
        _ pointer: UnsafeRawPointer,
        of segment: Segment,
        at position: UInt64,
        room: Int
    ) throws(LogError) -> EntryHeader {
        switch EntryHeader.decode(pointer, at: position, room: room, checksums) {
        case .entry(let header): return header
        case .fault(let fault): throw damage(segment, position, fault.reason)
        }
    }

    private func verify(
        _ pointer: UnsafeRawPointer,
        _ header: EntryHeader,
        in segment: Segment
    ) throws(LogError) {
        let padded = UnsafeRawBufferPointer(
            start: pointer + EntryHeader.bytes,
            count: EntryHeader.padded(header.bodyLength)
        )
        if let fault = header.bodyFault(padded, checksums) {
            throw damage(segment, header.position.rawValue, fault.reason)
        }
    }

    /// Nil when the disk cannot read all of it.
    private func fillAhead(
        _ buffer: RawBuffer,
        _ count: Int,
        from segment: Segment,
        at byte: Int
    ) throws(LogError) -> Int? {
        let target = buffer.mutableBytes(0..<count)
        do throws(StorageError) {
            return try segment.file.read(into: target, at: byte)
        } catch {
            guard error.isUnreadable else { throw .storage(error) }
            return nil
        }
    }

    private func fill(
        _ buffer: RawBuffer,
        _ range: Range<Int>,
        of position: UInt64,
        from segment: Segment
    ) throws(LogError) -> Int {
        let target = buffer.mutableBytes(range)
        let byte = geometry.byte(of: position) + range.lowerBound
        do throws(StorageError) {
            return try segment.file.read(into: target, at: byte)
        } catch {
            guard error.isUnreadable else { throw .storage(error) }
            throw damage(segment, position, EntryFault.unreadable.reason)
        }
    }
}
