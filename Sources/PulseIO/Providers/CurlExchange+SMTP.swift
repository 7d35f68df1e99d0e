// A mail through libcurl: what it is told, and what its end means.

import CCurl
import PulseCore
import PulseDelivery

extension CurlExchange {
    /// Why a mail cannot be sent as it is, or nil.
    static func objection(to request: SMTPRequest) -> ProviderAnswer? {
        let endpoint = request.endpoint
        guard isHost(endpoint.host) else {
            return .misconfigured(reason: "\"\(endpoint.host)\" is no host name")
        }
        if endpoint.credentials != nil, endpoint.security == .none {
            return .misconfigured(
                reason: "credentials are set without TLS: use starttls or implicit"
            )
        }
        guard isAddress(request.sender) else {
            return .misconfigured(reason: "the sender is no mail address")
        }
        guard isAddress(request.recipient), !request.recipient.isEmpty else {
            return .forbidden(reason: "the recipient is no mail address")
        }
        return nil
    }

    func prepare(_ call: CallID, mail request: SMTPRequest, at now: MonotonicInstant) {
        let endpoint = request.endpoint
        self.call = call
        startedAt = now
        begin(request)
        let scheme = endpoint.security == .implicit ? "smtps" : "smtp"
        let host = endpoint.host.contains(":") ? "[\(endpoint.host)]" : endpoint.host
        set(CURLOPT_URL, "\(scheme)://\(host):\(endpoint.port)")
        let tls = endpoint.security == .none ? CURLUSESSL_NONE : CURLUSESSL_ALL
        set(CURLOPT_USE_SSL, Int(tls.rawValue))
        set(CURLOPT_USERNAME, endpoint.credentials?.user)
        set(CURLOPT_PASSWORD, endpoint.credentials?.password)
        set(CURLOPT_MAIL_FROM, "<\(request.sender)>")
        set(CURLOPT_MAIL_RCPT, list: ["<\(request.recipient)>"])
        pulse_curl_set_size(easy, CURLOPT_INFILESIZE_LARGE, Int64(request.message.count))
        set(CURLOPT_FRESH_CONNECT, 0)
        setTimeout(milliseconds: request.timeoutMilliseconds)
    }

    /// Starts over on a connection of its own when the pooled one was dead: the server closed it
    /// while it was idle, and nothing of this mail was said.
    ///
    /// Returns whether it did.
    func prepareSecondTry(after exit: CURLcode, at now: MonotonicInstant) -> Bool {
        guard case .mail = role, let request, !isSecondTry, !lacksAuthentication,
            messageTaken == 0, exit != CURLE_OK, exit != CURLE_OPERATION_TIMEDOUT,
            pulse_curl_get_long(easy, CURLINFO_NUM_CONNECTS) == 0,
            dialogue.replies == 0 || dialogue.replies == 1 && dialogue.code == 421
        else { return false }
        let left = request.timeoutMilliseconds - now.milliseconds(since: startedAt)
        guard left > 0 else { return false }
        begin(request)
        isSecondTry = true
        set(CURLOPT_FRESH_CONNECT, 1)
        setTimeout(milliseconds: left)
        return true
    }

    private func begin(_ request: SMTPRequest) {
        reset()
        self.request = request
        dialogue = SMTPDialogue(
            security: request.endpoint.security,
            needsAuthentication: request.endpoint.credentials != nil
        )
    }

    /// What became of the mail.
    ///
    /// | exit | last reply | message given | answer |
    /// |---|---|---|---|
    /// | 0 | any | | answered |
    /// | | EHLO without AUTH, credentials set | no | misconfigured |
    /// | 64 | STARTTLS not offered | no | misconfigured |
    /// | 67 | 5yz to AUTH | no | misconfigured |
    /// | other | 400 or more, to MAIL, RCPT, DATA or the message | | answered |
    /// | other | 400 or more, before that | no | notSent |
    /// | other | less than 400, or none | yes | lost |
    /// | other | less than 400, or none | no | notSent |
    func mailAnswer(_ exit: CURLcode) -> ProviderAnswer {
        if exit == CURLE_OK { return answered() }
        if lacksAuthentication {
            return .misconfigured(reason: "credentials are set, but the server offers no AUTH")
        }
        let line = AnswerDetail.text(dialogue.line)
        if exit == CURLE_USE_SSL_FAILED {
            return .misconfigured(reason: "TLS is required, but the server does not offer it")
        }
        if exit == CURLE_LOGIN_DENIED, !(400..<500).contains(dialogue.code) {
            return .misconfigured(
                reason: dialogue.code >= 500
                    ? "the server refused the credentials: \(line)" : reason(exit)
            )
        }
        if dialogue.code >= 400 {
            return isInEnvelope ? answered() : .notSent(reason: "the server refused: \(line)")
        }
        let why = reason(exit)
        return messageTaken > 0 ? .lost(reason: why) : .notSent(reason: why)
    }

    /// A first reply of 400 or more is a refused greeting on a new connection, and a refused MAIL on a
    /// pooled one.
    private var isInEnvelope: Bool {
        dialogue.stage == .envelope
            || dialogue.stage == .greeting
                && pulse_curl_get_long(easy, CURLINFO_NUM_CONNECTS) == 0
    }

    private func answered() -> ProviderAnswer {
        .answered(
            code: dialogue.code,
            detail: AnswerDetail.text(dialogue.line),
            retryAfterSeconds: nil
        )
    }

    /// No byte that would end the command or the address.
    ///
    /// Empty is a bounce's sender.
    private static func isAddress(_ text: String) -> Bool {
        text.utf8.allSatisfy { $0 > 32 && $0 != 127 && $0 != 60 && $0 != 62 }
    }

    private static func isHost(_ text: String) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy { byte in
                switch byte {
                case 48...57, 65...90, 97...122: true
                case UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: ":"), UInt8(ascii: "_"):
                    true
                default: false
                }
            }
    }
}
