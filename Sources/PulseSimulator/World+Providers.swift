// The providers: they take, refuse, dawdle and lose answers, and keep a ledger of what they took.

import PulseCore
import PulseDelivery
import PulseNode

/// What a provider will do about one call.
struct PlannedAnswer {
    var ending: CallEnding
    /// What the node will be told; nil for nothing at all: the call's deadline has to help.
    var answer: ProviderAnswer?
    /// Microseconds until the provider takes the message, nil when it does not.
    var takesAfter: Int?
    var answersAfter: Int
    /// Milliseconds that the provider asks to be left alone.
    var askedWait: Int64 = 0
    /// It comes about when the node stops waiting for it.
    var isTooLate = false
}

extension World {
    /// Milliseconds after the call's own time limit in which the node still waits for the shell.
    private static let graceMilliseconds: Int64 = 4990

    func call(_ id: CallID, _ request: ProviderRequest) {
        counts.calls += 1
        lateCalls?.append(id)
        let (notification, channel, address, content, timeout) = read(request)
        guard let notification else {
            witness.note("P1", "a provider was called without a notification's identifier")
            return
        }
        checkIntent(notification, channel)
        seeKept(notification)
        let number = witness.called(
            notification,
            marked: Submission.number(markedIn: content),
            to: address,
            channel: channel,
            at: now,
            world: time,
            deadline: time.advanced(byMilliseconds: timeout + Self.graceMilliseconds)
        )
        let planned = planAnswer(channel, timeout: Int(timeout) * 1000)
        trace("call \(id.rawValue) for \(notification): \(planned.ending.rawValue)")
        if let takesAfter = planned.takesAfter {
            queue.add(.providerTakes(call: number), at: after(microseconds: takesAfter))
        }
        guard planned.answer != nil else { return }
        queue.add(
            .providerAnswers(life: life, id, call: number, planned),
            at: after(microseconds: planned.answersAfter)
        )
    }

    func answerCall(_ id: CallID, _ call: Int, _ planned: PlannedAnswer) {
        guard let answer = planned.answer, node != nil else { return }
        trace("call \(id.rawValue) is answered: \(planned.ending.rawValue)")
        // One that comes when the lease is over changes nothing; but the disk may have held both up: then
        // the node hears the answer first.
        if witness.isOverdue(call) {
            witness.answeredLate(call, planned.ending)
        } else if !planned.isTooLate {
            witness.answered(
                call,
                planned.ending,
                askedWait: planned.askedWait,
                at: now,
                world: time
            )
        }
        step(.providerAnswered(id, answer))
    }

    /// Takes a request apart as its provider would.
    private func read(
        _ request: ProviderRequest
    ) -> (NotificationID?, Channel, String, [UInt8], timeout: Int64) {
        switch request {
        case .smtp(let mail):
            let name = Array("X-Pulse-Notification-Id: ".utf8)
            var id: NotificationID?
            for line in mail.message.split(separator: 10) where line.starts(with: name) {
                let text = line.dropFirst(name.count).prefix(36)
                id = NotificationID(String(decoding: text, as: UTF8.self))
            }
            return (id, .email, mail.recipient, mail.message, mail.timeoutMilliseconds)
        case .http(let post):
            let header = post.headers.first { $0.name.lowercased() == "webhook-id" }
            return (
                header.flatMap { NotificationID($0.value) }, .webhook, post.url, post.body,
                post.timeoutMilliseconds
            )
        }
    }

    // MARK: - Draws

    private func planAnswer(_ channel: Channel, timeout: Int) -> PlannedAnswer {
        let there = 200 + providers.below(20_000)
        let back = 200 + providers.below(20_000)
        let isTroubled =
            isFaulty && providers.chance(perThousand: knobs.providerTroublePerThousand)
        let draw = isTroubled ? providers.below(100) : 100
        let isMail = channel == .email
        func answered(_ code: Int, _ text: String, retryAfter: Int64? = nil) -> ProviderAnswer {
            .answered(code: code, detail: text, retryAfterSeconds: retryAfter)
        }
        switch draw {
        case 0..<30:
            return PlannedAnswer(
                ending: .transient,
                answer: isMail ? answered(451, "try later") : answered(500, ""),
                answersAfter: there + back
            )
        case 30..<36:
            return PlannedAnswer(
                ending: .transient,
                answer: .notSent(reason: "connection refused"),
                answersAfter: there
            )
        case 36..<42 where !isMail:
            let seconds = Int64(1 + providers.below(3))
            return PlannedAnswer(
                ending: .transient,
                answer: answered(429, "", retryAfter: seconds),
                answersAfter: there + back,
                askedWait: seconds * 1000
            )
        case 42..<52:
            return PlannedAnswer(
                ending: .permanent,
                answer: isMail ? answered(550, "unknown") : answered(410, ""),
                answersAfter: there + back
            )
        case 52..<66:
            return PlannedAnswer(
                ending: .lost,
                answer: .lost(reason: "connection reset"),
                takesAfter: there,
                answersAfter: there + back
            )
        case 66..<74:
            return PlannedAnswer(
                ending: .lost,
                answer: .lost(reason: "time ran out"),
                answersAfter: timeout
            )
        case 74..<94: return slowAnswer(isMail, there, timeout: timeout)
        case 94..<97:
            // Not even the shell answers, or only when the lease of the call runs out.
            guard !options.isPlain, extras.chance(perThousand: 700) else {
                return PlannedAnswer(ending: .lost, takesAfter: there, answersAfter: 0)
            }
            return PlannedAnswer(
                ending: .lost,
                answer: .lost(reason: "an answer from long ago"),
                takesAfter: there,
                answersAfter: timeout + 5_000_000 + extras.below(20_000),
                isTooLate: true
            )
        case 97..<100 where plan.configurationErrors:
            return PlannedAnswer(
                ending: .misconfigured,
                answer: isMail ? answered(530, "") : .misconfigured(reason: "no credentials"),
                answersAfter: there + back
            )
        default:
            return PlannedAnswer(
                ending: .accepted,
                answer: isMail ? answered(250, "ok") : answered(200, ""),
                takesAfter: there,
                answersAfter: there + back
            )
        }
    }

    /// Takes its time: perhaps more than the node gives it.
    private func slowAnswer(_ isMail: Bool, _ there: Int, timeout: Int) -> PlannedAnswer {
        let total = there + providers.below(timeout + timeout / 2)
        guard total < timeout else {
            return PlannedAnswer(
                ending: .lost,
                answer: .lost(reason: "time ran out"),
                takesAfter: total,
                answersAfter: timeout
            )
        }
        return PlannedAnswer(
            ending: .accepted,
            answer: .answered(code: isMail ? 250 : 200, detail: "", retryAfterSeconds: nil),
            takesAfter: there,
            answersAfter: total
        )
    }
}
