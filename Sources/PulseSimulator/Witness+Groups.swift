// What consumers saw: what they were given, and what they were told they had finished.

package import PulseCore

/// What a group of consumers on one channel's topic knows.
struct GroupFacts {
    var channel: Channel
    /// The reply to the first subscribe came: the group is durable.
    var exists = false
    /// When the first reply came.
    var since = MonotonicInstant(nanoseconds: 0)
    var given: Set<NotificationID> = []
    /// The newest delivery of each message.
    var newestLease: [NotificationID: (boot: Int, lease: UInt64)] = [:]
    /// Acknowledged, but the connection broke before the reply: finished, or not.
    var uncertain: Set<NotificationID> = []
    /// Confirmed acknowledgements: the lease they ended, in the boot it was of.
    var settled: [NotificationID: (boot: Int, lease: UInt64)] = [:]
}

extension Witness {
    package static func groupName(_ name: String, _ channel: Channel) -> String {
        "\(name) on \(channel.name)"
    }

    package mutating func subscribed(_ name: String, _ channel: Channel) {
        let key = Self.groupName(name, channel)
        if groups[key]?.exists != true {
            groups[key, default: GroupFacts(channel: channel)].since = time
        }
        groups[key]?.exists = true
    }

    package func groupExists(_ name: String, _ channel: Channel) -> Bool {
        groups[Self.groupName(name, channel)]?.exists == true
    }

    /// P3: a consumer was given a message.
    package mutating func given(
        _ id: NotificationID,
        marked number: Int?,
        to name: String,
        _ channel: Channel,
        boot: Int,
        lease: UInt64
    ) {
        guard let number, submissions.indices.contains(number) else {
            fail("P1", "group \(name) was given \(id) with content that nobody submitted")
            return
        }
        learn(number, id, from: "a consumer")
        // Where only its delivery's end is lost, the record goes to all others.
        let isWhole = onlyEndIsLost.contains(id)
        if stories[id]?.isLost == true, !isWhole, repairs > 0, boot >= repairedBoot {
            fail("P1", "\(id) is called lost, and group \(name) is given it")
        }
        let key = Self.groupName(name, channel)
        if let settled = groups[key]?.settled[id],
            boot > settled.boot || boot == settled.boot && lease > settled.lease
        {
            fail("P3", "group \(key) finished \(id), was told so, and is given it again")
        }
        groups[key, default: GroupFacts(channel: channel)].given.insert(id)
        let newest = groups[key]?.newestLease[id] ?? (0, 0)
        guard (boot, lease) > newest else { return }
        groups[key]?.newestLease[id] = (boot, lease)
        // Given again: the acknowledgement whose reply was lost did not arrive.
        groups[key]?.uncertain.remove(id)
    }

    /// The acknowledgement was confirmed: durable, never again.
    package mutating func settled(
        _ id: NotificationID,
        by name: String,
        _ channel: Channel,
        boot: Int,
        lease: UInt64
    ) {
        let key = Self.groupName(name, channel)
        if let earlier = groups[key]?.settled[id], earlier.boot != boot || earlier.lease != lease {
            fail("P3", "group \(key) finished \(id) twice")
        }
        if let newest = groups[key]?.newestLease[id], newest.boot == boot, newest.lease > lease {
            fail("P3", "group \(key) finished \(id) by a lease that was over")
        }
        groups[key]?.settled[id] = (boot, lease)
    }

    /// The reply to an acknowledgement will never come.
    package mutating func lostReply(
        _ id: NotificationID,
        by name: String,
        _ channel: Channel
    ) {
        groups[Self.groupName(name, channel)]?.uncertain.insert(id)
    }

    /// Messages that a group cannot have finished as far as anybody knows.
    ///
    /// - Parameter isFinished: What the node says of one whose acknowledgement was not answered: it
    ///   arrived, or the message must be given again.
    package func unsettled(
        of name: String,
        _ channel: Channel,
        but isExcused: (NotificationID) -> Bool = { _ in false },
        isFinished: (NotificationID) -> Bool = { _ in true }
    ) -> [NotificationID] {
        guard let group = groups[Self.groupName(name, channel)], group.exists else { return [] }
        return known.filter {
            submission(of: $0)?.channel == channel && group.settled[$0] == nil
                && !(group.uncertain.contains($0) && isFinished($0)) && !isExcused($0)
        }
    }

    /// P1 at the end: every message of the topic reached the group.
    package mutating func checkGroup(
        _ name: String,
        _ channel: Channel,
        but isExcused: (NotificationID) -> Bool = { _ in false }
    ) {
        let key = Self.groupName(name, channel)
        guard let group = groups[key], group.exists else { return }
        for id in known
        where submission(of: id)?.channel == channel && !group.given.contains(id)
            && !isExcused(id)
        {
            fail("P3", "group \(key) was never given \(id)")
        }
    }
}
