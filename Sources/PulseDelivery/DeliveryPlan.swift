// Decides what one delivery attempt does: which provider is called with which bytes, or why there
// is nothing to call. A pure function of the notification, the template and the settings.

package import PulseCore

/// A notification the built-in catcher keeps instead of sending it.
package struct CaughtNotification: Hashable, Sendable {
    package var id: NotificationID
    package var channel: Channel
    package var user: String
    package var to: String
    package var subject: String
    package var text: String
    package var html: String
    /// From 1.
    package var attempt: Int
    package var at: WallTimestamp

    package init(
        id: NotificationID,
        channel: Channel,
        user: String,
        to: String,
        subject: String,
        text: String,
        html: String,
        attempt: Int,
        at: WallTimestamp
    ) {
        self.id = id
        self.channel = channel
        self.user = user
        self.to = to
        self.subject = subject
        self.text = text
        self.html = html
        self.attempt = attempt
        self.at = at
    }
}

package enum DeliveryPlan: Sendable {
    /// Ask a provider; its answer goes to ``Outcome/classify(_:_:)``.
    case call(ProviderRequest)
    /// Keep it in the catcher; delivered.
    case `catch`(CaughtNotification)
    /// This notification can never be delivered.
    case payloadBad(reason: String)
    /// The channel has no provider: as ``OutcomeClass/configBad``, pause the channel and keep the
    /// queue.
    case noProvider

    /// The plan for one attempt.
    ///
    /// - Parameters:
    ///   - template: The template the envelope names, or nil when it names none or it is gone.
    ///   - attempt: From 1.
    ///   - createdAt: When the notification was accepted.
    ///   - now: Wall time of this attempt.
    package static func make(
        id: NotificationID,
        channel: Channel,
        envelope: Envelope,
        template: Template?,
        settings: ProviderSettings,
        attempt: Int,
        createdAt: WallTimestamp,
        now: WallTimestamp
    ) -> DeliveryPlan {
        let notification: Notification
        do {
            notification = try Notification(envelope, channel: channel, template: template)
        } catch {
            return .payloadBad(reason: error.reason)
        }
        let caught = CaughtNotification(
            id: id,
            channel: channel,
            user: notification.user,
            to: notification.address,
            subject: notification.content.subject,
            text: notification.content.text,
            html: notification.content.html,
            attempt: attempt,
            at: now
        )

        switch channel {
        case .email:
            switch settings.email {
            case .none: return .noProvider
            case .catcher: return .catch(caught)
            case .smtp(let endpoint, let from, let timeout):
                let message = MailMessage(
                    id: id,
                    from: from,
                    recipient: notification.address,
                    content: notification.content,
                    date: now
                )
                return .call(
                    .smtp(
                        SMTPRequest(
                            endpoint: endpoint,
                            sender: from.address,
                            recipient: notification.address,
                            message: message.bytes,
                            timeoutMilliseconds: timeout
                        )
                    )
                )
            }
        case .webhook:
            switch settings.webhook {
            case .none: return .noProvider
            case .catcher: return .catch(caught)
            case .http(let allowsPrivateAddresses, let timeout):
                let body = WebhookBody(
                    id: id,
                    channel: channel,
                    template: notification.template,
                    user: notification.user,
                    content: notification.content,
                    data: notification.data,
                    attempt: attempt,
                    createdAt: createdAt
                )
                return .call(
                    .http(
                        HTTPRequest(
                            url: notification.address,
                            headers: body.headers(at: now, userAgent: settings.userAgent),
                            body: body.bytes,
                            allowsPrivateAddresses: allowsPrivateAddresses,
                            timeoutMilliseconds: timeout
                        )
                    )
                )
            }
        case .sms: return settings.sms == .catcher ? .catch(caught) : .noProvider
        case .push: return settings.push == .catcher ? .catch(caught) : .noProvider
        }
    }
}

/// An envelope resolved: its texts copied out and its template rendered.
private struct Notification {
    var user: String
    var address: String
    var template: String
    var data: [(name: String, value: String)]
    var content: RenderedContent

    struct Unusable: Error { var reason: String }

    init(_ envelope: Envelope, channel: Channel, template: Template?) throws(Unusable) {
        user = envelope.user?.text ?? ""
        self.template = envelope.template?.text ?? ""
        data = envelope.data.map { ($0.name.text, $0.value.text) }

        let named = channel == .push ? envelope.deviceToken ?? envelope.address : envelope.address
        address = named?.text ?? ""
        // Everything was checked at the door; old records and other doors are why it is done again.
        // For sms and push the lenient rule: what system 000 took must not die here.
        if let problem = Address.problem(channel, address, lenient: true) {
            throw Unusable(reason: "address: \(problem)")
        }
        content = try Self.content(of: envelope, channel: channel, template: template, data: data)
    }

    /// The template's parts, each replaced by the envelope's own where it has one. A push title
    /// takes the subject's place.
    private static func content(
        of envelope: Envelope,
        channel: Channel,
        template: Template?,
        data: [(name: String, value: String)]
    ) throws(Unusable) -> RenderedContent {
        var content = RenderedContent()
        if let name = envelope.template {
            guard let template else {
                let shown = SafeText.line(name.text, bytesMax: Limits.templateNameBytesMax)
                throw Unusable(reason: "template \"\(shown)\" does not exist any more")
            }
            let missing = template.missingVariables(in: data)
            guard missing.isEmpty else {
                throw Unusable(
                    reason: SafeText.line(
                        "missing template variables: \(missing.joined(separator: ", "))",
                        bytesMax: Outcome.detailBytesMax
                    )
                )
            }
            do {
                content = try template.render(data: data)
            } catch {
                throw Unusable(
                    reason: "the rendered \(error.field) is longer than "
                        + "\(Limits.renderedBytesMax) bytes"
                )
            }
        }
        if let subject = envelope.subject { content.subject = subject.text }
        if let text = envelope.text { content.text = text.text }
        if let html = envelope.html { content.html = html.text }
        if channel == .push, let title = envelope.title { content.subject = title.text }
        guard !content.text.isEmpty || !content.html.isEmpty || !content.subject.isEmpty else {
            throw Unusable(reason: "the notification has no content")
        }
        return content
    }
}
