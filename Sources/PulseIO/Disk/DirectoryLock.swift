// The right to a data directory: one process at a time, and not somebody else's files.

import CKernel
import Glibc
package import PulseCore

/// Why a data directory cannot be used.
package enum DirectoryRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    /// The path, or something above it, is a file.
    case notDirectory(path: String)
    case notWritable(path: String, reason: String)
    /// Another process, whose id may be unreadable, holds the lock.
    case inUse(path: String, process: Int32?)
    case failed(StorageError)

    package var description: String {
        switch self {
        case .notDirectory(let path): "\(path) is not a directory"
        case .notWritable(let path, let reason): "\(path) cannot be written: \(reason)"
        case .inUse(let path, let process?): "\(path) is used by process \(process)"
        case .inUse(let path, nil): "\(path) is used by another process"
        case .failed(let error): error.description
        }
    }
}

/// An exclusive lock on a data directory, held until this value is released or the process ends,
/// however it ends: the kernel keeps it, not the file.
package final class DirectoryLock: Sendable {
    package let path: String
    private let descriptor: OwnedDescriptor
    /// The directory itself, locked too: LOCK can be removed by hand, and the next one would be another
    /// file. Nil where the file system locks no directories.
    private let directory: OwnedDescriptor?

    /// The file that is locked.
    ///
    /// It stays behind, with the last holder's process id.
    package static let fileName = "LOCK"

    /// Makes the directory when it is missing and takes it, without waiting.
    package init(path: String) throws(DirectoryRefusal) {
        self.path = path
        do throws(StorageError) {
            try Path.makeDirectories(path)
        } catch {
            switch error.reason {
            case .failed(code: ENOTDIR, text: _): throw .notDirectory(path: error.file)
            case .notPermitted:
                throw .notWritable(path: error.file, reason: "permission denied")
            default: throw .failed(error)
            }
        }
        let file = path + "/" + Self.fileName
        let bare = pulse_openat(AT_FDCWD, file, O_RDWR | O_CREAT, 0o640)
        guard bare >= 0 else {
            throw .notWritable(path: path, reason: SystemCall.text(of: errno))
        }
        descriptor = OwnedDescriptor(takingOver: bare)
        directory = try Self.lockItself(path, bare)
        let code = pulse_try_lock(bare)
        if code == EWOULDBLOCK {
            throw .inUse(path: path, process: Self.process(writtenIn: bare))
        }
        guard code == 0 else {
            throw .failed(StorageError(.lock, file: file, code: code))
        }
        try writeProcess(file)
    }

    /// Everything in the directory except the lock: empty for a fresh one.
    ///
    /// Whether names that are not ours are a reason to refuse is for the caller to say.
    package func list() throws(StorageError) -> [String] {
        try Path.names(in: path).filter { $0 != Self.fileName }
    }

    private static func lockItself(
        _ path: String,
        _ file: Int32
    ) throws(DirectoryRefusal) -> OwnedDescriptor? {
        let bare = pulse_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0)
        guard bare >= 0 else { return nil }
        let owned = OwnedDescriptor(takingOver: bare)
        switch pulse_try_lock(bare) {
        case 0: return owned
        case EWOULDBLOCK: throw .inUse(path: path, process: process(writtenIn: file))
        // A network file system may know locks of written files only: then LOCK alone has to do.
        default: return nil
        }
    }

    private func writeProcess(_ file: String) throws(DirectoryRefusal) {
        let text = Array("\(getpid())\n".utf8)
        do throws(StorageError) {
            try StorageError.require(.write, file: file) { ftruncate(descriptor.rawValue, 0) }
            try StorageError.require(.write, file: file) {
                text.withUnsafeBytes {
                    pwrite(descriptor.rawValue, $0.baseAddress, $0.count, 0)
                }
            }
        } catch {
            throw .notWritable(path: path, reason: error.description)
        }
    }

    private static func process(writtenIn descriptor: Int32) -> Int32? {
        var bytes = [UInt8](repeating: 0, count: 16)
        let count = bytes.withUnsafeMutableBytes {
            pread(descriptor, $0.baseAddress, $0.count, 0)
        }
        guard count > 0 else { return nil }
        let digits = bytes.prefix(count).prefix { (48...57).contains($0) }
        return Int32(String(decoding: digits, as: UTF8.self))
    }
}
