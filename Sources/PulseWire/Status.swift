// status and its reply: what became of one notification.
//
//     status 0x09:  notification id 16
//     reply 0x89:   state u8 | channel u8 | lane u8 | attempts u16 | accepted ms i64
//                   | updated ms i64 | due ms i64 (-1: none) | error text string16
//
// An identifier that names nothing is answered with an error frame, code not_found.

package import PulseCore

package struct StatusRequest: Hashable, Sendable {
    package var id: NotificationID

    package init(id: NotificationID) { self.id = id }

    package init(reading body: UnsafeRawBufferPointer) throws(WireError) {
        var reader = BodyReader(body)
        id = try reader.notificationID("id")
        try reader.end()
    }

    package func encode(correlation: UInt32, into bytes: inout [UInt8]) {
        let frame = OpenFrame(.status, correlation: correlation, in: &bytes)
        bytes.append(id)
        frame.close(in: &bytes)
    }
}

package struct StatusReply: Hashable, Sendable {
    package var state: NotificationState
    package var channel: Channel
    package var lane: Lane
    package var attempts: UInt16
    package var accepted: WallTimestamp
    /// When the state last changed.
    package var updated: WallTimestamp
    /// When it is next looked at; nil when nothing is planned.
    package var due: WallTimestamp?
    /// The last failure in words; empty when there was none.
    package var errorText: String

    package init(
        state: NotificationState,
        channel: Channel,
        lane: Lane,
        attempts: UInt16,
        accepted: WallTimestamp,
        updated: WallTimestamp,
        due: WallTimestamp? = nil,
        errorText: String = ""
    ) {
        self.state = state
        self.channel = channel
        self.lane = lane
        self.attempts = attempts
        self.accepted = accepted
        self.updated = updated
        self.due = due
        self.errorText = errorText
    }

    package init(reading body: UnsafeRawBufferPointer) throws(WireError) {
        var reader = BodyReader(body)
        guard let state = NotificationState(rawValue: try reader.u8("state")) else {
            throw reader.malformed("state")
        }
        self.state = state
        guard let channel = Channel(rawValue: try reader.u8("channel")) else {
            throw reader.malformed("channel")
        }
        self.channel = channel
        lane = try reader.lane("lane")
        attempts = try reader.u16("attempts")
        accepted = WallTimestamp(milliseconds: try reader.i64("accepted"))
        updated = WallTimestamp(milliseconds: try reader.i64("updated"))
        let dueMilliseconds = try reader.i64("due")
        due = dueMilliseconds == -1 ? nil : WallTimestamp(milliseconds: dueMilliseconds)
        errorText = try reader.string16("error text")
        try reader.end()
    }

    package func encode(correlation: UInt32, into bytes: inout [UInt8]) {
        let frame = OpenFrame(.statusReply, correlation: correlation, in: &bytes)
        bytes.append(state.rawValue)
        bytes.append(channel.rawValue)
        bytes.append(lane.rawValue)
        bytes.append(littleEndian: attempts)
        bytes.append(littleEndian: accepted.milliseconds)
        bytes.append(littleEndian: updated.milliseconds)
        bytes.append(littleEndian: due?.milliseconds ?? -1)
        bytes.append(message16: errorText)
        frame.close(in: &bytes)
    }
}
