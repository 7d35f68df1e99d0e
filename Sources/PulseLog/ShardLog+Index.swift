// Finding entries: by stream and offset, and by key.

package import PulseCore

extension ShardLog {
    /// The entry that holds a record, or nil when the log does not have it (any more).
    package func locate(_ stream: StreamID, _ offset: Offset) throws(LogError) -> LogPosition? {
        for segment in kept.reversed() {
            if let position = segment.locate(stream, offset) { return position }
        }
        return nil
    }

    /// Visits the entries seen under `key`, newest first, until `visit` answers false.
    ///
    /// Keys are hashes: two things may share one, so the visitor reads the entry and verifies.
    package func lookup(
        _ key: UInt64,
        newestFirst visit: (LogPosition) throws(LogError) -> Bool
    ) throws(LogError) {
        // By number, because a visitor may append and so roll.
        var place = kept.count - 1
        while place >= 0 {
            let segment = kept[place]
            place -= 1
            var found = foundBytes
            foundBytes = []
            found.removeAll(keepingCapacity: true)
            defer { foundBytes = found }
            try bytes(of: key, in: segment, into: &found)
            for byte in found {
                guard try visit(LogPosition(segment.base + UInt64(byte))) else { return }
            }
        }
    }

    private func bytes(
        of key: UInt64,
        in segment: Segment,
        into found: inout [Int]
    ) throws(LogError) {
        switch segment.index {
        case .memory(let index):
            index.bytes(of: key, into: &found)
        case .file(let index):
            if try index.bytes(of: key, into: &found) { return }
            // The index file is damaged, not the log: make it anew from the segment.
            let rebuilt = try rebuildIndex(of: segment)
            segment.index = .memory(rebuilt)
            segment.indexJobPending = false
            wantsJobs = true
            found.removeAll(keepingCapacity: true)
            rebuilt.bytes(of: key, into: &found)
        }
    }

    private func rebuildIndex(of segment: Segment) throws(LogError) -> MemoryIndex {
        let scanner = SegmentScanner(
            file: segment.file,
            number: segment.number,
            geometry: geometry,
            checksums: checksums,
            byte: geometry.entriesStart,
            chain: segment.startChain
        )
        let builder = IndexBuilder(indexer, checksums)
        while scanner.position < segment.end {
            let at = scanner.position
            switch try scanner.next() {
            case .entry(let header, let body):
                builder.add(header, body, byte: geometry.byte(of: at))
            case .full: throw damage(segment, at, "the entries end before the segment's end")
            case .fault(let fault, _): throw damage(segment, at, fault.reason)
            }
        }
        return builder.index
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
