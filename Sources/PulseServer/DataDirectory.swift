// The data directory on disk: who owns it, and what lies where.
//
//     DIR/
//       FORMAT              one line; says that this directory is ours, and in which layout
//       LOCK                held by the process that serves it
//       shard-0/log/        segments, indexes, floor
//       shard-0/state/      the state store

package import PulseCore
package import PulseIO

package struct DataDirectory {
    package let path: String
    /// Keeps other processes out for as long as this value lives.
    private let lock: DirectoryLock
    package let log: DiskDirectory
    package let store: RocksStateStore

    private static let formatFile = DirectoryFormat.file

    /// Why a directory cannot be served.
    package enum Refusal: Error, CustomStringConvertible {
        case directory(DirectoryRefusal)
        case storage(StorageError)
        /// It holds something, and nothing of ours.
        case foreign(path: String, found: String)
        case newerLayout(path: String, says: String)

        package var description: String {
            switch self {
            case .directory(let refusal): "\(refusal)"
            case .storage(let error): "\(error)"
            case .foreign(let path, let found):
                "\(path) is not a Pulse data directory and is not empty (it holds \"\(found)\"): "
                    + "name an empty directory with --data"
            case .newerLayout(let path, let says):
                "\(path) has a layout this program does not know: \(says)"
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
        do throws(StorageError) {
            let root = try DiskDirectory(opening: path)
            try Self.claim(root)
            log = try DiskDirectory.create(at: Self.logPath(path))
            store = try RocksStateStore(path: path + "/shard-0/state")
        } catch { throw .storage(error) }
    }

    /// Looks before anything is written: a directory of somebody else's stays as it is.
    private static func refuseForeign(_ path: String) throws(Refusal) {
        // A directory that is missing or cannot be read is the lock's to speak of.
        guard let root = try? DiskDirectory(opening: path), let names = try? root.list() else {
            return
        }
        // The temporary file is what a crash leaves of the very first start.
        let ours = [DirectoryLock.fileName, formatFile, formatFile + ".tmp"]
        let others = names.filter { !ours.contains($0) }
        if !names.contains(formatFile) {
            if let found = others.first { throw .foreign(path: path, found: found) }
            return
        }
        let bytes = (try? root.contents(of: formatFile)) ?? []
        let says = String(decoding: bytes, as: UTF8.self)
        if !bytes.isEmpty, let refusal = DirectoryFormat.refusal(says, in: path) { throw refusal }
    }

    private static func claim(_ root: DiskDirectory) throws(StorageError) {
        guard try root.contents(of: formatFile)?.isEmpty != false else { return }
        try root.replace(formatFile, with: Array(DirectoryFormat.line.utf8))
    }

    package func close() { store.close() }
}
