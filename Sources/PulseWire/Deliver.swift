// deliver: the server pushes leased records, as many as credit and frame allow.
//
//     deliver 0x40, correlation 0:   subscription u32 | count u16 | deliveries
//
//     delivery:   token 22 | id 16 | wall ms i64 | key bytes16 | value bytes32
//
// The value is the envelope as it was produced. The lease runs from the moment the server sends.

package import PulseCore

/// Appends one deliver frame to a buffer: the hot path outwards, without an allocation per item.
package struct DeliverWriter: Sendable {
    private let frame: OpenFrame
    package private(set) var count = 0

    /// Bytes of a delivery besides its key and value.
    package static let fixedBytes = 22 + 16 + 8 + 2 + 4

    package init(subscription: UInt32, in bytes: inout [UInt8]) {
        frame = OpenFrame(.deliver, correlation: 0, in: &bytes)
        bytes.append(littleEndian: subscription)
        bytes.append(littleEndian: UInt16(0))
    }

    /// Whether one more delivery stays within the frame limit.
    package func fits(keyBytes: Int, valueBytes: Int, in bytes: borrowing [UInt8]) -> Bool {
        count < Int(UInt16.max)
            && bytes.count - frame.start - 4 + Self.fixedBytes + keyBytes + valueBytes
                <= Limits.frameBytesMax
    }

    package mutating func append(
        _ token: DeliveryToken,
        id: NotificationID,
        wall: WallTimestamp,
        key: UnsafeRawBufferPointer,
        value: UnsafeRawBufferPointer,
        into bytes: inout [UInt8]
    ) {
        count += 1
        token.append(to: &bytes)
        bytes.append(id)
        bytes.append(littleEndian: wall.milliseconds)
        bytes.append(bytes16: key)
        bytes.append(bytes32: value)
    }

    /// Closes the frame; one without deliveries is taken back.
    package func close(in bytes: inout [UInt8]) {
        guard count > 0 else { return frame.abandon(in: &bytes) }
        bytes.patch(at: frame.start + Frame.headerBytes + 4, littleEndian: UInt16(count))
        frame.close(in: &bytes)
    }
}

/// One delivery, read in place.
package struct DeliveryView {
    package var token: DeliveryToken
    package var id: NotificationID
    package var wall: WallTimestamp
    package var key: UnsafeRawBufferPointer
    package var value: UnsafeRawBufferPointer

    init(reading reader: inout BodyReader) throws(WireError) {
        token = try DeliveryToken(reading: &reader)
        id = try reader.notificationID("id")
        wall = WallTimestamp(milliseconds: try reader.i64("wall"))
        key = try reader.bytes16("key")
        value = try reader.bytes32("value")
    }
}

/// A deliver frame, read in place. Everything is checked when the view is made.
package struct DeliverView {
    package let subscription: UInt32
    package let count: Int
    private let deliveries: UnsafeRawBufferPointer

    package init(reading body: UnsafeRawBufferPointer) throws(WireError) {
        var reader = BodyReader(body)
        subscription = try reader.u32("subscription")
        count = Int(try reader.u16("count"))
        deliveries = UnsafeRawBufferPointer(rebasing: body[reader.reader.position...])
        for _ in 0..<count { _ = try DeliveryView(reading: &reader) }
        try reader.end()
    }

    package func forEach(_ visit: (DeliveryView) -> Void) {
        var reader = BodyReader(deliveries)
        for _ in 0..<count {
            guard let delivery = try? DeliveryView(reading: &reader) else {
                preconditionFailure("the view checked every delivery when it was made")
            }
            visit(delivery)
        }
    }
}
