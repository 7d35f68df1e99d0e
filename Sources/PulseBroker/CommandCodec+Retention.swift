// The commands of retention as bytes, fields of kinds 11 and 12. Source: spec/03-storage.md, "Commands".

import PulseCore
import PulseLog

extension Command {
    static func readForgotten(_ reader: inout ByteReader) -> Command? {
        guard let count: UInt32 = reader.littleEndian(), Int(count) <= reader.remaining else {
            return nil
        }
        var rows: [ForgottenRow] = []
        for _ in 0..<count {
            guard let row = ForgottenRow(&reader) else { return nil }
            rows.append(row)
        }
        return .forgot(rows)
    }
}

extension Expiry {
    func append(to bytes: inout [UInt8]) {
        bytes.append(littleEndian: group.rawValue)
        bytes.append(littleEndian: stream.rawValue)
        bytes.append(littleEndian: from.rawValue)
        bytes.append(littleEndian: to.rawValue)
        bytes.append(littleEndian: UInt32(waiting.count))
        for (offset, due) in waiting {
            bytes.append(littleEndian: offset.rawValue)
            bytes.append(littleEndian: due)
        }
    }

    init?(_ reader: inout ByteReader) {
        guard let group: UInt16 = reader.littleEndian(), let stream: UInt32 = reader.littleEndian(),
            let from: Int64 = reader.littleEndian(), let to: Int64 = reader.littleEndian(),
            let count: UInt32 = reader.littleEndian(), Int(count) * 16 == reader.remaining
        else { return nil }
        self.init(
            group: GroupID(group),
            stream: StreamID(rawValue: stream),
            from: Offset(from),
            to: Offset(to),
            waiting: []
        )
        for _ in 0..<count {
            guard let offset: Int64 = reader.littleEndian(), let due: Int64 = reader.littleEndian()
            else { return nil }
            waiting.append((Offset(offset), due))
        }
    }
}

extension ForgottenRow {
    private enum Kind: UInt8 {
        case plain = 1
        case ended = 2
        case kept = 3
    }

    func append(to bytes: inout [UInt8]) {
        switch self {
        case .plain(let key):
            bytes.append(Kind.plain.rawValue)
            bytes.append(littleEndian: UInt16(key.count))
            bytes.append(contentsOf: key)
        case .ended(let row):
            bytes.append(Kind.ended.rawValue)
            bytes.append(littleEndian: row.wall.milliseconds)
            bytes.append(littleEndian: row.message.stream.rawValue)
            bytes.append(littleEndian: row.message.offset.rawValue)
            bytes.append(littleEndian: row.message.group.rawValue)
        case .kept(let name, let size):
            bytes.append(Kind.kept.rawValue)
            bytes.append(littleEndian: name.stream.rawValue)
            bytes.append(littleEndian: name.offset.rawValue)
            bytes.append(littleEndian: name.revision.rawValue)
            bytes.append(littleEndian: size)
            bytes.append(littleEndian: UInt16(name.groups.count))
            for group in name.groups { bytes.append(littleEndian: group.rawValue) }
            bytes.append(littleEndian: UInt16(name.idempotencyRow.count))
            bytes.append(contentsOf: name.idempotencyRow)
        }
    }

    init?(_ reader: inout ByteReader) {
        guard let kind = reader.byte().flatMap(Kind.init(rawValue:)) else { return nil }
        switch kind {
        case .plain:
            guard let count: UInt16 = reader.littleEndian(), let key = reader.take(Int(count))
            else {
                return nil
            }
            self = .plain([UInt8](key))
        case .ended:
            guard let wall: Int64 = reader.littleEndian(),
                let stream: UInt32 = reader.littleEndian(),
                let offset: Int64 = reader.littleEndian(), let group: UInt16 = reader.littleEndian()
            else { return nil }
            let message = MessageKey(
                group: GroupID(group),
                stream: StreamID(rawValue: stream),
                offset: Offset(offset)
            )
            self = .ended(EndedRow(message: message, wall: WallTimestamp(milliseconds: wall)))
        case .kept:
            guard let stream: UInt32 = reader.littleEndian(),
                let offset: Int64 = reader.littleEndian(),
                let revision: UInt64 = reader.littleEndian(),
                let size: UInt32 = reader.littleEndian(),
                let groupCount: UInt16 = reader.littleEndian()
            else { return nil }
            var groups: [GroupID] = []
            for _ in 0..<groupCount {
                guard let group: UInt16 = reader.littleEndian() else { return nil }
                groups.append(GroupID(group))
            }
            guard let count: UInt16 = reader.littleEndian(), let key = reader.take(Int(count))
            else {
                return nil
            }
            let name = KeptName(
                stream: StreamID(rawValue: stream),
                offset: Offset(offset),
                revision: LogPosition(revision),
                groups: groups,
                idempotencyRow: [UInt8](key)
            )
            self = .kept(name, bytes: size)
        }
    }
}
