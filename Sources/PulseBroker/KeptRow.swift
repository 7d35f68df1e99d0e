// Rows about records that outlive their segments, and about messages that wait. Keys are big-endian, so
// that they sort; values little-endian.
//
//      'w' stream u32 | offset i64 | group u16           a message that waits: value due ms i64
//      'k' stream u32 | offset i64                       a kept record: ``KeptRecord``
//      'y' length u8 | idempotency key | position u64    a kept record's key: value stream u32, offset i64
//      'x' stream u32 | offset i64 | group u16           how a kept record ended for a group:
//                                                        value wall ms i64, then the command
//      'e' wall ms i64 | stream u32 | offset i64 | group u16
//                                                        the same ends in order of time: no value
//
// Source: spec/03-storage.md, "State".

package import PulseCore

/// Where a message's waiting row is: `h` rows sort by due time, these by message.
package enum WaitingRow {
    package static func key(_ message: MessageKey) -> [UInt8] { MessageRowKey.bytes(0x77, message) }

    /// What the keys of a record's rows begin with.
    package static func key(_ stream: StreamID, _ offset: Offset) -> [UInt8] {
        MessageRowKey.bytes(0x77, stream, offset)
    }

    package static func value(due: WallTimestamp) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(littleEndian: due.milliseconds)
        return bytes
    }

    package static func due(in value: [UInt8]) -> WallTimestamp? {
        value.withUnsafeBytes { bytes -> WallTimestamp? in
            var reader = ByteReader(bytes)
            guard let due: Int64 = reader.littleEndian(), reader.isAtEnd else { return nil }
            return WallTimestamp(milliseconds: due)
        }
    }

    package static func message(of key: [UInt8]) -> MessageKey? { MessageRowKey.read(key, 0x77) }
}

enum MessageRowKey {
    static func bytes(_ tag: UInt8, _ stream: StreamID, _ offset: Offset) -> [UInt8] {
        var bytes: [UInt8] = [tag]
        bytes.append(bigEndian: stream.rawValue)
        bytes.append(bigEndian: offset.rawValue)
        return bytes
    }

    static func bytes(_ tag: UInt8, _ message: MessageKey) -> [UInt8] {
        var bytes = bytes(tag, message.stream, message.offset)
        bytes.append(bigEndian: message.group.rawValue)
        return bytes
    }

    static func read(_ key: [UInt8], _ tag: UInt8) -> MessageKey? {
        key.withUnsafeBytes { bytes -> MessageKey? in
            var reader = ByteReader(bytes)
            guard reader.byte() == tag else { return nil }
            return message(&reader)
        }
    }

    static func message(_ reader: inout ByteReader) -> MessageKey? {
        guard let stream: UInt32 = reader.bigEndian(), let offset: Int64 = reader.bigEndian(),
            let group: UInt16 = reader.bigEndian(), reader.isAtEnd
        else { return nil }
        return MessageKey(
            group: GroupID(group),
            stream: StreamID(rawValue: stream),
            offset: Offset(offset)
        )
    }
}

/// A record that was moved out of its segment, because somebody has not finished with it.
package struct KeptRecord: Hashable, Sendable {
    package var stream: StreamID
    package var offset: Offset
    /// The entry it came from, and when: its place in the order of things stays.
    package var position: LogPosition
    package var wall: WallTimestamp
    /// The template's revision it is rendered with, zero for none.
    package var revision: LogPosition
    /// Groups for which it is ready or leased, and groups for which it waits in a row.
    package var ready: [GroupID]
    package var waiting: [GroupID]
    package var key: [UInt8]
    package var value: [UInt8]

    /// Bytes of its row, for the books.
    package var rowBytes: Int { key.count + value.count + 2 * (ready.count + waiting.count) + 49 }

    package static func rowKey(_ stream: StreamID, _ offset: Offset) -> [UInt8] {
        MessageRowKey.bytes(0x6B, stream, offset)
    }

    func message(of group: GroupID) -> MessageKey {
        MessageKey(group: group, stream: stream, offset: offset)
    }

    /// The row's value, which is what command 8 carries after stream and offset.
    package var rowValue: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(rowBytes)
        bytes.append(littleEndian: position.rawValue)
        bytes.append(littleEndian: wall.milliseconds)
        bytes.append(littleEndian: revision.rawValue)
        for groups in [ready, waiting] {
            bytes.append(littleEndian: UInt16(groups.count))
            for group in groups { bytes.append(littleEndian: group.rawValue) }
        }
        bytes.append(littleEndian: UInt32(key.count))
        bytes.append(contentsOf: key)
        bytes.append(littleEndian: UInt32(value.count))
        bytes.append(contentsOf: value)
        return bytes
    }

    package init(
        stream: StreamID,
        offset: Offset,
        position: LogPosition,
        wall: WallTimestamp,
        revision: LogPosition,
        ready: [GroupID],
        waiting: [GroupID],
        key: [UInt8],
        value: [UInt8]
    ) {
        self.stream = stream
        self.offset = offset
        self.position = position
        self.wall = wall
        self.revision = revision
        self.ready = ready
        self.waiting = waiting
        self.key = key
        self.value = value
    }

    package init?(_ stream: StreamID, _ offset: Offset, _ reader: inout ByteReader) {
        guard let position: UInt64 = reader.littleEndian(),
            let wall: Int64 = reader.littleEndian(),
            let revision: UInt64 = reader.littleEndian(),
            let ready = Self.groups(&reader), let waiting = Self.groups(&reader),
            let keyCount: UInt32 = reader.littleEndian(), let key = reader.take(Int(keyCount)),
            let valueCount: UInt32 = reader.littleEndian(),
            let value = reader.take(Int(valueCount))
        else { return nil }
        self.init(
            stream: stream,
            offset: offset,
            position: LogPosition(position),
            wall: WallTimestamp(milliseconds: wall),
            revision: LogPosition(revision),
            ready: ready,
            waiting: waiting,
            key: [UInt8](key),
            value: [UInt8](value)
        )
    }

    package init?(_ row: StateRow) {
        let place = row.key.withUnsafeBytes { bytes -> (StreamID, Offset)? in
            var reader = ByteReader(bytes)
            guard reader.byte() == 0x6B, let stream: UInt32 = reader.bigEndian(),
                let offset: Int64 = reader.bigEndian(), reader.isAtEnd
            else { return nil }
            return (StreamID(rawValue: stream), Offset(offset))
        }
        guard let (stream, offset) = place, NotificationID.names(stream, offset) else { return nil }
        let record = row.value.withUnsafeBytes { bytes -> KeptRecord? in
            var reader = ByteReader(bytes)
            let record = KeptRecord(stream, offset, &reader)
            return reader.isAtEnd ? record : nil
        }
        guard let record else { return nil }
        self = record
    }

    private static func groups(_ reader: inout ByteReader) -> [GroupID]? {
        guard let count: UInt16 = reader.littleEndian(), Int(count) * 2 <= reader.remaining else {
            return nil
        }
        var groups: [GroupID] = []
        for _ in 0..<count {
            guard let group: UInt16 = reader.littleEndian() else { return nil }
            groups.append(GroupID(group))
        }
        return groups
    }

    /// The row under which its idempotency key is found, or nil when it has none.
    package var idempotencyRowKey: [UInt8]? {
        value.withUnsafeBytes { bytes -> [UInt8]? in
            guard let key = Envelope.idempotencyKey(in: bytes), key.count <= 255 else { return nil }
            var row = Self.idempotencyPrefix(key)
            row.append(bigEndian: position.rawValue)
            return row
        }
    }

    package static func idempotencyPrefix(_ key: UnsafeRawBufferPointer) -> [UInt8] {
        [0x79, UInt8(truncatingIfNeeded: key.count)] + [UInt8](key)
    }

    package var place: [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(littleEndian: stream.rawValue)
        bytes.append(littleEndian: offset.rawValue)
        return bytes
    }
}

/// How a kept record ended for one group.
package struct EndedRow: Hashable, Sendable {
    package var message: MessageKey
    package var wall: WallTimestamp

    package var timeKey: [UInt8] {
        var bytes: [UInt8] = [0x65]
        bytes.append(bigEndian: wall.milliseconds)
        bytes.append(bigEndian: message.stream.rawValue)
        bytes.append(bigEndian: message.offset.rawValue)
        bytes.append(bigEndian: message.group.rawValue)
        return bytes
    }

    package static func outcomeKey(_ message: MessageKey) -> [UInt8] {
        MessageRowKey.bytes(0x78, message)
    }

    /// The keys of rows that ended before `wall` come before this.
    package static func limit(_ wall: WallTimestamp) -> [UInt8] {
        var bytes: [UInt8] = [0x65]
        bytes.append(bigEndian: wall.milliseconds)
        return bytes
    }

    package static func outcome(_ command: Command, at wall: WallTimestamp) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(littleEndian: wall.milliseconds)
        command.append(to: &bytes)
        return bytes
    }

    /// The step that an outcome's row tells.
    package static func step(in value: [UInt8]) -> StoryStep? {
        value.withUnsafeBytes { bytes -> StoryStep? in
            var reader = ByteReader(bytes)
            guard let wall: Int64 = reader.littleEndian(),
                let rest = reader.take(reader.remaining)
            else { return nil }
            var found: [Command] = []
            guard Command.forEach(in: rest, { found.append($0) }), found.count == 1 else {
                return nil
            }
            return StoryStep(at: WallTimestamp(milliseconds: wall), command: found[0])
        }
    }

    package init(message: MessageKey, wall: WallTimestamp) {
        self.message = message
        self.wall = wall
    }

    package init?(key: [UInt8]) {
        let read = key.withUnsafeBytes { bytes -> EndedRow? in
            var reader = ByteReader(bytes)
            guard reader.byte() == 0x65, let wall: Int64 = reader.bigEndian(),
                let message = MessageRowKey.message(&reader)
            else { return nil }
            return EndedRow(message: message, wall: WallTimestamp(milliseconds: wall))
        }
        guard let read else { return nil }
        self = read
    }
}
