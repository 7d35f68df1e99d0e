// What the disk can do to us, said the same way by every implementation of the storage seams.

/// A failed storage operation: what was being done, to which file, at which byte, and why it failed.
package struct StorageError: Error, Hashable, Sendable, CustomStringConvertible {
    package enum Operation: String, Sendable {
        case list, open, create, read, write, sync, rename, remove, syncDirectory, lock
        case storeOpen, storeRead, storeWrite, storeFlush
    }

    package enum Reason: Hashable, Sendable {
        /// ENOSPC or EDQUOT: room may come back.
        case noSpace
        /// ENOENT.
        case notFound
        /// EACCES, EPERM, EROFS.
        case notPermitted
        /// EMFILE or ENFILE: never to be read as "the file is missing".
        case tooManyFiles
        /// Another process holds the lock.
        case locked
        /// Fewer bytes than asked for, inside the file's known size.
        case short(got: Int)
        /// What is there cannot be what was written: a checksum fails, a file is missing.
        case damaged(text: String)
        /// EIO and everything else: the number is errno, or 0 when the text says it all.
        case failed(code: Int32, text: String)
    }

    package var operation: Operation
    package var file: String
    /// The byte at which the operation began, or nil for whole-file operations.
    package var byte: Int?
    package var reason: Reason

    package init(_ operation: Operation, file: String, byte: Int? = nil, reason: Reason) {
        self.operation = operation
        self.file = file
        self.byte = byte
        self.reason = reason
    }

    package var description: String {
        let place = byte.map { " at byte \($0)" } ?? ""
        let why =
            switch reason {
            case .noSpace: "no space left on the device"
            case .notFound: "no such file"
            case .notPermitted: "permission denied"
            case .tooManyFiles: "too many open files"
            case .locked: "another process is using it"
            case .short(let got): "only \(got) bytes could be transferred"
            case .damaged(let text): "damaged: \(text)"
            case .failed(let code, let text): code == 0 ? text : "\(text) (errno \(code))"
            }
        return "\(operation.rawValue) of \(file)\(place): \(why)"
    }
}
