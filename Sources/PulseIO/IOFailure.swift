// What the kernel refused, said in one sentence: what was being done, to what, and why it failed.

import Glibc

/// A failed system call.
package struct IOFailure: Error, Hashable, Sendable, CustomStringConvertible {
    /// The verb: `listen on`, `connect to`, `read`.
    package var doing: String
    /// What it was done to: an address, a path, or empty.
    package var subject: String
    /// `errno`, or 0 when `text` says it all.
    package var code: Int32
    package var text: String

    package init(_ doing: String, _ subject: String = "", code: Int32) {
        self.doing = doing
        self.subject = subject
        self.code = code
        text = SystemCall.text(of: code)
    }

    package init(_ doing: String, _ subject: String = "", text: String) {
        self.doing = doing
        self.subject = subject
        code = 0
        self.text = text
    }

    package var isAddressInUse: Bool { code == EADDRINUSE }

    package var description: String {
        if isAddressInUse { return "address already in use: \(subject)" }
        let what = subject.isEmpty ? doing : doing + " " + subject
        return code == 0 ? "cannot \(what): \(text)" : "cannot \(what): \(text) (errno \(code))"
    }
}
