// Finding entries: by stream and offset, and by key.

package import PulseCore

extension ShardLog {
    /// The entry that holds a record, or nil when the log does not have it (any more). At most one page
    /// of an index file is read.
    package func locate(_ stream: StreamID, _ offset: Offset) throws(LogError) -> LogPosition? {
        if case .memory(let index) = active.index, let byte = index.locate(stream, offset) {
            return LogPosition(active.base + UInt64(byte))
        }
        guard let number = streamDirectory.segment(holding: offset, of: stream),
            let segment = segment(at: geometry.base(of: number))
        else { return nil }
        let byte: Int?
        switch segment.index {
        case .memory(let index): byte = index.locate(stream, offset)
        case .file(let index):
            switch try index.locate(stream, offset, pages) {
            case .byte(let found): byte = found
            case .absent: byte = nil
            case .damaged: byte = try remakeIndex(of: segment).locate(stream, offset)
            }
        }
        guard let byte else { return nil }
        // An index made before a repair still names what was lost.
        let position = LogPosition(segment.base + UInt64(byte))
        return isLost(position) ? nil : position
    }

    /// Visits the entries seen under `key`, newest first, until `visit` answers false.
    ///
    /// Keys are hashes: two things may share one, so the visitor reads the entry and verifies.
    ///
    /// - Parameters:
    ///   - since: Segments whose latest entry is older are left out: the visitor does not want them.
    ///   - notBelow: Neither does it want entries below this position.
    package func lookup(
        _ key: UInt64,
        since: WallTimestamp = WallTimestamp(milliseconds: .min),
        notBelow: LogPosition = .zero,
        newestFirst visit: (LogPosition) throws(LogError) -> Bool
    ) throws(LogError) {
        let isMerged = KeyClass.isMerged(key)
        // By number, because a visitor may append and so roll.
        var place = kept.count - 1
        while place >= 0 {
            let segment = kept[place]
            place -= 1
            if segment.end <= notBelow.rawValue { return }
            if segment.isOlder(than: since) { continue }
            if isMerged, let generation = segment.generation {
                if let found = try positions(of: key, in: generation) {
                    guard try show(found, from: notBelow, to: visit) else { return }
                    while place >= 0, kept[place].generation === generation { place -= 1 }
                    continue
                }
                // The generation is damaged and let go: its segments answer one by one.
            }
            let found = try positions(of: key, in: segment)
            guard try show(found, from: notBelow, to: visit) else { return }
        }
    }

    /// Shows what was found; false when the visitor has had enough. Gives the memory back for the next.
    private func show(
        _ found: [UInt64],
        from notBelow: LogPosition,
        to visit: (LogPosition) throws(LogError) -> Bool
    ) throws(LogError) -> Bool {
        defer { foundPositions = found }
        let oldest = max(firstPosition, notBelow).rawValue
        for position in found where position >= oldest {
            guard !isLost(LogPosition(position)) else { continue }
            guard try visit(LogPosition(position)) else { return false }
        }
        return true
    }

    /// Emptied memory for what is found, which a nested lookup does not get.
    private func takeFound() -> [UInt64] {
        var found = foundPositions
        foundPositions = []
        found.removeAll(keepingCapacity: true)
        return found
    }

    private func positions(
        of key: UInt64,
        in generation: Generation
    ) throws(LogError) -> [UInt64]? {
        var found = takeFound()
        if try generation.table.positions(of: key, pages, into: &found) { return found }
        foundPositions = found
        forget(generation)
        return nil
    }

    private func positions(of key: UInt64, in segment: Segment) throws(LogError) -> [UInt64] {
        var found = takeFound()
        switch segment.index {
        case .memory(let index):
            index.positions(of: key, base: segment.base, into: &found)
        case .file(let index):
            if try index.table.positions(of: key, pages, into: &found) { break }
            found.removeAll(keepingCapacity: true)
            try remakeIndex(of: segment).positions(of: key, base: segment.base, into: &found)
        }
        return found
    }

    /// Bytes that indexes hold in memory: those of segments whose index is not in a file yet, the active
    /// one above all, and everything else. For metrics and for the test that bounds them.
    package var indexBytes: (unwritten: Int, written: Int) {
        var bytes = (unwritten: 0, written: streamDirectory.bytes + pages.bytes)
        var counted: Generation?
        for segment in kept {
            switch segment.index {
            case .memory(let index): bytes.unwritten += index.bytes
            case .file(let index): bytes.written += index.table.memoryBytes
            }
            if let generation = segment.generation, generation !== counted {
                bytes.written += generation.table.memoryBytes
                counted = generation
            }
        }
        return bytes
    }
}

/// Fills an index from entries read back, as appending them had filled it.
final class IndexBuilder {
    let index = MemoryIndex()
    private let indexer: any EntryIndexer
    private let secret: UInt64
    private var keys: [UInt64] = []

    init(_ indexer: any EntryIndexer, _ checksums: LogChecksums) {
        self.indexer = indexer
        secret = checksums.secret
    }

    func add(_ header: EntryHeader, _ body: UnsafeRawBufferPointer, byte: Int) {
        if header.kind == .recordBatch, header.recordCount > 0 {
            index.add(
                stream: header.stream,
                baseOffset: header.baseOffset,
                count: header.recordCount,
                byte: byte
            )
        }
        keys.removeAll(keepingCapacity: true)
        if !Mutant.isOn(.forgetKeysAtStart) {
            indexer.keys(of: header, body: body, secret: secret, into: &keys)
        }
        index.add(keys, byte: byte)
    }
}
