// What the log takes on the disk, for retention by size and for whoever asks where the bytes are.

package import PulseCore

/// Bytes of files, by what they are.
package struct LogUsage: Hashable, Sendable {
    /// Segments that are part of the log.
    package var segments: Int
    /// Segments that were let go and whose files are still to be removed.
    package var releasing: Int
    /// Files that are ready, or being made, to become segments; recycled ones among them.
    package var spares: Int
    package var indexes: Int

    package var total: Int { segments + releasing + spares + indexes }
}

extension ShardLog {
    package var usage: LogUsage {
        let size = geometry.segmentBytes
        var indexes = 0
        var counted: Generation?
        for segment in kept {
            if case .file(let index) = segment.index { indexes += index.table.shape.fileBytes }
            if let generation = segment.generation, generation !== counted {
                indexes += generation.table.shape.fileBytes
                counted = generation
            }
        }
        // A segment that is being let go and becomes a spare is one file, and counts as that.
        let recycled = releasing.count { $0.spareName != nil }
        return LogUsage(
            segments: kept.count * size,
            releasing: (releasing.count - recycled) * size,
            spares: (spares.count + sparesComing.count) * size,
            indexes: indexes
        )
    }

    /// The number of the segment that is written to now.
    package var activeNumber: UInt64 { active.number }

    /// The time of a segment's latest entry; nil when the log does not have it.
    package func latestWall(ofSegment number: UInt64) -> WallTimestamp? {
        segment(at: geometry.base(of: number))?.tally.latestWall
    }

    /// The number of the oldest segment.
    package var firstNumber: UInt64 { (kept.first ?? active).number }
}

extension EntryHeader {
    /// A header for one record that was moved out of the log: its place and time are what they were.
    package init(
        ofKept stream: StreamID,
        _ offset: Offset,
        position: LogPosition,
        wall: WallTimestamp,
        bytes: Int
    ) {
        self.init(
            position: position,
            kind: .recordBatch,
            stream: stream,
            baseOffset: offset,
            recordCount: 1,
            wall: wall,
            epoch: LeaderEpoch(0),
            bodyLength: bytes,
            syncedUpTo: .zero,
            chain: 0,
            bodyCRC: 0,
            headerCRC: 0
        )
    }
}
