// What `pulse inspect` shows of one shard's directory.

package import PulseCore

/// The result of looking, for people and for tests.
package struct LogInspection: Hashable, Sendable {
    package struct SegmentLine: Hashable, Sendable {
        package var name: String
        package var base: LogPosition
        /// One past the last entry.
        package var end: LogPosition
        /// Bytes of entries, without header and footer block.
        package var usedBytes: Int
        package var recordBatches: Int
        package var records: Int
        package var commands: Int
        package var isSealed: Bool
        package var hasIndex: Bool
        package var firstWall: WallTimestamp
        package var latestWall: WallTimestamp
    }

    /// Bytes that hold data and do not verify.
    package struct Problem: Hashable, Sendable, CustomStringConvertible {
        package var file: String
        package var byte: Int
        package var text: String

        package var description: String { "\(file) at byte \(byte): \(text)" }
    }

    package var segmentBytes = 0
    package var segments: [SegmentLine] = []
    /// How far the floor file says the log is durable.
    package var floor: LogPosition?
    /// Where the floor says the log begins: what was below was released.
    package var first: LogPosition?
    package var spares = 0
    /// Files of merged keys.
    package var generations: [String] = []
    package var problems: [Problem] = []
    /// Worth knowing, nothing wrong: files that are not ours, indexes still to be written.
    package var notes: [String] = []
    /// Whether record batches and index pages were read too.
    package var verified = false
    /// Index files that were asked for all that their segments have.
    package var indexesCompared = 0

    package init() {}

    /// Every byte that was looked at and holds data verifies.
    package var isClean: Bool { problems.isEmpty }

    /// For people: a line a segment, then notes, then problems, then the verdict.
    package var lines: [String] {
        var lines = segments.map { segment in
            "\(segment.name)  \(segment.isSealed ? "sealed" : "active")"
                + "  \(segment.usedBytes) bytes  \(segment.recordBatches) batches"
                + " (\(segment.records) records)  \(segment.commands) commands"
                + "  wall \(segment.firstWall.milliseconds)..\(segment.latestWall.milliseconds)"
                + (segment.isSealed ? (segment.hasIndex ? "  indexed" : "  no index") : "")
        }
        if let floor { lines.append("floor: durable up to \(floor.rawValue)") }
        if let first, first > .zero { lines.append("released: everything below \(first.rawValue)") }
        if !generations.isEmpty {
            lines.append("generations: \(generations.joined(separator: ", "))")
        }
        if indexesCompared > 0 {
            lines.append("index files compared with their segments: \(indexesCompared)")
        }
        if spares > 0 { lines.append("spare segments: \(spares)") }
        lines += notes.map { "note: \($0)" }
        lines += problems.map { "PROBLEM: \($0)" }
        lines.append(
            isClean
                ? (verified ? "clean: every byte that holds data verifies" : "no problem found")
                : "\(problems.count) problem\(problems.count == 1 ? "" : "s")"
        )
        return lines
    }
}
