// Reading one JSON field into a submission: the rules that many fields share on /v1.

import PulseCore

/// Which characters a text may have besides printable ones.
enum TextKind {
    /// A name, an address, a key: no control characters, and not empty.
    case line
    /// A mail subject or a push title: no control characters; may be empty.
    case heading
    /// A message's text: anything but NUL.
    case prose
}

extension Array<FieldError> {
    mutating func refuse(_ field: String, _ message: String) {
        append(FieldError(field: field, code: .validationFailed, message: message))
    }

    /// A /v1 string field; nil, with the reason in `self`, when it is not as it must be.
    mutating func text(
        _ value: JSONValue,
        _ field: String,
        _ kind: TextKind,
        bytesMax: Int
    ) -> String? {
        guard case .string = value.kind else {
            refuse(field, "must be a string")
            return nil
        }
        let bytes = value.text
        guard bytes.count <= bytesMax else {
            refuse(field, "must have at most \(bytesMax) bytes")
            return nil
        }
        switch kind {
        case .line:
            guard !bytes.isEmpty else {
                refuse(field, "must not be empty")
                return nil
            }
            fallthrough
        case .heading:
            guard !bytes.hasControl else {
                refuse(field, "must not have control characters")
                return nil
            }
        case .prose:
            guard !bytes.contains(0) else {
                refuse(field, "must not have a NUL character")
                return nil
            }
        }
        return bytes.text
    }

    mutating func unknown(_ field: String) { refuse(field, "is not a field of this request") }

    mutating func channel(_ value: JSONValue) -> Channel? {
        guard case .string = value.kind, let channel = Channel(bytes: value.text) else {
            append(
                FieldError(
                    field: "channel",
                    code: .unknownChannel,
                    message: "must be one of email, sms, push, webhook"
                )
            )
            return nil
        }
        return channel
    }
}

extension Channel {
    /// Reads a channel's name in place.
    init?(bytes: UnsafeRawBufferPointer) {
        if bytes.equals("email") {
            self = .email
        } else if bytes.equals("sms") {
            self = .sms
        } else if bytes.equals("push") {
            self = .push
        } else if bytes.equals("webhook") {
            self = .webhook
        } else {
            return nil
        }
    }
}

extension WallTimestamp {
    /// The last millisecond of the year 9999: later times cannot be written in RFC 3339.
    static let latest = WallTimestamp(milliseconds: 253_402_300_799_999)

    /// A time as RFC 3339 text or as whole milliseconds since 1970.
    init?(json value: JSONValue) {
        switch value.kind {
        case .string: self.init(rfc3339: value.text.text)
        case .number:
            guard let milliseconds = Int64(value.text.text) else { return nil }
            self.init(milliseconds: milliseconds)
        case .null, .boolean, .array, .object: return nil
        }
        guard milliseconds >= 0, self <= Self.latest else { return nil }
    }
}

/// Orders bytes as numbers, the shorter first when one begins the other.
func areInIncreasingOrder(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Bool {
    a.lexicographicallyPrecedes(b)
}

extension JSONValue {
    /// An object's members sorted by the bytes of their keys, which are all different.
    var sortedMembers: [JSONValue] {
        var members = Array(self.members)
        for index in members.indices.dropFirst()
        where !areInIncreasingOrder(members[index - 1].key, members[index].key) {
            members.sort { areInIncreasingOrder($0.key, $1.key) }
            break
        }
        return members
    }
}
