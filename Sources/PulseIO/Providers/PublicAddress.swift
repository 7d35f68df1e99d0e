// Which internet addresses are the public's. A webhook's owner chooses where we connect, so everything
// that means "inside" must be refused, in each of the many forms IPv6 has for it.
// Sources: IANA special-purpose address registries for IPv4 and IPv6; RFC 6052 (NAT64), RFC 3056 (6to4).

package enum PublicAddress {
    private struct Block {
        var prefix: UInt32
        var bits: UInt32

        init(_ a: UInt32, _ b: UInt32, _ c: UInt32, bits: UInt32) {
            prefix = a << 24 | b << 16 | c << 8
            self.bits = bits
        }

        func contains(_ address: UInt32) -> Bool {
            (address ^ prefix) >> (32 - bits) == 0
        }
    }

    private static let insideV4 = [
        Block(0, 0, 0, bits: 8),  // this network, and 0.0.0.0 itself: reaches the own host
        Block(10, 0, 0, bits: 8),  // private
        Block(100, 64, 0, bits: 10),  // shared by carriers
        Block(127, 0, 0, bits: 8),  // loopback
        Block(169, 254, 0, bits: 16),  // link-local: cloud metadata lives here
        Block(172, 16, 0, bits: 12),  // private
        Block(192, 0, 0, bits: 24),  // protocol assignments
        Block(192, 0, 2, bits: 24),  // documentation
        Block(192, 88, 99, bits: 24),  // 6to4 relays
        Block(192, 168, 0, bits: 16),  // private
        Block(198, 18, 0, bits: 15),  // benchmarks
        Block(198, 51, 100, bits: 24),  // documentation
        Block(203, 0, 113, bits: 24),  // documentation
        Block(224, 0, 0, bits: 4),  // multicast
        Block(240, 0, 0, bits: 4),  // reserved, and broadcast
    ]

    /// Whether an IPv4 address, in host byte order, is a public one.
    package static func includes(v4 address: UInt32) -> Bool {
        !insideV4.contains { $0.contains(address) }
    }

    /// Whether an IPv6 address of 16 bytes is a public one.
    ///
    /// What carries an IPv4 address inside is judged by that; beyond it only 2000::/3 is public at
    /// all.
    package static func includes(v6 bytes: [UInt8]) -> Bool {
        precondition(bytes.count == 16, "an IPv6 address has 16 bytes")
        func starts(_ prefix: UInt8...) -> Bool { bytes.starts(with: prefix) }
        func v4(at index: Int) -> UInt32 {
            bytes[index..<index + 4].reduce(0) { $0 << 8 | UInt32($1) }
        }
        // ::ffff:a.b.c.d, and NAT64's 64:ff9b::a.b.c.d
        if starts(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF) { return includes(v4: v4(at: 12)) }
        if starts(0, 0x64, 0xFF, 0x9B, 0, 0, 0, 0, 0, 0, 0, 0) { return includes(v4: v4(at: 12)) }
        // 6to4: 2002:a.b.c.d::
        if starts(0x20, 0x02) { return includes(v4: v4(at: 2)) }
        // Protocol assignments with Teredo (2001::/23), documentation.
        if starts(0x20, 0x01), bytes[2] < 2 { return false }
        if starts(0x20, 0x01, 0x0D, 0xB8) || starts(0x3F, 0xFF) { return false }
        return bytes[0] & 0xE0 == 0x20
    }
}
