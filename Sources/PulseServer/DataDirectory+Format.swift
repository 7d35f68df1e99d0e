// The file FORMAT of a data directory, which says that it is ours and how it is laid out; and WRITERS,
// one line for each version of the program that served it, so that whoever finds something odd in it
// knows who may have written it.
//
//     pulse data directory, layout 2, shards 1            MAJOR or MAJOR.MINOR; 2 is 2.0
//
// Layout 2: batches may be compressed, entries may be gaps, records may be kept as rows. A program that
// knows layout 1 only would misread them. Layout 1 is read, and becomes 2 when it is served.
//
// Source: spec/03-storage.md, "Versions".

package import PulseCore
import PulseIO

/// What FORMAT says.
struct DirectoryFormat: Equatable {
    static let file = "FORMAT"
    static let writersFile = "WRITERS"
    /// Raised when an older program could misread the directory.
    static let major = 2
    static let prefix = "pulse data directory, layout "
    /// As this program writes it. A minor number of 0 is left out.
    static let line = "pulse data directory, layout 2, shards 1\n"

    var major: Int
    var minor: Int
    var shards: Int

    /// Nil when the text is not of this kind. What follows the first line is for people.
    init?(_ text: String) {
        guard let line = text.split(separator: "\n").first, line.hasPrefix(Self.prefix) else {
            return nil
        }
        let parts = line.dropFirst(Self.prefix.count).split(separator: ",")
        let numbers = parts.first?.split(separator: ".", omittingEmptySubsequences: false) ?? []
        guard let major = numbers.first.flatMap({ Int($0) }), numbers.count <= 2,
            let minor = numbers.count == 2 ? Int(numbers[1]) : 0, major > 0,
            parts.count > 1, parts[1].hasPrefix(" shards "),
            let shards = parts.dropFirst().first.flatMap({
                Int($0.split(separator: " ").last ?? "")
            })
        else { return nil }
        self.major = major
        self.minor = minor
        self.shards = shards
    }

    /// Why a directory whose FORMAT says `text` cannot be served, or nil. A newer minor number can.
    static func refusal(_ text: String, in path: String) -> DataDirectory.Refusal? {
        let place = "\(file) at byte"
        guard let format = DirectoryFormat(text) else {
            let found = text.prefix(80).filter { $0 != "\n" }
            return .newerLayout(path: path, says: "\(place) 0 says \"\(found)\"")
        }
        guard format.major <= major else {
            let says =
                "\(place) \(prefix.utf8.count) has layout \(format.major), this program reads up to"
                + " \(major); start a newer Pulse"
            return .newerLayout(path: path, says: says)
        }
        guard format.shards == 1 else {
            return .newerLayout(
                path: path,
                says: "\(file) speaks of \(format.shards) shards, not of one"
            )
        }
        return nil
    }
}

extension DataDirectory {
    /// Notes in WRITERS that this version of the program serves the directory, unless the last line says
    /// so already.
    package static func note(
        version: String,
        at now: WallTimestamp,
        in path: String
    ) throws(StorageError) {
        let root = try DiskDirectory(opening: path)
        let before = try root.contents(of: DirectoryFormat.writersFile) ?? []
        let lines = String(decoding: before, as: UTF8.self).split(separator: "\n")
        let name = "pulse \(version)"
        guard lines.last?.hasSuffix(" " + name) != true else { return }
        // A line is short and comes with a release: the newest hundred are enough.
        let kept = lines.suffix(99).map { $0 + "\n" }.joined()
        try root.replace(
            DirectoryFormat.writersFile,
            with: Array("\(kept)\(now.rfc3339) \(name)\n".utf8)
        )
    }
}
