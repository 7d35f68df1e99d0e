// What a client may ask, after parsing and before anybody has decided about it.

package import PulseCore

/// Whose paths and shapes a request uses, and its answer must use.
package enum APIDialect: Hashable, Sendable {
    case v1
    /// System 000's `/api/notifications/…`.
    case compatible
}

/// One request of a connection.
///
/// `slot` names the place its answer has in the order of answers.
package struct IncomingRequest {
    package var slot: UInt32
    package var request: APIRequest

    package init(slot: UInt32, request: APIRequest) {
        self.slot = slot
        self.request = request
    }
}

package enum APIRequest {
    case submit(Submission)
    case status(id: NotificationID, APIDialect)
    case cancel(id: NotificationID)
    case list(ListQuery, APIDialect)
    case templates(channel: Channel?, APIDialect)
    case template(nameOrID: String, APIDialect)
    case putTemplate(name: String, TemplateDraft)
    /// What the development catcher holds: as a page for a browser, or as JSON.
    case outbox(asPage: Bool)
    case metrics
    case live
    case ready
    case serverStatus
    case disk
    /// Decided already, by the gateway: hand it back to the session as it is.
    case answered(HTTPResponse)
}

/// A notification as it was handed in: its structure is checked, its template and addresses are not.
///
/// `errors` holds all that is wrong so far. The node adds what only it can know and, when there is
/// any, answers all at once with ``HTTPResponse/invalid(_:_:)``.
package struct Submission: Sendable {
    package var dialect: APIDialect
    package var origin: EnvelopeOrigin
    package var user: String?
    /// An address given without saying of which kind; the channel tells.
    package var address: String?
    package var email: String?
    package var phone: String?
    package var pushToken: String?
    package var url: String?
    /// nil: the template's channel.
    package var channel: Channel?
    /// nil: the node chooses.
    package var lane: Lane?
    package var template: String?
    /// Template variables, sorted by the bytes of their names; no name twice.
    package var data: [(name: String, value: String)] = []
    package var subject: String?
    package var text: String?
    package var html: String?
    package var title: String?
    package var deviceToken: String?
    package var idempotencyKey: String?
    package var deliverAt: WallTimestamp?
    package var errors: [FieldError] = []

    package init(dialect: APIDialect) {
        self.dialect = dialect
        origin = dialect == .v1 ? .v1 : .compatible
    }

    mutating func refuse(
        _ field: String,
        _ message: String,
        _ code: ErrorCode = .validationFailed
    ) {
        errors.append(FieldError(field: field, code: code, message: message))
    }

    /// Bytes of all texts together: what the envelope will need, but for its tags.
    var textBytes: Int {
        var sum = 0
        for text in [
            user, address, email, phone, pushToken, url, template, subject, text, html, title,
            deviceToken, idempotencyKey,
        ] {
            sum += text?.utf8.count ?? 0
        }
        for datum in data { sum += datum.name.utf8.count + datum.value.utf8.count + 8 }
        return sum
    }
}

/// Which notifications a list shall hold, newest first.
package struct ListQuery: Hashable, Sendable {
    package var user: String?
    package var channel: Channel?
    package var status: StatusFilter?
    /// 1 to ``Limits/listLimitMax``.
    package var limit: Int
    /// Where the page before this one ended.
    package var cursor: ListCursor?

    package init(
        user: String? = nil,
        channel: Channel? = nil,
        status: StatusFilter? = nil,
        limit: Int = Limits.listLimitDefault,
        cursor: ListCursor? = nil
    ) {
        self.user = user
        self.channel = channel
        self.status = status
        self.limit = limit
        self.cursor = cursor
    }
}

/// A place in a list: two words whose meaning is the node's.
///
/// Clients see 32 hexadecimal digits and
/// are promised nothing about them.
package struct ListCursor: Hashable, Sendable {
    package var first: UInt64
    package var second: UInt64

    package init(first: UInt64, second: UInt64) {
        self.first = first
        self.second = second
    }

    package init?(_ text: String) {
        guard text.utf8.count == 32, text.utf8.allSatisfy(\.isHexDigit),
            let first = UInt64(text.prefix(16), radix: 16),
            let second = UInt64(text.suffix(16), radix: 16)
        else { return nil }
        self.init(first: first, second: second)
    }

    package var text: String {
        func digits(_ word: UInt64) -> String {
            let digits = String(word, radix: 16)
            return String(repeating: "0", count: 16 - digits.utf8.count) + digits
        }
        return digits(first) + digits(second)
    }
}

/// A template as it was handed in; the node checks what is inside the texts.
package struct TemplateDraft: Hashable, Sendable {
    package var channel: Channel
    package var subject: String?
    package var text: String?
    package var html: String?

    package init(channel: Channel, subject: String?, text: String?, html: String?) {
        self.channel = channel
        self.subject = subject
        self.text = text
        self.html = html
    }
}

extension UInt8 {
    var isHexDigit: Bool {
        (48...57).contains(self) || (97...102).contains(self) || (65...70).contains(self)
    }
}
