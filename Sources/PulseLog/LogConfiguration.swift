// How a shard's log is set up: its geometry, its identity, and who tells it what to index.

package import PulseCore

/// What the operator may choose about a log.
///
/// The segment size of an existing directory wins over the one given here: it is written in every
/// segment's header.
package struct LogConfiguration: Sendable {
    /// Bytes of one segment file; a power of two.
    package var segmentBytes: Int
    /// Ready-made segment files to keep at hand, so that a roll costs a rename.
    package var spareSegments: Int
    /// Written into every entry.
    package var leaderEpoch: LeaderEpoch
    /// Set by the simulator only.
    package var buggify: Buggify?
    /// How many segments, and then generations of one level, become one of the next.
    package var mergeFanOut: Int
    /// Levels of generations: the largest is of `mergeFanOut` to the power of this many segments.
    package var mergeLevels = 3
    /// Pages written by one piece of a merge: about a tenth of a second, then others have their turn.
    package var mergePiecePages = 4096
    /// Age up to which keys of the merged class are asked for; nil without end. What is older is
    /// neither merged nor has its filter in memory.
    package var mergedKeysMilliseconds: Int64?

    package init(
        segmentBytes: Int = Limits.segmentBytes,
        spareSegments: Int = 1,
        leaderEpoch: LeaderEpoch = LeaderEpoch(0),
        mergeFanOut: Int = 8
    ) {
        precondition(
            segmentBytes >= 32 << 10 && segmentBytes & (segmentBytes - 1) == 0,
            "a segment is a power of two of at least 32 KiB"
        )
        precondition(spareSegments >= 0, "a number of files is not negative")
        self.segmentBytes = segmentBytes
        self.spareSegments = spareSegments
        self.leaderEpoch = leaderEpoch
        precondition(mergeFanOut >= 2, "merging makes fewer files of more")
        self.mergeFanOut = mergeFanOut
    }
}

/// The log's 128-bit name, drawn at random when the directory is created and never shown to users:
/// it seeds the checksums, so that no payload can imitate a header.
package struct LogIdentity: Hashable, Sendable {
    package var high: UInt64
    package var low: UInt64

    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// The secret that ``NotificationID`` checks are made with.
    package var key: UInt64 {
        withUnsafeBytes(of: (high.littleEndian, low.littleEndian)) {
            XXH3.hash($0, seed: 0x4E6F_7469_6679_4944)
        }
    }
}

/// What an entry's body is. Numbers are on disk and never reused.
package enum EntryKind: UInt8, Sendable, CaseIterable {
    /// A Kafka record batch v2, byte for byte.
    case recordBatch = 1
    /// Any other change of state; its body is the broker's business.
    case command = 2
    /// Where entries were lost, and a repair has said so: ``Gap``.
    case gap = 3
}

/// Tells the index which keys an entry is found under.
///
/// Pure: the same bytes always give the same keys, because a lost index is rebuilt with it.
/// A key carries its ``KeyClass`` in its top bits. Two things may share one, so whoever looks up verifies.
package protocol EntryIndexer: Sendable {
    ///
    /// - Parameter secret: The data directory's, ``LogIdentity/key``: outsiders choose what is hashed.
    func keys(
        of header: EntryHeader,
        body: UnsafeRawBufferPointer,
        secret: UInt64,
        into keys: inout [UInt64]
    )
}

/// The arithmetic of positions: one byte space cut into equal segments.
///
///     |<- 4096 ->|<------------- entries ------------->|<- 4096 ->|
///     |  header  |  entry | entry | ... | terminator   |  footer  |
///     0          entriesStart                          entriesEnd  segmentBytes
struct SegmentGeometry: Sendable, Equatable {
    let segmentBytes: Int

    /// Bytes of the header block and of the footer block.
    static let blockBytes = Limits.segmentHeaderBytes

    var entriesStart: Int { Self.blockBytes }
    /// The footer's first byte; no entry reaches past it.
    var entriesEnd: Int { segmentBytes - Self.blockBytes }
    /// Bytes the largest body may have that still fits an empty segment.
    var bodyBytesMax: Int {
        min(Limits.entryBodyBytesMax, entriesEnd - entriesStart - EntryHeader.bytes)
    }

    func base(of number: UInt64) -> UInt64 { number * UInt64(segmentBytes) }
    func number(of position: UInt64) -> UInt64 { position / UInt64(segmentBytes) }
    func byte(of position: UInt64) -> Int { Int(position % UInt64(segmentBytes)) }
}
