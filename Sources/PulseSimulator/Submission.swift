// What producers hand in. Every submission carries a mark of its own in its content, so that the
// checker knows from a provider's mail alone which one it was.

package import PulseCore

/// Which door a submission goes through.
package enum Door: Sendable {
    case v1
    case compatible
    case native
}

/// One notification as a client means it.
package struct Submission: Sendable {
    /// Unique in the run.
    package var number: Int
    package var door: Door
    package var channel: Channel
    package var user: String
    /// Submissions with the same key share a number in ``keyGroup``.
    package var key: String?
    /// What `key` stands for, -1 without one; submissions of one group with different marks
    /// conflict.
    package var keyGroup = -1
    package var deliverAt: WallTimestamp?
    package var lane: Lane?
    /// Whether it is rendered from the channel's template, with the mark as a variable.
    package var usesTemplate: Bool

    package init(
        number: Int,
        door: Door,
        channel: Channel,
        user: String,
        key: String? = nil,
        keyGroup: Int = -1,
        deliverAt: WallTimestamp? = nil,
        lane: Lane? = nil,
        usesTemplate: Bool = false
    ) {
        self.number = number
        self.door = door
        self.channel = channel
        self.user = user
        self.key = key
        self.keyGroup = keyGroup
        self.deliverAt = deliverAt
        self.lane = lane
        self.usesTemplate = usesTemplate
    }

    /// The text by which its content is known.
    package var mark: String { "mark-\(number)-end" }

    /// The number in the first mark found in some bytes.
    package static func number(markedIn bytes: some Collection<UInt8>) -> Int? {
        let bytes = Array(bytes)
        let start = Array("mark-".utf8)
        var index = 0
        while index + start.count < bytes.count {
            guard bytes[index] == start[0], bytes[index..<index + start.count].elementsEqual(start)
            else {
                index += 1
                continue
            }
            var digit = index + start.count
            var number = 0
            while digit < bytes.count, (48...57).contains(bytes[digit]), number < 1_000_000 {
                number = number * 10 + Int(bytes[digit] - 48)
                digit += 1
            }
            if digit > index + start.count, bytes[digit...].starts(with: "-end".utf8) {
                return number
            }
            index += 1
        }
        return nil
    }

    var address: String {
        switch channel {
        case .email: "\(user)@example.com"
        case .webhook: "https://hooks.example.com/\(user)"
        case .sms: "+4915112345"
        case .push: "token-\(user)"
        }
    }

    static func templateName(_ channel: Channel) -> String { "note-\(channel.name)" }

    /// The body of the HTTP request that submits it.
    var json: String {
        switch door {
        case .compatible: compatibleJSON
        case .v1, .native: v1JSON
        }
    }

    private var v1JSON: String {
        let field =
            switch channel {
            case .email: "email"
            case .webhook: "url"
            case .sms: "phone"
            case .push: "push_token"
            }
        var json = "{\"to\":{\"user\":\"\(user)\",\"\(field)\":\"\(address)\"}"
        if usesTemplate {
            json += ",\"template\":\"\(Self.templateName(channel))\",\"data\":{\"m\":\"\(mark)\"}"
        } else {
            json += ",\"content\":{\"subject\":\"\(mark)\",\"text\":\"It is \(mark).\"}"
        }
        if let key { json += ",\"idempotency_key\":\"\(key)\"" }
        if let lane { json += ",\"lane\":\"\(lane.name)\"" }
        if let deliverAt { json += ",\"deliver_at\":\(deliverAt.milliseconds)" }
        return json + "}"
    }

    private var compatibleJSON: String {
        var json = "{\"template_name\":\"\(Self.templateName(channel))\",\"user_id\":\"\(user)\""
        json += ",\"to\":\"\(address)\",\"context\":{\"m\":\"\(mark)\"}"
        if let key { json += ",\"idempotency_key\":\"\(key)\"" }
        return json + "}"
    }

    /// The envelope of the record that submits it over the native protocol.
    var envelope: [UInt8] {
        var writer = EnvelopeWriter()
        writer.append(.user, user)
        writer.append(.address, address)
        if usesTemplate {
            writer.append(.template, Self.templateName(channel))
            writer.append(datum: "m", mark)
        } else {
            writer.append(.subject, mark)
            writer.append(.text, "It is \(mark).")
        }
        if let key { writer.append(.idempotencyKey, key) }
        if let deliverAt { writer.append(deliverAt: deliverAt) }
        if let lane { writer.append(.requestedLane, byte: lane.rawValue) }
        return writer.bytes
    }
}
