// A file descriptor with exactly one owner. Losing it closes it; it cannot be closed twice.

import Glibc

/// An open descriptor.
///
/// Move it to hand it on; let it go out of scope to close it.
package struct OwnedDescriptor: ~Copyable, Sendable {
    package let rawValue: Int32

    /// Takes over a descriptor that nobody else will close.
    package init(takingOver rawValue: Int32) {
        precondition(rawValue >= 0, "a descriptor is not negative")
        self.rawValue = rawValue
    }

    deinit { _ = Glibc.close(rawValue) }

    /// Closes now.
    ///
    /// The kernel releases the number even when it reports an error, and an error of close says
    /// nothing that a sync has not said before, so there is none to report.
    package consuming func close() {}
}
