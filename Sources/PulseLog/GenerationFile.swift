// A generation: the merged keys of many sealed segments in one sorted file, so that "never seen" asks
// a few filters instead of one for each segment. Made in the background from index files, never
// changed, and rebuildable from them.
//
//     A table of keys as ``KeyTableShape`` draws it, without other pages.
//
//     key page  255 x {key u64, position u64}
//     rows      {number u64, end u64, latest wall i64, chain u32, zero u32}, ascending
//
// The file is about the segments `first` to `last` of its name; its rows list those that there were,
// each with the end and chain that tie the file to one content. It stays good for the younger ones
// when the older ones are let go.
//
// Source: spec/03-storage.md, "Generations".

import PulseCore

extension KeyTableFormat {
    static let generation = KeyTableFormat(
        magic: 0x4E45_4745_534C_5550,
        major: 1,
        entryBytes: 16,
        pageKeys: 255,
        sumsByte: 48
    )
}

/// What a generation remembers of a segment.
struct GenerationSegment: Hashable, Sendable {
    var number: UInt64
    var end: UInt64
    var latestWall: WallTimestamp
    var chain: UInt32

    static let bytes = 32

    init(_ footer: SegmentFooter) {
        number = footer.number
        end = footer.end
        latestWall = footer.latestWall
        chain = footer.chain
    }

    init(_ bytes: UnsafeRawPointer) {
        number = bytes.little(0)
        end = bytes.little(8)
        latestWall = WallTimestamp(milliseconds: bytes.little(16))
        chain = bytes.little(24)
    }

    func encode(to target: UnsafeMutableRawPointer) {
        target.putLittle(number, 0)
        target.putLittle(end, 8)
        target.putLittle(latestWall.milliseconds, 16)
        target.putLittle(chain, 24)
    }

    func isContent(of footer: SegmentFooter) -> Bool {
        footer.number == number && footer.end == end && footer.chain == chain
    }
}

/// The fields of a generation's header.
struct GenerationCounts: Hashable, Sendable {
    var range: ClosedRange<UInt64>
    var keys: Int
    var segments: Int

    var shape: KeyTableShape {
        KeyTableShape(
            format: .generation,
            first: range.lowerBound,
            last: range.upperBound,
            keys: keys,
            mergedKeys: keys,
            otherPages: 0,
            rowBytes: GenerationSegment.bytes * segments
        )
    }

    func encode(to target: UnsafeMutableRawPointer) {
        target.putLittle(range.lowerBound, 16)
        target.putLittle(range.upperBound, 24)
        target.putLittle(UInt64(keys), 32)
        target.putLittle(UInt64(segments), 40)
    }
}

extension GenerationCounts {
    /// Nil when the header is that of other segments, or its counts cannot be.
    init?(_ header: KeyTableHeader, of range: ClosedRange<UInt64>) {
        let fields = header.fields
        let counts = [32, 40].map { fields.little($0, as: UInt64.self) }
        guard fields.little(16, as: UInt64.self) == range.lowerBound,
            fields.little(24, as: UInt64.self) == range.upperBound,
            counts.allSatisfy({ $0 <= UInt64(header.fileBytes) })
        else { return nil }
        self.init(range: range, keys: Int(counts[0]), segments: Int(counts[1]))
    }
}
