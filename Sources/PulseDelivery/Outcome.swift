// What a provider's answer means: one of seven classes, and a line of text for the record.
//
//      class           what happens next
//      accepted        the notification is delivered
//      retryAt         again when the server said
//      retryBackoff    again after the retry policy's delay
//      recipientDead   over; the address is no good any more
//      payloadBad      over; this message will never be taken
//      configBad       the channel pauses, the queue stays, an operator is told
//      ambiguous       sent, no answer: the policy decides, by default again
//
// Source: spec/05-delivery.md; RFC 5321, RFC 3463 (enhanced codes), Standard Webhooks.

package import PulseCore

package enum OutcomeClass: Hashable, Sendable {
    case accepted
    case retryAt(seconds: Int64)
    case retryBackoff
    case recipientDead
    case payloadBad
    case configBad
    case ambiguous

    /// The word in records and answers.
    package var name: String {
        switch self {
        case .accepted: "accepted"
        case .retryAt: "retry_at"
        case .retryBackoff: "retry_backoff"
        case .recipientDead: "recipient_dead"
        case .payloadBad: "payload_bad"
        case .configBad: "config_bad"
        case .ambiguous: "ambiguous"
        }
    }
}

package enum Outcome {
    /// Bytes of the text kept with an outcome.
    package static let detailBytesMax = 200

    /// The class of an answer on a channel, and why, as one line of safe text.
    package static func classify(
        _ channel: Channel,
        _ answer: ProviderAnswer
    ) -> (outcome: OutcomeClass, detail: String) {
        switch answer {
        case .answered(let code, let detail, let retryAfter):
            let outcome =
                switch channel {
                case .email: SMTPReply(code: code, detail: detail).outcome
                case .webhook, .sms, .push: ofHTTP(code, retryAfter: retryAfter)
                }
            let hasCode = detail.hasPrefix(String(code))
            return (outcome, line(hasCode || detail.isEmpty ? "" : "\(code) ", detail, code: code))
        case .notSent(let reason): return (.retryBackoff, line("not sent: ", reason))
        case .lost(let reason): return (.ambiguous, line("no answer: ", reason))
        case .misconfigured(let reason): return (.configBad, line("misconfigured: ", reason))
        case .forbidden(let reason): return (.payloadBad, line("forbidden: ", reason))
        }
    }

    /// Standard Webhooks: any 2xx is success, 410 ends the endpoint, everything else is a failure
    /// and tried again. Redirects are never followed, and a 404 or 500 may be a deployment in
    /// progress: both are tried again until the attempts are used up. A server that names a time is
    /// believed.
    private static func ofHTTP(_ status: Int, retryAfter: Int64?) -> OutcomeClass {
        switch status {
        case 200...299: return .accepted
        case 410: return .recipientDead
        default:
            guard let retryAfter, retryAfter >= 0 else { return .retryBackoff }
            return .retryAt(seconds: retryAfter)
        }
    }

    private static func line(_ prefix: String, _ text: String, code: Int? = nil) -> String {
        if text.isEmpty, let code { return String(code) }
        return SafeText.line(prefix + text, bytesMax: detailBytesMax)
    }
}

/// An SMTP reply: three digits, perhaps an enhanced code, text.
///
/// The contract tells the last reply, not the command it answered; the code tells enough. The
/// enhanced code, where there is one, is more precise and goes first.
struct SMTPReply {
    var code: Int
    var enhanced: (klass: Int, subject: Int, detail: Int)?

    init(code: Int, detail: String) {
        self.code = code
        enhanced = Self.enhancedCode(in: detail)
    }

    var outcome: OutcomeClass {
        switch code {
        case 200...299: return .accepted
        // Encryption or authentication is wanted, or ours was refused: whatever the text says.
        case 530, 534, 535, 538: return .configBad
        case 500...599:
            // An enhanced code of another class than the reply's is a muddle; trust the reply.
            if let enhanced, enhanced.klass == 5, let known = permanent(enhanced) { return known }
            return permanent
        default: return .retryBackoff
        }
    }

    private func permanent(_ enhanced: (klass: Int, subject: Int, detail: Int)) -> OutcomeClass? {
        switch (enhanced.subject, enhanced.detail) {
        // The sender's address is refused: ours, for every message.
        case (1, 7), (1, 8): .configBad
        // Bad mailbox, bad domain, bad syntax, ambiguous, moved, no mail wanted.
        case (1, _): .recipientDead
        // Mailbox disabled.
        case (2, 1): .recipientDead
        // Mailbox full, message too long for it: the mailbox is alive.
        case (2, _): .payloadBad
        // Credentials missing, weak or refused.
        case (7, 8), (7, 9), (7, 11), (7, 14): .configBad
        // Policy: spam, DMARC, not authorised for this message.
        case (7, _): .payloadBad
        default: nil
        }
    }

    private var permanent: OutcomeClass {
        switch code {
        // The server does not understand us, or takes no mail from us.
        case 500, 502, 503, 504, 521, 555: .configBad
        // Mailbox unavailable, not local, domain takes no mail.
        case 550, 551, 556: .recipientDead
        // MAIL FROM refused: no enhanced code says otherwise.
        case 553: .configBad
        // 501 syntax, 552 too large, 554 refused after DATA, and whatever else is permanent.
        default: .payloadBad
        }
    }

    /// Finds `x.y.z` at the start of the text, after the reply code if that is repeated there.
    private static func enhancedCode(
        in detail: String
    ) -> (klass: Int, subject: Int, detail: Int)? {
        let words = detail.split(maxSplits: 2) { $0 == " " || $0 == "-" }
        for word in words.prefix(2) {
            let parts = word.split(separator: ".", omittingEmptySubsequences: false)
            guard parts.count == 3, let klass = number(parts[0]), let subject = number(parts[1]),
                let detail = number(parts[2]), [2, 4, 5].contains(klass)
            else { continue }
            return (klass, subject, detail)
        }
        return nil
    }

    private static func number(_ text: Substring) -> Int? {
        guard (1...3).contains(text.utf8.count),
            text.utf8.allSatisfy({ (48...57).contains($0) })
        else { return nil }
        return Int(text)
    }
}
