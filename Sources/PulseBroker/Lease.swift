// Who holds which message, and until when.
//
//     ready --lease--> announcing --(intent durable)--> open --outcome--> settling --(durable)--> gone
//                                                        |
//                                                        `-- deadline passed: held, attempt counted
//
// A subscriber's lease has no intent in the log: it is open at once, and its end is in memory only.
// Invariant: a message has at most one lease per group, whatever its state.

package import PulseCore

package struct SubscriptionID: Hashable, Comparable, Sendable {
    package var connection: ConnectionID
    /// Chosen by the client.
    package var number: UInt32

    package init(connection: ConnectionID, number: UInt32) {
        self.connection = connection
        self.number = number
    }

    package static func < (a: Self, b: Self) -> Bool {
        (a.connection, a.number) < (b.connection, b.number)
    }
}

package struct Lease: Sendable {
    package enum Owner: Hashable, Sendable {
        /// The delivery workers of this process.
        case worker
        case subscription(SubscriptionID)
        /// Nobody: it ends in the turn that began it (cancelled, or its attempts were used up before).
        case nobody
    }

    package enum State: Sendable {
        /// The intent is in the log but not durable yet. Can become: open.
        case announcing
        /// The provider or the consumer has it. Can become: settling, gone (released).
        case open
        /// The outcome is in the log but not durable yet. Can become: gone.
        case settling
    }

    package var id: UInt64
    package var message: MessageKey
    /// This attempt's number, from 1.
    package var attempt: UInt16
    package var origin: MessageOrigin
    /// Due time of the held row it came from, 0 for none.
    package var heldDue: Int64
    /// The newest entry of the message's story.
    package var newest: LogPosition
    package var owner: Owner
    package var state: State
    package var timer: TimingWheel<UInt64>.Handle
    /// While settling: the outcome is that the message was delivered.
    package var endsDelivered = false
    /// While settling: somebody cancelled the message.
    package var endsCancelled = false
}

/// A message that may be leased now.
package struct Candidate: BitwiseCopyable, Sendable {
    package var message: MessageKey
    /// Attempts made so far.
    package var attempt: UInt16
    package var origin: MessageOrigin
    package var heldDue: Int64
    package var newest: LogPosition
}

/// All leases of a shard.
package struct LeaseTable: Sendable {
    private var leases: [UInt64: Lease] = [:]
    private var byMessage: [MessageKey: UInt64] = [:]
    private var nextID: UInt64

    /// Lease numbers start at `firstID`, which differs from run to run: a token of an earlier run is stale.
    package init(firstID: UInt64) { nextID = firstID }

    package var count: Int { leases.count }

    package subscript(id: UInt64) -> Lease? { leases[id] }

    package func holds(_ message: MessageKey) -> Bool { byMessage[message] != nil }

    package func lease(of message: MessageKey) -> Lease? {
        byMessage[message].flatMap { leases[$0] }
    }

    /// Leases a message; `counts` is false for what is no attempt to deliver it.
    package mutating func grant(
        _ candidate: Candidate,
        to owner: Lease.Owner,
        state: Lease.State,
        counts: Bool = true
    ) -> Lease {
        precondition(!holds(candidate.message), "a message has at most one lease per group")
        // A consumer may reject for ever; the count stops where its 16 bits end.
        let isLast = candidate.attempt == .max || !counts
        let attempt = isLast ? candidate.attempt : candidate.attempt + 1
        let lease = Lease(
            id: nextID,
            message: candidate.message,
            attempt: attempt,
            origin: candidate.origin,
            heldDue: candidate.heldDue,
            newest: candidate.newest,
            owner: owner,
            state: state,
            timer: .none
        )
        nextID += 1
        leases[lease.id] = lease
        byMessage[lease.message] = lease.id
        return lease
    }

    package mutating func update(_ id: UInt64, _ change: (inout Lease) -> Void) {
        guard var lease = leases[id] else { preconditionFailure("only a live lease is changed") }
        change(&lease)
        leases[id] = lease
    }

    @discardableResult
    package mutating func remove(_ id: UInt64) -> Lease? {
        guard let lease = leases.removeValue(forKey: id) else { return nil }
        byMessage[lease.message] = nil
        return lease
    }

    /// The open leases of one holder, in order of granting.
    package func open(heldBy owner: Lease.Owner) -> [Lease] {
        leases.values.filter { $0.owner == owner && $0.state == .open }.sorted { $0.id < $1.id }
    }

    /// Every message and its lease agree.
    package func checkInvariants() {
        precondition(leases.count == byMessage.count, "one lease a message")
        precondition(
            byMessage.allSatisfy { leases[$0.value]?.message == $0.key },
            "a message's lease is its own"
        )
    }
}
