// One file of the log on a real disk.

import CKernel
import Glibc
package import PulseCore

/// An open file.
///
/// Its descriptor never changes and every call is positional, so threads need no lock.
package final class DiskFile: LogFile {
    package let name: String
    private let descriptor: OwnedDescriptor

    /// Zeros are written in pieces of this size, each sent on its way to the disk before the next:
    /// one large burst would stand in front of the log's own sync.
    private static let zeroPieceBytes = 256 << 10
    /// Between two pieces: 64 MiB take about a second, still several times faster than a log is filled.
    private static let zeroPauseMicroseconds: UInt32 = 2000

    init(name: String, _ descriptor: consuming OwnedDescriptor) {
        self.name = name
        self.descriptor = descriptor
    }

    package func size() throws(StorageError) -> Int {
        var status = stat()
        try StorageError.require(.read, file: name) { fstat(descriptor.rawValue, &status) }
        return Int(status.st_size)
    }

    package func write(
        _ bytes: UnsafeRawBufferPointer,
        at position: Int
    ) throws(StorageError) {
        var written = 0
        while written < bytes.count {
            let rest = UnsafeRawBufferPointer(rebasing: bytes[written...])
            let count = try StorageError.require(.write, file: name, byte: position + written) {
                pwrite(descriptor.rawValue, rest.baseAddress, rest.count, off_t(position + written))
            }
            guard count > 0 else {
                throw StorageError(
                    .write,
                    file: name,
                    byte: position,
                    reason: .short(got: written)
                )
            }
            written += count
        }
    }

    package func read(
        into buffer: UnsafeMutableRawBufferPointer,
        at position: Int
    ) throws(StorageError) -> Int {
        var got = 0
        while got < buffer.count {
            let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[got...])
            let count = try StorageError.require(.read, file: name, byte: position + got) {
                pread(descriptor.rawValue, rest.baseAddress, rest.count, off_t(position + got))
            }
            if count == 0 { break }
            got += count
        }
        return got
    }

    package func sync() throws(StorageError) {
        // Not repeated when interrupted: after any error nothing is known of the pages, and a second
        // call may report success for writes that were dropped.
        guard fdatasync(descriptor.rawValue) == 0 else {
            throw StorageError(.sync, file: name, code: errno)
        }
    }

    package func dropCache() {
        // The kernel keeps pages that are not written yet, whatever it is asked: a killed process leaves
        // such, and they are good. So they are written first. Pages whose write failed in an earlier
        // life are marked clean and hold what is not on the disk: they go, and the disk's own bytes
        // are read. An error here says no more than that; the reads will tell.
        // Who opened it for reading alone only looks, beside a server perhaps: whose cache this is.
        guard fcntl(descriptor.rawValue, F_GETFL) & O_ACCMODE != O_RDONLY else { return }
        _ = fdatasync(descriptor.rawValue)
        _ = posix_fadvise(descriptor.rawValue, 0, 0, Int32(POSIX_FADV_DONTNEED))
    }

    /// Gives a new file its size: reserved, or with zeros written over all of it, which takes a while and
    /// is given up (ECANCELED) when `isStopped` says so.
    func fill(
        bytes: Int,
        written: Bool,
        isStopped: () -> Bool
    ) throws(StorageError) {
        guard bytes > 0 else { return }
        // Reserved first: a disk that is too full says so before anything is written.
        let code = pulse_reserve(descriptor.rawValue, Int64(bytes))
        guard code == 0 || code == EOPNOTSUPP else {
            throw StorageError(.create, file: name, code: code)
        }
        guard written else {
            try StorageError.require(.create, file: name) {
                ftruncate(descriptor.rawValue, off_t(bytes))
            }
            return
        }
        let zeros = [UInt8](repeating: 0, count: min(bytes, Self.zeroPieceBytes))
        var position = 0
        while position < bytes {
            guard !isStopped() else { throw StorageError(.create, file: name, code: ECANCELED) }
            let count = min(zeros.count, bytes - position)
            let result = zeros.withUnsafeBytes { piece -> Result<Void, StorageError> in
                do throws(StorageError) {
                    try write(UnsafeRawBufferPointer(rebasing: piece[..<count]), at: position)
                    return .success(())
                } catch { return .failure(error) }
            }
            try result.get()
            // Piece by piece to the disk, with a breath between: one flush of the whole file would hold
            // up the syncs that somebody waits for, by tens of milliseconds.
            try sync()
            usleep(Self.zeroPauseMicroseconds)
            position += count
        }
    }
}
