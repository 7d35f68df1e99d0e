// The ledger: every accepted notification is in exactly one state. Each number comes from where the
// state itself is kept, so that the sum is a check and not a definition.

package import PulseCore
import PulseLog

/// How many notifications of a channel are where, now.
package struct Balance: Hashable, Sendable {
    package var accepted: UInt64 = 0
    package var scheduled: UInt64 = 0
    package var ready: UInt64 = 0
    package var held: UInt64 = 0
    package var leased: UInt64 = 0
    package var delivered: UInt64 = 0
    package var dead: UInt64 = 0
    /// Given up by a repair before their end was known.
    package var lost: UInt64 = 0
    package var cancelled: UInt64 = 0

    package init() {}

    package var isBalanced: Bool {
        accepted == scheduled + ready + held + leased + delivered + dead + lost + cancelled
    }
}

extension Shard {
    package func balance(of channel: Channel) -> Balance {
        let ledger = state.ledger(of: channel)
        var balance = Balance()
        balance.accepted = ledger.accepted
        balance.delivered = ledger.delivered
        balance.dead = ledger.dead
        balance.lost = ledger.lost
        balance.cancelled = ledger.cancelled
        guard let group = state.group(named: GroupState.deliveryName, on: channel.topic) else {
            return balance
        }
        let index = Int(group.id.rawValue) - 1
        let open = group.streams.reduce(0) { $0 + $1.progress.openCount }
        let origins = leaseOrigins[index]
        let queue = queues[index]
        balance.leased = UInt64(origins.fresh + origins.held + origins.scheduled)
        balance.ready = UInt64(
            open - origins.fresh + queue.waitingFromHeld + queue.waitingFromScheduled
        )
        // A damaged store may show rows that nobody counted: the ledger does not balance then.
        let held = UInt64(queue.waitingFromHeld + origins.held)
        let scheduled = UInt64(queue.waitingFromScheduled + origins.scheduled)
        balance.held = ledger.heldRows - min(held, ledger.heldRows)
        balance.scheduled = ledger.scheduledRows - min(scheduled, ledger.scheduledRows)
        return balance
    }

    /// Stops with a sentence when something that is always true is not.
    package func checkInvariants() {
        leases.checkInvariants()
        for channel in Channel.allCases {
            let balance = balance(of: channel)
            precondition(balance.isBalanced, "the ledger of \(channel.name) balances: \(balance)")
        }
        let counted = leaseOrigins.reduce(0) { $0 + $1.fresh + $1.held + $1.scheduled }
        precondition(counted == leases.count, "every lease is counted once")
        state.book.checkInvariants()
        precondition(state.applied <= log.durablePosition, "only durable entries are folded in")
    }
}
