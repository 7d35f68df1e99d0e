// The index of a sealed segment as a file: written once by a background job, never changed, and
// rebuildable from the segment alone.
//
//     0        4096
//     +--------+-----------+-----------+--------+------------+---------+--------+
//     | header | key pages | run pages | fences | run fences | streams | filter |
//     +--------+-----------+-----------+--------+------------+---------+--------+
//                                       \_______________________________/
//                                         kept in memory: some kilobytes
//
//     key page  340 x {key u64, slot u32}, ascending by key, then newest first
//     run page  255 x {base offset i64, slot u32, records u32}, by stream, then offset
//     streams   {stream u32, runs u32, first offset i64, end offset i64}, ascending
//     filter    of the keys of class 0, which come first
//
// The segment's end and chain tie the file to one content: an index left behind by an abandoned
// segment of the same number does not pass for its successor's.
//
// Source: spec/03-storage.md, "Index file".

import PulseCore

/// Everything needed to write a segment's index file. A value, so that it can cross to the
/// background; its arrays are shared with the log until then, not copied.
package struct IndexDraft: Sendable {
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

    package var segmentNumber: UInt64 { footer.number }
    package var name: String { LogFileName.name(ofIndex: base) }

    /// The bytes of the file. Sorts all keys: tens of milliseconds for a full segment.
    package func encode() -> [UInt8] {
        let checksums = LogChecksums(identity)
        let sorted = nodes.sorted { a, b in a.key != b.key ? a.key < b.key : a.slot > b.slot }
        let shape = IndexShape(
            keys: sorted.count,
            mergedKeys: lowerBound(sorted.count) { KeyClass.isMerged(sorted[$0].key) },
            streams: streams.count,
            runs: runs.reduce(0) { $0 + $1.count }
        )
        var file = [UInt8](repeating: 0, count: shape.fileBytes)
        file.withUnsafeMutableBytes { raw in
            guard let start = raw.baseAddress else { return }
            putKeys(sorted, shape, start)
            putRuns(shape, start)
            for page in 0..<shape.pages + shape.runPages {
                PagedFile.seal(
                    start + PagedFile.start(ofPage: page),
                    page,
                    segments: footer.number,
                    footer.number,
                    checksums
                )
            }
            shape.encodeHeader(
                to: start,
                footer: footer,
                tables: checksums.block(UnsafeRawBufferPointer(rebasing: raw[shape.tables])),
                filter: checksums.block(UnsafeRawBufferPointer(rebasing: raw[shape.filter])),
                checksums
            )
        }
        return file
    }

    private func putKeys(
        _ sorted: [KeyNode],
        _ shape: IndexShape,
        _ start: UnsafeMutableRawPointer
    ) {
        for (index, node) in sorted.enumerated() {
            let (page, place) = index.quotientAndRemainder(dividingBy: IndexShape.pageKeys)
            let entry = start + PagedFile.start(ofPage: page) + place * IndexShape.entryBytes
            entry.putLittle(node.key, 0)
            entry.putLittle(node.slot, 8)
            if place == 0 { (start + shape.tables.lowerBound).putLittle(node.key, page * 8) }
            guard index < shape.mergedKeys else { continue }
            let block = KeyFilter.block(of: node.key, among: shape.filterBlocks)
            let bytes = start + shape.filter.lowerBound + block * KeyFilter.blockBytes
            KeyFilter.insert(node.key, into: bytes)
        }
    }

    private func putRuns(_ shape: IndexShape, _ start: UnsafeMutableRawPointer) {
        var number = 0
        var row = start + shape.streamsStart
        for stream in streams.indices.sorted(by: { streams[$0] < streams[$1] }) {
            row.putLittle(streams[stream], 0)
            row.putLittle(UInt32(runs[stream].count), 4)
            row.putLittle(runs[stream].first?.baseOffset ?? 0, 8)
            row.putLittle(runs[stream].last?.endOffset ?? 0, 16)
            row += IndexShape.streamBytes
            for run in runs[stream] {
                let (page, place) = number.quotientAndRemainder(dividingBy: IndexShape.pageRuns)
                let bytes =
                    start + PagedFile.start(ofPage: shape.pages + page)
                    + place * IndexShape.runBytes
                bytes.putLittle(run.baseOffset, 0)
                bytes.putLittle(run.slot, 8)
                bytes.putLittle(run.count, 12)
                if place == 0 {
                    (start + shape.runFencesStart).putLittle(run.baseOffset, page * 8)
                }
                number += 1
            }
        }
    }
}

/// The counts of an index file, from which every place in it follows.
struct IndexShape: Hashable, Sendable {
    static let magic: UInt64 = 0x5844_4945_534C_5550
    static let formatMajor: UInt16 = 2
    static let entryBytes = 12
    /// Entries in a page: 340 x 12 = 4,080 bytes, the rest is padding and the checksum.
    static let pageKeys = 340
    static let runBytes = 16
    static let pageRuns = 255
    static let streamBytes = 24

    var keys: Int
    /// Those of ``KeyClass/merged``, which come first.
    var mergedKeys: Int
    var streams: Int
    var runs: Int

    var pages: Int { (keys + Self.pageKeys - 1) / Self.pageKeys }
    var runPages: Int { (runs + Self.pageRuns - 1) / Self.pageRuns }
    var filterBlocks: Int { KeyFilter.blocks(forKeys: mergedKeys) }
    var runFencesStart: Int { tables.lowerBound + 8 * pages }
    var streamsStart: Int { runFencesStart + 8 * runPages }
    /// Fences, run fences and streams: what is kept in memory.
    var tables: Range<Int> {
        let start = PagedFile.start(ofPage: pages + runPages)
        return start..<start + 8 * (pages + runPages) + Self.streamBytes * streams
    }
    var filter: Range<Int> {
        let start = tables.upperBound
        return start..<start + filterBlocks * KeyFilter.blockBytes
    }
    var fileBytes: Int { filter.upperBound }

    func encodeHeader(
        to target: UnsafeMutableRawPointer,
        footer: SegmentFooter,
        tables: UInt32,
        filter: UInt32,
        _ checksums: LogChecksums
    ) {
        target.putLittle(Self.magic, 0)
        target.putLittle(Self.formatMajor, 8)
        target.putLittle(footer.number, 16)
        target.putLittle(footer.end, 24)
        target.putLittle(footer.chain, 32)
        target.putLittle(UInt64(keys), 40)
        target.putLittle(UInt64(mergedKeys), 48)
        target.putLittle(UInt64(streams), 56)
        target.putLittle(UInt64(runs), 64)
        target.putLittle(tables, 72)
        target.putLittle(filter, 76)
        target.putLittle(checksums.block(UnsafeRawBufferPointer(start: target, count: 4092)), 4092)
    }

    enum Decoded {
        case header(shape: IndexShape, tables: UInt32, filter: UInt32)
        /// Not the header of this footer's index, or of a format that is not read any more.
        case unusable
        case newer(major: UInt16)
    }

    /// `fileBytes`: the file's true size, which the counts must add up to.
    static func decodeHeader(
        _ bytes: UnsafeRawPointer,
        footer: SegmentFooter,
        fileBytes: Int,
        _ checksums: LogChecksums
    ) -> Decoded {
        guard bytes.little(0, as: UInt64.self) == magic,
            checksums.block(UnsafeRawBufferPointer(start: bytes, count: 4092))
                == bytes.little(4092, as: UInt32.self)
        else { return .unusable }
        let major = bytes.little(8, as: UInt16.self)
        guard major <= formatMajor else { return .newer(major: major) }
        let counts = [40, 48, 56, 64].map { bytes.little($0, as: UInt64.self) }
        let isOwn =
            bytes.little(16, as: UInt64.self) == footer.number
            && bytes.little(24, as: UInt64.self) == footer.end
            && bytes.little(32, as: UInt32.self) == footer.chain
        guard major == formatMajor, isOwn || Mutant.isOn(.anyIndex),
            counts.allSatisfy({ $0 <= UInt64(fileBytes) }), counts[1] <= counts[0]
        else { return .unusable }
        let shape = IndexShape(
            keys: Int(counts[0]),
            mergedKeys: Int(counts[1]),
            streams: Int(counts[2]),
            runs: Int(counts[3])
        )
        guard shape.fileBytes == fileBytes else { return .unusable }
        return .header(shape: shape, tables: bytes.little(72), filter: bytes.little(76))
    }
}
