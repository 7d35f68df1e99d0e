// What the client gives back to questions: status, pages of a stream, templates.

internal import PulseCore
internal import PulseWire

/// What became of a notification.
public struct NotificationStatus: Hashable, Sendable {
    /// `scheduled`, `ready`, `held`, `leased`, `delivered`, `dead`, `expired`, `cancelled` or
    /// `suppressed`.
    public var state: String
    /// Whether it stays in this state for good.
    public var isFinal: Bool
    public var channel: Notification.Channel
    public var lane: Notification.Lane
    public var attempts: Int
    public var acceptedAt: Notification.Time
    /// When the state last changed.
    public var updatedAt: Notification.Time
    /// When it is tried next, if anything is planned.
    public var dueAt: Notification.Time?
    /// The last failure in words.
    public var error: String?

    init(_ reply: StatusReply) {
        state = reply.state.name
        isFinal = reply.state.isFinal
        channel = Notification.Channel(value: reply.channel)
        lane = Notification.Lane(value: reply.lane)
        attempts = Int(reply.attempts)
        acceptedAt = Notification.Time(reply.accepted)
        updatedAt = Notification.Time(reply.updated)
        dueAt = reply.due.map(Notification.Time.init)
        error = reply.errorText.isEmpty ? nil : reply.errorText
    }
}

extension Notification.Time {
    init(_ wall: WallTimestamp) { self.init(millisecondsSince1970: wall.milliseconds) }
}

/// Where a fetch begins.
public struct FetchStart: Hashable, Sendable {
    let value: FetchRequest.Start

    /// The oldest record kept.
    public static let start = FetchStart(value: .start)
    /// After the newest record.
    public static let end = FetchStart(value: .end)
    public static func offset(_ offset: Int64) -> FetchStart {
        FetchStart(value: .offset(Offset(max(0, offset))))
    }
}

/// Records of one stream, in order.
public struct FetchPage: Hashable, Sendable {
    /// Where to go on.
    public var next: Int64
    public var logStart: Int64
    public var logEnd: Int64
    public var records: [FetchedRecord]

    init(_ view: FetchReplyView, topic: String) {
        next = view.next.rawValue
        logStart = view.logStart.rawValue
        logEnd = view.logEnd.rawValue
        var records: [FetchedRecord] = []
        records.reserveCapacity(view.count)
        view.forEach {
            records.append(
                FetchedRecord(
                    offset: $0.offset.rawValue,
                    acceptedAt: Notification.Time($0.wall),
                    id: Notification.ID(value: $0.id),
                    user: $0.key.text,
                    payload: Array($0.value),
                    topic: topic
                )
            )
        }
        self.records = records
    }
}

public struct FetchedRecord: Hashable, Sendable {
    public var offset: Int64
    public var acceptedAt: Notification.Time
    public var id: Notification.ID
    public var user: String
    /// The notification's envelope, as stored.
    public var payload: [UInt8]
    let topic: String

    /// The payload read; nil when it is no envelope.
    public var notification: Notification? { Notification(envelope: payload, topic: topic) }
}

/// A stored text with `{{variables}}`.
public struct Template: Hashable, Sendable {
    public var name: String
    public var channel: Notification.Channel
    public var subject: String
    public var text: String
    public var html: String

    public init(
        name: String,
        channel: Notification.Channel,
        subject: String = "",
        text: String = "",
        html: String = ""
    ) {
        self.name = name
        self.channel = channel
        self.subject = subject
        self.text = text
        self.html = html
    }

    init(_ message: TemplateMessage) {
        self.init(
            name: message.name,
            channel: Notification.Channel(value: message.channel),
            subject: message.subject,
            text: message.text,
            html: message.html
        )
    }

    /// The message, when it is within the limits of the protocol.
    func message() throws(ClientError) -> TemplateMessage {
        let sizes = [
            ("name", name, Limits.templateNameBytesMax),
            ("subject", subject, Limits.subjectBytesMax),
            ("text", text, Limits.templateBytesMax), ("html", html, Limits.templateBytesMax),
        ]
        for (field, value, limit) in sizes where value.utf8.count > limit {
            throw ClientError(
                ClientError.Code(ErrorCode.invalidTemplate.name),
                "\(field) has \(value.utf8.count) bytes; the limit is \(limit)"
            )
        }
        return TemplateMessage(
            name: name,
            channel: channel.value,
            subject: subject,
            text: text,
            html: html
        )
    }
}
