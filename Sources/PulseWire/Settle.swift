// acknowledge, reject and extend, and their common reply: what a consumer says about its
// deliveries.
//
//     acknowledge 0x06:  subscription u32 | tokens
//     reject 0x07:       subscription u32 | delay ms u64 (all ones: by policy) | reason string16
//                        | tokens
//     extend 0x08:       subscription u32 | milliseconds u32 | tokens
//     tokens:            run count u16, then runs (DeliveryToken.swift)
//
//     replies 0x86 0x87 0x88:   settled u32 | stale u32 | bitmap, only when stale > 0
//
// In the bitmap bit i % 8 of byte i / 8 is set when token i was stale: its lease had ended and the
// delivery is no longer this consumer's. Repeating a request is safe: the same answer comes again.

internal import PulseCore

/// "Finished": never delivered again.
package struct AcknowledgeView {
    package let subscription: UInt32
    package let tokens: TokenList

    package init(reading body: UnsafeRawBufferPointer) throws(WireError) {
        var reader = BodyReader(body)
        subscription = try reader.u32("subscription")
        tokens = try TokenList(reading: &reader)
        try reader.end()
    }

    package static func encode(
        subscription: UInt32,
        tokens: TokenRuns,
        correlation: UInt32,
        into bytes: inout [UInt8]
    ) {
        let frame = OpenFrame(.acknowledge, correlation: correlation, in: &bytes)
        bytes.append(littleEndian: subscription)
        tokens.append(to: &bytes)
        frame.close(in: &bytes)
    }
}

/// "Not now", or "not ever": deliver again after a delay, until the attempts are used up.
package struct RejectView {
    package let subscription: UInt32
    /// Nil when the broker's retry policy chooses.
    package let delayMilliseconds: UInt64?
    package let reason: String
    package let tokens: TokenList

    package static let byPolicy = UInt64.max

    package init(reading body: UnsafeRawBufferPointer) throws(WireError) {
        var reader = BodyReader(body)
        subscription = try reader.u32("subscription")
        let delay = try reader.u64("delay")
        delayMilliseconds = delay == Self.byPolicy ? nil : delay
        reason = try reader.string16("reason")
        tokens = try TokenList(reading: &reader)
        try reader.end()
    }

    package static func encode(
        subscription: UInt32,
        delayMilliseconds: UInt64?,
        reason: String,
        tokens: TokenRuns,
        correlation: UInt32,
        into bytes: inout [UInt8]
    ) {
        let frame = OpenFrame(.reject, correlation: correlation, in: &bytes)
        bytes.append(littleEndian: subscription)
        bytes.append(littleEndian: delayMilliseconds ?? byPolicy)
        bytes.append(message16: reason)
        tokens.append(to: &bytes)
        frame.close(in: &bytes)
    }
}

/// "Still at work": the lease ends this many milliseconds from now.
package struct ExtendView {
    package let subscription: UInt32
    package let milliseconds: UInt32
    package let tokens: TokenList

    package init(reading body: UnsafeRawBufferPointer) throws(WireError) {
        var reader = BodyReader(body)
        subscription = try reader.u32("subscription")
        milliseconds = try reader.u32("milliseconds")
        tokens = try TokenList(reading: &reader)
        try reader.end()
    }

    package static func encode(
        subscription: UInt32,
        milliseconds: UInt32,
        tokens: TokenRuns,
        correlation: UInt32,
        into bytes: inout [UInt8]
    ) {
        let frame = OpenFrame(.extend, correlation: correlation, in: &bytes)
        bytes.append(littleEndian: subscription)
        bytes.append(littleEndian: milliseconds)
        tokens.append(to: &bytes)
        frame.close(in: &bytes)
    }
}

/// Which of the three a reply is for.
package enum Settlement: Sendable {
    case acknowledge, reject, extend

    var replyOperation: Operation {
        switch self {
        case .acknowledge: .acknowledgeReply
        case .reject: .rejectReply
        case .extend: .extendReply
        }
    }
}

/// Appends the reply, one verdict per token in the order of the request.
package struct SettleReplyWriter: Sendable {
    private let frame: OpenFrame
    private var count = 0
    private var stale: UInt32 = 0

    package init(_ settlement: Settlement, correlation: UInt32, in bytes: inout [UInt8]) {
        frame = OpenFrame(settlement.replyOperation, correlation: correlation, in: &bytes)
        bytes.append(littleEndian: UInt64(0))
    }

    package mutating func append(stale isStale: Bool, into bytes: inout [UInt8]) {
        if count % 8 == 0 { bytes.append(0) }
        if isStale {
            bytes[bytes.count - 1] |= 1 << UInt8(count % 8)
            stale += 1
        }
        count += 1
    }

    package func close(in bytes: inout [UInt8]) {
        let body = frame.start + Frame.headerBytes
        if stale == 0 { bytes.removeSubrange((body + 8)...) }
        bytes.patch(at: body, littleEndian: UInt32(count) - stale)
        bytes.patch(at: body + 4, littleEndian: stale)
        frame.close(in: &bytes)
    }
}

/// The reply, read in place.
package struct SettleReplyView {
    package let settled: Int
    package let stale: Int
    private let bitmap: UnsafeRawBufferPointer

    package var count: Int { settled + stale }

    package init(reading body: UnsafeRawBufferPointer) throws(WireError) {
        var reader = BodyReader(body)
        settled = Int(try reader.u32("settled"))
        stale = Int(try reader.u32("stale"))
        bitmap =
            stale == 0
            ? UnsafeRawBufferPointer(start: nil, count: 0)
            : try reader.take((settled + stale + 7) / 8, "bitmap")
        let count = settled + stale
        let marked = bitmap.reduce(0) { $0 + $1.nonzeroBitCount }
        let unused = bitmap.isEmpty ? 0 : Int(bitmap[bitmap.count - 1]) >> ((count - 1) % 8 + 1)
        guard marked == stale, unused == 0 else { throw reader.malformed("bitmap") }
        try reader.end()
    }

    /// Whether the request's token number `index` was stale.
    package func isStale(_ index: Int) -> Bool {
        precondition(index >= 0 && index < count, "the request had fewer tokens")
        return stale > 0 && bitmap[index / 8] & (1 << UInt8(index % 8)) != 0
    }
}
