// The sender of mail as an operator writes it: `pulse@example.org`, or with a name before it,
// `Example <pulse@example.org>`.

internal import PulseCore

package struct Mailbox: Hashable, Sendable {
    /// Empty when only the address was given.
    package let displayName: String
    package let address: String

    /// Reads either form; nil when the address does not pass ``Address`` or the name has control
    /// characters or angle brackets.
    package init?(_ text: String) {
        var name = ""
        var address = text
        if text.hasSuffix(">") {
            guard let open = text.firstIndex(of: "<") else { return nil }
            name = Self.trimmed(text[..<open])
            address = String(text[text.index(after: open)...].dropLast())
        }
        if name.count >= 2, name.hasPrefix("\""), name.hasSuffix("\"") {
            name = String(name.dropFirst().dropLast())
        }
        guard Address.problem(.email, address) == nil, name.utf8.count <= 200,
            !name.unicodeScalars.contains(where: SafeText.isControl), !name.contains(">")
        else { return nil }
        self.displayName = name
        self.address = address
    }

    /// The part after the '@', for Message-ID.
    package var domain: String {
        guard let at = address.lastIndex(of: "@") else { return address }
        return String(address[address.index(after: at)...])
    }

    private static func trimmed(_ text: Substring) -> String {
        var text = text
        while text.first == " " { text.removeFirst() }
        while text.last == " " { text.removeLast() }
        return String(text)
    }
}
