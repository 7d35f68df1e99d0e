// One segment of the log, as the log holds it in memory.

package import PulseCore

/// Counts of a segment's entries, kept while it is written and read back at recovery.
struct SegmentTally: Hashable, Sendable {
    var entries: UInt64 = 0
    var firstWall = WallTimestamp(milliseconds: 0)
    var latestWall = WallTimestamp(milliseconds: 0)
    /// Of the newest entry; only known of segments whose entries were read.
    var newestWall = WallTimestamp(milliseconds: 0)

    @inline(__always)
    mutating func count(_ wall: WallTimestamp) {
        if entries == 0 { firstWall = wall }
        if entries == 0 || wall > latestWall { latestWall = wall }
        newestWall = wall
        entries += 1
    }
}

/// A segment file and what is known of it.
///
///     active --roll--> sealed, index in memory --job finished--> sealed, index in its file
///                              ^                                        |
///                              `--- a question meets a damaged page ----'
///
/// Damage that scrubbing finds is mended from file to file, in the background.
/// A sealed segment whose index is in its file may be part of a generation.
final class Segment {
    enum Index {
        case memory(MemoryIndex)
        case file(SealedIndex)
    }

    let number: UInt64
    let base: UInt64
    let name: String
    let file: any LogFile
    /// The chain of its first entry.
    var startChain: UInt32
    var index: Index
    /// Where its keys of the merged class are found too, and then asked for.
    var generation: Generation?
    var tally: SegmentTally
    /// Set when it is sealed; nil while it is the active one.
    var footer: SegmentFooter?
    /// One past its last entry, absolute.
    var end: UInt64
    /// Gaps among its entries.
    let gapCount: UInt32
    /// The job that makes its index file, while that is under way.
    var indexJob: IndexJob?
    /// Its index file is known to be damaged, answers where it can, and is to be made again.
    var indexIsDamaged = false
    /// Why its index cannot be made again: the segment does not verify either.
    var indexObstacle: DamagedRange?

    init(
        number: UInt64,
        base: UInt64,
        file: any LogFile,
        startChain: UInt32,
        index: Index,
        tally: SegmentTally,
        footer: SegmentFooter?,
        end: UInt64,
        gapCount: UInt32 = 0
    ) {
        self.number = number
        self.base = base
        self.name = LogFileName.name(ofSegment: base)
        self.file = file
        self.startChain = startChain
        self.index = index
        self.tally = tally
        self.footer = footer
        self.end = end
        self.gapCount = gapCount
    }

    var isSealed: Bool { footer != nil }

    /// Whether all its entries are from before `time`. One that has none is never too old.
    @inline(__always)
    func isOlder(than time: WallTimestamp) -> Bool { tally.entries > 0 && tally.latestWall < time }
}

/// A segment as shown to people: disk usage and `pulse inspect`.
package struct SegmentDescription: Hashable, Sendable {
    package var name: String
    package var number: UInt64
    package var base: LogPosition
    package var end: LogPosition
    /// Bytes of entries.
    package var usedBytes: Int
    /// Bytes of the file.
    package var fileBytes: Int
    package var entries: Int
    package var isSealed: Bool
    package var isIndexed: Bool
    package var firstWall: WallTimestamp
    package var latestWall: WallTimestamp
}

extension Segment {
    func description(_ geometry: SegmentGeometry) -> SegmentDescription {
        var indexed = false
        if case .file = index { indexed = true }
        return SegmentDescription(
            name: name,
            number: number,
            base: LogPosition(base),
            end: LogPosition(end),
            usedBytes: Int(end - base) - geometry.entriesStart,
            fileBytes: geometry.segmentBytes,
            entries: Int(tally.entries),
            isSealed: isSealed,
            isIndexed: indexed,
            firstWall: tally.firstWall,
            latestWall: tally.latestWall
        )
    }
}
