// From the kernel's error numbers to the words of the storage seam.

import Glibc
import PulseCore

extension StorageError.Reason {
    init(_ code: Int32) {
        switch code {
        case ENOSPC, EDQUOT: self = .noSpace
        case ENOENT: self = .notFound
        case EACCES, EPERM, EROFS: self = .notPermitted
        case EMFILE, ENFILE: self = .tooManyFiles
        default: self = .failed(code: code, text: SystemCall.text(of: code))
        }
    }
}

extension StorageError {
    init(_ operation: Operation, file: String, byte: Int? = nil, code: Int32) {
        self.init(operation, file: file, byte: byte, reason: Reason(code))
    }

    /// Makes a system call; a failure becomes this operation's error.
    @discardableResult
    static func require<Value: SignedInteger>(
        _ operation: Operation,
        file: String,
        byte: Int? = nil,
        _ call: () -> Value
    ) throws(StorageError) -> Value {
        switch SystemCall.result(call) {
        case .success(let value): return value
        case .failure(let failure):
            throw StorageError(operation, file: file, byte: byte, code: failure.code)
        }
    }
}
