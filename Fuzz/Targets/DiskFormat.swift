// The formats on disk once more, written from spec/03-storage.md and sharing no code with PulseLog but
// the checksum: to make mutated bytes verify again, and to check what is served.

import PulseCore
import PulseLog
import TestDoubles

enum DiskFormat {
    static let block = 4096

    private static let goldenSeed: UInt32 = {
        var bytes: [UInt8] = []
        bytes.append(littleEndian: GoldenLog.identity.high)
        bytes.append(littleEndian: GoldenLog.identity.low)
        return crc(bytes[...])
    }()

    static func crc(_ bytes: ArraySlice<UInt8>, seed: UInt32 = 0) -> UInt32 {
        bytes.withUnsafeBytes { CRC32C.of($0, seed: seed) }
    }

    static func number(_ bytes: [UInt8], _ at: Int, bytes count: Int) -> UInt64 {
        bytes.withUnsafeBytes { raw in
            var value: UInt64 = 0
            for index in 0..<count { value |= UInt64(raw[at + index]) << UInt64(8 * index) }
            return value
        }
    }

    // MARK: Making bytes verify

    /// Makes the checksum right of whatever lies at `place`: an entry, or the block around it.
    static func seal(_ bytes: inout [UInt8], at place: Int) {
        let entry = place & ~7
        if entry + 64 <= bytes.count, number(bytes, entry, bytes: 4) == 0x4553_4C50 {
            return sealEntry(&bytes, entry)
        }
        if bytes.count >= block, isPaged(bytes) { return sealPages(&bytes) }
        let start = place / block * block
        guard start + block <= bytes.count else { return }
        let isFloor = bytes[start..<start + 8].elementsEqual("PULSEFLR".utf8)
        let sum = crc(
            bytes[start..<start + block - 4],
            seed: start > 0 && !isFloor ? goldenSeed : 0
        )
        bytes.patch(at: start + block - 4, littleEndian: sum)
    }

    /// Whether the bytes say that they are an index file or a generation.
    private static func isPaged(_ bytes: [UInt8]) -> Bool {
        ["PULSEIDX", "PULSEGEN"].contains { bytes.starts(with: Array($0.utf8)) }
    }

    /// Every checksum of an index file or a generation, as far as its counts lead inside it.
    private static func sealPages(_ bytes: inout [UInt8]) {
        let isIndex = bytes[5] == UInt8(ascii: "I")
        let counts = (isIndex ? [40, 64, 56] : [32, 40, 40]).map { number(bytes, $0, bytes: 8) }
        let span = isIndex ? [16, 16] : [16, 24]
        guard counts.allSatisfy({ $0 < 1 << 16 }) else { return sealHeader(&bytes) }
        let keyPages = (Int(counts[0]) + (isIndex ? 339 : 254)) / (isIndex ? 340 : 255)
        let pages = keyPages + (isIndex ? (Int(counts[1]) + 254) / 255 : 0)
        let tables = block * (1 + pages)
        let filter = tables + 8 * pages + (isIndex ? 24 : 32) * Int(counts[2])
        guard filter <= bytes.count else { return sealHeader(&bytes) }
        for page in 0..<pages {
            var seed: [UInt8] = []
            for place in span { seed += bytes[place..<place + 8] }
            seed.append(littleEndian: UInt64(page))
            let start = block * (1 + page)
            let sum = crc(
                bytes[start..<start + block - 4],
                seed: crc(seed[...], seed: goldenSeed)
            )
            bytes.patch(at: start + block - 4, littleEndian: sum)
        }
        let sums = isIndex ? 72 : 48
        bytes.patch(at: sums, littleEndian: crc(bytes[tables..<filter], seed: goldenSeed))
        bytes.patch(at: sums + 4, littleEndian: crc(bytes[filter...], seed: goldenSeed))
        sealHeader(&bytes)
    }

    private static func sealHeader(_ bytes: inout [UInt8]) {
        bytes.patch(at: block - 4, littleEndian: crc(bytes[0..<block - 4], seed: goldenSeed))
    }

    private static func sealEntry(_ bytes: inout [UInt8], _ at: Int) {
        let length = Int(number(bytes, at + 40, bytes: 4))
        if at + 64 + length <= bytes.count {
            let placed = crc(bytes[(at + 8)..<(at + 16)], seed: goldenSeed)
            bytes.patch(
                at: at + 4,
                littleEndian: crc(bytes[(at + 64)..<(at + 64 + length)], seed: placed)
            )
        }
        bytes.patch(at: at + 60, littleEndian: crc(bytes[at..<at + 60], seed: goldenSeed))
    }
}

/// Checks served entries against the bytes of the files they must lie in, as they are now.
struct DiskChecker {
    private let disk: MemoryDirectory
    private let segmentBytes: Int
    /// The file of the entry checked last: most follow one another.
    private var current: (name: String, bytes: [UInt8]) = ("", [])

    init(_ disk: MemoryDirectory, segmentBytes: Int) {
        self.disk = disk
        self.segmentBytes = segmentBytes
    }

    /// Checks one entry.
    ///
    /// - Parameter before: What was answered for the entry served before it.
    /// - Returns: The chain that the entry after it must carry, and where that one must begin.
    mutating func check(
        _ entry: GoldenLog.Entry,
        after before: (chain: UInt32, end: UInt64)?
    ) throws -> (chain: UInt32, end: UInt64) {
        let position = entry.position.rawValue
        let byte = Int(position % UInt64(segmentBytes))
        try load(base: position - UInt64(byte))
        let file = current.bytes
        let length = entry.body.count
        let block = DiskFormat.block
        try require(byte >= block && byte & 7 == 0, "an entry lies between header and footer")
        try require(byte + 64 + length <= segmentBytes - block, "an entry ends before the footer")
        try require(byte + 64 + length <= file.count, "an entry lies in its file")
        let seed = DiskFormat.crc(file[16..<32])
        let isWhole =
            DiskFormat.number(file, byte, bytes: 4) == 0x4553_4C50
            && DiskFormat.number(file, byte + 8, bytes: 8) == position
            && Int(DiskFormat.number(file, byte + 40, bytes: 4)) == length
            && UInt32(DiskFormat.number(file, byte + 60, bytes: 4))
                == DiskFormat.crc(file[byte..<byte + 60], seed: seed)
        try require(isWhole, "the header of the entry at \(position) verifies")
        let body = file[(byte + 64)..<(byte + 64 + length)]
        let placed = DiskFormat.crc(file[(byte + 8)..<(byte + 16)], seed: seed)
        try require(
            UInt32(DiskFormat.number(file, byte + 4, bytes: 4))
                == DiskFormat.crc(body, seed: placed),
            "the body of the entry at \(position) verifies"
        )
        try require(Array(body) == entry.body, "what is served is what the file holds")
        let chain = UInt32(DiskFormat.number(file, byte + 52, bytes: 4))
        if let before, before.end == position {
            try require(chain == before.chain, "each entry follows the one before it")
        } else if let before {
            try require(byte == block, "there is no hole after position \(before.end)")
            let header = DiskFormat.crc(file[(block - 4)..<block], seed: before.chain)
            try require(chain == header, "a segment's first entry follows the segment before")
            try require(
                DiskFormat.number(file, 56, bytes: 8) == before.end,
                "a segment begins where the one before it ended"
            )
        }
        let sums = Array(file[(byte + 60)..<(byte + 64)] + file[(byte + 4)..<(byte + 8)])
        let end = position + UInt64(64 + (length + 7) & ~7)
        return (DiskFormat.crc(sums[...], seed: chain), end)
    }

    private mutating func load(base: UInt64) throws {
        let digits = String(base)
        let name = String(repeating: "0", count: 20 - digits.utf8.count) + digits + ".seg"
        guard current.name != name else { return }
        guard let bytes = try disk.contents(of: name), bytes.count >= DiskFormat.block else {
            throw Violation("an entry is served from \(name), which is not there")
        }
        current = (name, bytes)
    }
}
