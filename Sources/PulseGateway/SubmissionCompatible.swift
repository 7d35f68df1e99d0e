// The body of system 000's `POST /api/notifications/send/`: its rules and its words.
// Source: spec/04-http.md, "System 000".

import PulseCore

enum SubmissionCompatible {
    /// Reads the body.
    ///
    /// Fields that system 000 did not know are ignored, as it did.
    static func submission(from root: JSONValue) -> APIRequest {
        var submission = Submission(dialect: .compatible)
        var seen: (template: Bool, user: Bool, to: Bool) = (false, false, false)
        for member in root.members {
            let key = member.key
            if key.equals("template_name") {
                seen.template = true
                submission.template = submission.required(
                    member,
                    "template_name",
                    lettersMax: 100,
                    bytesMax: Limits.templateNameBytesMax
                )
            } else if key.equals("user_id") {
                seen.user = true
                submission.user = submission.required(
                    member,
                    "user_id",
                    lettersMax: 100,
                    bytesMax: Limits.userBytesMax
                )
            } else if key.equals("to") {
                seen.to = true
                submission.address = submission.required(
                    member,
                    "to",
                    lettersMax: 255,
                    bytesMax: Limits.addressBytesMax
                )
            } else if key.equals("context") {
                submission.readContext(member)
            } else if key.equals("idempotency_key") {
                submission.idempotencyKey = submission.optional(
                    member,
                    "idempotency_key",
                    lettersMax: 255,
                    bytesMax: Limits.idempotencyKeyBytesMax
                )
            } else if key.equals("channel") {
                submission.readChannel(member)
            } else if key.equals("device_token") {
                submission.deviceToken = submission.optional(
                    member,
                    "device_token",
                    lettersMax: 255,
                    bytesMax: Limits.addressBytesMax
                )
            } else if key.equals("title") {
                submission.title = submission.optional(
                    member,
                    "title",
                    lettersMax: 200,
                    bytesMax: Limits.subjectBytesMax
                )
            } else if key.equals("subject") {
                submission.subject = submission.optional(
                    member,
                    "subject",
                    lettersMax: 200,
                    bytesMax: Limits.subjectBytesMax
                )
            }
        }
        let missing = "This field is required."
        if !seen.template { submission.refuse("template_name", missing) }
        if !seen.user { submission.refuse("user_id", missing) }
        if !seen.to { submission.refuse("to", missing) }
        guard submission.textBytes <= Limits.envelopeBytesMax else {
            return .answered(.tooLarge(.compatible))
        }
        return .submit(submission)
    }
}

extension Submission {
    /// A text or number without the white space around it; nil when it is neither, or too long.
    fileprivate mutating func trimmedText(
        _ value: JSONValue,
        _ field: String,
        lettersMax: Int,
        bytesMax: Int
    ) -> String? {
        switch value.kind {
        case .string, .number: break
        case .null, .boolean, .array, .object:
            refuse(field, value.isNull ? Self.mayNotBeNull : "Not a valid string.")
            return nil
        }
        let bytes = value.text.trimmingWhiteSpace
        guard !bytes.contains(0) else {
            refuse(field, "Null characters are not allowed.")
            return nil
        }
        guard !bytes.hasControl else {
            refuse(field, "Control characters are not allowed.")
            return nil
        }
        let letters = bytes.reduce(0) { $0 + ($1 & 0xC0 == 0x80 ? 0 : 1) }
        guard letters <= lettersMax, bytes.count <= bytesMax else {
            refuse(field, "Ensure this field has no more than \(lettersMax) characters.")
            return nil
        }
        return bytes.text
    }

    private static let mayNotBeNull = "This field may not be null."

    fileprivate mutating func required(
        _ value: JSONValue,
        _ field: String,
        lettersMax: Int,
        bytesMax: Int
    ) -> String? {
        let text = trimmedText(value, field, lettersMax: lettersMax, bytesMax: bytesMax)
        guard let text, text.isEmpty else { return text }
        refuse(field, "This field may not be blank.")
        return nil
    }

    /// Blank and null are as good as absent.
    fileprivate mutating func optional(
        _ value: JSONValue,
        _ field: String,
        lettersMax: Int,
        bytesMax: Int
    ) -> String? {
        if value.isNull { return nil }
        let text = trimmedText(value, field, lettersMax: lettersMax, bytesMax: bytesMax)
        return text?.isEmpty == true ? nil : text
    }

    fileprivate mutating func readChannel(_ value: JSONValue) {
        switch value.kind {
        case .null: return
        case .string:
            channel = Channel(bytes: value.text)
            if channel == nil { refuse("channel", "\"\(value.text.text)\" is not a valid choice.") }
        case .number: refuse("channel", "\"\(value.text.text)\" is not a valid choice.")
        case .boolean, .array, .object: refuse("channel", "Not a valid choice.")
        }
    }

    fileprivate mutating func readContext(_ value: JSONValue) {
        guard value.isObject else {
            refuse(
                "context",
                value.isNull ? Self.mayNotBeNull : "Expected a dictionary of items."
            )
            return
        }
        let members = value.sortedMembers
        guard members.count <= Limits.dataFieldsMax else {
            refuse("context", "Ensure this field has no more than \(Limits.dataFieldsMax) items.")
            return
        }
        for member in members {
            let name = member.key.text
            guard (1...Limits.dataNameBytesMax).contains(member.key.count) else {
                refuse(
                    "context",
                    "Ensure names have 1 to \(Limits.dataNameBytesMax) characters."
                )
                continue
            }
            switch member.kind {
            case .string, .number:
                let bytes = member.text.trimmingWhiteSpace
                guard !bytes.contains(0) else {
                    refuse("context." + name, "Null characters are not allowed.")
                    continue
                }
                data.append((name, bytes.text))
            case .null: refuse("context." + name, Self.mayNotBeNull)
            case .boolean, .array, .object: refuse("context." + name, "Not a valid string.")
            }
        }
    }
}

extension UnsafeRawBufferPointer {
    /// Without ASCII white space around it.
    fileprivate var trimmingWhiteSpace: UnsafeRawBufferPointer {
        func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }
        var start = 0
        var end = count
        while start < end, isSpace(self[start]) { start += 1 }
        while end > start, isSpace(self[end - 1]) { end -= 1 }
        return slice(start, end)
    }
}
