// What opening a log found and did, for the operator and for tests.

package import PulseCore

package struct RecoveryReport: Hashable, Sendable {
    /// Bytes after the last good entry that no completed sync ever covered: cut.
    package struct TornTail: Hashable, Sendable {
        package var file: String
        package var byte: Int
        package var position: LogPosition
        /// Bytes zeroed, or lost with segments removed, counting up to the last that was not zero.
        package var bytes: Int
    }

    /// The directory had no log and got one.
    package var created = false
    package var segments = 0
    package var entries = 0
    package var tornTail: TornTail?
    /// Promised bytes that cannot be read; not empty means that the log is read-only.
    package var damaged: [DamagedRange] = []
    package var indexesRebuilt = 0
    /// Sealed segments whose footer was missing or damaged and could be made again.
    package var footersRebuilt: [String] = []
    /// Segments of an unfinished roll, which held nothing promised: removed.
    package var segmentsDropped: [String] = []
    /// An earlier start had decided where to cut and was interrupted: finished.
    package var cutFinished = false
    /// Segments below the floor's mark, left by an interrupted release: removed.
    package var releasesFinished: [String] = []
    /// The oldest segment, when something came before it and nothing tells whether that was released.
    package var beginningUnknown: String?
    /// The floor file is missing, or neither of its slots verifies.
    package var floorLost = false
    /// The last segment was already sealed, its successor not there yet: opened again.
    package var rollUndone = false
    /// The `floor` file exists and neither of its slots verifies, or one is damaged.
    package var floorSlotsUnreadable: [Int] = []
    /// Files that are none of ours: left alone.
    package var unknownFiles: [String] = []
    package var temporariesRemoved: [String] = []
    /// Spares that had been segments of an unfinished roll, whose names a crash took back: removed.
    package var strangeSpares: [String] = []

    package init() {}

    /// For the start-up log: what is worth a person's attention, one sentence a line.
    package var lines: [String] {
        var lines: [String] = []
        if created {
            lines.append("created a new log")
        } else {
            lines.append("opened a log of \(segments) segments, \(entries) entries")
        }
        if let tail = tornTail {
            lines.append(
                "cut a torn tail of \(tail.bytes) bytes at position \(tail.position.rawValue)"
                    + " (\(tail.file) at byte \(tail.byte)): never acknowledged"
            )
        }
        for range in damaged { lines.append("DAMAGED, read-only: \(range)") }
        for name in footersRebuilt { lines.append("rebuilt the footer of \(name)") }
        for name in segmentsDropped {
            lines.append("removed \(name): an unfinished roll, nothing in it was acknowledged")
        }
        if cutFinished { lines.append("finished the cut that an earlier start had begun") }
        for name in releasesFinished { lines.append("removed \(name): its release was cut short") }
        if rollUndone {
            lines.append("reopened the last segment: the roll to the next was cut short")
        }
        if indexesRebuilt > 0 { lines.append("rebuilt \(indexesRebuilt) segment indexes") }
        for name in temporariesRemoved { lines.append("removed the unfinished file \(name)") }
        for name in strangeSpares {
            lines.append("\(name) was a segment of an unfinished roll: not used again")
        }
        for name in unknownFiles { lines.append("left the unknown file \(name) alone") }
        return lines
    }

    /// What somebody should look into although the log is served.
    package var warnings: [String] {
        var warnings: [String] = []
        if floorLost {
            warnings.append(
                "the floor file is missing or unreadable, and is written again: had the newest entries"
                    + " or the oldest segments been lost with it, that would look like a torn tail or a"
                    + " release"
            )
        }
        if let name = beginningUnknown {
            warnings.append(
                "\(name) is the oldest segment and was not the first: nothing says whether those"
                    + " before it were released or are lost"
            )
        }
        for slot in floorSlotsUnreadable {
            warnings.append("slot \(slot) of the floor file does not verify")
        }
        return warnings
    }
}
