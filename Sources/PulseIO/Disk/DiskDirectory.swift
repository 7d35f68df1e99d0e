// The directory of a shard's log on a real disk.

import CKernel
import Glibc
package import PulseCore
import Synchronization

/// A directory held open, so that renaming it or moving a mount over it cannot lead us elsewhere.
package final class DiskDirectory: LogDirectory {
    package let path: String
    private let descriptor: OwnedDescriptor
    /// Files are opened for reading: nothing can be changed, and none of it need be writable.
    private let readsOnly: Bool
    private let isStopping = Atomic(false)
    /// Given up when the process is out of descriptors, so that the log can still open its next file.
    private let reserve = Mutex(Reserve())

    private struct Reserve {
        var descriptor: Int32 = -1

        mutating func take() {
            if descriptor < 0 { descriptor = Glibc.open("/dev/null", O_RDONLY | O_CLOEXEC) }
        }

        /// Whether there was one to give up.
        mutating func giveUp() -> Bool {
            guard descriptor >= 0 else { return false }
            _ = Glibc.close(descriptor)
            descriptor = -1
            return true
        }
    }

    /// Files are for the broker's user, and readable by its group for backups.
    private static let fileMode: UInt32 = 0o640

    /// Opens a directory that exists; ``DirectoryLock`` makes the data directory, and
    /// ``create(at:)`` one inside it.
    package init(opening path: String, readsOnly: Bool = false) throws(StorageError) {
        self.path = path
        self.readsOnly = readsOnly
        descriptor = OwnedDescriptor(
            takingOver: try StorageError.require(.open, file: path) {
                Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            }
        )
        reserve.withLock { $0.take() }
    }

    deinit { _ = reserve.withLock { $0.giveUp() } }

    /// Makes the directory and those above it where they are missing, then opens it.
    package static func create(at path: String) throws(StorageError) -> DiskDirectory {
        try Path.makeDirectories(path)
        return try DiskDirectory(opening: path)
    }

    package func list() throws(StorageError) -> [String] {
        try Path.names(in: path, filesOnly: true)
    }

    package func open(_ name: String) throws(StorageError) -> any LogFile {
        try open(name, .open, flags: readsOnly ? O_RDONLY : O_RDWR)
    }

    /// Gives up files whose zeros are being written, now and from now on: the process ends, and the next
    /// one makes its own.
    package func stopFilling() { isStopping.store(true, ordering: .relaxed) }

    package func create(
        _ name: String,
        bytes: Int,
        written: Bool
    ) throws(StorageError) -> any LogFile {
        let file = try open(name, .create, flags: O_RDWR | O_CREAT | O_TRUNC)
        do throws(StorageError) {
            try file.fill(bytes: bytes, written: written) {
                isStopping.load(ordering: .relaxed)
            }
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
        var bare = pulse_openat(descriptor.rawValue, name, flags, Self.fileMode)
        if bare < 0, errno == EMFILE || errno == ENFILE {
            // Another thread may be quicker; then this is an error, and it says which.
            bare = reserve.withLock { reserve in
                guard reserve.giveUp() else { return -1 }
                return pulse_openat(descriptor.rawValue, name, flags, Self.fileMode)
            }
            guard bare >= 0 else {
                throw StorageError(operation, file: name, reason: .tooManyFiles)
            }
        }
        guard bare >= 0 else { throw StorageError(operation, file: name, code: errno) }
        reserve.withLock { $0.take() }
        return DiskFile(name: name, OwnedDescriptor(takingOver: bare))
    }
}
