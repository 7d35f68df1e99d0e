// Opening the state store, whatever state it is in. It is a fold of the log: a damaged one is put aside
// and made again, if the log still reaches back to its beginning, and refused otherwise. It is never
// removed, and never begun anew in silence.
//
//      whole                         opened
//      missing or empty              opened; the shard fills it from the log, or refuses
//      damaged, log begins at 0      moved to trash/, made again
//      damaged, log was shortened    refused
//      no room to open it            the ballast is given up; then refused

import Glibc
import PulseCore
import PulseIO

extension DataDirectory {
    static func storePath(_ path: String) -> String { path + "/shard-0/state" }

    /// What a process leaves that met damage in the store while it ran: the next one must not go on as if
    /// nothing had been. It lies in the store, so it goes where the store goes.
    private static func markPath(_ path: String) -> String { storePath(path) + "/DAMAGED" }

    /// Notes for the next start that the store is damaged. A store that is gone needs no note.
    package func markStoreDamaged(_ reason: String) {
        let file = Glibc.open(Self.markPath(path), O_WRONLY | O_CREAT | O_CLOEXEC, 0o640)
        guard file >= 0 else { return }
        let text = Array((reason + "\n").utf8)
        _ = text.withUnsafeBytes { write(file, $0.baseAddress, $0.count) }
        _ = fsync(file)
        _ = Glibc.close(file)
    }

    private static func mark(_ path: String) -> String? {
        let file = Glibc.open(markPath(path), O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { _ = Glibc.close(file) }
        var bytes = [UInt8](repeating: 0, count: 1024)
        let count = read(file, &bytes, bytes.count)
        let text = String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
        return text.split(separator: "\n").first.map(String.init) ?? "no reason was written"
    }

    /// Opens the store of a directory that is locked.
    static func openStore(
        _ path: String,
        _ log: DiskDirectory,
        _ notes: inout [LogEvent]
    ) throws(Refusal) -> RocksStateStore {
        try makeRoom(path, &notes)
        var damage = mark(path)
        if damage == nil {
            do throws(StorageError) {
                let creates = !hasStore(path)
                // RocksDB would make it too, and not sync what it is made in.
                if creates { try Path.makeDirectories(storePath(path)) }
                return try RocksStateStore(path: storePath(path), creates: creates)
            } catch {
                guard case .damaged(let text) = error.reason else {
                    throw error.reason == .noSpace ? noRoom(path) : .storage(error)
                }
                damage = text
            }
        }
        try putAside(path, log, because: damage ?? "", &notes)
        return try makeAgain(path)
    }

    private static func hasStore(_ path: String) -> Bool {
        !((try? Path.names(in: storePath(path))) ?? []).isEmpty
    }

    private static func makeAgain(_ path: String) throws(Refusal) -> RocksStateStore {
        do throws(StorageError) {
            try Path.makeDirectories(storePath(path))
            return try RocksStateStore(path: storePath(path))
        } catch { throw .storage(error) }
    }

    /// Puts a store aside that turned out to be damaged when it was read, and begins a new one.
    package mutating func rebuildStore(because reason: String) throws(Refusal) {
        store.close()
        // Were the rebuilding cut off, the next start must come here again.
        markStoreDamaged(reason)
        try Self.putAside(path, log, because: reason, &notes)
        store = try Self.makeAgain(path)
    }

    // MARK: - Room

    /// RocksDB ends the process when it cannot write its new manifest: looked at before.
    private static func makeRoom(_ path: String, _ notes: inout [LogEvent]) throws(Refusal) {
        guard let space = DiskSpace(of: path), space.freeBytes < 8 * Limits.storeOpenBytesMin,
            !DiskSpace.canHave(Limits.storeOpenBytesMin, in: path)
        else { return }
        let ballast = Ballast(in: path, on: space)
        guard ballast.exists else { throw noRoom(path) }
        ballast.remove()
        notes.append(
            LogEvent(
                .warning,
                "the disk is full: the ballast was given up to open the state store",
                [.init("free_bytes", "\(space.freeBytes)")]
            )
        )
        guard DiskSpace.canHave(Limits.storeOpenBytesMin, in: path) else { throw noRoom(path) }
    }

    private static func noRoom(_ path: String) -> Refusal {
        .noRoom(path: path, freeBytes: DiskSpace(of: path)?.freeBytes ?? 0)
    }

    // MARK: - Putting aside

    /// Moves the store to `trash/`, if the log can make it again.
    private static func putAside(
        _ path: String,
        _ log: DiskDirectory,
        because reason: String,
        _ notes: inout [LogEvent]
    ) throws(Refusal) {
        let names: [String]
        do throws(StorageError) { names = try log.list() } catch { throw .storage(error) }
        let reachesBack =
            names.first { $0.hasSuffix(".seg") }?.allSatisfy { $0 == "0" || !$0.isNumber }
            ?? (!names.contains("floor") && neverHeldRows(path))
        guard reachesBack else { throw .brokenStore(path: storePath(path), reason: reason) }
        let place = try trashPlace(path)
        do throws(StorageError) {
            try DiskDirectory.create(at: path + "/trash").syncDirectory()
        } catch { throw .storage(error) }
        // A store that was removed altogether leaves nothing to put aside.
        if rename(storePath(path), place) != 0, errno != ENOENT {
            throw .storage(
                StorageError(.rename, file: storePath(path), reason: .failed(code: errno, text: ""))
            )
        }
        do throws(StorageError) {
            for directory in [path + "/trash", path + "/shard-0", path] {
                try DiskDirectory(opening: directory).syncDirectory()
            }
        } catch { throw .storage(error) }
        notes.append(
            LogEvent(
                .error,
                "the state store is damaged: it was put aside and is made again from the log",
                [.init("reason", reason), .init("moved_to", place)]
            )
        )
    }

    /// Whether this is what a very first start leaves that was cut off before the store was whole: without
    /// a log, and without a file of rows.
    private static func neverHeldRows(_ path: String) -> Bool {
        guard let names = try? Path.names(in: storePath(path)) else { return false }
        return !names.contains { $0.hasSuffix(".sst") }
    }

    /// `trash/2026-11-20T13:15:00.120Z-state`, a name that is not taken.
    private static func trashPlace(_ path: String) throws(Refusal) -> String {
        let base = path + "/trash/" + SystemClocks.now().wall.rfc3339 + "-state"
        for number in 1...100 {
            let place = number == 1 ? base : "\(base)-\(number)"
            if access(place, F_OK) != 0 { return place }
        }
        throw .brokenStore(path: storePath(path), reason: "trash/ is full of its kind")
    }
}
