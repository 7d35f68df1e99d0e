// What each channel delivers through: as much of the configuration as deciding needs.

package import PulseCore

/// One provider per channel. Out of the box every channel has none; `serve --dev` gives each the
/// catcher, which keeps notifications in memory for people to look at.
package struct ProviderSettings: Sendable, Hashable {
    package enum Email: Sendable, Hashable {
        case smtp(SMTPEndpoint, from: Mailbox, timeoutMilliseconds: Int64)
        case catcher
        case none
    }

    package enum Webhook: Sendable, Hashable {
        case http(allowsPrivateAddresses: Bool, timeoutMilliseconds: Int64)
        case catcher
        case none
    }

    /// For channels whose real providers are yet to come.
    package enum Builtin: Sendable, Hashable {
        case catcher
        case none
    }

    package var email: Email
    package var webhook: Webhook
    package var sms: Builtin
    package var push: Builtin
    /// The product and version that HTTP providers see: `pulse/0.1.0`.
    package var userAgent: String

    package init(
        email: Email = .none,
        webhook: Webhook = .none,
        sms: Builtin = .none,
        push: Builtin = .none,
        userAgent: String = "pulse"
    ) {
        self.email = email
        self.webhook = webhook
        self.sms = sms
        self.push = push
        self.userAgent = userAgent
    }

    /// Whether the channel has a provider, or the catcher.
    package func delivers(_ channel: Channel) -> Bool {
        switch channel {
        case .email: email != .none
        case .webhook: webhook != .none
        case .sms: sms != .none
        case .push: push != .none
        }
    }

    /// Every channel to the catcher.
    package static let catchers = ProviderSettings(
        email: .catcher,
        webhook: .catcher,
        sms: .catcher,
        push: .catcher
    )
}
