// The only random generator the core may hold: xoshiro256**, seeded through SplitMix64.
// Source: Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2018.

package struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: (UInt64, UInt64, UInt64, UInt64)

    package init(seed: UInt64) {
        var mixer = seed
        func next() -> UInt64 {
            mixer &+= 0x9E37_79B9_7F4A_7C15
            var z = mixer
            z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            return z ^ (z >> 31)
        }
        state = (next(), next(), next(), next())
    }

    package mutating func next() -> UInt64 {
        func rotate(_ x: UInt64, _ k: UInt64) -> UInt64 { (x << k) | (x >> (64 - k)) }
        let result = rotate(state.1 &* 5, 7) &* 9
        let t = state.1 << 17
        state.2 ^= state.0
        state.3 ^= state.1
        state.1 ^= state.2
        state.0 ^= state.3
        state.2 ^= t
        state.3 = rotate(state.3, 45)
        return result
    }

    /// A whole number below `bound`, without modulo bias worth speaking of (Lemire's multiply).
    package mutating func below(_ bound: Int) -> Int {
        precondition(bound > 0, "a bound is positive")
        return Int(next().multipliedFullWidth(by: UInt64(bound)).high)
    }

    /// True with the given chance in a thousand.
    package mutating func chance(perThousand: Int) -> Bool { below(1000) < perThousand }

    /// A generator of its own for another purpose, so that drawing more for one does not move the other.
    package mutating func fork() -> SeededGenerator { SeededGenerator(seed: next()) }
}
