// The checker. It is told what clients and providers saw, knows the promises, and knows nothing of
// how the node works. Every broken promise is a sentence.
//
//     clients ---- accepted, conflict, refused ----.
//     providers -- called, received, answered ------+--> Witness --> violations
//     consumers -- given, settled ------------------|
//     the world -- booted, crashed, ledgers --------'

package import PulseBroker
package import PulseCore

/// A promise that was not kept.
package struct Violation: Hashable, Sendable, CustomStringConvertible {
    /// Its name in design.md: P1, P2, ...
    package var promise: String
    package var text: String

    package var description: String { "\(promise): \(text)" }
}

/// What the checks need to know of the configuration.
package struct WitnessRules: Sendable {
    package var attemptsMax = 6
    package var backoffLeastMilliseconds: Int64 = 10
    package var backoffCapMilliseconds: Int64 = 5000
    package var pauseMilliseconds: Int64 = 2000
    /// How long after being due an attempt may begin while the node is up.
    package var slackMilliseconds: Int64 = 30_000
    /// How long after its answer an outcome may still be lost to a crash: two syncs and a turn.
    package var settleMilliseconds: Int64 = 4000
    /// How little is kept; nil for all.
    package var retention: RetentionDial?

    package init() {}
}

package struct Witness {
    package let rules: WitnessRules
    package private(set) var violations: [Violation] = []

    /// By number.
    var submissions: [Submission] = []
    var fates: [Fate] = []
    /// By key group.
    var keyOwners: [Int: KeyOwner] = [:]
    /// Looked up, and walked only in the order of `acknowledged`.
    var stories: [NotificationID: Story] = [:]
    /// Identifiers in the order in which they became known.
    package internal(set) var known: [NotificationID] = []
    var calls: [ProviderCallFacts] = []
    var groups: [String: GroupFacts] = [:]
    var boots: [Boot] = []
    /// Newest balance seen in this or an earlier boot, by channel.
    var balances: [Balance] = Array(repeating: Balance(), count: Channel.allCases.count)
    /// When each channel's pause ends, in world time.
    var pausedUntil: [MonotonicInstant] = Array(
        repeating: MonotonicInstant(nanoseconds: 0),
        count: Channel.allCases.count
    )

    /// What the clocks show.
    var time = MonotonicInstant(nanoseconds: 0)
    var wall = WallTimestamp(milliseconds: 0)
    /// By key group: when it was first sent.
    var keysSince: [Int: MonotonicInstant] = [:]
    /// Repairs that gave something up, and the notifications that are called lost.
    package internal(set) var repairs = 0
    var lostCount = 0
    /// The first boot after the last of them.
    var repairedBoot = 0
    /// Of the lost, those whose record is there, and those that nothing says any more that they ended.
    var onlyEndIsLost: Set<NotificationID> = []
    var mayComeAgain: Set<NotificationID> = []
    /// Key groups whose record a repair may have given up.
    var loosenedKeys: Set<Int> = []
    /// The log let something go.
    package var hasReleased = false

    /// When the wall clock was last set, and how far back in all.
    var clockSetAt = MonotonicInstant(nanoseconds: 0)
    var clockSetBack: Int64 = 0
    /// Milliseconds by which it was set in steps that are too small to notice.
    var clockSlewed: Int64 = 0

    /// What a client knows of one submission.
    struct Fate {
        var ids: [NotificationID] = []
        var conflicts = 0
        /// Sent at least once, so it may exist although nobody says so.
        var mayExist = false
        var sends = 0
        /// When it was first sent, by both clocks.
        var firstSent: (time: MonotonicInstant, wall: WallTimestamp)?
    }

    struct KeyOwner {
        var number: Int
        var id: NotificationID
    }

    /// What the witness knows of one notification.
    struct Story {
        var number: Int
        /// When the first client was told; nil when only a provider spoke of it.
        var acknowledgedAt: MonotonicInstant?
        var callIndexes: [Int] = []
        var settingAnswers = 0
        var finalState: NotificationState?
        /// When somebody first asked to take it back.
        var cancelAskedAt: MonotonicInstant?
        /// When somebody was told that it is taken back.
        var cancelledAt: MonotonicInstant?
        /// A repair gave it up.
        var isLost = false
        /// A repair may have given up some of its steps.
        var isBlurred = false
    }

    struct Boot {
        var startedAt: MonotonicInstant
        var endedAt: MonotonicInstant?
    }

    package init(rules: WitnessRules = WitnessRules()) { self.rules = rules }

    mutating func fail(_ promise: String, _ text: String) {
        violations.append(Violation(promise: promise, text: text))
    }

    /// Something that is always true was found not to be, by whoever looked.
    package mutating func note(_ promise: String, _ text: String) { fail(promise, text) }

    // MARK: - The node's lives

    package mutating func booted(at time: MonotonicInstant) {
        boots.append(Boot(startedAt: time, endedAt: nil))
    }

    package mutating func ended(at time: MonotonicInstant) {
        guard let last = boots.indices.last, boots[last].endedAt == nil else { return }
        boots[last].endedAt = time
    }

    package var boot: Int { boots.count }

    /// The moment from which the node has been up without a break since `time`, or `time` itself.
    func upSince(_ time: MonotonicInstant) -> MonotonicInstant {
        max(time, boots.last?.startedAt ?? time)
    }

    /// Somebody set the wall clock: what waits for a wall time is due at another moment now.
    package mutating func clockSet(by milliseconds: Int64, at time: MonotonicInstant) {
        clockSetAt = time
        clockSetBack += max(0, -milliseconds)
        // A smaller step than that is not told from a clock that is slewed.
        if abs(milliseconds) <= Limits.clockStepMilliseconds { clockSlewed += abs(milliseconds) }
    }

    // MARK: - Ledgers

    /// P2: every accepted notification is in exactly one state, and what was durable stays.
    package mutating func sawBalance(_ channel: Channel, _ balance: Balance) {
        let index = Int(channel.rawValue) - 1
        let last = balances[index]
        if !balance.isBalanced {
            fail("P2", "the ledger of \(channel.name) does not balance: \(balance)")
        }
        if balance.accepted < last.accepted || balance.delivered < last.delivered
            || balance.dead < last.dead || balance.cancelled < last.cancelled
        {
            fail("P2", "\(channel.name) went back from \(last) to \(balance)")
        }
        balances[index] = balance
    }

    /// P2 at the end: what the ledger says was accepted is what clients know of, plus at most the
    /// submissions whose answers were lost.
    package mutating func checkAccepted(_ channel: Channel, _ balance: Balance) {
        var told = 0
        var untold = 0
        for id in known where submissions[stories[id]?.number ?? 0].channel == channel { told += 1 }
        for (number, fate) in fates.enumerated()
        where submissions[number].channel == channel && fate.ids.isEmpty && fate.mayExist
            && fate.conflicts == 0
        {
            untold += 1
        }
        if rules.retention != nil {
            // A repeat that came when its key was forgotten is another notification.
            untold += Int(repeats(on: channel))
        }
        // Lost ones count on, and what somebody hands in again because of it is another.
        if repairs > 0 { untold += lostCount + Int(balance.lost) }
        if balance.accepted < told || balance.accepted > told + untold {
            fail(
                "P2",
                "\(channel.name) accepted \(balance.accepted), but clients and providers know of "
                    + "\(told) and at most \(untold) more can exist"
            )
        }
    }
}
