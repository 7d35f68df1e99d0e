// Any row of the state store, read: what it says, or that it is none of ours. Equal rows say the same, and
// what is read and written again has the same bytes.
//
// Source: spec/03-storage.md, "State".

package import PulseCore

/// What a row says. `identity`, `applied`, `checkpoint`, `scrub` and `format` are single rows of their own.
package enum StoredRow: Hashable, Sendable {
    /// What the keys of a kind begin with.
    package enum Kind: UInt8, CaseIterable, Sendable {
        case held = 0x68
        case dead = 0x64
        case template = 0x74
        case waiting = 0x77
        case kept = 0x6B
        case keptKey = 0x79
        case outcome = 0x78
        case ended = 0x65
        case remembered = 0x71
        case keyPiece = 0x6A
    }

    case held(HeldRow)
    case dead(DeadRow)
    case template(TemplateRevision)
    case waiting(MessageKey, due: WallTimestamp)
    case kept(KeptRecord)
    case keptKey([UInt8], LogPosition, StreamID, Offset)
    case outcome(MessageKey, StoryStep)
    case ended(EndedRow)
    case remembered(RememberedKey)
    case keyPiece(KeysOver)

    /// Nil when the row is of no kind, or not as its kind has it.
    package init?(_ row: StateRow) {
        guard let kind = row.key.first.flatMap(Kind.init(rawValue:)) else { return nil }
        let read: StoredRow? =
            switch kind {
            case .held: HeldRow(row).map { .held($0) }
            case .dead: DeadRow(row).map { .dead($0) }
            case .template: TemplateCatalog.revision(from: row).map { .template($0) }
            case .waiting: Self.waiting(row)
            case .kept: KeptRecord(row).map { .kept($0) }
            case .keptKey: Self.keptKey(row)
            case .outcome: Self.outcome(row)
            case .ended: row.value.isEmpty ? EndedRow(key: row.key).map { .ended($0) } : nil
            case .remembered: Self.remembered(row)
            case .keyPiece: KeysOver(row).map { .keyPiece($0) }
            }
        guard let read else { return nil }
        self = read
    }

    package var kind: Kind {
        switch self {
        case .held: .held
        case .dead: .dead
        case .template: .template
        case .waiting: .waiting
        case .kept: .kept
        case .keptKey: .keptKey
        case .outcome: .outcome
        case .ended: .ended
        case .remembered: .remembered
        case .keyPiece: .keyPiece
        }
    }

    /// The row that says this.
    package var row: StateRow {
        switch self {
        case .held(let held): StateRow(key: held.key, value: held.value)
        case .dead(let dead): StateRow(key: dead.key, value: dead.value)
        case .template(let revision):
            StateRow(
                key: TemplateCatalog.key(revision.row.name, revision.position),
                value: revision.row.bytes
            )
        case .waiting(let message, let due):
            StateRow(key: WaitingRow.key(message), value: WaitingRow.value(due: due))
        case .kept(let record):
            StateRow(
                key: KeptRecord.rowKey(record.stream, record.offset),
                value: record.rowValue
            )
        case .keptKey(let key, let position, let stream, let offset):
            Self.row(keptKey: key, position, stream, offset)
        case .outcome(let message, let step):
            StateRow(
                key: EndedRow.outcomeKey(message),
                value: EndedRow.outcome(step.command, at: step.at)
            )
        case .ended(let ended): StateRow(key: ended.timeKey, value: [])
        case .remembered(let key): StateRow(key: key.digest.rowKey, value: key.rowValue)
        case .keyPiece(let piece):
            StateRow(key: KeyPiece.rowKey(piece.to), value: piece.rowValue)
        }
    }

    private static func waiting(_ row: StateRow) -> StoredRow? {
        guard let message = WaitingRow.message(of: row.key), let due = WaitingRow.due(in: row.value)
        else { return nil }
        return .waiting(message, due: due)
    }

    private static func outcome(_ row: StateRow) -> StoredRow? {
        guard let message = MessageRowKey.read(row.key, Kind.outcome.rawValue),
            let step = EndedRow.step(in: row.value)
        else { return nil }
        return .outcome(message, step)
    }

    private static func remembered(_ row: StateRow) -> StoredRow? {
        let digest = row.key.withUnsafeBytes { bytes -> KeyDigest? in
            var reader = ByteReader(bytes)
            guard reader.byte() == Kind.remembered.rawValue, let high: UInt64 = reader.bigEndian(),
                let low: UInt64 = reader.bigEndian(), reader.isAtEnd
            else { return nil }
            return KeyDigest(high: high, low: low)
        }
        return digest.flatMap { RememberedKey($0, row: row.value) }.map { .remembered($0) }
    }

    private static func keptKey(_ row: StateRow) -> StoredRow? {
        let read = row.key.withUnsafeBytes { bytes -> ([UInt8], LogPosition)? in
            var reader = ByteReader(bytes)
            guard reader.byte() == Kind.keptKey.rawValue, let count = reader.byte(),
                let key = reader.take(Int(count)), let position: UInt64 = reader.bigEndian(),
                reader.isAtEnd
            else { return nil }
            return ([UInt8](key), LogPosition(position))
        }
        guard let (key, position) = read else { return nil }
        return row.value.withUnsafeBytes { bytes -> StoredRow? in
            var reader = ByteReader(bytes)
            guard let stream: UInt32 = reader.littleEndian(),
                let offset: Int64 = reader.littleEndian(), reader.isAtEnd
            else { return nil }
            return .keptKey(key, position, StreamID(rawValue: stream), Offset(offset))
        }
    }

    private static func row(
        keptKey key: [UInt8],
        _ position: LogPosition,
        _ stream: StreamID,
        _ offset: Offset
    ) -> StateRow {
        var rowKey = key.withUnsafeBytes { KeptRecord.idempotencyPrefix($0) }
        rowKey.append(bigEndian: position.rawValue)
        var value: [UInt8] = []
        value.append(littleEndian: stream.rawValue)
        value.append(littleEndian: offset.rawValue)
        return StateRow(key: rowKey, value: value)
    }
}

extension KeysOver {
    /// Of the row of its piece, which says when the latest of them was.
    fileprivate var rowValue: [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(littleEndian: steady.milliseconds)
        for digest in digests { digest.append(to: &bytes) }
        return bytes
    }
}

extension TemplateRow {
    fileprivate var bytes: [UInt8] {
        var bytes: [UInt8] = []
        append(to: &bytes)
        return bytes
    }
}
