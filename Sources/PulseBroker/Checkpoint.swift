// The row that a checkpoint is: the hot state's bytes between a version of their own and a hash. A block of
// the store that is read wrongly, or a row that something wrote into, is not taken for a state.
//
//     5   hot state, version 3 or 4   XXH3-64 of it, little-endian
//
// Earlier programs wrote the hot state alone, which begins with 1 to 4.
//
// Source: spec/03-storage.md, "State".

import PulseCore

package enum Checkpoint {
    /// What such a row begins with.
    package static let version: UInt8 = 5
    private static let hashBytes = 8

    /// The row for a state's bytes.
    package static func row(_ encoded: [UInt8]) -> [UInt8] {
        var row: [UInt8] = []
        row.reserveCapacity(1 + encoded.count + hashBytes)
        row.append(version)
        row.append(contentsOf: encoded)
        row.append(littleEndian: hash(encoded))
        return row
    }

    /// The state's bytes in a row; nil when they are not what was written.
    package static func encoded(in row: [UInt8]) -> [UInt8]? {
        guard row.first == version else { return row }
        guard row.count > 1 + hashBytes else { return nil }
        let encoded = Array(row[1..<row.count - hashBytes])
        return row.suffix(hashBytes).elementsEqual(littleEndian(hash(encoded))) ? encoded : nil
    }

    /// The state in a row; nil when it is anything else than what was written.
    package static func state(in row: [UInt8]) -> ShardState? {
        encoded(in: row).flatMap(ShardState.init(encoded:))
    }

    private static func littleEndian(_ value: UInt64) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(littleEndian: value)
        return bytes
    }

    private static func hash(_ encoded: [UInt8]) -> UInt64 {
        encoded.withUnsafeBytes { XXH3.hash($0, seed: 0) }
    }
}
