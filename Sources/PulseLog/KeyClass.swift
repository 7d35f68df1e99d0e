// The top two bits of an index key: which of four kinds of thing it stands for.
//
//     63  62 61                                                   0
//     +-----+-----------------------------------------------------+
//     |class|                 hash, or number                     |
//     +-----+-----------------------------------------------------+
//
// In a sorted file each class is one contiguous range, so that one of them can be read, filtered and
// merged without touching the others.

/// What the log knows of a key besides its bits.
package struct KeyClass: Hashable, Sendable, BitwiseCopyable {
    package let rawValue: UInt8

    package init(_ rawValue: UInt8) {
        precondition(rawValue < 4, "a key's class has two bits")
        self.rawValue = rawValue
    }

    /// Asked for often, and mostly in vain: has a filter in memory and is merged into generations.
    /// Its keys must be uniformly distributed hashes.
    package static let merged = KeyClass(0)

    static let bits: UInt64 = 2

    /// The key of this class with as much of `hash` as fits.
    @inline(__always)
    package func key(hash: UInt64) -> UInt64 { UInt64(rawValue) << 62 | hash >> Self.bits }

    /// The key of this class that is this number, below 2^62: neighbours lie side by side.
    @inline(__always)
    package func key(number: UInt64) -> UInt64 { UInt64(rawValue) << 62 | number & (1 << 62 - 1) }

    @inline(__always)
    static func isMerged(_ key: UInt64) -> Bool { key >> 62 == 0 }
}
