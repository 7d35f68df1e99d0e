// One waiting message as a row of the state store. Keys sort by group, then by due time, so that "what
// is due next" is the front of a scan.
//
//      key     'h' | group u16 | due ms i64 | stream u32 | offset i64       big-endian, 23 bytes
//      value   attempt u16 | reason u8 | newest entry's position u64        little-endian, 11 bytes

package import PulseCore

package struct HeldRow: Hashable, BitwiseCopyable, Sendable {
    package var message: MessageKey
    package var due: WallTimestamp
    /// Attempts made so far.
    package var attempt: UInt16
    package var reason: HoldReason
    /// The entry that put it here.
    package var position: LogPosition

    package init(
        message: MessageKey,
        due: WallTimestamp,
        attempt: UInt16,
        reason: HoldReason,
        position: LogPosition
    ) {
        self.message = message
        self.due = due
        self.attempt = attempt
        self.reason = reason
        self.position = position
    }

    package var origin: MessageOrigin { reason == .scheduled ? .scheduled : .held }

    package var key: [UInt8] { Self.key(message, due: due) }

    package var value: [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(littleEndian: attempt)
        bytes.append(reason.rawValue)
        bytes.append(littleEndian: position.rawValue)
        return bytes
    }

    /// Writes the row, and the one that finds it by message.
    func put(into rows: inout StateBatch) {
        rows.put(key, value)
        rows.put(WaitingRow.key(message), WaitingRow.value(due: due))
    }

    static func delete(_ message: MessageKey, due: WallTimestamp, from rows: inout StateBatch) {
        rows.delete(key(message, due: due))
        rows.delete(WaitingRow.key(message))
    }

    package static func key(_ message: MessageKey, due: WallTimestamp) -> [UInt8] {
        var bytes = prefix(message.group)
        bytes.reserveCapacity(23)
        bytes.append(bigEndian: due.milliseconds)
        bytes.append(bigEndian: message.stream.rawValue)
        bytes.append(bigEndian: message.offset.rawValue)
        return bytes
    }

    /// What the keys of a group's rows begin with.
    package static func prefix(_ group: GroupID) -> [UInt8] {
        var bytes: [UInt8] = [0x68]
        bytes.append(bigEndian: group.rawValue)
        return bytes
    }

    package init?(_ row: StateRow) {
        let parsed = row.key.withUnsafeBytes { key -> HeldRow? in
            var reader = ByteReader(key)
            guard reader.byte() == 0x68, let group: UInt16 = reader.bigEndian(),
                let due: Int64 = reader.bigEndian(), let stream: UInt32 = reader.bigEndian(),
                let offset: Int64 = reader.bigEndian(), reader.isAtEnd
            else { return nil }
            return row.value.withUnsafeBytes { value in
                var fields = ByteReader(value)
                guard let attempt: UInt16 = fields.littleEndian(),
                    let reason = fields.byte().flatMap(HoldReason.init(rawValue:)),
                    let position: UInt64 = fields.littleEndian(), fields.isAtEnd
                else { return nil }
                return HeldRow(
                    message: MessageKey(
                        group: GroupID(group),
                        stream: StreamID(rawValue: stream),
                        offset: Offset(offset)
                    ),
                    due: WallTimestamp(milliseconds: due),
                    attempt: attempt,
                    reason: reason,
                    position: LogPosition(position)
                )
            }
        }
        guard let parsed else { return nil }
        self = parsed
    }
}
