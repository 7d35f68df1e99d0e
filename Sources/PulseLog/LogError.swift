// Everything that can go wrong in the log, each saying to which file, which byte, and what to do.

package import PulseCore

/// Bytes that were promised and cannot be read back.
package struct DamagedRange: Hashable, Sendable, CustomStringConvertible {
    package var file: String
    /// Where in `file` the damage begins.
    package var byte: Int
    /// The same place as a log position.
    package var from: LogPosition
    /// The first position after the damage that reads well again, or the end of what was promised.
    package var to: LogPosition
    package var reason: String

    package init(file: String, byte: Int, from: LogPosition, to: LogPosition, reason: String) {
        self.file = file
        self.byte = byte
        self.from = from
        self.to = to
        self.reason = reason
    }

    package var description: String {
        "\(file) at byte \(byte): \(reason); positions \(from.rawValue) to \(to.rawValue) are lost"
    }
}

package enum LogError: Error, Hashable, Sendable {
    /// The disk refused; nothing is known of the writes under way, the log must be reopened.
    case storage(StorageError)
    /// There is no room for another segment. Nothing was changed; the same call may succeed later.
    case diskFull(file: String)
    /// Promised bytes do not verify. Never skipped: restore the file from a copy.
    case damaged(DamagedRange)
    /// The file belongs to the log of another data directory.
    case foreign(file: String, byte: Int, expected: LogIdentity, found: LogIdentity)
    /// The file was written by a newer Pulse.
    case newerFormat(file: String, byte: Int, major: UInt16)
    case entryTooLarge(bytes: Int, limit: Int)
    /// The log does not have this record (any more).
    case missing(StreamID, Offset)
    /// No entry of this log begins at the position.
    case noEntry(at: LogPosition)
}

extension LogError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .storage(let error):
            return "storage failed: \(error)"
        case .diskFull(let file):
            return "cannot make segment \(file): the disk is full; free some space"
        case .damaged(let range):
            return
                "damaged log: \(range); restore the file from a copy, or let pulse repair say what"
                + " giving it up would cost"
        case .foreign(let file, let byte, _, _):
            return "\(file) at byte \(byte) carries another log's identity: it was copied here from"
                + " another data directory; move it away"
        case .newerFormat(let file, let byte, let major):
            return "\(file) at byte \(byte) has format \(major), this program reads up to"
                + " \(Self.formatMajor(ofFile: file)); start a newer Pulse"
                + (Self.isRebuildable(file) ? ", or move the file away: it is made again" : "")
        case .entryTooLarge(let bytes, let limit):
            return "an entry of \(bytes) bytes is over the limit of \(limit)"
        case .missing(let stream, let offset):
            return "the log has no offset \(offset.rawValue) of stream \(stream.rawValue)"
        case .noEntry(let position):
            return "no entry begins at position \(position.rawValue)"
        }
    }
}

extension LogError {
    private static func isRebuildable(_ file: String) -> Bool {
        switch LogFileName(file) {
        case .index, .generation: true
        case .segment, .spare, .floor, .temporary, .unknown: false
        }
    }

    private static func formatMajor(ofFile file: String) -> UInt16 {
        switch LogFileName(file) {
        case .index: KeyTableFormat.index.major
        case .generation: KeyTableFormat.generation.major
        case .segment, .spare, .floor, .temporary, .unknown: SegmentHeader.formatMajor
        }
    }
}

/// Runs a storage operation and says its failure as a ``LogError``.
func storage<T>(_ operation: () throws(StorageError) -> T) throws(LogError) -> T {
    do throws(StorageError) {
        return try operation()
    } catch {
        throw .storage(error)
    }
}
