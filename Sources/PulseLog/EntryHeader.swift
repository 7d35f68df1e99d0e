// The 64 bytes in front of every entry's body, and the checksums that hold the log together.
//
//      0      4        8          16           24           32           40       44       48
//     +------+--------+----------+------------+------------+------------+--------+--------+
//     |magic |body CRC| position | syncedUpTo | wall, ms   | baseOffset | length | stream |
//     +------+--------+----------+------------+------------+------------+--------+--------+
//     48      52      56      58     59      60           64
//     +-------+-------+-------+------+-------+------------+
//     | epoch | chain | count | kind | flags | header CRC |   then the body, zero-padded to 8 bytes
//     +-------+-------+-------+------+-------+------------+
//
// Source: spec/03-storage.md, "Entry".

package import PulseCore

/// What an entry says about itself.
package struct EntryHeader: Hashable, Sendable {
    /// Bytes of an encoded header.
    package static let bytes = 64
    /// "PLSE", read as a little-endian number.
    static let magic: UInt32 = 0x4553_4C50

    package var position: LogPosition
    package var kind: EntryKind
    package var stream: StreamID
    package var baseOffset: Offset
    /// Records in the body: offsets `baseOffset ..< baseOffset + recordCount`. 0 for commands.
    package var recordCount: Int
    package var wall: WallTimestamp
    package var epoch: LeaderEpoch
    /// Bytes of the body, without padding.
    package var bodyLength: Int
    /// Everything below this was known durable when the entry was written: what tells a torn tail
    /// from damage.
    package var syncedUpTo: LogPosition
    /// Checksum over all entries before this one in the log.
    package var chain: UInt32
    package var bodyCRC: UInt32
    package var headerCRC: UInt32

    /// Where the next entry of the same segment begins.
    package var endPosition: LogPosition {
        kind == .gap
            ? LogPosition(UInt64(bitPattern: baseOffset.rawValue))
            : LogPosition(position.rawValue + UInt64(Self.bytes + Self.padded(bodyLength)))
    }

    @inline(__always)
    static func padded(_ length: Int) -> Int { (length + 7) & ~7 }
}

/// Why bytes are not an entry.
enum EntryFault: Hashable, Sendable {
    case zero
    case magic
    case headerChecksum
    case misplaced(UInt64)
    case fields
    case bodyChecksum
    case padding
    case chain
    case unreadable

    var reason: String {
        switch self {
        case .zero: "the entry header is all zeros"
        case .magic: "the entry header has no magic number"
        case .headerChecksum: "the entry header fails its checksum"
        case .misplaced(let position): "the entry says it belongs at position \(position)"
        case .fields: "the entry header has impossible fields"
        case .bodyChecksum: "the entry body fails its checksum"
        case .padding: "the padding after the entry body is not zero"
        case .unreadable: "the disk cannot read it"
        case .chain: "the entry does not follow the one before it"
        }
    }
}

enum DecodedHeader {
    case entry(EntryHeader)
    case fault(EntryFault)
}

/// The checksums of one log, seeded with its identity.
struct LogChecksums: Sendable {
    let seed: UInt32
    /// For the keys of the index.
    let secret: UInt64

    init(_ identity: LogIdentity) {
        secret = identity.key
        let own = withUnsafeBytes(of: (identity.high.littleEndian, identity.low.littleEndian)) {
            CRC32C.of($0)
        }
        seed = Mutant.isOn(.skipSeed) ? 0 : own
    }

    /// Over a body; seeded with the position too, so that right bytes in the wrong place fail.
    @inline(__always)
    func body(_ bytes: UnsafeRawBufferPointer, at position: UInt64) -> UInt32 {
        let placed = withUnsafeBytes(of: position.littleEndian) { CRC32C.of($0, seed: seed) }
        return CRC32C.of(bytes, seed: placed)
    }

    /// Over a block whose last four bytes are the checksum, or a header without its own.
    @inline(__always)
    func block(_ bytes: UnsafeRawBufferPointer) -> UInt32 { CRC32C.of(bytes, seed: seed) }

    /// The chain of the entry after the one with these checksums.
    @inline(__always)
    func chain(after chain: UInt32, headerCRC: UInt32, bodyCRC: UInt32) -> UInt32 {
        withUnsafeBytes(of: (headerCRC.littleEndian, bodyCRC.littleEndian)) {
            CRC32C.of($0, seed: chain)
        }
    }

    /// The chain of a segment's first entry. The header's checksum is in it, so that the entries of
    /// an abandoned segment of the same number never continue its successor.
    func chain(afterSegmentHeader headerCRC: UInt32, previous: UInt32) -> UInt32 {
        withUnsafeBytes(of: headerCRC.littleEndian) { CRC32C.of($0, seed: previous) }
    }
}

extension EntryHeader {
    /// Writes the 64 bytes, computing and keeping the header checksum. `bodyCRC` is already set.
    @inline(__always)
    mutating func encode(to target: UnsafeMutableRawPointer, _ checksums: LogChecksums) {
        target.putLittle(Self.magic, 0)
        target.putLittle(bodyCRC, 4)
        target.putLittle(position.rawValue, 8)
        target.putLittle(syncedUpTo.rawValue, 16)
        target.putLittle(wall.milliseconds, 24)
        target.putLittle(baseOffset.rawValue, 32)
        target.putLittle(UInt32(truncatingIfNeeded: bodyLength), 40)
        target.putLittle(stream.rawValue, 44)
        target.putLittle(epoch.rawValue, 48)
        target.putLittle(chain, 52)
        target.putLittle(UInt16(truncatingIfNeeded: recordCount), 56)
        target.putLittle(kind.rawValue, 58)
        target.putLittle(UInt8(0), 59)
        headerCRC = checksums.block(UnsafeRawBufferPointer(start: target, count: 60))
        target.putLittle(headerCRC, 60)
    }

    /// Reads and verifies the 64 bytes at `bytes`, which were found at `position`. `room`: bytes
    /// from here to the end of the segment's entries.
    static func decode(
        _ bytes: UnsafeRawPointer,
        at position: UInt64,
        room: Int,
        _ checksums: LogChecksums
    ) -> DecodedHeader {
        let raw = UnsafeRawBufferPointer(start: bytes, count: Self.bytes)
        let magic = bytes.little(0, as: UInt32.self)
        if magic == 0, raw.isAllZero { return .fault(.zero) }
        guard magic == Self.magic else { return .fault(.magic) }
        let headerCRC = bytes.little(60, as: UInt32.self)
        guard
            Mutant.isOn(.skipHeaderCRC)
                || checksums.block(UnsafeRawBufferPointer(start: bytes, count: 60)) == headerCRC
        else { return .fault(.headerChecksum) }
        let own = bytes.little(8, as: UInt64.self)
        guard own == position else { return .fault(.misplaced(own)) }
        let syncedUpTo = bytes.little(16, as: UInt64.self)
        let bodyLength = Int(bytes.little(40, as: UInt32.self))
        guard let kind = EntryKind(rawValue: bytes.little(58, as: UInt8.self)),
            bytes.little(59, as: UInt8.self) == 0,
            syncedUpTo <= position,
            bodyLength <= Limits.entryBodyBytesMax,
            Self.bytes + padded(bodyLength) <= room
        else { return .fault(.fields) }
        if kind == .gap {
            let end = bytes.little(32, as: UInt64.self)
            guard end & 7 == 0, end >= position + UInt64(Self.bytes + padded(bodyLength)),
                end <= position + UInt64(room)
            else { return .fault(.fields) }
        }
        return .entry(
            EntryHeader(
                position: LogPosition(own),
                kind: kind,
                stream: StreamID(rawValue: bytes.little(44)),
                baseOffset: Offset(bytes.little(32)),
                recordCount: Int(bytes.little(56, as: UInt16.self)),
                wall: WallTimestamp(milliseconds: bytes.little(24)),
                epoch: LeaderEpoch(bytes.little(48)),
                bodyLength: bodyLength,
                syncedUpTo: LogPosition(syncedUpTo),
                chain: bytes.little(52),
                bodyCRC: bytes.little(4),
                headerCRC: headerCRC
            )
        )
    }

    /// What is wrong with the bytes after this header, or nil. `bytes`: body and padding.
    @inline(__always)
    func bodyFault(_ bytes: UnsafeRawBufferPointer, _ checksums: LogChecksums) -> EntryFault? {
        let body = UnsafeRawBufferPointer(start: bytes.baseAddress, count: bodyLength)
        guard Mutant.isOn(.skipBodyCRC) || checksums.body(body, at: position.rawValue) == bodyCRC
        else { return .bodyChecksum }
        var index = bodyLength
        while index < bytes.count {
            guard bytes[index] == 0 else { return .padding }
            index += 1
        }
        return nil
    }
}
