// What a webhook receiver gets: one JSON document and the headers of Standard Webhooks, but for the
// signature, which needs a secret per endpoint.
// Source: https://www.standardwebhooks.com, spec/v1.

package import PulseCore

package struct WebhookBody {
    package var id: NotificationID
    package var channel: Channel
    /// Empty when the notification came without one.
    package var template: String
    package var user: String
    /// The address, for channels where it is not the URL itself.
    package var to: String?
    package var content: RenderedContent
    package var data: [(name: String, value: String)]
    /// From 1.
    package var attempt: Int
    package var createdAt: WallTimestamp

    package init(
        id: NotificationID,
        channel: Channel,
        template: String,
        user: String,
        to: String? = nil,
        content: RenderedContent,
        data: [(name: String, value: String)],
        attempt: Int,
        createdAt: WallTimestamp
    ) {
        self.id = id
        self.channel = channel
        self.template = template
        self.user = user
        self.to = to
        self.content = content
        self.data = data
        self.attempt = attempt
        self.createdAt = createdAt
    }

    /// The JSON document. Of data with the same name the last counts, as in a template.
    package var bytes: [UInt8] {
        var json = JSONWriter()
        json.beginObject()
        json.field("id", id.description)
        json.field("type", "notification")
        json.field("channel", channel.name)
        json.field("template", template)
        json.field("user", user)
        if let to { json.field("to", to) }
        json.field("subject", content.subject)
        json.field("text", content.text)
        json.field("html", content.html)
        json.beginObject("data")
        for (index, datum) in data.enumerated()
        where !data[(index + 1)...].contains(where: { $0.name == datum.name }) {
            json.field(datum.name, datum.value)
        }
        json.endObject()
        json.field("attempt", attempt)
        json.field("created_at", createdAt.rfc3339)
        json.endObject()
        return json.bytes
    }

    /// The headers of one attempt; `webhook-id` is the same for all of them.
    package func headers(
        at now: WallTimestamp,
        userAgent: String
    ) -> [(name: String, value: String)] {
        [
            ("content-type", "application/json"),
            ("webhook-id", id.description),
            ("webhook-timestamp", String(now.milliseconds / 1000)),
            ("user-agent", userAgent),
        ]
    }
}
