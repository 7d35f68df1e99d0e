// The body of `POST /v1/notifications`. Source: spec/04-http.md, "Submitting".

import PulseCore

enum SubmissionV1 {
    /// Reads the body; every mistake becomes an error of the submission, all at once.
    ///
    /// - Parameter idempotencyHeader: The `Idempotency-Key` header, bare or in quotes.
    static func submission(
        from root: JSONValue,
        idempotencyHeader: UnsafeRawBufferPointer?
    ) -> APIRequest {
        var reader = SubmissionV1Reader()
        for member in root.members { reader.read(member) }
        reader.finish(idempotencyHeader: idempotencyHeader)
        guard reader.submission.textBytes <= Limits.envelopeBytesMax else {
            return .answered(.tooLarge(.v1))
        }
        return .submit(reader.submission)
    }
}

private struct SubmissionV1Reader {
    var submission = Submission(dialect: .v1)
    private var hasTo = false
    private var hasTemplate = false
    private var hasContent = false
    private var hasChannel = false
    private var data: JSONValue?

    mutating func read(_ member: JSONValue) {
        let key = member.key
        if key.equals("to") {
            hasTo = true
            readTo(member)
        } else if key.equals("channel") {
            hasChannel = true
            submission.channel = submission.errors.channel(member)
        } else if key.equals("template") {
            hasTemplate = true
            submission.template = submission.errors.text(
                member,
                "template",
                .line,
                bytesMax: Limits.templateNameBytesMax
            )
        } else if key.equals("data") {
            data = member
            readData(member)
        } else if key.equals("content") {
            hasContent = true
            readContent(member)
        } else if key.equals("lane") {
            readLane(member)
        } else if key.equals("idempotency_key") {
            submission.idempotencyKey = submission.errors.text(
                member,
                "idempotency_key",
                .line,
                bytesMax: Limits.idempotencyKeyBytesMax
            )
        } else if key.equals("deliver_at") {
            submission.deliverAt = WallTimestamp(json: member)
            if submission.deliverAt == nil {
                submission.refuse(
                    "deliver_at",
                    "must be an RFC 3339 time or whole milliseconds since 1970"
                )
            }
        } else {
            submission.errors.unknown(key.text)
        }
    }

    // MARK: Fields

    private mutating func readTo(_ value: JSONValue) {
        switch value.kind {
        case .string:
            submission.address = submission.errors.text(
                value,
                "to",
                .line,
                bytesMax: Limits.addressBytesMax
            )
        case .object:
            var count = 0
            for member in value.members {
                count += 1
                readRecipient(member)
            }
            if count == 0 { submission.refuse("to", "must name a user or an address") }
        case .null, .boolean, .number, .array:
            submission.refuse("to", "must be an address or an object")
        }
    }

    private mutating func readRecipient(_ member: JSONValue) {
        let key = member.key
        let addressMax = Limits.addressBytesMax
        if key.equals("user") {
            submission.user = submission.errors.text(
                member,
                "to.user",
                .line,
                bytesMax: Limits.userBytesMax
            )
        } else if key.equals("email") {
            submission.email = submission.errors.text(
                member,
                "to.email",
                .line,
                bytesMax: addressMax
            )
        } else if key.equals("phone") {
            submission.phone = submission.errors.text(
                member,
                "to.phone",
                .line,
                bytesMax: addressMax
            )
        } else if key.equals("push_token") {
            submission.pushToken = submission.errors.text(
                member,
                "to.push_token",
                .line,
                bytesMax: addressMax
            )
        } else if key.equals("url") {
            submission.url = submission.errors.text(member, "to.url", .line, bytesMax: addressMax)
        } else {
            submission.errors.unknown("to." + key.text)
        }
    }

    private mutating func readContent(_ value: JSONValue) {
        guard value.isObject else {
            submission.refuse("content", "must be an object")
            return
        }
        let partMax = Limits.renderedBytesMax
        for member in value.members {
            let key = member.key
            if key.equals("subject") {
                submission.subject = submission.errors.text(
                    member,
                    "content.subject",
                    .heading,
                    bytesMax: Limits.subjectBytesMax
                )
            } else if key.equals("text") {
                submission.text = submission.errors.text(
                    member,
                    "content.text",
                    .prose,
                    bytesMax: partMax
                )
            } else if key.equals("html") {
                submission.html = submission.errors.text(
                    member,
                    "content.html",
                    .prose,
                    bytesMax: partMax
                )
            } else {
                submission.errors.unknown("content." + key.text)
            }
        }
        if !value.members.contains(where: { $0.key.equals("text") || $0.key.equals("html") }) {
            submission.refuse("content", "must have text or html")
        }
    }

    private mutating func readLane(_ value: JSONValue) {
        // `dead` is a lane, but nobody may ask for it.
        guard case .string = value.kind, let lane = Lane(name: value.text.text), lane != .dead
        else {
            submission.refuse("lane", "must be one of critical, high, normal, bulk")
            return
        }
        submission.lane = lane
    }

    private mutating func readData(_ value: JSONValue) {
        guard value.isObject else {
            submission.refuse("data", "must be an object")
            return
        }
        let members = value.sortedMembers
        guard members.count <= Limits.dataFieldsMax else {
            submission.refuse("data", "must have at most \(Limits.dataFieldsMax) fields")
            return
        }
        submission.data.reserveCapacity(members.count)
        for member in members {
            let name = member.key.text
            guard (1...Limits.dataNameBytesMax).contains(member.key.count) else {
                submission.refuse(
                    "data." + name,
                    "must have a name of 1 to \(Limits.dataNameBytesMax) bytes"
                )
                continue
            }
            switch member.kind {
            case .string:
                guard !member.text.contains(0) else {
                    submission.refuse("data." + name, "must not have a NUL character")
                    continue
                }
                submission.data.append((name, member.text.text))
            case .number: submission.data.append((name, member.text.text))
            case .boolean(let value): submission.data.append((name, value ? "true" : "false"))
            case .null, .array, .object:
                submission.refuse("data." + name, "must be a string, a number or a boolean")
            }
        }
    }

    // MARK: What fields must be to each other

    mutating func finish(idempotencyHeader: UnsafeRawBufferPointer?) {
        if !hasTo { submission.refuse("to", "is required") }
        switch (hasTemplate, hasContent) {
        case (false, false):
            submission.refuse("template", "is required, unless there is content")
        case (true, true):
            submission.refuse("content", "cannot be given together with template")
        case (false, true):
            if data != nil { submission.refuse("data", "belongs to a template") }
            if !hasChannel { inferChannel() }
        case (true, false): break
        }
        if let idempotencyHeader { readIdempotencyKey(idempotencyHeader) }
    }

    /// Content names no channel, so the address must: the one kind that is given.
    private mutating func inferChannel() {
        let kinds: [(String?, Channel)] = [
            (submission.email, .email), (submission.phone, .sms), (submission.pushToken, .push),
            (submission.url, .webhook),
        ]
        let given = kinds.filter { $0.0 != nil }
        if given.count == 1 {
            submission.channel = given[0].1
        } else {
            submission.refuse("channel", "is required, as neither template nor address tells it")
        }
    }

    private mutating func readIdempotencyKey(_ header: UnsafeRawBufferPointer) {
        var key = header.trimmed
        let quote = UInt8(ascii: "\"")
        if key.count >= 2, key.first == quote, key.last == quote {
            key = key.slice(1, key.count - 1)
        }
        guard (1...Limits.idempotencyKeyBytesMax).contains(key.count), !key.hasControl,
            let text = String(validating: key, as: UTF8.self)
        else {
            submission.refuse(
                "idempotency_key",
                "the header must have 1 to \(Limits.idempotencyKeyBytesMax) bytes of plain text"
            )
            return
        }
        if let given = submission.idempotencyKey, given != text {
            submission.refuse("idempotency_key", "differs from the Idempotency-Key header")
        } else {
            submission.idempotencyKey = text
        }
    }
}
