// How a request is written and its answer is read: what the two interfaces differ in.

import PulseCore

/// What came back for one notification.
enum BenchVerdict {
    /// Accepted, and new.
    case accepted(NotificationID)
    /// Anything else: an HTTP status, or a status and error code of the native protocol.
    case other(String)
}

/// What is the same for every request of a run.
struct BenchWorkload: Sendable {
    /// Different for every run, so that no key was used before.
    var salt: String
    var template: String
    var channel: String
    var authority: String
    var batch: Int
}

/// One connection's way of talking. Answers come in the order of the requests.
protocol BenchDialect: AnyObject {
    /// What is said first, before any request; the answers to it are swallowed.
    func greet(into bytes: inout [UInt8])

    /// Writes the request of notifications `number` to `number + batch - 1`.
    func write(_ number: Int, of workload: BenchWorkload, into bytes: inout [UInt8])

    /// Reads answers; `answered` is called once a request, with one verdict a notification.
    ///
    /// - Throws: When the bytes are no answer of this interface.
    func read(
        _ bytes: UnsafeRawBufferPointer,
        _ answered: ([BenchVerdict]) -> Void
    ) throws(BenchSocketFailure)
}
