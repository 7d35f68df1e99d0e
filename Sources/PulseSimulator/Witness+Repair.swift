// What a repair gives up, as far as the witness is concerned: notifications that are called lost, and what
// anybody was told of the past of the others. Their content stays, and they come to an end.

package import PulseBroker
package import PulseCore

extension Witness {
    /// A repair has left gaps: `lost` are called lost by name from now on. Of all others steps may be lost;
    /// `cancelled` are cancelled all the same.
    ///
    /// - Parameters:
    ///   - ended: Those of `lost` whose record is there: only how they ended is lost.
    ///   - storeIsLost: Nothing knows any more that those ended, of earlier repairs too: they may come
    ///     again.
    package mutating func repaired(
        lost: [NotificationID],
        ended: Set<NotificationID>,
        storeIsLost: Bool,
        cancelled: [NotificationID],
        balances: [Balance]
    ) {
        repairs += 1
        repairedBoot = boots.count + 1
        for id in known { blur(id) }
        for id in cancelled { stories[id]?.cancelledAt = time }
        for id in lost { giveUp(id) }
        onlyEndIsLost.formUnion(ended)
        if storeIsLost { mayComeAgain.formUnion(onlyEndIsLost) }
        self.balances = balances
        for key in groups.keys.sorted() {
            // Finished, or not any more.
            let settled = groups[key]?.settled.keys.sorted { "\($0)" < "\($1)" } ?? []
            groups[key]?.uncertain.formUnion(settled)
            groups[key]?.settled = [:]
            groups[key]?.newestLease = [:]
        }
        for group in keysSince.keys.sorted() {
            keyOwners[group] = nil
            loosenedKeys.insert(group)
        }
    }

    /// The gaps have its creation, and no state store knew of it: whoever subscribes makes another.
    package mutating func lostGroup(_ name: String, _ channel: Channel) {
        let key = Self.groupName(name, channel)
        guard groups[key] != nil else { return }
        groups[key]?.exists = false
    }

    /// What is known of its past may be lost.
    private mutating func blur(_ id: NotificationID) {
        stories[id]?.isBlurred = true
        stories[id]?.finalState = nil
        stories[id]?.cancelledAt = nil
        stories[id]?.callIndexes = []
    }

    /// It is called lost: nothing more is expected of it, but that nobody else gets its name.
    package mutating func giveUp(_ id: NotificationID) {
        guard let story = stories[id], !story.isLost else { return }
        stories[id]?.isLost = true
        lostCount += 1
        known.removeAll { $0 == id }
        fates[story.number].ids.removeAll { $0 == id }
    }

    /// Whether it may be answered with `data_lost`: a repair may have given it up.
    package func mayBeLost(_ id: NotificationID) -> Bool {
        repairs > 0 && (stories[id]?.isLost ?? true || stories[id]?.isBlurred == true)
    }
}
