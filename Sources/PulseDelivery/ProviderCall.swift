// The contract between what decides about a delivery and what performs it: one request to a provider,
// one answer from it. Values only; the sockets are in PulseIO, or in the simulator.

/// What to ask of a provider.
package enum ProviderRequest: Sendable {
    case smtp(SMTPRequest)
    case http(HTTPRequest)
}

/// A mail server and how to speak to it.
package struct SMTPEndpoint: Hashable, Sendable {
    package enum Security: String, Sendable {
        case none
        /// STARTTLS is required, not opportunistic.
        case starttls
        /// TLS from the first byte.
        case implicit
    }

    package var host: String
    package var port: UInt16
    package var security: Security
    /// User and password, sent only over TLS and only when the server offers AUTH.
    package var credentials: (user: String, password: String)?

    package init(
        host: String,
        port: UInt16,
        security: Security,
        credentials: (user: String, password: String)? = nil
    ) {
        self.host = host
        self.port = port
        self.security = security
        self.credentials = credentials
    }

    package static func == (a: Self, b: Self) -> Bool {
        a.host == b.host && a.port == b.port && a.security == b.security
            && a.credentials?.user == b.credentials?.user
            && a.credentials?.password == b.credentials?.password
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(host)
        hasher.combine(port)
    }
}

/// One message to one recipient (a transfer with several loses them all when one is refused).
package struct SMTPRequest: Sendable {
    package var endpoint: SMTPEndpoint
    package var sender: String
    package var recipient: String
    /// The whole message: headers, empty line, body; CRLF line ends, not yet dot-stuffed.
    package var message: [UInt8]
    /// The whole exchange, connecting included.
    package var timeoutMilliseconds: Int64

    package init(
        endpoint: SMTPEndpoint,
        sender: String,
        recipient: String,
        message: [UInt8],
        timeoutMilliseconds: Int64
    ) {
        self.endpoint = endpoint
        self.sender = sender
        self.recipient = recipient
        self.message = message
        self.timeoutMilliseconds = timeoutMilliseconds
    }
}

/// One POST.
package struct HTTPRequest: Sendable {
    package var url: String
    package var headers: [(name: String, value: String)]
    package var body: [UInt8]
    /// Whether loopback, private and link-local addresses may be called; checked at connect time.
    package var allowsPrivateAddresses: Bool
    package var timeoutMilliseconds: Int64

    package init(
        url: String,
        headers: [(name: String, value: String)],
        body: [UInt8],
        allowsPrivateAddresses: Bool,
        timeoutMilliseconds: Int64
    ) {
        self.url = url
        self.headers = headers
        self.body = body
        self.allowsPrivateAddresses = allowsPrivateAddresses
        self.timeoutMilliseconds = timeoutMilliseconds
    }
}

/// What became of a call.
package enum ProviderAnswer: Hashable, Sendable {
    /// The provider answered. `code` is the HTTP status or the SMTP reply to the last command;
    /// `detail` its first line or body prefix, at most 200 bytes, for the record and for classification.
    case answered(code: Int, detail: String, retryAfterSeconds: Int64?)
    /// Nothing was sent: connection refused, name not found, TLS failed, time ran out before that.
    case notSent(reason: String)
    /// The request was sent, wholly or in part, and no answer came: the outcome is unknown.
    case lost(reason: String)
    /// The call cannot work as configured: TLS required and not offered, credentials without AUTH.
    case misconfigured(reason: String)
    /// The address may not be called (private network) or is no valid address.
    case forbidden(reason: String)
}
