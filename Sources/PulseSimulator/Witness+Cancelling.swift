// What clients were told about what they took back.

package import PulseBroker
package import PulseCore

extension Witness {
    /// From now on it may be cancelled, whatever is heard of it.
    mutating func askedToCancel(_ id: NotificationID) {
        if stories[id]?.cancelAskedAt == nil { stories[id]?.cancelAskedAt = time }
    }

    /// P1: a client was told that it is taken back. It stays so, and no provider is called any more; a
    /// call that is under way is a reason to refuse, so that none can be.
    mutating func cancelled(_ id: NotificationID, at time: MonotonicInstant) {
        guard let story = stories[id] else { return }
        if let final = story.finalState, final != .cancelled {
            fail("P2", "\(id) was \(final.name) and is called cancelled")
        }
        stories[id]?.finalState = .cancelled
        if story.cancelledAt == nil { stories[id]?.cancelledAt = time }
        for index in story.callIndexes {
            let call = calls[index]
            if call.boot == boot, call.ending == nil, time < call.deadline {
                fail("P3", "\(id) is called cancelled while its provider is called")
            }
        }
    }

    /// It is too late, the node said, to who asked at `sentAt`: answers on two connections may cross.
    mutating func notCancellable(_ id: NotificationID, sentAt: MonotonicInstant) {
        if let cancelledAt = stories[id]?.cancelledAt, cancelledAt < sentAt {
            fail("P1", "\(id) was acknowledged as cancelled; asked again, it is too late")
        }
    }

    /// Whether it may be cancelled, though nobody was told so.
    package func isAskedBack(_ id: NotificationID) -> Bool { stories[id]?.cancelAskedAt != nil }

    package func isCancelled(_ id: NotificationID) -> Bool { stories[id]?.cancelledAt != nil }

    /// P2 at the end: the ledger has those of which somebody was told, and none that nobody asked for.
    package mutating func checkCancelled(_ channel: Channel, _ balance: Balance) {
        var told: UInt64 = 0
        var asked: UInt64 = 0
        for id in known {
            guard let story = stories[id], submissions[story.number].channel == channel else {
                continue
            }
            if story.cancelledAt != nil { told += 1 }
            if story.cancelAskedAt != nil { asked += 1 }
        }
        // Those that a repair gave up, or whose end it did, may count or not.
        guard repairs == 0 else { return }
        if balance.cancelled < told || balance.cancelled > asked {
            fail(
                "P2",
                "\(channel.name) has \(balance.cancelled) cancelled; clients were told of \(told) "
                    + "and asked for \(asked)"
            )
        }
    }
}
