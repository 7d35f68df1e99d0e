// The directory of a shard's log on a real disk.

import CKernel
import Glibc
package import PulseCore

/// A directory held open, so that renaming it or moving a mount over it cannot lead us elsewhere.
package final class DiskDirectory: LogDirectory {
    package let path: String
    private let descriptor: OwnedDescriptor

    /// Files are for the broker's user, and readable by its group for backups.
    private static let fileMode: UInt32 = 0o640

    /// Opens a directory that exists; ``DirectoryLock`` makes the data directory, and
    /// ``create(at:)`` one inside it.
    package init(opening path: String) throws(StorageError) {
        self.path = path
        descriptor = OwnedDescriptor(
            takingOver: try StorageError.require(.open, file: path) {
                Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            }
        )
    }

    /// Makes the directory and those above it where they are missing, then opens it.
    package static func create(at path: String) throws(StorageError) -> DiskDirectory {
        try Path.makeDirectories(path)
        return try DiskDirectory(opening: path)
    }

    package func list() throws(StorageError) -> [String] {
        try Path.names(in: path, filesOnly: true)
    }

    package func open(_ name: String) throws(StorageError) -> any LogFile {
        try open(name, .open, flags: O_RDWR)
    }

    package func create(
        _ name: String,
        bytes: Int,
        written: Bool
    ) throws(StorageError) -> any LogFile {
        let file = try open(name, .create, flags: O_RDWR | O_CREAT | O_TRUNC)
        do throws(StorageError) {
            try file.fill(bytes: bytes, written: written)
        } catch {
            // A piece of a file is of no use, and on a full disk it is in the way.
            _ = unlinkat(descriptor.rawValue, name, 0)
            throw error
        }
        return file
    }

    package func rename(_ old: String, to new: String) throws(StorageError) {
        try StorageError.require(.rename, file: old) {
            renameat(descriptor.rawValue, old, descriptor.rawValue, new)
        }
    }

    package func remove(_ name: String) throws(StorageError) {
        try StorageError.require(.remove, file: name) { unlinkat(descriptor.rawValue, name, 0) }
    }

    package func syncDirectory() throws(StorageError) {
        guard fsync(descriptor.rawValue) == 0 else {
            throw StorageError(.syncDirectory, file: path, code: errno)
        }
    }

    private func open(
        _ name: String,
        _ operation: StorageError.Operation,
        flags: Int32
    ) throws(StorageError) -> DiskFile {
        precondition(!name.contains("/"), "a log's directory is flat")
        let bare = try StorageError.require(operation, file: name) {
            pulse_openat(descriptor.rawValue, name, flags, Self.fileMode)
        }
        return DiskFile(name: name, OwnedDescriptor(takingOver: bare))
    }
}
