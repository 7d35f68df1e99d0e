// What a service sends: who, where to, with which words, and when. Written as an envelope, the flat
// list of tagged fields that the broker stores (spec/02-wire.md, "Notification envelope").

internal import PulseCore

/// One notification to one recipient on one channel.
///
/// Either a template with data, or content, or a template whose parts the content replaces.
public struct Notification: Hashable, Sendable {
    /// Whose notification it is. Every rule about a recipient (order, limits, opt-outs) goes by it.
    public var user: String
    /// Where it goes: an e-mail address, a phone number, a push token or a URL, by channel.
    public var to: String
    /// Nil only when a producer of a named topic sends it.
    public var channel: Channel?
    public var template: String?
    /// The template's variables.
    public var data: [String: String]
    public var content: Content
    /// Nil when the broker chooses by its rules.
    public var lane: Lane?
    /// The same key never sends twice. The client draws one when it is nil.
    public var idempotencyKey: String?
    /// Not before this time; nil for at once.
    public var deliverAt: Time?

    public init(
        user: String,
        to: String,
        channel: Channel? = nil,
        template: String? = nil,
        data: [String: String] = [:],
        content: Content = Content(),
        lane: Lane? = nil,
        idempotencyKey: String? = nil,
        deliverAt: Time? = nil
    ) {
        self.user = user
        self.to = to
        self.channel = channel
        self.template = template
        self.data = data
        self.content = content
        self.lane = lane
        self.idempotencyKey = idempotencyKey
        self.deliverAt = deliverAt
    }

    public struct Content: Hashable, Sendable {
        public var subject: String?
        public var text: String?
        public var html: String?

        public init(subject: String? = nil, text: String? = nil, html: String? = nil) {
            self.subject = subject
            self.text = text
            self.html = html
        }
    }

    public struct Channel: Hashable, Sendable {
        let value: PulseCore.Channel

        public static let email = Channel(value: .email)
        public static let webhook = Channel(value: .webhook)
        public static let sms = Channel(value: .sms)
        public static let push = Channel(value: .push)

        public var name: String { value.name }
        /// The topic that carries this channel's notifications.
        public var topic: String { value.topicName }

        public init?(name: String) {
            guard let value = PulseCore.Channel(name: name) else { return nil }
            self.value = value
        }

        init(value: PulseCore.Channel) { self.value = value }
    }

    public struct Lane: Hashable, Sendable {
        let value: PulseCore.Lane

        public static let critical = Lane(value: .critical)
        public static let high = Lane(value: .high)
        public static let normal = Lane(value: .normal)
        public static let bulk = Lane(value: .bulk)
        /// Where failed notifications rest: to read from, never to send to.
        public static let dead = Lane(value: .dead)

        public var name: String { value.name }

        public init?(name: String) {
            guard let value = PulseCore.Lane(name: name) else { return nil }
            self.value = value
        }

        init(value: PulseCore.Lane) { self.value = value }
    }

    /// A notification's name, given by the broker: a UUID.
    public struct ID: Hashable, Sendable, CustomStringConvertible {
        let value: NotificationID

        public init?(_ text: String) {
            guard let value = NotificationID(text) else { return nil }
            self.value = value
        }

        init(value: NotificationID) { self.value = value }

        public var description: String { value.description }
    }

    /// A moment, in milliseconds since 1970.
    public struct Time: Hashable, Comparable, Sendable, CustomStringConvertible {
        public var millisecondsSince1970: Int64

        public init(millisecondsSince1970: Int64) {
            self.millisecondsSince1970 = millisecondsSince1970
        }

        public static var now: Time {
            Time(millisecondsSince1970: SystemTime.now().wall.milliseconds)
        }

        public func advanced(by duration: Duration) -> Time {
            Time(millisecondsSince1970: millisecondsSince1970 + duration.milliseconds)
        }

        public static func < (a: Time, b: Time) -> Bool {
            a.millisecondsSince1970 < b.millisecondsSince1970
        }

        public var description: String {
            WallTimestamp(milliseconds: millisecondsSince1970).rfc3339
        }
    }
}

extension Notification {
    /// The envelope's bytes. Data is ordered by name, so that equal notifications are equal bytes:
    /// a repeat with the same key is then a duplicate and not a conflict.
    func envelope(key: String) throws(ClientError) -> [UInt8] {
        try check("user", user, Limits.userBytesMax)
        guard !user.isEmpty else { throw ClientError(.invalidNotification, "user is empty") }
        try check("to", to, Limits.addressBytesMax)
        try check("idempotency key", key, Limits.idempotencyKeyBytesMax)
        guard lane != .dead else {
            throw ClientError(.invalidNotification, "nothing is sent to the lane 'dead'")
        }
        var writer = EnvelopeWriter()
        writer.append(.user, user)
        writer.append(.address, to)
        if let template { writer.append(.template, template) }
        if let subject = content.subject { writer.append(.subject, subject) }
        if let text = content.text { writer.append(.text, text) }
        if let html = content.html { writer.append(.html, html) }
        writer.append(.idempotencyKey, key)
        for (name, value) in data.sorted(by: { $0.key < $1.key }) {
            writer.append(datum: name, value)
        }
        if let deliverAt {
            writer.append(
                deliverAt: WallTimestamp(milliseconds: deliverAt.millisecondsSince1970)
            )
        }
        if let lane { writer.append(.requestedLane, byte: lane.value.rawValue) }
        writer.append(.origin, byte: EnvelopeOrigin.native.rawValue)
        guard writer.bytes.count <= Limits.envelopeBytesMax else {
            throw ClientError(
                .invalidNotification,
                "the notification has \(writer.bytes.count) bytes; the limit is "
                    + "\(Limits.envelopeBytesMax)"
            )
        }
        return writer.bytes
    }

    private func check(_ field: String, _ text: String, _ limit: Int) throws(ClientError) {
        guard text.utf8.count <= limit else {
            throw ClientError(
                .invalidNotification,
                "\(field) has \(text.utf8.count) bytes; the limit is \(limit)"
            )
        }
    }

    /// Reads a stored envelope back; nil when it is not one.
    init?(envelope bytes: [UInt8], topic: String) {
        let parsed: Notification? = bytes.withUnsafeBytes { bytes in
            guard let envelope = Envelope(bytes) else { return nil }
            var data: [String: String] = [:]
            for (name, value) in envelope.data { data[name.text] = value.text }
            return Notification(
                user: envelope.user?.text ?? "",
                to: envelope.address?.text ?? "",
                channel: PulseCore.Channel.allCases.first { $0.topicName == topic }
                    .map(Channel.init(value:)),
                template: envelope.template?.text,
                data: data,
                content: Content(
                    subject: envelope.subject?.text,
                    text: envelope.text?.text,
                    html: envelope.html?.text
                ),
                lane: envelope.requestedLane.map(Lane.init(value:)),
                idempotencyKey: envelope.idempotencyKey?.text,
                deliverAt: envelope.deliverAt.map {
                    Time(millisecondsSince1970: $0.milliseconds)
                }
            )
        }
        guard let parsed else { return nil }
        self = parsed
    }
}

/// What the broker answered to one notification. It is on stable storage.
public struct Receipt: Hashable, Sendable {
    public var id: Notification.ID
    /// Whether the same idempotency key was accepted before; the id is the first one's.
    public var isDuplicate: Bool
}
