// Writing JSON, HTML and numbers by appending to a byte array.

package import PulseCore

extension [UInt8] {
    /// Appends text that is already as it should be.
    package mutating func append(_ text: StaticString) {
        append(
            contentsOf: UnsafeBufferPointer(
                start: text.utf8Start,
                count: text.utf8CodeUnitCount
            )
        )
    }

    /// Appends a string's UTF-8.
    package mutating func append(utf8 text: String) {
        append(contentsOf: text.utf8)
    }

    /// Appends a whole number in decimal.
    package mutating func append(decimal value: some BinaryInteger) {
        if value < 0 { append(UInt8(ascii: "-")) }
        var rest = UInt64(value.magnitude)
        let start = count
        repeat {
            append(UInt8(truncatingIfNeeded: 48 + rest % 10))
            rest /= 10
        } while rest > 0
        self[start...].reverse()
    }

    /// Appends a JSON string with its quotes.
    ///
    /// Control characters, `"` and `\` are escaped; so are `<`, `>` and `&`, so that JSON put into a
    /// page cannot end a script.
    package mutating func append(json text: String) {
        append(UInt8(ascii: "\""))
        var text = text
        text.withUTF8 { utf8 in
            var start = 0
            for index in 0..<utf8.count where Self.needsEscape(utf8[index]) {
                append(contentsOf: utf8[start..<index])
                appendEscape(utf8[index])
                start = index + 1
            }
            append(contentsOf: utf8[start..<utf8.count])
        }
        append(UInt8(ascii: "\""))
    }

    /// Appends a JSON string, or `null`.
    package mutating func append(json text: String?) {
        if let text { append(json: text) } else { append("null") }
    }

    /// Appends a time as a JSON string, or `null`.
    package mutating func append(json time: WallTimestamp?) {
        append(json: time?.rfc3339)
    }

    private static func needsEscape(_ byte: UInt8) -> Bool {
        byte < 0x20 || byte == 0x22 || byte == 0x5C || byte == 0x3C || byte == 0x3E || byte == 0x26
            || byte == 0x7F
    }

    private mutating func appendEscape(_ byte: UInt8) {
        switch byte {
        case 0x22: append("\\\"")
        case 0x5C: append("\\\\")
        case 0x0A: append("\\n")
        case 0x0D: append("\\r")
        case 0x09: append("\\t")
        default:
            append("\\u00")
            append(Self.hexDigit(byte >> 4))
            append(Self.hexDigit(byte & 15))
        }
    }

    private static func hexDigit(_ value: UInt8) -> UInt8 { value < 10 ? 48 + value : 87 + value }

    /// Appends text for an HTML page, in an element or in a quoted attribute.
    package mutating func append(html text: String) {
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "&"): append("&amp;")
            case UInt8(ascii: "<"): append("&lt;")
            case UInt8(ascii: ">"): append("&gt;")
            case UInt8(ascii: "\""): append("&quot;")
            case UInt8(ascii: "'"): append("&#39;")
            case 0: append("\u{FFFD}")
            default: append(byte)
            }
        }
    }
}
