// Idempotency keys that outlive their records: what retention by size lets go of while the window is open.
//
//      'q' key's hash u64 u64     the notification that used it: stream u32, offset i64, state u8,
//                                 hash of channel and envelope u64, steady time ms i64
//      'j' log position u64       the keys of one command, oldest first: latest steady time ms i64,
//                                 then hashes u64 u64 each
//
// Before a segment goes that is younger than the window, its keys are put into rows by commands, piece by
// piece; `to` says how far. They go by a command too, when their time is over.
//
// Source: spec/03-storage.md, "State"; spec/05-delivery.md, "Retention".

package import PulseCore

/// A key's hash, 128 bits, seeded with the log's secret: no two keys share one.
package struct KeyDigest: Hashable, Sendable {
    package var high: UInt64
    package var low: UInt64

    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    func append(to bytes: inout [UInt8]) {
        bytes.append(littleEndian: high)
        bytes.append(littleEndian: low)
    }

    init?(_ reader: inout ByteReader) {
        guard let high: UInt64 = reader.littleEndian(), let low: UInt64 = reader.littleEndian()
        else { return nil }
        self.init(high: high, low: low)
    }

    package var rowKey: [UInt8] {
        var bytes: [UInt8] = [0x71]
        bytes.append(bigEndian: high)
        bytes.append(bigEndian: low)
        return bytes
    }
}

/// What is remembered of the notification that used a key.
package struct RememberedKey: Hashable, Sendable {
    package var digest: KeyDigest
    package var stream: StreamID
    package var offset: Offset
    /// How it ended; 0 where somebody had not finished it and it was kept.
    package var state: UInt8
    package var content: UInt64
    /// When it was accepted, in steady time.
    package var steady: WallTimestamp

    /// Bytes in a command: those of the row, and the digest.
    static let bytes = 45

    package init(
        digest: KeyDigest,
        stream: StreamID,
        offset: Offset,
        state: UInt8,
        content: UInt64,
        steady: WallTimestamp
    ) {
        self.digest = digest
        self.stream = stream
        self.offset = offset
        self.state = state
        self.content = content
        self.steady = steady
    }

    var rowValue: [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(littleEndian: stream.rawValue)
        bytes.append(littleEndian: offset.rawValue)
        bytes.append(state)
        bytes.append(littleEndian: content)
        bytes.append(littleEndian: steady.milliseconds)
        return bytes
    }

    init?(_ digest: KeyDigest, _ reader: inout ByteReader) {
        guard let stream: UInt32 = reader.littleEndian(), let offset: Int64 = reader.littleEndian(),
            let state = reader.byte(), let content: UInt64 = reader.littleEndian(),
            let steady: Int64 = reader.littleEndian()
        else { return nil }
        self.init(
            digest: digest,
            stream: StreamID(rawValue: stream),
            offset: Offset(offset),
            state: state,
            content: content,
            steady: WallTimestamp(milliseconds: steady)
        )
    }

    init?(_ digest: KeyDigest, row value: [UInt8]) {
        let read = value.withUnsafeBytes { bytes -> RememberedKey? in
            var reader = ByteReader(bytes)
            let key = RememberedKey(digest, &reader)
            return reader.isAtEnd ? key : nil
        }
        guard let read, NotificationID.names(read.stream, read.offset) else { return nil }
        self = read
    }
}

/// The keys of one command, and how far the log is done with it.
package struct KeyPiece: Hashable, Sendable {
    package var to: LogPosition
    package var keys: [RememberedKey]

    package init(to: LogPosition, keys: [RememberedKey]) {
        self.to = to
        self.keys = keys
    }

    func append(to bytes: inout [UInt8]) {
        bytes.append(littleEndian: to.rawValue)
        bytes.append(littleEndian: UInt32(keys.count))
        for key in keys {
            key.digest.append(to: &bytes)
            bytes.append(contentsOf: key.rowValue)
        }
    }

    init?(_ reader: inout ByteReader) {
        guard let to: UInt64 = reader.littleEndian(), let count: UInt32 = reader.littleEndian(),
            Int(count) * RememberedKey.bytes == reader.remaining
        else { return nil }
        self.init(to: LogPosition(to), keys: [])
        for _ in 0..<count {
            guard let digest = KeyDigest(&reader), let key = RememberedKey(digest, &reader) else {
                return nil
            }
            keys.append(key)
        }
    }

    static func rowKey(_ to: LogPosition) -> [UInt8] {
        var bytes: [UInt8] = [0x6A]
        bytes.append(bigEndian: to.rawValue)
        return bytes
    }

    /// Its row in order of time.
    var rowValue: [UInt8] {
        var bytes: [UInt8] = []
        let latest = keys.map(\.steady.milliseconds).max() ?? .min
        bytes.append(littleEndian: latest)
        for key in keys { key.digest.append(to: &bytes) }
        return bytes
    }
}

/// Keys whose time is over.
package struct KeysOver: Hashable, Sendable {
    package var to: LogPosition
    package var digests: [KeyDigest]
    /// The latest of them; not in the command.
    var steady = WallTimestamp(milliseconds: 0)

    package init(to: LogPosition, digests: [KeyDigest]) {
        self.to = to
        self.digests = digests
    }

    func append(to bytes: inout [UInt8]) {
        bytes.append(littleEndian: to.rawValue)
        bytes.append(littleEndian: UInt32(digests.count))
        for digest in digests { digest.append(to: &bytes) }
    }

    init?(_ reader: inout ByteReader) {
        guard let to: UInt64 = reader.littleEndian(), let count: UInt32 = reader.littleEndian(),
            Int(count) * 16 == reader.remaining
        else { return nil }
        self.init(to: LogPosition(to), digests: [])
        for _ in 0..<count {
            guard let digest = KeyDigest(&reader) else { return nil }
            digests.append(digest)
        }
    }

    /// From the row of a piece.
    init?(_ row: StateRow) {
        let read = row.key.withUnsafeBytes { bytes -> UInt64? in
            var reader = ByteReader(bytes)
            guard reader.byte() == 0x6A, let to: UInt64 = reader.bigEndian(), reader.isAtEnd else {
                return nil
            }
            return to
        }
        guard let to = read else { return nil }
        self.init(to: LogPosition(to), digests: [])
        let isWhole = row.value.withUnsafeBytes { bytes -> Bool in
            var reader = ByteReader(bytes)
            guard let latest: Int64 = reader.littleEndian() else { return false }
            steady = WallTimestamp(milliseconds: latest)
            while !reader.isAtEnd {
                guard let digest = KeyDigest(&reader) else { return false }
                digests.append(digest)
            }
            return true
        }
        guard isWhole else { return nil }
    }
}

/// The hot part: how far keys were put into rows, and how many there are.
package struct KeyMemory: Hashable, Sendable {
    package internal(set) var to = LogPosition.zero
    package internal(set) var count: UInt64 = 0

    package init() {}

    mutating func remember(_ piece: KeyPiece, rows: inout StateBatch) {
        // A piece that was decided twice counts once.
        guard piece.to > to else { return }
        to = piece.to
        guard !piece.keys.isEmpty else { return }
        count += UInt64(piece.keys.count)
        for key in piece.keys { rows.put(key.digest.rowKey, key.rowValue) }
        rows.put(KeyPiece.rowKey(piece.to), piece.rowValue)
    }

    mutating func forget(_ over: KeysOver, rows: inout StateBatch) {
        count -= min(count, UInt64(over.digests.count))
        for digest in over.digests { rows.delete(digest.rowKey) }
        rows.delete(KeyPiece.rowKey(over.to))
    }
}
