// What clients were told about what they handed in.

package import PulseCore

extension Witness {
    /// A submission that clients will make; its number is its place in the list.
    package mutating func planned(_ submission: Submission) {
        precondition(submission.number == submissions.count, "submissions are numbered in order")
        submissions.append(submission)
        fates.append(Fate())
    }

    /// From now on it may exist, whatever is heard of it.
    package mutating func sent(_ number: Int) {
        fates[number].mayExist = true
        fates[number].sends += 1
        if fates[number].firstSent == nil { fates[number].firstSent = (time, wall) }
        let group = submissions[number].keyGroup
        if group >= 0, keysSince[group] == nil { keysSince[group] = time }
    }

    /// It was refused for good, or the node was not serving: this try left nothing behind.
    package mutating func refused(_ number: Int, _ reason: String) {
        fail("P1", "submission \(number) is right and was refused: \(reason)")
    }

    /// P1 begins here: a client was told that the node has it.
    package mutating func accepted(
        _ number: Int,
        as id: NotificationID,
        isRepeat: Bool,
        at time: MonotonicInstant
    ) {
        learn(number, id, from: "a client")
        if stories[id]?.acknowledgedAt == nil { stories[id]?.acknowledgedAt = time }
        if isRepeat, submissions[number].key == nil {
            fail("P1", "submission \(number) has no key and was called a repeat")
        }
    }

    /// The key was used for another content.
    package mutating func conflicted(_ number: Int) {
        fates[number].conflicts += 1
        guard let rival = rival(of: number) else {
            fail("P3", "submission \(number) has no rival for its key and was called a conflict")
            return
        }
        if !fates[rival].mayExist {
            fail("P3", "submission \(number) conflicts with \(rival), which nobody sent")
        }
        if !fates[number].ids.isEmpty, !isForgotten(submissions[number].keyGroup) {
            fail("P3", "submission \(number) was accepted and then called a conflict")
        }
    }

    /// A submission with the same key and another content.
    private func rival(of number: Int) -> Int? {
        let group = submissions[number].keyGroup
        guard group >= 0 else { return nil }
        return submissions.first { $0.keyGroup == group && $0.number != number }?.number
    }

    /// How often providers were called for it in lives that are over and for attempts that count.
    package func callsThatCount(of id: NotificationID) -> Int {
        guard let story = stories[id] else { return 0 }
        return story.callIndexes.filter { calls[$0].ending != .misconfigured }.count
    }

    /// Ties an identifier to a submission, whoever spoke of it first.
    mutating func learn(_ number: Int, _ id: NotificationID, from whom: String) {
        if let story = stories[id] {
            if story.number != number {
                fail(
                    "P1",
                    "\(whom) says that \(id) is submission \(number), but it was \(story.number)"
                )
            }
            // An answer that was on its way when the repair gave it up.
            if story.isLost { return }
        } else {
            stories[id] = Story(number: number)
            known.append(id)
        }
        if !fates[number].ids.contains(id) { fates[number].ids.append(id) }
        let submission = submissions[number]
        if submission.key == nil {
            if fates[number].ids.count > 1 {
                fail("P1", "submission \(number) was sent once and is \(fates[number].ids)")
            }
        } else if let owner = keyOwners[submission.keyGroup] {
            if owner.id != id, !isForgotten(submission.keyGroup) {
                fail(
                    "P3",
                    "one idempotency key, two notifications: submission \(owner.number) is "
                        + "\(owner.id), submission \(number) is \(id)"
                )
            }
        } else {
            keyOwners[submission.keyGroup] = KeyOwner(number: number, id: id)
        }
        if fates[number].conflicts > 0, !isForgotten(submission.keyGroup) {
            fail("P3", "submission \(number) was a conflict and now exists as \(id)")
        }
    }

    // MARK: - Looking at the node

    /// The identifiers that clients were told of.
    package var acknowledgedIDs: [NotificationID] {
        known.filter { stories[$0]?.acknowledgedAt != nil }
    }

    package func submissionNumber(of id: NotificationID) -> Int? { stories[id]?.number }

    package func finalState(of id: NotificationID) -> NotificationState? {
        stories[id]?.finalState
    }

    package func submission(of id: NotificationID) -> Submission? {
        stories[id].map { submissions[$0.number] }
    }

    /// P1: what the node says of an acknowledged notification.
    ///
    /// `marked` is the number in its content.
    package mutating func looked(
        at id: NotificationID,
        found state: NotificationState?,
        marked: Int?,
        mayBeGone: Bool = false,
        _ occasion: String
    ) {
        guard let story = stories[id], story.acknowledgedAt != nil else { return }
        guard let state else {
            if mayBeGone { return }
            fail(
                "P1",
                "\(id), submission \(story.number), was acknowledged and is lost \(occasion)"
            )
            return
        }
        if marked != story.number {
            let content = marked.map { "that of \($0)" } ?? "none that anybody submitted"
            fail(
                "P1",
                "\(id) was acknowledged as submission \(story.number), its content is \(content) "
                    + occasion
            )
        }
        if let final = story.finalState, final != state {
            fail("P2", "\(id) was \(final.name) and is \(state.name) \(occasion)")
        }
        if state.isFinal { stories[id]?.finalState = state }
    }

    /// P1 at the end: everything came to an end, but for what is scheduled past it.
    package mutating func checkEnded(
        _ id: NotificationID,
        _ state: NotificationState,
        deliveredAt: WallTimestamp?,
        endOfRun: WallTimestamp
    ) {
        guard let story = stories[id] else { return }
        let submission = submissions[story.number]
        if state == .cancelled {
            if story.cancelAskedAt == nil { fail("P1", "\(id) is cancelled and nobody asked") }
            return
        }
        if story.cancelledAt != nil {
            fail("P1", "\(id) was acknowledged as cancelled and is \(state.name)")
        }
        if let due = submission.deliverAt, due > endOfRun {
            if state != .scheduled {
                fail("P1", "\(id) is scheduled for \(due.milliseconds) and is \(state.name)")
            }
            return
        }
        guard state == .delivered || state == .dead else {
            fail("P1", "\(id), submission \(story.number), is stuck: still \(state.name)")
            return
        }
        if let due = submission.deliverAt, let deliveredAt,
            deliveredAt.advanced(byMilliseconds: clockSetBack) < due
        {
            fail(
                "P1",
                "\(id) was delivered \(due.milliseconds - deliveredAt.milliseconds) ms early"
            )
        }
    }
}
