// One dead letter as a row of the state store: its offset in the lane `dead` leads to the message.
//
//      key     'd' | dead stream u32 | dead offset i64                          big-endian
//      value   message's stream u32 | offset i64 | entry's position u64          little-endian

package import PulseCore

package struct DeadRow: Hashable, Sendable {
    package var deadStream: StreamID
    package var deadOffset: Offset
    package var stream: StreamID
    package var offset: Offset
    /// The entry that tells of the death.
    package var position: LogPosition

    package var key: [UInt8] { Self.key(deadStream, deadOffset) }

    package var value: [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(littleEndian: stream.rawValue)
        bytes.append(littleEndian: offset.rawValue)
        bytes.append(littleEndian: position.rawValue)
        return bytes
    }

    package static func key(_ stream: StreamID, _ offset: Offset) -> [UInt8] {
        var bytes: [UInt8] = [0x64]
        bytes.append(bigEndian: stream.rawValue)
        bytes.append(bigEndian: offset.rawValue)
        return bytes
    }

    package init(
        deadStream: StreamID,
        deadOffset: Offset,
        stream: StreamID,
        offset: Offset,
        position: LogPosition
    ) {
        self.deadStream = deadStream
        self.deadOffset = deadOffset
        self.stream = stream
        self.offset = offset
        self.position = position
    }

    package init?(_ row: StateRow) {
        let parsed = row.key.withUnsafeBytes { key -> DeadRow? in
            var reader = ByteReader(key)
            guard reader.byte() == 0x64, let deadStream: UInt32 = reader.bigEndian(),
                let deadOffset: Int64 = reader.bigEndian(), reader.isAtEnd
            else { return nil }
            return row.value.withUnsafeBytes { value in
                var fields = ByteReader(value)
                guard let stream: UInt32 = fields.littleEndian(),
                    let offset: Int64 = fields.littleEndian(),
                    let position: UInt64 = fields.littleEndian(), fields.isAtEnd,
                    NotificationID.names(StreamID(rawValue: stream), Offset(offset))
                else { return nil }
                return DeadRow(
                    deadStream: StreamID(rawValue: deadStream),
                    deadOffset: Offset(deadOffset),
                    stream: StreamID(rawValue: stream),
                    offset: Offset(offset),
                    position: LogPosition(position)
                )
            }
        }
        guard let parsed else { return nil }
        self = parsed
    }
}
