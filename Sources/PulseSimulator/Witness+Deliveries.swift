// What providers saw: who was called when, what they took, what they answered.

package import PulseCore

/// How a simulated provider ends a call.
package enum CallEnding: String, Sendable {
    /// Taken, and said so.
    case accepted
    /// Not now: 451, 500, connection refused.
    case transient
    /// Never: 550, 410.
    case permanent
    /// The answer was lost; the provider may have taken it.
    case lost
    /// The provider is not configured rightly: the channel rests.
    case misconfigured
}

/// One call as the provider's side saw it.
struct ProviderCallFacts {
    var id: NotificationID
    var channel: Channel
    var boot: Int
    var calledAt: MonotonicInstant
    var calledWall: WallTimestamp
    /// The latest moment at which the node may still wait for the answer.
    var deadline: MonotonicInstant
    var ending: CallEnding?
    /// What it was answered when its time was over.
    var lateEnding: CallEnding?
    var answeredAt: MonotonicInstant?
    var answeredWall: WallTimestamp?
    /// Milliseconds the provider asked for, at least.
    var askedWait: Int64 = 0
    var wasTaken = false
}

extension Channel {
    /// Whether the world has a provider of it that is called.
    var isCalled: Bool { self == .email || self == .webhook }
}

extension Witness {
    /// P3: the node called a provider.
    ///
    /// Returns the call's number for what follows.
    package mutating func called(
        _ id: NotificationID,
        marked number: Int?,
        to address: String,
        channel: Channel,
        at now: Now,
        world: MonotonicInstant,
        deadline: MonotonicInstant
    ) -> Int {
        let index = calls.count
        calls.append(
            ProviderCallFacts(
                id: id,
                channel: channel,
                boot: boot,
                calledAt: world,
                calledWall: now.wall,
                deadline: deadline
            )
        )
        guard let number, submissions.indices.contains(number) else {
            fail("P1", "a provider was called for \(id) with content that nobody submitted")
            return index
        }
        learn(number, id, from: "a provider")
        let submission = submissions[number]
        if stories[id]?.isLost == true, !mayComeAgain.contains(id) {
            fail("P1", "\(id) is called lost, and its provider is called")
        }
        if isCancelled(id) {
            fail("P1", "\(id) was acknowledged as cancelled, and its provider is called")
        }
        if submission.channel != channel {
            fail("P1", "\(id) was meant for \(submission.channel.name), not \(channel.name)")
        }
        if let due = submission.deliverAt, now.wall.advanced(byMilliseconds: clockSetBack) < due {
            fail("P1", "\(id) is called \(due.milliseconds - now.wall.milliseconds) ms too early")
        }
        if submission.address != address {
            fail("P1", "\(id) was meant for \(submission.address), not \(address)")
        }
        let earlier = stories[id]?.callIndexes ?? []
        for other in earlier { checkFollows(calls[other], id, at: now, world: world) }
        if stories[id]?.isBlurred == false {
            checkInTime(id, submission, earlier, at: now, world: world)
        }
        let paused = earlier.filter { calls[$0].ending == .misconfigured }.count
        if earlier.count + 1 > rules.attemptsMax + paused {
            fail("P3", "\(id) is called for the \(earlier.count + 1)th time")
        }
        stories[id]?.callIndexes.append(index)
        return index
    }

    /// Whether a new call may follow an earlier one of the same notification.
    private mutating func checkFollows(
        _ call: ProviderCallFacts,
        _ id: NotificationID,
        at now: Now,
        world: MonotonicInstant
    ) {
        guard let ending = call.ending, let answeredAt = call.answeredAt else {
            if call.boot == boot, world < call.deadline {
                fail("P3", "\(id) is called while another call is in flight")
            }
            return
        }
        let end = call.boot == boot ? nil : boots[call.boot - 1].endedAt
        let settled = end.map { $0.milliseconds(since: answeredAt) >= rules.settleMilliseconds }
        if ending == .accepted || ending == .permanent {
            if settled ?? true {
                fail("P3", "\(id) was \(ending.rawValue) by its provider and is called again")
            }
            return
        }
        // What was durable when a life ended is waited for in the next ones as well.
        guard settled ?? true, let answeredWall = call.answeredWall else { return }
        let least = max(rules.backoffLeastMilliseconds, call.askedWait)
        let waited = now.wall.milliseconds - answeredWall.milliseconds
        if waited + clockSetBack < least {
            fail("P3", "\(id) is retried after \(waited) ms, the least is \(least)")
        }
    }

    /// P1: what is due goes in time while the node is up.
    private mutating func checkInTime(
        _ id: NotificationID,
        _ submission: Submission,
        _ earlier: [Int],
        at now: Now,
        world: MonotonicInstant
    ) {
        let since: MonotonicInstant
        if let last = earlier.last {
            let call = calls[last]
            let end = call.answeredAt ?? call.deadline
            since = end.advanced(
                byMilliseconds: max(rules.backoffCapMilliseconds, call.askedWait)
            )
        } else {
            guard let told = stories[id]?.acknowledgedAt else { return }
            // When the wall clock showed the asked time, had nobody set it since.
            let overdue = submission.deliverAt.map {
                UInt64(max(0, now.wall.milliseconds - $0.milliseconds)) * 1_000_000
            }
            let early = overdue.map { world.nanoseconds - min(world.nanoseconds, $0) }
            since = max(told, MonotonicInstant(nanoseconds: early ?? 0))
        }
        let free = max(
            upSince(since),
            clockSetAt,
            pausedUntil[Int(submission.channel.rawValue) - 1]
        )
        let late = world.milliseconds(since: free)
        if late > rules.slackMilliseconds { fail("P1", "\(id) is called \(late) ms late") }
    }

    /// The provider took the message into its own care.
    package mutating func received(_ call: Int) { calls[call].wasTaken = true }

    /// Whether the node may have ceased to wait for the answer.
    package func isOverdue(_ call: Int) -> Bool { time > calls[call].deadline }

    /// The node was given an answer when the call's time was over: it may count or not.
    package mutating func answeredLate(_ call: Int, _ ending: CallEnding) {
        calls[call].lateEnding = ending
    }

    /// The node was given the answer.
    package mutating func answered(
        _ call: Int,
        _ ending: CallEnding,
        askedWait: Int64 = 0,
        at now: Now,
        world: MonotonicInstant
    ) {
        calls[call].ending = ending
        calls[call].answeredAt = world
        calls[call].answeredWall = now.wall
        calls[call].askedWait = askedWait
        if ending == .misconfigured {
            let channel = Int(calls[call].channel.rawValue) - 1
            calls[call].askedWait = rules.pauseMilliseconds
            pausedUntil[channel] = max(
                pausedUntil[channel],
                world.advanced(byMilliseconds: rules.pauseMilliseconds)
            )
        }
    }

    /// P3 at the end: how often a provider took one notification, against the reasons there were.
    package mutating func checkTaken() {
        for id in known {
            guard let story = stories[id], !story.isBlurred else { continue }
            let own = story.callIndexes.map { calls[$0] }
            let taken = own.filter(\.wasTaken).count
            let reasons = own.filter { call in
                call.wasTaken && (call.ending == nil || call.ending == .lost || wasCutOff(call))
            }.count
            if taken > 1 + reasons {
                fail("P3", "\(id) was taken \(taken) times, with reason for \(1 + reasons)")
            }
            let certain = own.contains { $0.ending == .accepted && !wasCutOff($0) }
            if certain, story.finalState == .dead {
                fail("P2", "\(id) was taken by its provider, which said so, and is dead")
            }
            if certain, story.finalState == .cancelled {
                fail("P2", "\(id) was taken by its provider, which said so, and is cancelled")
            }
            guard submissions[story.number].channel.isCalled else { continue }
            if story.finalState == .delivered, taken == 0 {
                fail("P1", "\(id) is delivered, but its provider never took it")
            }
            if story.finalState == .dead,
                !own.contains(where: { $0.ending == .permanent || $0.lateEnding == .permanent })
            {
                // A crash between an intent and its call is an attempt that nobody saw.
                let attempts = callsThatCount(of: id) + boots.count - 1
                if attempts < rules.attemptsMax {
                    fail("P1", "\(id) is dead after \(attempts) attempts at most")
                }
            }
        }
    }

    /// Whether a crash came so soon after the answer that the outcome may not have been durable.
    private func wasCutOff(_ call: ProviderCallFacts) -> Bool {
        guard let answeredAt = call.answeredAt, let end = boots[call.boot - 1].endedAt else {
            return false
        }
        return end.milliseconds(since: answeredAt) < rules.settleMilliseconds
    }
}
