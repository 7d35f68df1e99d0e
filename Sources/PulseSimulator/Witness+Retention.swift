// What may be gone where little is kept, as far as clients and providers can tell.

package import PulseCore

extension Witness {
    /// What the clocks show when something happens.
    mutating func clock(_ time: MonotonicInstant, _ wall: WallTimestamp) {
        self.time = time
        self.wall = wall
    }

    /// Whether a key may have been forgotten since it was first sent: never because of size.
    func isForgotten(_ keyGroup: Int) -> Bool {
        if loosenedKeys.contains(keyGroup) { return true }
        guard let retention = rules.retention, let since = keysSince[keyGroup] else { return false }
        guard retention.ageMilliseconds != nil else { return false }
        // A clock that is set makes nothing older.
        return time.milliseconds(since: since) + clockSlewed >= retention.keyMilliseconds
    }

    /// Whether a notification can have ended, and so long ago that it is not kept any more.
    package func mayBeOver(_ id: NotificationID) -> Bool {
        guard let retention = rules.retention, hasReleased, let story = stories[id] else {
            return false
        }
        let submission = submissions[story.number]
        // Attempts may be used up though none was seen: a crash between intent and call counts as one.
        let isUncalled =
            submission.channel.isCalled && story.callIndexes.isEmpty && !story.isBlurred
        if isUncalled, story.cancelAskedAt == nil, boots.count <= rules.attemptsMax {
            return false
        }
        // Not before any of these.
        guard var ended = fates[story.number].firstSent?.time else { return false }
        if isUncalled, boots.count <= rules.attemptsMax, let asked = story.cancelAskedAt {
            ended = max(ended, asked)
        }
        if let call = story.callIndexes.last { ended = max(ended, calls[call].calledAt) }
        // A clock that is set makes nothing older.
        let age = time.milliseconds(since: ended) + clockSlewed
        guard let least = retention.ageMilliseconds, retention.bytes == 0 else { return age >= 0 }
        return age >= least
    }

    /// Whether a group need not have seen a notification because it began later.
    package func isOlder(_ id: NotificationID, than name: String, _ channel: Channel) -> Bool {
        guard let story = stories[id], let sent = fates[story.number].firstSent,
            let group = groups[Self.groupName(name, channel)]
        else { return false }
        return sent.time <= group.since
    }

    /// Times that keyed submissions were repeated: each may be one notification more.
    func repeats(on channel: Channel) -> UInt64 {
        guard rules.retention != nil else { return 0 }
        var count = 0
        for (number, fate) in fates.enumerated() where submissions[number].channel == channel {
            count += max(0, fate.sends - 1)
        }
        return UInt64(count)
    }
}
