// CRC32C and XXH3 over raw bytes, through one small C target.

internal import CChecksum

/// CRC32C (Castagnoli, RFC 3720): what entries, record batches and frames are protected with.
package enum CRC32C {
    package static func of(_ bytes: UnsafeRawBufferPointer, seed: UInt32 = 0) -> UInt32 {
        pulse_crc32c(seed, bytes.baseAddress, bytes.count)
    }

    /// The same by table: what the fast path is tested against.
    package static func reference(_ bytes: UnsafeRawBufferPointer, seed: UInt32 = 0) -> UInt32 {
        pulse_crc32c_reference(seed, bytes.baseAddress, bytes.count)
    }
}

/// XXH3, 64 bits. Give it a secret seed wherever outsiders choose the keys.
package enum XXH3 {
    package static func hash(_ bytes: UnsafeRawBufferPointer, seed: UInt64) -> UInt64 {
        pulse_xxh3(seed, bytes.baseAddress, bytes.count)
    }

    package static func hash(_ bytes: [UInt8], seed: UInt64) -> UInt64 {
        bytes.withUnsafeBytes { hash($0, seed: seed) }
    }

    package static func hash(_ text: String, seed: UInt64) -> UInt64 {
        var text = text
        return text.withUTF8 { hash(UnsafeRawBufferPointer($0), seed: seed) }
    }
}
