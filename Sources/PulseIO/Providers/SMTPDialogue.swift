// Following a mail conversation by the server's replies, so that the outcome is known by what was
// said and not by what an exit code hints at. Decides only; libcurl does the talking.

package import PulseDelivery

/// Where a conversation stands.
///
/// Fed with every reply line of one transfer.
///
///     greeting --220--> hello --250--> upgrade --220--> secureHello --250-.
///        |                 `------------- no STARTTLS wanted -------------+-> authentication --235-.
///        |                                                                `---- no credentials ----+
///        `--- 2yz or 3yz: the connection is a reused one, this answers MAIL ----------------> envelope
///
/// A reply of 400 or more leaves the stage as it is.
package struct SMTPDialogue {
    package enum Stage: Hashable, Sendable {
        case greeting, hello, upgrade, secureHello, authentication
        /// MAIL, RCPT, DATA and the final reply.
        case envelope
    }

    /// What a line means for the transfer.
    package enum Event: Hashable, Sendable {
        case nothing
        /// The server refused what was asked of it: the conversation is over.
        case refused
        /// Credentials are set, but the server offers no AUTH: libcurl would send the mail without.
        case noAuthentication
    }

    package private(set) var stage = Stage.greeting
    /// The code of the last whole reply; 0 before the first.
    package private(set) var code = 0
    /// The first line of the last reply, with its code.
    package private(set) var line: [UInt8] = []
    /// Whether the server asked for the message: 354.
    package private(set) var wantsMessage = false
    /// Whole replies so far.
    package private(set) var replies = 0

    private let security: SMTPEndpoint.Security
    private let needsAuthentication: Bool
    private var offersAuthentication = false
    /// Whether the next line goes on with a reply begun before.
    private var isInsideReply = false

    package init(security: SMTPEndpoint.Security, needsAuthentication: Bool) {
        self.security = security
        self.needsAuthentication = needsAuthentication
    }

    /// Takes in one line, with or without its line end.
    package mutating func receive(_ bytes: UnsafeRawBufferPointer) -> Event {
        guard bytes.count >= 3, let code = Self.code(bytes) else { return .nothing }
        if !isInsideReply {
            line = Array(bytes.prefix { $0 != 13 && $0 != 10 })
            if stage == .hello || stage == .secureHello { offersAuthentication = false }
        }
        if Self.offersAuthentication(bytes) { offersAuthentication = true }
        isInsideReply = bytes.count > 3 && bytes[3] == UInt8(ascii: "-")
        guard !isInsideReply else { return .nothing }
        self.code = code
        replies += 1
        return advance(code)
    }

    private mutating func advance(_ code: Int) -> Event {
        switch stage {
        case .greeting:
            if code == 220 {
                stage = .hello
            } else if code < 400 {
                stage = .envelope
            } else {
                return .refused
            }
        case .hello:
            if code < 300 {
                if security != .starttls { return helloDone() }
                stage = .upgrade
            } else if needsAuthentication {
                // libcurl would fall back to HELO, which knows no AUTH.
                return .noAuthentication
            }
        case .upgrade: if code == 220 { stage = .secureHello }
        case .secureHello: if code < 300 { return helloDone() }
        case .authentication: if code == 235 { stage = .envelope }
        case .envelope:
            if code >= 400 { return .refused }
            if code == 354 { wantsMessage = true }
        }
        return .nothing
    }

    private mutating func helloDone() -> Event {
        guard needsAuthentication else {
            stage = .envelope
            return .nothing
        }
        guard offersAuthentication else { return .noAuthentication }
        stage = .authentication
        return .nothing
    }

    private static func code(_ bytes: UnsafeRawBufferPointer) -> Int? {
        var value = 0
        for byte in bytes.prefix(3) {
            guard (48...57).contains(byte) else { return nil }
            value = value * 10 + Int(byte - 48)
        }
        return value
    }

    /// `250-AUTH PLAIN LOGIN`; some old servers write `AUTH=`.
    private static func offersAuthentication(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard bytes.count >= 8 else { return false }
        let word = bytes[4..<8].map { $0 & 0xDF }
        return word == Array("AUTH".utf8)
    }
}
