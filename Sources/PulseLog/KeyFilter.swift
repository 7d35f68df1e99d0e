// A blocked Bloom filter: says "never seen" about most keys without reading an index file.
// Source: Putze, Sanders and Singler, "Cache-, Hash- and Space-Efficient Bloom Filters", 2007.
//
// The block follows from the key's upper bits, so ascending keys fill the blocks from first to last:
// a filter of any size is written front to back while keys are merged, and is never held whole.

import PulseCore

/// 16 bits a key; all of a key's probes fall into one 64-byte block, so a question costs one cache
/// miss. About one answer in five hundred is a false "perhaps".
///
/// Holds keys of the class ``KeyClass/merged`` only. Verified by whoever reads it from a file: a bit
/// lost would be a key that was "never seen".
struct KeyFilter {
    static let bitsPerKey = 16
    static let probes = 6
    /// A cache line.
    static let blockBytes = 64

    private let memory: RawBuffer
    let blocks: Int

    /// `memory` holds the blocks, one after another.
    init(_ memory: RawBuffer, blocks: Int) {
        self.memory = memory
        self.blocks = blocks
    }

    static func blocks(forKeys count: Int) -> Int { (count * bitsPerKey + 511) / 512 }

    var bytes: Int { blocks * Self.blockBytes }

    /// The number of the key's block; ascending with the key.
    @inline(__always)
    static func block(of key: UInt64, among blocks: Int) -> Int {
        Int(truncatingIfNeeded: (key << KeyClass.bits).multipliedFullWidth(by: UInt64(blocks)).high)
    }

    /// Nine bits for each probe, from bit 5 on.
    @inline(__always)
    private static func bits(of key: UInt64) -> UInt64 {
        let mixed = (key ^ key >> 32) &* 0x9E37_79B9_7F4A_7C15
        return (mixed ^ mixed >> 29) &* 0xBF58_476D_1CE4_E5B9
    }

    /// Notes a key in its block of 64 bytes.
    static func insert(_ key: UInt64, into block: UnsafeMutableRawPointer) {
        if Mutant.isOn(.filterForgets), key & 3 == 0 { return }
        let bits = bits(of: key)
        for probe in 0..<probes {
            let bit = bits >> UInt64(9 * probe + 5) & 511
            let word = Int(bit >> 6) * 8
            let old = UnsafeRawPointer(block).little(word, as: UInt64.self)
            block.putLittle(old | 1 << (bit & 63), word)
        }
    }

    /// False: certainly never inserted.
    func mayContain(_ key: UInt64) -> Bool {
        guard blocks > 0 else { return false }
        let block = memory.bytesPointer + Self.block(of: key, among: blocks) * Self.blockBytes
        let bits = Self.bits(of: key)
        for probe in 0..<Self.probes {
            let bit = bits >> UInt64(9 * probe + 5) & 511
            let word = block.little(Int(bit >> 6) * 8, as: UInt64.self)
            if word & 1 << (bit & 63) == 0 { return false }
        }
        return true
    }
}

extension KeyFilter {
    /// Reads a filter from a file; nil when it does not verify.
    static func read(
        from file: any LogFile,
        at byte: Int,
        blocks: Int,
        crc: UInt32,
        _ checksums: LogChecksums
    ) throws(LogError) -> KeyFilter? {
        let count = blocks * blockBytes
        let memory = RawBuffer(capacity: count)
        guard try readWhole(file, at: byte, count, into: memory),
            Mutant.isOn(.skipPageCRC) || checksums.block(memory.bytes(0..<count)) == crc
        else { return nil }
        return KeyFilter(memory, blocks: blocks)
    }
}

/// Reads exactly `count` bytes to the front of `buffer`; false when the file is too short, or the medium
/// cannot read them. For files that can be made again: a bad sector in one is no reason to stop.
func readWhole(
    _ file: any LogFile,
    at byte: Int,
    _ count: Int,
    into buffer: RawBuffer
) throws(LogError) -> Bool {
    buffer.reserve(count, keeping: 0)
    let target = buffer.mutableBytes(0..<count)
    do throws(StorageError) {
        return try file.read(into: target, at: byte) == count
    } catch {
        guard error.isUnreadable else { throw .storage(error) }
        return false
    }
}
