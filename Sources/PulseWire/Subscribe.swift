// subscribe, unsubscribe and credit: who wants what, and how much at a time.
//
//     subscribe 0x03:    subscription u32 | topic string16 | group string16 | start u8 | credit u32
//                        | lease ms u32 (0: the server's) | lanes u8, bit n is lane n
//     reply 0x83:        lease ms u32
//     unsubscribe 0x04:  subscription u32                    reply 0x84: empty
//     credit 0x05:       subscription u32 | add u32          no reply
//
// A credit is one delivery. The server never has more deliveries on their way than it was given
// credit for, and never counts above Limits.creditMax.

package import PulseCore

/// A set of lanes, one bit each.
package struct LaneSet: OptionSet, Hashable, Sendable {
    package var rawValue: UInt8

    package init(rawValue: UInt8) { self.rawValue = rawValue }
    package init(_ lane: Lane) { rawValue = 1 << lane.rawValue }

    package func contains(lane: Lane) -> Bool { rawValue & (1 << lane.rawValue) != 0 }

    /// Every lane but the dead letters.
    package static let living = LaneSet(rawValue: 0b0_1111)
    package static let all = LaneSet(rawValue: 0b1_1111)
}

package struct SubscribeRequest: Hashable, Sendable {
    /// Where a group that did not exist begins.
    package enum Start: UInt8, Sendable {
        case earliest = 0
        case latest = 1
    }

    /// Chosen by the client, unique on its connection.
    package var subscription: UInt32
    package var topic: String
    package var group: String
    package var start: Start
    package var credit: UInt32
    /// 0 for the server's default.
    package var leaseMilliseconds: UInt32
    package var lanes: LaneSet

    package init(
        subscription: UInt32,
        topic: String,
        group: String,
        start: Start,
        credit: UInt32,
        leaseMilliseconds: UInt32 = 0,
        lanes: LaneSet = .living
    ) {
        self.subscription = subscription
        self.topic = topic
        self.group = group
        self.start = start
        self.credit = credit
        self.leaseMilliseconds = leaseMilliseconds
        self.lanes = lanes
    }

    package init(reading body: UnsafeRawBufferPointer) throws(WireError) {
        var reader = BodyReader(body)
        subscription = try reader.u32("subscription")
        topic = try reader.string16("topic")
        group = try reader.string16("group")
        guard let start = Start(rawValue: try reader.u8("start")) else {
            throw reader.malformed("start")
        }
        self.start = start
        credit = try reader.u32("credit")
        leaseMilliseconds = try reader.u32("lease milliseconds")
        lanes = LaneSet(rawValue: try reader.u8("lanes"))
        guard !lanes.isEmpty, lanes.isSubset(of: .all) else { throw reader.malformed("lanes") }
        try reader.end()
    }

    package func encode(correlation: UInt32, into bytes: inout [UInt8]) {
        let frame = OpenFrame(.subscribe, correlation: correlation, in: &bytes)
        bytes.append(littleEndian: subscription)
        bytes.append(string16: topic)
        bytes.append(string16: group)
        bytes.append(start.rawValue)
        bytes.append(littleEndian: credit)
        bytes.append(littleEndian: leaseMilliseconds)
        bytes.append(lanes.rawValue)
        frame.close(in: &bytes)
    }
}

package struct SubscribeReply: Hashable, Sendable {
    /// The time a delivery may be held before it goes to somebody else.
    package var leaseMilliseconds: UInt32

    package init(leaseMilliseconds: UInt32) { self.leaseMilliseconds = leaseMilliseconds }

    package init(reading body: UnsafeRawBufferPointer) throws(WireError) {
        var reader = BodyReader(body)
        leaseMilliseconds = try reader.u32("lease milliseconds")
        try reader.end()
    }

    package func encode(correlation: UInt32, into bytes: inout [UInt8]) {
        let frame = OpenFrame(.subscribeReply, correlation: correlation, in: &bytes)
        bytes.append(littleEndian: leaseMilliseconds)
        frame.close(in: &bytes)
    }
}

/// Ends a subscription; what it still holds is released at once.
package struct UnsubscribeRequest: Hashable, Sendable {
    package var subscription: UInt32

    package init(subscription: UInt32) { self.subscription = subscription }

    package init(reading body: UnsafeRawBufferPointer) throws(WireError) {
        var reader = BodyReader(body)
        subscription = try reader.u32("subscription")
        try reader.end()
    }

    package func encode(correlation: UInt32, into bytes: inout [UInt8]) {
        let frame = OpenFrame(.unsubscribe, correlation: correlation, in: &bytes)
        bytes.append(littleEndian: subscription)
        frame.close(in: &bytes)
    }

    package static func encodeReply(correlation: UInt32, into bytes: inout [UInt8]) {
        OpenFrame(.unsubscribeReply, correlation: correlation, in: &bytes).close(in: &bytes)
    }
}

package struct CreditMessage: Hashable, Sendable {
    package var subscription: UInt32
    package var add: UInt32

    package init(subscription: UInt32, add: UInt32) {
        self.subscription = subscription
        self.add = add
    }

    package init(reading body: UnsafeRawBufferPointer) throws(WireError) {
        var reader = BodyReader(body)
        subscription = try reader.u32("subscription")
        add = try reader.u32("add")
        try reader.end()
    }

    package func encode(into bytes: inout [UInt8]) {
        let frame = OpenFrame(.credit, correlation: 0, in: &bytes)
        bytes.append(littleEndian: subscription)
        bytes.append(littleEndian: add)
        frame.close(in: &bytes)
    }
}
