// The data directory on disk: who owns it, and what lies where.
//
//     DIR/
//       FORMAT              one line; says that this directory is ours, and in which layout
//       LOCK                held by the process that serves it
//       shard-0/log/        segments, indexes, floor
//       shard-0/state/      the state store; in it DAMAGED, left by a process that met damage
//       ballast             room that is given up when the disk is full
//       trash/              what was put aside, never removed by us

package import PulseCore
package import PulseIO

package struct DataDirectory {
    package let path: String
    /// Keeps other processes out for as long as this value lives.
    private let lock: DirectoryLock
    package let log: DiskDirectory
    package internal(set) var store: RocksStateStore
    /// What opening it did that the operator should hear of.
    package internal(set) var notes: [LogEvent] = []

    private static let formatFile = DirectoryFormat.file

    /// Why a directory cannot be served.
    package enum Refusal: Error, CustomStringConvertible {
        case directory(DirectoryRefusal)
        case storage(StorageError)
        /// It holds something, and nothing of ours.
        case foreign(path: String, found: String)
        case newerLayout(path: String, says: String)
        /// Too full to open the state store.
        case noRoom(path: String, freeBytes: Int64)
        /// It was served before, and there is no log in it any more.
        case logGone(path: String)
        /// The state store is damaged, and the log cannot make it again.
        case brokenStore(path: String, reason: String)

        /// sysexits.h; see spec/06-errors.md.
        package var exitCode: Int32 {
            switch self {
            case .directory, .foreign, .newerLayout: 73
            case .storage: 70
            case .noRoom: 75
            case .brokenStore, .logGone: 65
            }
        }

        package var description: String {
            switch self {
            case .directory(let refusal): "\(refusal)"
            case .storage(let error): "\(error)"
            case .foreign(let path, let found):
                "\(path) is not a Pulse data directory and is not empty (it holds \"\(found)\"): "
                    + "name an empty directory with --data"
            case .newerLayout(let path, let says):
                "\(path) has a layout this program does not know: \(says)"
            case .noRoom(let path, let free):
                "the disk of \(path) is full: \(free) bytes are free and "
                    + "\(Limits.storeOpenBytesMin) are needed to start; free some space"
            case .logGone(let path):
                "\(path) was served before, and its log, \(DataDirectory.logPath(path)), is gone: is a "
                    + "disk not mounted? To begin anew, name another directory with --data"
            case .brokenStore(let path, let reason):
                "the state store \(path) is damaged (\(reason)), and the log no longer reaches back "
                    + "to its beginning, so it cannot be made again: put a copy in its place, or the "
                    + "whole data directory from a backup"
            }
        }
    }

    /// Where the log of a data directory lies, for those who only read.
    package static func logPath(_ path: String) -> String { path + "/shard-0/log" }

    /// Opens the directory for serving, making it when it is missing or empty.
    package init(path: String) throws(Refusal) {
        self.path = path
        try Self.refuseForeign(path)
        do throws(DirectoryRefusal) {
            lock = try DirectoryLock(path: path)
        } catch { throw .directory(error) }
        let hasLog: Bool
        do throws(StorageError) {
            let root = try DiskDirectory(opening: path)
            hasLog = try Self.hasLog(path, root)
            if hasLog { try Self.claim(root) }
            log = try hasLog ? DiskDirectory.create(at: Self.logPath(path)) : root
        } catch { throw .storage(error) }
        guard hasLog else { throw .logGone(path: path) }
        var notes: [LogEvent] = []
        store = try Self.openStore(path, log, &notes)
        self.notes = notes
    }

    /// Looks before anything is written: a directory of somebody else's stays as it is.
    package static func refuseForeign(_ path: String) throws(Refusal) {
        // A directory that is missing or cannot be read is the lock's to speak of.
        guard let root = try? DiskDirectory(opening: path, readsOnly: true),
            let names = try? root.list()
        else {
            return
        }
        // The temporary file is what a crash leaves of the very first start.
        let ours = [
            DirectoryLock.fileName, formatFile, formatFile + ".tmp", Ballast.fileName, "room.tmp",
        ]
        let others = names.filter { !ours.contains($0) }
        if !names.contains(formatFile) {
            if let found = others.first { throw .foreign(path: path, found: found) }
            return
        }
        let bytes = (try? root.contents(of: formatFile)) ?? []
        let says = String(decoding: bytes, as: UTF8.self)
        if !bytes.isEmpty, let refusal = DirectoryFormat.refusal(says, in: path) { throw refusal }
    }

    /// False when WRITERS, which is written only after a start that succeeded, says that there was a log
    /// and there is none.
    private static func hasLog(
        _ path: String,
        _ root: DiskDirectory
    ) throws(StorageError) -> Bool {
        guard try root.contents(of: DirectoryFormat.writersFile)?.isEmpty == false else {
            return true
        }
        guard Path.isDirectory(logPath(path)) else { return false }
        return try DiskDirectory(opening: logPath(path)).list().contains { $0.hasSuffix(".seg") }
    }

    private static func claim(_ root: DiskDirectory) throws(StorageError) {
        let says = String(decoding: try root.contents(of: formatFile) ?? [], as: UTF8.self)
        if let format = DirectoryFormat(says), format.major == DirectoryFormat.major { return }
        try root.replace(formatFile, with: Array(DirectoryFormat.line.utf8))
    }

    package func close() { store.close() }
}
