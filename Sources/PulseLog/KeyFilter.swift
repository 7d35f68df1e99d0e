// A blocked Bloom filter: says "never seen" about most keys without reading the index file.
// Source: Putze, Sanders and Singler, "Cache-, Hash- and Space-Efficient Bloom Filters", 2007.

import PulseCore

/// 16 bits a key; all of a key's probes fall into one 64-byte block, so a question costs one cache
/// miss. About one answer in five hundred is a false "perhaps".
struct KeyFilter: Sendable, Equatable {
    static let bitsPerKey = 16
    static let probes = 6
    /// Words of 64 bits in one block: a cache line.
    static let blockWords = 8

    private(set) var words: [UInt64]

    init(keyCount: Int) {
        let blocks = (keyCount * Self.bitsPerKey + 511) / 512
        words = [UInt64](repeating: 0, count: blocks * Self.blockWords)
    }

    init(words: [UInt64]) {
        precondition(words.count % Self.blockWords == 0, "a filter is whole blocks")
        self.words = words
    }

    /// The first word of the key's block, and nine bits for each probe.
    @inline(__always)
    private func place(_ key: UInt64) -> (block: Int, bits: UInt64) {
        // Mixed first: a caller's keys may be poor hashes.
        let mixed = (key ^ key >> 32) &* 0x9E37_79B9_7F4A_7C15
        let blocks = UInt64(words.count / Self.blockWords)
        let block = Int(mixed.multipliedFullWidth(by: blocks).high) * Self.blockWords
        return (block, (mixed ^ mixed >> 29) &* 0xBF58_476D_1CE4_E5B9)
    }

    mutating func insert(_ key: UInt64) {
        guard !words.isEmpty else { return }
        if Mutant.isOn(.filterForgets), key & 3 == 0 { return }
        let (block, bits) = place(key)
        for probe in 0..<Self.probes {
            let bit = bits >> UInt64(9 * probe + 5) & 511
            words[block + Int(bit >> 6)] |= 1 << (bit & 63)
        }
    }

    /// False: certainly never inserted.
    func mayContain(_ key: UInt64) -> Bool {
        guard !words.isEmpty else { return false }
        let (block, bits) = place(key)
        for probe in 0..<Self.probes {
            let bit = bits >> UInt64(9 * probe + 5) & 511
            if words[block + Int(bit >> 6)] & 1 << (bit & 63) == 0 { return false }
        }
        return true
    }
}
