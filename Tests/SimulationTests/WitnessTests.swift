// The checker is checked: hand-made histories in which a promise is broken must be found out.

import PulseBroker
import PulseCore
import PulseSimulator
import Testing

@Suite("The witness finds")
struct WitnessTests {
    private var witness = Witness()
    private let id = NotificationID(high: 1, low: 1)
    private let other = NotificationID(high: 2, low: 2)

    init() {
        witness.planned(Self.submission(0, key: "a", group: 0))
        witness.planned(Self.submission(1, key: "a", group: 0))
        witness.planned(Self.submission(2))
        witness.booted(at: at(0))
    }

    private static func submission(_ number: Int, key: String? = nil, group: Int = -1) -> Submission
    {
        Submission(
            number: number,
            door: .v1,
            channel: .email,
            user: "u",
            key: key,
            keyGroup: group
        )
    }

    private func at(_ milliseconds: Int) -> MonotonicInstant {
        MonotonicInstant(nanoseconds: UInt64(milliseconds) * 1_000_000)
    }

    private func now(_ milliseconds: Int) -> Now {
        Now(
            monotonic: at(milliseconds),
            wall: WallTimestamp(milliseconds: Int64(milliseconds))
        )
    }

    private mutating func accept() {
        witness.sent(0)
        witness.accepted(0, as: id, isRepeat: false, at: at(1))
    }

    private mutating func call(_ milliseconds: Int, to address: String = "u@example.com") -> Int {
        witness.called(
            id,
            marked: 0,
            to: address,
            channel: .email,
            at: now(milliseconds),
            world: at(milliseconds),
            deadline: at(milliseconds + 1500)
        )
    }

    private mutating func deliver(_ milliseconds: Int, _ ending: CallEnding) {
        let call = call(milliseconds)
        if ending == .accepted || ending == .lost { witness.received(call) }
        witness.answered(call, ending, at: now(milliseconds + 10), world: at(milliseconds + 10))
    }

    private func expectBroken(_ promise: String, _ text: String) {
        #expect(
            witness.violations.contains {
                $0.promise == promise && $0.text.hasPrefix(text)
                    || $0.promise == promise && $0.description.contains(text)
            },
            "\(witness.violations)"
        )
    }

    @Test("nothing in a good history")
    mutating func nothing() {
        accept()
        deliver(10, .transient)
        deliver(200, .accepted)
        witness.looked(at: id, found: .delivered, marked: 0, "")
        witness.checkTaken()
        #expect(witness.violations.isEmpty)
    }

    @Test("an acknowledged notification that is lost")
    mutating func lostAcknowledgement() {
        accept()
        witness.ended(at: at(5))
        witness.booted(at: at(9))
        witness.looked(at: id, found: nil, marked: nil, "after a restart")
        expectBroken("P1", "is lost after a restart")
    }

    @Test("an identifier that was given away again")
    mutating func otherContent() {
        accept()
        witness.looked(at: id, found: .ready, marked: 2, "")
        expectBroken("P1", "its content is that of 2")
    }

    @Test("a notification whose content is gone")
    mutating func emptyContent() {
        accept()
        witness.looked(at: id, found: .ready, marked: nil, "after a restart")
        expectBroken("P1", "its content is none that anybody submitted")
    }

    @Test("a mail to somebody else")
    mutating func otherRecipient() {
        accept()
        _ = call(10, to: "v@example.com")
        expectBroken("P1", "was meant for u@example.com, not v@example.com")
    }

    @Test("a mail that is delivered and that no provider ever saw")
    mutating func imagined() {
        accept()
        witness.looked(at: id, found: .delivered, marked: 0, "")
        witness.checkTaken()
        expectBroken("P1", "its provider never took it")
    }

    @Test("a mail that is given up before its attempts are used up")
    mutating func givenUp() {
        accept()
        for attempt in 0..<5 { deliver(10 + 10_000 * attempt, .transient) }
        witness.looked(at: id, found: .dead, marked: 0, "")
        witness.checkTaken()
        expectBroken("P1", "is dead after 5 attempts at most")
    }

    @Test("one identifier for two submissions")
    mutating func sharedIdentifier() {
        accept()
        witness.accepted(2, as: id, isRepeat: false, at: at(4))
        expectBroken("P1", "is submission 2, but it was 0")
    }

    @Test("one key with two notifications")
    mutating func duplicate() {
        accept()
        witness.accepted(0, as: other, isRepeat: false, at: at(4))
        expectBroken("P3", "one idempotency key, two notifications")
    }

    @Test("a rival that was accepted under a used key")
    mutating func rival() {
        accept()
        witness.sent(1)
        witness.accepted(1, as: other, isRepeat: false, at: at(4))
        expectBroken("P3", "one idempotency key, two notifications")
    }

    @Test("a conflict with nobody")
    mutating func emptyConflict() {
        witness.sent(2)
        witness.conflicted(2)
        expectBroken("P3", "has no rival")
    }

    @Test("a delivery after the provider took it")
    mutating func doubleDelivery() {
        accept()
        deliver(10, .accepted)
        deliver(5000, .accepted)
        expectBroken("P3", "was accepted by its provider and is called again")
        witness.checkTaken()
        expectBroken("P3", "was taken 2 times, with reason for 1")
    }

    @Test("a second call while one is in flight")
    mutating func overlap() {
        accept()
        _ = call(10)
        _ = call(50)
        expectBroken("P3", "while another call is in flight")
    }

    @Test("a retry before its time")
    mutating func hasty() {
        accept()
        deliver(10, .transient)
        _ = call(21)
        expectBroken("P3", "is retried after 1 ms")
    }

    @Test("a retry before its time in the life after the one that was told to wait")
    mutating func hastyAfterRestart() {
        accept()
        let first = call(10)
        witness.answered(first, .transient, askedWait: 60_000, at: now(20), world: at(20))
        witness.ended(at: at(9000))
        witness.booted(at: at(9100))
        _ = call(9200)
        expectBroken("P3", "is retried after 9180 ms, the least is 60000")
    }

    @Test("nothing in a retry after a crash that may have taken the answer")
    mutating func retryAfterCutOff() {
        accept()
        let first = call(10)
        witness.answered(first, .transient, askedWait: 60_000, at: now(20), world: at(20))
        witness.ended(at: at(30))
        witness.booted(at: at(100))
        _ = call(200)
        #expect(witness.violations.isEmpty)
    }

    @Test("an attempt too many")
    mutating func tooMany() {
        accept()
        for attempt in 0..<7 { deliver(100 + attempt * 1000, .transient) }
        expectBroken("P3", "is called for the 7th time")
    }

    @Test("a retry that was forgotten for a while")
    mutating func late() {
        accept()
        deliver(10, .transient)
        deliver(120_000, .accepted)
        expectBroken("P1", "ms late")
    }

    @Test("a schedule that was not kept")
    mutating func early() {
        var later = Self.submission(3)
        later.deliverAt = WallTimestamp(milliseconds: 9000)
        witness.planned(later)
        _ = witness.called(
            other,
            marked: 3,
            to: "u@example.com",
            channel: .email,
            at: now(8000),
            world: at(8000),
            deadline: at(9000)
        )
        expectBroken("P1", "1000 ms too early")
    }

    @Test("a ledger that does not balance, or goes back")
    mutating func ledger() {
        var balance = Balance()
        balance.accepted = 3
        balance.ready = 2
        witness.sawBalance(.email, balance)
        expectBroken("P2", "does not balance")
        balance.ready = 3
        witness.sawBalance(.email, balance)
        witness.sawBalance(.email, Balance())
        expectBroken("P2", "went back")
    }

    @Test("more accepted than anybody submitted")
    mutating func tooManyAccepted() {
        accept()
        var balance = Balance()
        balance.accepted = 2
        witness.checkAccepted(.email, balance)
        expectBroken("P2", "accepted 2, but")
    }

    @Test("a notification that is stuck")
    mutating func stuck() {
        accept()
        witness.checkEnded(id, .held, deliveredAt: nil, endOfRun: WallTimestamp(milliseconds: 99))
        expectBroken("P1", "is stuck: still held")
    }

    @Test("a final state that changed")
    mutating func revived() {
        accept()
        witness.looked(at: id, found: .dead, marked: 0, "")
        witness.looked(at: id, found: .ready, marked: 0, "after a restart")
        expectBroken("P2", "was dead and is ready")
    }

    @Test("a message given again after its acknowledgement was confirmed")
    mutating func givenAgain() {
        accept()
        witness.subscribed("audit", .email)
        witness.given(id, marked: 0, to: "audit", .email, boot: 1, lease: 5)
        witness.settled(id, by: "audit", .email, boot: 1, lease: 5)
        #expect(witness.violations.isEmpty)
        // One that was under way before is no second delivery.
        witness.given(id, marked: 0, to: "audit", .email, boot: 1, lease: 4)
        #expect(witness.violations.isEmpty)
        witness.given(id, marked: 0, to: "audit", .email, boot: 1, lease: 6)
        expectBroken("P3", "is given it again")
    }

    @Test(
        "a message whose acknowledgement was not answered, and which is neither finished nor given again"
    )
    mutating func uncertain() {
        accept()
        witness.subscribed("audit", .email)
        witness.given(id, marked: 0, to: "audit", .email, boot: 1, lease: 5)
        witness.lostReply(id, by: "audit", .email)
        #expect(witness.unsettled(of: "audit", .email).isEmpty)
        #expect(witness.unsettled(of: "audit", .email, isFinished: { _ in false }) == [id])
        // Given again: it did not arrive, and has to be finished after all.
        witness.given(id, marked: 0, to: "audit", .email, boot: 1, lease: 6)
        #expect(witness.unsettled(of: "audit", .email) == [id])
    }

    @Test("a message that never reached a group")
    mutating func neverGiven() {
        accept()
        witness.subscribed("audit", .email)
        #expect(witness.unsettled(of: "audit", .email) == [id])
        witness.checkGroup("audit", .email)
        expectBroken("P3", "was never given")
    }
}
