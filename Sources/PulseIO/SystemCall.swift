// The one way to make a system call: interrupted calls are repeated, failures carry their errno, and
// "not now" of a non-blocking descriptor is a result, not a failure.

import Glibc

enum SystemCall {
    /// What a call on a non-blocking descriptor came to.
    enum Outcome {
        case done(Int)
        case wouldBlock
        case failed(Int32)
    }

    /// Makes a call that may have to wait for the descriptor.
    @inline(__always)
    static func attempt(_ call: () -> Int) -> Outcome {
        while true {
            let result = call()
            if result >= 0 { return .done(result) }
            let code = errno
            if code == EINTR { continue }
            return code == EAGAIN ? .wouldBlock : .failed(code)
        }
    }

    /// Makes a call and returns its result, or `errno` as the failure.
    @inline(__always)
    static func result<Value: SignedInteger>(_ call: () -> Value) -> Result<Value, Errno> {
        while true {
            let value = call()
            if value >= 0 { return .success(value) }
            let code = errno
            if code == EINTR { continue }
            return .failure(Errno(code: code))
        }
    }

    /// Makes a call and returns its result, or throws what was being done.
    @discardableResult
    static func require<Value: SignedInteger>(
        _ doing: String,
        _ subject: String = "",
        _ call: () -> Value
    ) throws(IOFailure) -> Value {
        switch result(call) {
        case .success(let value): return value
        case .failure(let failure): throw IOFailure(doing, subject, code: failure.code)
        }
    }

    /// The system's words for an error number, in lower case: they stand inside a sentence.
    static func text(of code: Int32) -> String {
        guard let words = strerror(code) else { return "error \(code)" }
        let text = String(cString: words)
        // "I/O error" and the like keep their capitals.
        let second = text.utf8.dropFirst().first ?? 0
        guard (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(second) else { return text }
        return text.prefix(1).lowercased() + text.dropFirst()
    }
}

/// A bare error number, before anybody has said what was being done.
struct Errno: Error {
    var code: Int32
}
