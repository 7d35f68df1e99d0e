// A generation: the merged keys of many sealed segments in one sorted file, so that "never seen" asks
// a few filters instead of one for each segment. Made in the background from index files, never
// changed, and rebuildable from them.
//
//     0        4096
//     +--------+-----------+--------+----------+--------+
//     | header | key pages | fences | segments | filter |
//     +--------+-----------+--------+----------+--------+
//                           \_____________________________/  kept in memory while they are asked
//
//     key page  255 x {key u64, position u64}, ascending by key, then newest first
//     segments  {number u64, end u64, latest wall i64, chain u32, zero u32}, ascending
//
// The file is about the segments `first` to `last` of its name; `segments` lists those that there were,
// each with the end and chain that tie the file to one content. It stays good for the younger ones
// when the older ones are let go.
//
// Source: spec/03-storage.md, "Generations".

import PulseCore

/// What a generation remembers of a segment.
struct GenerationSegment: Hashable, Sendable {
    var number: UInt64
    var end: UInt64
    var latestWall: WallTimestamp
    var chain: UInt32

    static let bytes = 32

    func isContent(of footer: SegmentFooter) -> Bool {
        footer.number == number && footer.end == end && footer.chain == chain
    }

    func encode(to target: UnsafeMutableRawPointer) {
        target.putLittle(number, 0)
        target.putLittle(end, 8)
        target.putLittle(latestWall.milliseconds, 16)
        target.putLittle(chain, 24)
        target.putLittle(UInt32(0), 28)
    }

    init(number: UInt64, end: UInt64, latestWall: WallTimestamp, chain: UInt32) {
        self.number = number
        self.end = end
        self.latestWall = latestWall
        self.chain = chain
    }

    init(_ bytes: UnsafeRawPointer) {
        number = bytes.little(0)
        end = bytes.little(8)
        latestWall = WallTimestamp(milliseconds: bytes.little(16))
        chain = bytes.little(24)
    }
}

/// The counts of a generation file, from which every place in it follows.
struct GenerationShape: Hashable, Sendable {
    static let magic: UInt64 = 0x4E45_4745_534C_5550
    static let formatMajor: UInt16 = 1
    static let entryBytes = 16
    static let pageKeys = 255

    var first: UInt64
    var last: UInt64
    var keys: Int
    var segments: Int

    var name: String { LogFileName.name(ofGeneration: first, last) }
    var pages: Int { (keys + Self.pageKeys - 1) / Self.pageKeys }
    var filterBlocks: Int { KeyFilter.blocks(forKeys: keys) }
    var segmentsStart: Int { tables.lowerBound + 8 * pages }
    var tables: Range<Int> {
        let start = PagedFile.start(ofPage: pages)
        return start..<start + 8 * pages + GenerationSegment.bytes * segments
    }
    var filter: Range<Int> {
        let start = tables.upperBound
        return start..<start + filterBlocks * KeyFilter.blockBytes
    }
    var fileBytes: Int { filter.upperBound }

    func encodeHeader(
        to target: UnsafeMutableRawPointer,
        tables: UInt32,
        filter: UInt32,
        _ checksums: LogChecksums
    ) {
        target.putLittle(Self.magic, 0)
        target.putLittle(Self.formatMajor, 8)
        target.putLittle(first, 16)
        target.putLittle(last, 24)
        target.putLittle(UInt64(keys), 32)
        target.putLittle(UInt64(segments), 40)
        target.putLittle(tables, 48)
        target.putLittle(filter, 52)
        target.putLittle(checksums.block(UnsafeRawBufferPointer(start: target, count: 4092)), 4092)
    }

    enum Decoded {
        case header(shape: GenerationShape, tables: UInt32, filter: UInt32)
        case unusable
        case newer(major: UInt16)
    }

    /// `fileBytes`: the file's true size, which the counts must add up to.
    static func decodeHeader(
        _ bytes: UnsafeRawPointer,
        first: UInt64,
        last: UInt64,
        fileBytes: Int,
        _ checksums: LogChecksums
    ) -> Decoded {
        guard bytes.little(0, as: UInt64.self) == magic,
            checksums.block(UnsafeRawBufferPointer(start: bytes, count: 4092))
                == bytes.little(4092, as: UInt32.self)
        else { return .unusable }
        let major = bytes.little(8, as: UInt16.self)
        guard major <= formatMajor else { return .newer(major: major) }
        let keys = bytes.little(32, as: UInt64.self)
        let segments = bytes.little(40, as: UInt64.self)
        guard major == formatMajor, bytes.little(16, as: UInt64.self) == first,
            bytes.little(24, as: UInt64.self) == last, keys <= UInt64(fileBytes),
            segments <= UInt64(fileBytes)
        else { return .unusable }
        let shape = GenerationShape(
            first: first,
            last: last,
            keys: Int(keys),
            segments: Int(segments)
        )
        guard shape.fileBytes == fileBytes else { return .unusable }
        return .header(shape: shape, tables: bytes.little(48), filter: bytes.little(52))
    }
}
