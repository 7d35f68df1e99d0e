// The first and the last 4,096 bytes of a segment: who it is and what it follows; where it ends.
// Both end with a checksum over all bytes before it, so that reserved zeros are covered.
//
//     header block                                footer block (sealed segments only)
//        0  magic "PULSELOG"                         0  magic "PULSEEND"
//        8  major u16, minor u16, zero u32           8  segment number u64
//       16  log identity, high u64, low u64         16  end position u64
//       32  segment number u64                      24  entries u64
//       40  segment bytes u64                       32  first wall i64, latest wall i64
//       48  previous segment's number u64           48  synced up to u64
//       56  previous end position u64               56  chain u32, gaps u32
//       64  created at, wall i64                    64  zeros
//       72  synced up to u64                      4092  CRC32C, seeded with the log identity
//       80  previous chain u32
//       84  start chain u32, only where byte 88 is 1: the header was made again by a repair
//     4092  CRC32C, not seeded: who we are must be readable before we know it
//
// Source: spec/03-storage.md, "Segment".

import PulseCore

struct SegmentHeader: Hashable, Sendable {
    /// Raised when an older program could misread the file; bytes 0-11 and the checksum never move.
    static let formatMajor: UInt16 = 1
    static let formatMinor: UInt16 = 0
    /// Of a header with a start chain of its own: an older program sees damage, and stays away.
    static let repairedMinor: UInt16 = 1
    static let magic: UInt64 = 0x474F_4C45_534C_5550
    /// In place of the previous segment's number when there is none.
    static let noPrevious = UInt64.max

    var identity: LogIdentity
    var number: UInt64
    var segmentBytes: Int
    var previousNumber: UInt64
    var previousEnd: UInt64
    var previousChain: UInt32
    var created: WallTimestamp
    var syncedUpTo: UInt64
    /// The chain of the first entry, where the header it came from is lost; nil where it is computed.
    var startChain: UInt32?
    /// Filled by ``encode(to:)`` and ``decode(_:)``.
    var crc: UInt32 = 0

    mutating func encode(to target: UnsafeMutableRawPointer) {
        target.initializeMemory(as: UInt8.self, repeating: 0, count: SegmentGeometry.blockBytes)
        target.putLittle(Self.magic, 0)
        target.putLittle(Self.formatMajor, 8)
        target.putLittle(startChain == nil ? Self.formatMinor : Self.repairedMinor, 10)
        target.putLittle(identity.high, 16)
        target.putLittle(identity.low, 24)
        target.putLittle(number, 32)
        target.putLittle(UInt64(segmentBytes), 40)
        target.putLittle(previousNumber, 48)
        target.putLittle(previousEnd, 56)
        target.putLittle(created.milliseconds, 64)
        target.putLittle(syncedUpTo, 72)
        target.putLittle(previousChain, 80)
        if let startChain {
            target.putLittle(startChain, 84)
            target.putLittle(UInt8(1), 88)
        }
        crc = CRC32C.of(UnsafeRawBufferPointer(start: target, count: 4092))
        target.putLittle(crc, 4092)
    }

    /// The chain of the segment's first entry.
    func firstChain(_ checksums: LogChecksums) -> UInt32 {
        startChain ?? checksums.chain(afterSegmentHeader: crc, previous: previousChain)
    }

    enum Decoded {
        case header(SegmentHeader)
        case newer(major: UInt16)
        case unreadable(reason: String)
    }

    /// `bytes`: the first 4,096 of the file.
    static func decode(_ bytes: UnsafeRawPointer) -> Decoded {
        guard bytes.little(0, as: UInt64.self) == magic else {
            return .unreadable(reason: "the segment header has no magic number")
        }
        let crc = bytes.little(4092, as: UInt32.self)
        guard CRC32C.of(UnsafeRawBufferPointer(start: bytes, count: 4092)) == crc else {
            return .unreadable(reason: "the segment header fails its checksum")
        }
        let major = bytes.little(8, as: UInt16.self)
        guard major <= formatMajor else { return .newer(major: major) }
        let size = bytes.little(40, as: UInt64.self)
        guard size >= 32 << 10, size <= 32 << 30, size & (size - 1) == 0 else {
            return .unreadable(reason: "the segment header has an impossible segment size")
        }
        return .header(
            SegmentHeader(
                identity: LogIdentity(high: bytes.little(16), low: bytes.little(24)),
                number: bytes.little(32),
                segmentBytes: Int(size),
                previousNumber: bytes.little(48),
                previousEnd: bytes.little(56),
                previousChain: bytes.little(80),
                created: WallTimestamp(milliseconds: bytes.little(64)),
                syncedUpTo: bytes.little(72),
                startChain: bytes.little(88, as: UInt8.self) == 1 ? bytes.little(84) : nil,
                crc: crc
            )
        )
    }
}

struct SegmentFooter: Hashable, Sendable {
    static let magic: UInt64 = 0x444E_4545_534C_5550

    var number: UInt64
    var end: UInt64
    var entries: UInt64
    var firstWall: WallTimestamp
    var latestWall: WallTimestamp
    var syncedUpTo: UInt64
    /// What the next entry's chain would have been, had it fitted.
    var chain: UInt32
    /// Gap entries in the segment: they are looked for only where there are some.
    var gaps: UInt32 = 0

    func encode(to target: UnsafeMutableRawPointer, _ checksums: LogChecksums) {
        target.initializeMemory(as: UInt8.self, repeating: 0, count: SegmentGeometry.blockBytes)
        target.putLittle(Self.magic, 0)
        target.putLittle(number, 8)
        target.putLittle(end, 16)
        target.putLittle(entries, 24)
        target.putLittle(firstWall.milliseconds, 32)
        target.putLittle(latestWall.milliseconds, 40)
        target.putLittle(syncedUpTo, 48)
        target.putLittle(chain, 56)
        target.putLittle(gaps, 60)
        target.putLittle(checksums.block(UnsafeRawBufferPointer(start: target, count: 4092)), 4092)
    }

    /// The footer in `bytes`, or nil when they hold none of segment `number`.
    static func decode(
        _ bytes: UnsafeRawPointer,
        number: UInt64,
        geometry: SegmentGeometry,
        _ checksums: LogChecksums
    ) -> SegmentFooter? {
        guard bytes.little(0, as: UInt64.self) == magic,
            checksums.block(UnsafeRawBufferPointer(start: bytes, count: 4092))
                == bytes.little(4092, as: UInt32.self),
            bytes.little(8, as: UInt64.self) == number
        else { return nil }
        let end = bytes.little(16, as: UInt64.self)
        let base = geometry.base(of: number)
        guard end >= base + UInt64(geometry.entriesStart), end <= base + UInt64(geometry.entriesEnd)
        else { return nil }
        return SegmentFooter(
            number: number,
            end: end,
            entries: bytes.little(24),
            firstWall: WallTimestamp(milliseconds: bytes.little(32)),
            latestWall: WallTimestamp(milliseconds: bytes.little(40)),
            syncedUpTo: bytes.little(48),
            chain: bytes.little(56),
            gaps: bytes.little(60)
        )
    }
}
