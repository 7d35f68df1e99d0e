// How much room a file system has, and a file that keeps some of it for us.

import CKernel
import Glibc
package import PulseCore

package struct DiskSpace: Hashable, Sendable {
    /// What this process may still take: root may have the blocks that are kept for it.
    package var freeBytes: Int64
    package var totalBytes: Int64

    /// Asks the file system that `path` is on; nil when it does not say.
    package init?(of path: String) {
        var answer = statvfs()
        guard statvfs(path, &answer) == 0, answer.f_blocks > 0 else { return nil }
        let block = UInt64(answer.f_frsize)
        func bytes(_ blocks: fsblkcnt_t) -> Int64 {
            Int64(clamping: UInt64(blocks).multipliedReportingOverflow(by: block).0)
        }
        totalBytes = bytes(answer.f_blocks)
        // Free is more than anybody can have: ext4 keeps a fiftieth, at most 16 MiB, for its own ends.
        let free = bytes(answer.f_bfree) - min(totalBytes / 50, 16 << 20)
        freeBytes = geteuid() == 0 ? max(bytes(answer.f_bavail), free) : bytes(answer.f_bavail)
    }
}

extension DiskSpace {
    /// Whether a file of `bytes` bytes can really be had in `directory`: numbers of free blocks are no
    /// promise. Costs a sync of the directory.
    package static func canHave(_ bytes: Int, in directory: String) -> Bool {
        let path = directory + "/room.tmp"
        let bare = pulse_openat(AT_FDCWD, path, O_RDWR | O_CREAT, 0o640)
        guard bare >= 0 else { return false }
        let code = pulse_reserve(bare, Int64(bytes))
        _ = Glibc.close(bare)
        unlink(path)
        commit(directory)
        return code == 0 || code == EOPNOTSUPP
    }

    /// A journaling file system lends freed blocks to nobody before their removal is committed.
    static func commit(_ directory: String) {
        let descriptor = Glibc.open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        _ = fsync(descriptor)
        _ = Glibc.close(descriptor)
    }
}

/// A file of nothing, given up when the disk is full: its room lets the state store write and open.
///
/// What has to work on a full disk must not depend on somebody freeing space first. The log has its
/// spare segments for that; RocksDB, which makes a new file for everything, has this.
package struct Ballast: Sendable {
    package let path: String
    package let bytes: Int64

    /// The file's name in the data directory.
    package static let fileName = "ballast"

    /// At most `Limits.ballastBytes`, and never more than a twentieth of the file system.
    package init(in directory: String, on space: DiskSpace) {
        path = directory + "/" + Self.fileName
        bytes = min(Int64(Limits.ballastBytes), space.totalBytes / 20)
    }

    package var exists: Bool { access(path, F_OK) == 0 }

    /// Reserves the room; leaves nothing behind when there is not enough.
    package func make() throws(StorageError) {
        let file = OwnedDescriptor(
            takingOver: try StorageError.require(.create, file: path) {
                pulse_openat(AT_FDCWD, path, O_RDWR | O_CREAT, 0o640)
            }
        )
        let code = pulse_reserve(file.rawValue, bytes)
        guard code == 0 else {
            remove()
            throw StorageError(.create, file: path, code: code)
        }
    }

    /// Gives the room up; a file that is not there is fine.
    package func remove() {
        unlink(path)
        DiskSpace.commit(String(path.dropLast(Self.fileName.utf8.count)))
    }
}
