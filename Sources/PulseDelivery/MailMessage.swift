// Builds the mail that an SMTP server gets: headers, empty line, body, all ASCII, all CRLF. No
// value from a request can start a header line, end the header, or forge a boundary.
//
//      one text part     Content-Type: text/plain or text/html
//      both              multipart/alternative, plain first (RFC 2046, 5.1.4)
//
// The Message-ID is made of the notification's identifier, so that every retry carries the same one
// and receivers can drop the duplicate that an unknown outcome may cause.
// Source: RFC 5322, RFC 2045-2047, RFC 3834.

package import PulseCore

package struct MailMessage: Sendable {
    package var id: NotificationID
    package var from: Mailbox
    /// Has passed ``Address/problem(_:_:lenient:)`` for email.
    package var recipient: String
    package var content: RenderedContent
    package var date: WallTimestamp

    package init(
        id: NotificationID,
        from: Mailbox,
        recipient: String,
        content: RenderedContent,
        date: WallTimestamp
    ) {
        self.id = id
        self.from = from
        self.recipient = recipient
        self.content = content
        self.date = date
    }

    /// The whole message, not dot-stuffed.
    package var bytes: [UInt8] {
        precondition(
            Address.problem(.email, recipient) == nil,
            "the recipient was checked before this"
        )
        var message: [UInt8] = []
        Self.header("From", fromValue, to: &message)
        Self.header("To", Array(recipient.utf8), to: &message)
        if !content.subject.isEmpty {
            let subject = SafeText.line(content.subject, bytesMax: Limits.subjectBytesMax)
            let value = MailEncoding.headerText(subject, room: 76 - "Subject: ".utf8.count)
            Self.header("Subject", value, to: &message)
        }
        Self.header("Date", Array(Self.rfc5322(date).utf8), to: &message)
        Self.header("Message-ID", Array("<\(id)@\(from.domain)>".utf8), to: &message)
        Self.header("Auto-Submitted", Array("auto-generated".utf8), to: &message)
        Self.header("X-Pulse-Notification-Id", Array(id.description.utf8), to: &message)
        Self.header("MIME-Version", Array("1.0".utf8), to: &message)
        appendBody(to: &message)
        return message
    }

    private func appendBody(to message: inout [UInt8]) {
        if content.html.isEmpty {
            Self.appendPart("text/plain", content.text, to: &message)
            return
        }
        if content.text.isEmpty {
            Self.appendPart("text/html", content.html, to: &message)
            return
        }
        // "=_" occurs in neither encoding of a body, so no body can contain the boundary.
        let boundary = "=_pulse_\(id)"
        Self.header(
            "Content-Type",
            Array("multipart/alternative;\r\n boundary=\"\(boundary)\"".utf8),
            to: &message
        )
        message += Array("\r\n".utf8)
        message += Array("--\(boundary)\r\n".utf8)
        Self.appendPart("text/plain", content.text, to: &message)
        message += Array("\r\n--\(boundary)\r\n".utf8)
        Self.appendPart("text/html", content.html, to: &message)
        message += Array("\r\n--\(boundary)--\r\n".utf8)
    }

    private static func appendPart(_ type: String, _ text: String, to message: inout [UInt8]) {
        let (encoding, bytes) = MailEncoding.body(text)
        header("Content-Type", Array("\(type); charset=utf-8".utf8), to: &message)
        header("Content-Transfer-Encoding", Array(encoding.utf8), to: &message)
        message += Array("\r\n".utf8)
        message += bytes
    }

    private var fromValue: [UInt8] {
        let name = from.displayName
        if name.isEmpty { return Array(from.address.utf8) }
        let isAtoms = name.utf8.allSatisfy { TemplateName.allows($0) && $0 != 46 || $0 == 0x20 }
        // Anything but plain words goes as an encoded word: no quoting rules to get wrong.
        let words = MailEncoding.headerText(name, room: isAtoms ? 60 : 0)
        return words + Array("\r\n <\(from.address)>".utf8)
    }

    /// The one place that writes a header line. A line end in a value is a fold, CRLF and a blank;
    /// anything else would be header injection and is our own bug.
    private static func header(_ name: String, _ value: [UInt8], to message: inout [UInt8]) {
        for (index, byte) in value.enumerated() where byte == 13 || byte == 10 {
            let isFold =
                byte == 13
                ? index + 2 < value.count && value[index + 1] == 10 && value[index + 2] == 0x20
                : index > 0 && value[index - 1] == 13
            precondition(isFold, "a header value holds a line end that is no fold")
        }
        message += Array(name.utf8) + Array(": ".utf8) + value + [13, 10]
    }

    /// `Fri, 20 Nov 2026 09:48:03 +0000`.
    static func rfc5322(_ time: WallTimestamp) -> String {
        let days = time.milliseconds.floored(by: 86_400_000)
        let seconds = (time.milliseconds - days * 86_400_000) / 1000
        let (year, month, day) = WallTimestamp.civil(fromDays: days)
        let weekdays = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
        let months = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ]
        // 1970-01-01 was a Thursday.
        let weekday = weekdays[Int(days - days.floored(by: 7) * 7)]
        func two(_ value: Int64) -> String { value < 10 ? "0\(value)" : "\(value)" }
        let clock = "\(two(seconds / 3600)):\(two(seconds / 60 % 60)):\(two(seconds % 60))"
        return "\(weekday), \(day) \(months[Int(month) - 1]) \(year) \(clock) +0000"
    }
}

extension Int64 {
    /// The quotient rounded towards minus infinity.
    fileprivate func floored(by divisor: Int64) -> Int64 {
        let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? quotient - 1 : quotient
    }
}
