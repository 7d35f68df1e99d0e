// The index of a sealed segment as a file: written once by a background job, never changed, and
// rebuildable from the segment alone.
//
//     A table of keys as ``KeyTableShape`` draws it. Its other pages are run pages, its rows streams.
//
//     key page  340 x {key u64, slot u32}
//     run page  255 x {base offset i64, slot u32, records u32}, by stream, then offset
//     streams   {stream u32, runs u32, first offset i64, end offset i64}, ascending
//
// The segment's end and chain tie the file to one content: an index left behind by an abandoned
// segment of the same number does not pass for its successor's.
//
// Source: spec/03-storage.md, "Index file".

import PulseCore

/// Everything needed to write a segment's index file. A value, so that it can cross to the
/// background; its arrays are shared with the log until then, not copied.
struct IndexDraft: Sendable {
    let identity: LogIdentity
    let footer: SegmentFooter
    let base: UInt64
    let nodes: [KeyNode]
    let streams: [UInt32]
    let runs: [[StreamRun]]

    init(_ index: MemoryIndex, identity: LogIdentity, footer: SegmentFooter, base: UInt64) {
        self.identity = identity
        self.footer = footer
        self.base = base
        nodes = Mutant.isOn(.forgetKeysAtSeal) ? [] : index.nodes
        streams = index.streams
        runs = index.runs
    }

    var name: String { LogFileName.name(ofIndex: base) }

    /// By key, then newest first.
    var sortedNodes: [KeyNode] {
        nodes.sorted { a, b in a.key != b.key ? a.key < b.key : a.slot > b.slot }
    }

    /// Writes the file. Sorts all keys: tens of milliseconds for a full segment.
    func write(in directory: any LogDirectory) throws(StorageError) {
        do throws(StorageError) {
            let sorted = sortedNodes
            let order = streams.indices.sorted { streams[$0] < streams[$1] }
            let counts = IndexCounts(
                keys: sorted.count,
                mergedKeys: lowerBound(sorted.count) { KeyClass.isMerged(sorted[$0].key) },
                streams: streams.count,
                runs: runs.reduce(0) { $0 + $1.count }
            )
            let writer = try KeyTableWriter(
                name,
                in: directory,
                counts.shape(of: footer.number),
                LogChecksums(identity)
            )
            for node in sorted { try writer.add(node.key, UInt64(node.slot)) }
            try writer.endPage()
            for stream in order {
                for run in runs[stream] { try add(run, to: writer) }
            }
            try writer.finish(
                in: directory,
                rows: { putStreams(order, to: $0) },
                header: { counts.encode(to: $0, footer) }
            )
        } catch {
            KeyTableWriter.abandon(name, in: directory)
            throw error
        }
    }

    private func add(_ run: StreamRun, to writer: KeyTableWriter) throws(StorageError) {
        let entry = try writer.entry(
            IndexCounts.runBytes,
            perPage: IndexCounts.pageRuns,
            fence: UInt64(bitPattern: run.baseOffset)
        )
        entry.putLittle(run.baseOffset, 0)
        entry.putLittle(run.slot, 8)
        entry.putLittle(run.count, 12)
    }

    private func putStreams(_ order: [Int], to rows: UnsafeMutableRawPointer) {
        for (place, stream) in order.enumerated() {
            let row = rows + place * IndexCounts.streamBytes
            row.putLittle(streams[stream], 0)
            row.putLittle(UInt32(runs[stream].count), 4)
            row.putLittle(runs[stream].first?.baseOffset ?? 0, 8)
            row.putLittle(runs[stream].last?.endOffset ?? 0, 16)
        }
    }
}

extension KeyTableFormat {
    static let index = KeyTableFormat(
        magic: 0x5844_4945_534C_5550,
        major: 2,
        entryBytes: 12,
        pageKeys: 340,
        sumsByte: 72
    )
}

/// The counts of an index file's header.
struct IndexCounts: Hashable, Sendable {
    static let runBytes = 16
    static let pageRuns = 255
    static let streamBytes = 24

    var keys: Int
    var mergedKeys: Int
    var streams: Int
    var runs: Int

    func shape(of segment: UInt64) -> KeyTableShape {
        KeyTableShape(
            format: .index,
            first: segment,
            last: segment,
            keys: keys,
            mergedKeys: mergedKeys,
            otherPages: (runs + Self.pageRuns - 1) / Self.pageRuns,
            rowBytes: Self.streamBytes * streams
        )
    }

    func encode(to target: UnsafeMutableRawPointer, _ footer: SegmentFooter) {
        target.putLittle(footer.number, 16)
        target.putLittle(footer.end, 24)
        target.putLittle(footer.chain, 32)
        for (place, count) in [keys, mergedKeys, streams, runs].enumerated() {
            target.putLittle(UInt64(count), 40 + 8 * place)
        }
    }
}

extension IndexCounts {
    /// Nil when the header is that of another content than this footer's, or its counts cannot be.
    init?(_ header: KeyTableHeader, of footer: SegmentFooter) {
        let fields = header.fields
        let counts = [40, 48, 56, 64].map { fields.little($0, as: UInt64.self) }
        let isOwn =
            fields.little(16, as: UInt64.self) == footer.number
            && fields.little(24, as: UInt64.self) == footer.end
            && fields.little(32, as: UInt32.self) == footer.chain
        guard isOwn || Mutant.isOn(.anyIndex), counts[1] <= counts[0],
            counts.allSatisfy({ $0 <= UInt64(header.fileBytes) })
        else { return nil }
        self.init(
            keys: Int(counts[0]),
            mergedKeys: Int(counts[1]),
            streams: Int(counts[2]),
            runs: Int(counts[3])
        )
    }
}
