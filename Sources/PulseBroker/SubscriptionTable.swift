// The consumers that are subscribed now, with their credit.

import PulseCore

package struct Subscription: Sendable {
    package var id: SubscriptionID
    package var group: GroupID
    /// Deliveries it may still be sent.
    package var credit: Int
    /// Deliveries it was sent and has not settled; with the credit never above ``Limits/creditMax``.
    package var unsettled = 0
    package var leaseMilliseconds: Int64
    /// Bit *n*: it takes lane *n*.
    package var lanes: UInt8
    /// Too much waits to be sent to it: it is given nothing until it has read.
    package var isBackedUp = false
}

/// In order of subscribing; few, so a linear search is the fastest.
struct SubscriptionTable: Sendable {
    private(set) var all: [Subscription] = []
    /// Where the next turn of dealing begins, so that members of a group take turns.
    private var start = 0

    subscript(id: SubscriptionID) -> Subscription? { all.first { $0.id == id } }

    mutating func add(_ subscription: Subscription) { all.append(subscription) }

    @discardableResult
    mutating func remove(_ id: SubscriptionID) -> Bool {
        guard let index = all.firstIndex(where: { $0.id == id }) else { return false }
        all.remove(at: index)
        return true
    }

    mutating func change(_ id: SubscriptionID, _ change: (inout Subscription) -> Void) {
        guard let index = all.firstIndex(where: { $0.id == id }) else { return }
        change(&all[index])
    }

    func ids(of connection: ConnectionID) -> [SubscriptionID] {
        all.filter { $0.id.connection == connection }.map(\.id)
    }

    /// The next subscription of a group with credit, each in turn.
    mutating func next(of group: GroupID) -> Subscription? {
        guard !all.isEmpty else { return nil }
        for step in 0..<all.count {
            let index = (start + step) % all.count
            if all[index].group == group, all[index].credit > 0, !all[index].isBackedUp {
                start = (index + 1) % all.count
                return all[index]
            }
        }
        return nil
    }

    func has(_ group: GroupID) -> Bool { all.contains { $0.group == group } }

    func groups() -> [GroupID] {
        var groups: [GroupID] = []
        for subscription in all where !groups.contains(subscription.group) {
            groups.append(subscription.group)
        }
        return groups
    }
}
