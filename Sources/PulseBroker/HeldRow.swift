// One waiting message as a row of the state store. Keys sort by group, then by due time, so that "what
// is due next" is the front of a scan.
//
//      key     'h' | group u16 | due ms i64 | stream u32 | offset i64       big-endian, 23 bytes
//      value   attempt u16 | reason u8 | newest entry's position u64        little-endian, 19 bytes
//              | wall ms i64 of that entry                                  (until 1.0: 11, without it)

package import PulseCore

package struct HeldRow: Hashable, BitwiseCopyable, Sendable {
    package var message: MessageKey
    package var due: WallTimestamp
    /// Attempts made so far.
    package var attempt: UInt16
    package var reason: HoldReason
    /// The entry that put it here.
    package var position: LogPosition
    /// What the wall clock said when the wait began, which tells its own delay when that clock was wrong;
    /// nil in a row that a program before rows 1.1 wrote.
    package var since: WallTimestamp?

    package init(
        message: MessageKey,
        due: WallTimestamp,
        attempt: UInt16,
        reason: HoldReason,
        position: LogPosition,
        since: WallTimestamp?
    ) {
        self.message = message
        self.due = due
        self.attempt = attempt
        self.reason = reason
        self.position = position
        self.since = since
    }

    package var origin: MessageOrigin { reason == .scheduled ? .scheduled : .held }

    package var key: [UInt8] { Self.key(message, due: due) }

    package var value: [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(littleEndian: attempt)
        bytes.append(reason.rawValue)
        bytes.append(littleEndian: position.rawValue)
        if let since { bytes.append(littleEndian: since.milliseconds) }
        return bytes
    }

    /// Bytes of a value before rows 1.1.
    private static let oldValueBytes = 11

    /// Whether a stored value says what the log tells, as far as the version that wrote it could.
    static func isValue(_ stored: [UInt8], for told: [UInt8]) -> Bool {
        stored == told || stored.count == oldValueBytes && told.starts(with: stored)
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
                let offset: Int64 = reader.bigEndian(), reader.isAtEnd,
                NotificationID.names(StreamID(rawValue: stream), Offset(offset))
            else { return nil }
            return row.value.withUnsafeBytes { value in
                var fields = ByteReader(value)
                guard let attempt: UInt16 = fields.littleEndian(),
                    let reason = fields.byte().flatMap(HoldReason.init(rawValue:)),
                    let position: UInt64 = fields.littleEndian()
                else { return nil }
                var since: Int64?
                if !fields.isAtEnd {
                    since = fields.littleEndian()
                    guard since != nil, fields.isAtEnd else { return nil }
                }
                return HeldRow(
                    message: MessageKey(
                        group: GroupID(group),
                        stream: StreamID(rawValue: stream),
                        offset: Offset(offset)
                    ),
                    due: WallTimestamp(milliseconds: due),
                    attempt: attempt,
                    reason: reason,
                    position: LogPosition(position),
                    since: since.map { WallTimestamp(milliseconds: $0) }
                )
            }
        }
        guard let parsed else { return nil }
        self = parsed
    }
}
