// The index of a sealed segment as a file: written once by a background job, never changed, and
// rebuildable from the segment alone.
//
//     0                4096                           4096 * (1 + pages)
//     +----------------+---------+---------+---------+---------------------------------------+
//     |     header     | page 0  | page 1  |   ...   | fences | filter | streams | runs       |
//     +----------------+---------+---------+---------+---------------------------------------+
//
//     page     340 x {key u64, slot u32}, zeros, CRC32C at 4092; ascending by key, newest first
//     fences   the first key of each page, u64           streams  {stream u32, runs u32}, ascending
//     filter   blocks of 64 bytes                    runs  {base offset i64, slot u32, count u32}
//
//     header      0  magic "PULSEIDX"    8  major u16, minor u16, zero u32
//                16  segment number u64  24  segment's end u64   32  segment's chain u32, zero u32
//                40  keys u64            48  streams u64         56  runs u64
//                64  filter words u64    72  CRC32C of everything after the pages
//              4092  CRC32C; all seeded with the log identity
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

    package var segmentNumber: UInt64 { footer.number }
    package var name: String { LogFileName.name(ofIndex: base) }

    /// The bytes of the file. Sorts all keys: tens of milliseconds for a full segment.
    package func encode() -> [UInt8] {
        let checksums = LogChecksums(identity)
        let sorted = nodes.sorted { a, b in a.key != b.key ? a.key < b.key : a.slot > b.slot }
        let order = streams.indices.sorted { streams[$0] < streams[$1] }
        let shape = IndexShape(
            keys: sorted.count,
            streams: streams.count,
            runs: runs.reduce(0) { $0 + $1.count },
            filterWords: KeyFilter(keyCount: sorted.count).words.count
        )

        var file = [UInt8](repeating: 0, count: shape.fileBytes)
        file.withUnsafeMutableBytes { raw in
            guard let start = raw.baseAddress else { return }
            var filter = KeyFilter(keyCount: sorted.count)
            for (index, node) in sorted.enumerated() {
                let page = index / IndexShape.pageKeys
                let entry =
                    start + IndexShape.pageStart(page)
                    + index % IndexShape.pageKeys * IndexShape.entryBytes
                entry.putLittle(node.key, 0)
                entry.putLittle(node.slot, 8)
                if index % IndexShape.pageKeys == 0 {
                    (start + shape.fencesStart).putLittle(node.key, page * 8)
                }
                filter.insert(node.key)
            }
            for page in 0..<shape.pages {
                let place = start + IndexShape.pageStart(page)
                place.putLittle(
                    checksums.block(UnsafeRawBufferPointer(start: place, count: 4092)),
                    4092
                )
            }
            for (index, word) in filter.words.enumerated() {
                (start + shape.filterStart).putLittle(word, index * 8)
            }
            var run = start + shape.runsStart
            for (index, stream) in order.enumerated() {
                (start + shape.streamsStart).putLittle(streams[stream], index * 8)
                (start + shape.streamsStart).putLittle(UInt32(runs[stream].count), index * 8 + 4)
                for one in runs[stream] {
                    run.putLittle(one.baseOffset, 0)
                    run.putLittle(one.slot, 8)
                    run.putLittle(one.count, 12)
                    run += 16
                }
            }
            let tables = checksums.block(
                UnsafeRawBufferPointer(
                    start: start + shape.fencesStart,
                    count: shape.fileBytes - shape.fencesStart
                )
            )
            shape.encodeHeader(to: start, footer: footer, tables: tables, checksums)
        }
        return file
    }
}

/// The counts of an index file, from which every place in it follows.
struct IndexShape: Hashable, Sendable {
    static let magic: UInt64 = 0x5844_4945_534C_5550
    static let formatMajor: UInt16 = 1
    static let entryBytes = 12
    static let pageBytes = 4096
    /// Entries in a page: 340 x 12 = 4,080 bytes, the rest is padding and the checksum.
    static let pageKeys = 340

    var keys: Int
    var streams: Int
    var runs: Int
    var filterWords: Int

    static func pageStart(_ page: Int) -> Int { pageBytes * (1 + page) }

    var pages: Int { (keys + Self.pageKeys - 1) / Self.pageKeys }
    var fencesStart: Int { Self.pageStart(pages) }
    var filterStart: Int { fencesStart + 8 * pages }
    var streamsStart: Int { filterStart + 8 * filterWords }
    var runsStart: Int { streamsStart + 8 * streams }
    var fileBytes: Int { runsStart + 16 * runs }

    func encodeHeader(
        to target: UnsafeMutableRawPointer,
        footer: SegmentFooter,
        tables: UInt32,
        _ checksums: LogChecksums
    ) {
        target.putLittle(Self.magic, 0)
        target.putLittle(Self.formatMajor, 8)
        target.putLittle(footer.number, 16)
        target.putLittle(footer.end, 24)
        target.putLittle(footer.chain, 32)
        target.putLittle(UInt64(keys), 40)
        target.putLittle(UInt64(streams), 48)
        target.putLittle(UInt64(runs), 56)
        target.putLittle(UInt64(filterWords), 64)
        target.putLittle(tables, 72)
        target.putLittle(checksums.block(UnsafeRawBufferPointer(start: target, count: 4092)), 4092)
    }

    /// The shape and the tables' checksum, or nil when the block is not the header of this footer's
    /// index. `fileBytes`: the file's true size, which the counts must add up to.
    static func decodeHeader(
        _ bytes: UnsafeRawPointer,
        footer: SegmentFooter,
        fileBytes: Int,
        _ checksums: LogChecksums
    ) -> (shape: IndexShape, tables: UInt32)? {
        guard bytes.little(0, as: UInt64.self) == magic,
            checksums.block(UnsafeRawBufferPointer(start: bytes, count: 4092))
                == bytes.little(4092, as: UInt32.self),
            bytes.little(8, as: UInt16.self) == formatMajor,
            Mutant.isOn(.anyIndex)
                || bytes.little(16, as: UInt64.self) == footer.number
                    && bytes.little(24, as: UInt64.self) == footer.end
                    && bytes.little(32, as: UInt32.self) == footer.chain
        else { return nil }
        let counts = [40, 48, 56, 64].map { bytes.little($0, as: UInt64.self) }
        guard counts.allSatisfy({ $0 <= UInt64(fileBytes) }) else { return nil }
        let shape = IndexShape(
            keys: Int(counts[0]),
            streams: Int(counts[1]),
            runs: Int(counts[2]),
            filterWords: Int(counts[3])
        )
        guard shape.fileBytes == fileBytes, shape.filterWords % KeyFilter.blockWords == 0 else {
            return nil
        }
        return (shape, bytes.little(72))
    }
}
