// What a turn of the loop tells, and whom.

package import PulseCore

/// Why a handler is called.
package struct Readiness: OptionSet, Sendable {
    package let rawValue: UInt8

    package init(rawValue: UInt8) { self.rawValue = rawValue }

    package static let readable = Readiness(rawValue: 1)
    package static let writable = Readiness(rawValue: 2)
    /// The descriptor is in error or hung up in both directions; told whether asked for or not.
    package static let gone = Readiness(rawValue: 4)
    /// The deadline set with ``EventLoop/setDeadline(_:for:)`` has passed.
    package static let deadline = Readiness(rawValue: 8)
    /// The handler asked with ``EventLoop/callNextTurn(_:)`` to be called.
    package static let posted = Readiness(rawValue: 16)
    /// The owner has ended the turn: the time to write what it has sent.
    package static let turnEnding = Readiness(rawValue: 32)
}

/// Something with a descriptor or a deadline in a loop: a connection, a listener, a mailbox.
package protocol EventHandler: AnyObject {
    /// Called on the loop's thread. `descriptor` is -1 when the call is not about one.
    func ready(_ readiness: Readiness, descriptor: Int32)
}

/// Names a handler's place in a loop.
///
/// Never reused, so a stale one is recognised.
package struct Registration: Hashable, Sendable {
    package let rawValue: UInt64
}

/// Whoever gathers a turn's events and acts on them all at once.
package protocol LoopOwner: AnyObject {
    /// The wait is over; handlers are about to be called. `now` holds for the whole turn.
    func turnBegan(at now: Now)
    /// All ready handlers have been called. Sends of this turn leave when this returns.
    func turnEnded(at now: Now) -> NextTurn
}

package enum NextTurn: Hashable, Sendable {
    /// Wait for events, but no longer than this; `.distantFuture` for as long as it takes.
    case by(MonotonicInstant)
    /// Return from ``EventLoop/run(_:)`` once this turn's sends are written.
    case stop
}
