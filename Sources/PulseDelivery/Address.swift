// What may stand as an address on each channel. Strict, because an address ends up in mail headers,
// in SMTP commands and in URLs; every refusal is a sentence the client can act on.

package import PulseCore

package enum Address {
    /// What is wrong with `address` on `channel`, or nil when it can be used.
    ///
    /// - Parameter lenient: For sms and push of system 000's API, where any text that is not blank
    ///   is legal; a provider decides later. Has no effect on email and webhook.
    package static func problem(
        _ channel: Channel,
        _ address: String,
        lenient: Bool = false
    ) -> String? {
        guard !address.unicodeScalars.allSatisfy(\.properties.isWhitespace) else {
            return "must not be empty"
        }
        guard address.utf8.count <= Limits.addressBytesMax else {
            return "longer than \(Limits.addressBytesMax) bytes"
        }
        switch channel {
        case .email: return emailProblem(Array(address.utf8))
        case .webhook: return urlProblem(Array(address.utf8))
        case .sms: return lenient ? nil : phoneProblem(Array(address.utf8))
        case .push: return lenient ? nil : tokenProblem(Array(address.utf8))
        }
    }

    // MARK: Email: RFC 5321 without comments, domain literals and SMTPUTF8.

    private static func emailProblem(_ address: [UInt8]) -> String? {
        guard address.count <= 254 else { return "an e-mail address has at most 254 bytes" }
        // A domain has no '@', a quoted local part may have one: split at the last.
        guard let at = address.lastIndex(of: UInt8(ascii: "@")) else {
            return "an e-mail address needs an '@'"
        }
        let local = address[..<at]
        guard !local.isEmpty, local.count <= 64 else {
            return "the part before '@' has 1 to 64 bytes"
        }
        guard isDotAtom(local) || isQuoted(local) else {
            return "the part before '@' has characters that are not allowed"
        }
        guard isHostName(address[(at + 1)...]) else {
            return "the part after '@' is not a domain name"
        }
        return nil
    }

    private static func isDotAtom(_ local: ArraySlice<UInt8>) -> Bool {
        local.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).allSatisfy {
            !$0.isEmpty && $0.allSatisfy(isAtomText)
        }
    }

    private static func isAtomText(_ byte: UInt8) -> Bool {
        isLetterOrDigit(byte) || "!#$%&'*+-/=?^_`{|}~".utf8.contains(byte)
    }

    /// A quoted local part. Commas and angle brackets are legal there, and refused all the same:
    /// too much software splits lists of addresses and SMTP paths without looking for quotes.
    private static func isQuoted(_ local: ArraySlice<UInt8>) -> Bool {
        let quote = UInt8(ascii: "\"")
        guard local.count > 2, local.first == quote, local.last == quote else { return false }
        var escaped = false
        for byte in local.dropFirst().dropLast() {
            guard (0x20...0x7E).contains(byte), !",<>".utf8.contains(byte) else { return false }
            if escaped {
                escaped = false
            } else if byte == UInt8(ascii: "\\") {
                escaped = true
            } else if byte == quote {
                return false
            }
        }
        return !escaped
    }

    /// Letters, digits and inner hyphens in labels of 1 to 63; 253 bytes in all. One label will do.
    static func isHostName(_ name: some Collection<UInt8>) -> Bool {
        guard !name.isEmpty, name.count <= 253 else { return false }
        let labels = name.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        return labels.allSatisfy {
            let label = Array($0)
            return (1...63).contains(label.count) && label.first != UInt8(ascii: "-")
                && label.last != UInt8(ascii: "-")
                && label.allSatisfy { isLetterOrDigit($0) || $0 == UInt8(ascii: "-") }
        }
    }

    // MARK: Phone and push.

    private static func phoneProblem(_ number: [UInt8]) -> String? {
        let digits = number.first == UInt8(ascii: "+") ? number[1...] : number[...]
        guard (5...20).contains(digits.count), digits.allSatisfy(isDigit) else {
            return "a phone number is 5 to 20 digits with an optional '+' before them"
        }
        return nil
    }

    private static func tokenProblem(_ token: [UInt8]) -> String? {
        guard token.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            return "a push token has printable ASCII characters only, and no spaces"
        }
        return nil
    }

    // MARK: Webhook URL.

    private static func urlProblem(_ url: [UInt8]) -> String? {
        guard url.allSatisfy({ (0x21...0x7E).contains($0) && $0 != UInt8(ascii: "\\") }) else {
            return "a URL has no spaces, control characters, backslashes or non-ASCII characters"
        }
        let lower = url.map { (65...90).contains($0) ? $0 | 0x20 : $0 }
        let start: Int
        if lower.starts(with: "https://".utf8) {
            start = 8
        } else if lower.starts(with: "http://".utf8) {
            start = 7
        } else {
            return "a webhook URL begins with https:// or http://"
        }
        let rest = lower[start...]
        let authority = rest.prefix { !"/?#".utf8.contains($0) }
        if authority.contains(UInt8(ascii: "@")) {
            return "a webhook URL must not hold credentials"
        }
        return authorityProblem(Array(authority))
    }

    private static func authorityProblem(_ authority: [UInt8]) -> String? {
        let host: ArraySlice<UInt8>
        var port: ArraySlice<UInt8> = []
        if authority.first == UInt8(ascii: "[") {
            guard let end = authority.firstIndex(of: UInt8(ascii: "]")) else {
                return "the host's '[' is not closed"
            }
            host = authority[1..<end]
            port = authority[(end + 1)...]
            guard host.contains(UInt8(ascii: ":")),
                host.allSatisfy({ isDigit($0) || (97...102).contains($0) || $0 == 58 || $0 == 46 })
            else { return "the host in brackets is not an IPv6 address" }
        } else {
            host = authority.prefix { $0 != UInt8(ascii: ":") }
            port = authority[host.endIndex...]
            if host.isEmpty { return "a webhook URL needs a host" }
            // One trailing dot (a fully qualified name) is legal; underscores occur in real names.
            let name = host.last == UInt8(ascii: ".") ? host.dropLast() : host
            guard isHostName(name.map { $0 == UInt8(ascii: "_") ? UInt8(ascii: "x") : $0 }) else {
                return "the URL's host is not a domain name or address"
            }
        }
        if port.isEmpty { return nil }
        guard port.first == UInt8(ascii: ":"), (2...6).contains(port.count),
            let number = Int(String(decoding: port.dropFirst(), as: UTF8.self)),
            port.dropFirst().allSatisfy(isDigit), (1...65_535).contains(number)
        else { return "the URL's port is a number from 1 to 65535" }
        return nil
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (48...57).contains(byte) }

    private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        isDigit(byte) || (65...90).contains(byte) || (97...122).contains(byte)
    }
}
