// Counts of durations at a bounded relative error, in bounded space: after Gil Tene's HdrHistogram.
//
//      value (ns)      0 ... 255 | 256 ... 511 | 512 ... 1023 | 1024 ... 2047 | ...
//      bucket width        1     |      2      |      4       |       8       |
//      buckets            256    |     128     |     128      |      128      |
//
// Every power of two above 256 is cut into 128 equal buckets, so a percentile is right to 1/128,
// less than 0.8 %; the largest and the smallest value are kept exactly.

package struct LatencyHistogram: Sendable {
    private static let fine: UInt64 = 256
    private static let half = 128

    private var counts: [UInt64]
    package private(set) var count: UInt64 = 0
    package private(set) var max: UInt64 = 0
    package private(set) var min: UInt64 = .max
    private var sum: Double = 0

    package init() {
        // 256 exact ones, and 128 for each of the powers 2^8 to 2^63.
        counts = Array(repeating: 0, count: Int(Self.fine) + 56 * Self.half)
    }

    package var isEmpty: Bool { count == 0 }
    package var mean: Double { count == 0 ? 0 : sum / Double(count) }

    package mutating func record(_ value: UInt64) {
        counts[Self.index(of: value)] += 1
        count += 1
        sum += Double(value)
        max = Swift.max(max, value)
        min = Swift.min(min, value)
    }

    package mutating func add(_ other: LatencyHistogram) {
        for index in counts.indices { counts[index] += other.counts[index] }
        count += other.count
        sum += other.sum
        max = Swift.max(max, other.max)
        min = Swift.min(min, other.min)
    }

    /// The smallest recorded value that at least this share of all values does not exceed, rounded up
    /// to the end of its bucket and never above the maximum; 0 when nothing was recorded.
    ///
    /// - Parameter share: 0.99 for the 99th percentile.
    package func value(at share: Double) -> UInt64 {
        guard count > 0 else { return 0 }
        let wanted = Swift.max(1, UInt64((share * Double(count)).rounded(.up)))
        var seen: UInt64 = 0
        for (index, number) in counts.enumerated() where number > 0 {
            seen += number
            if seen >= wanted { return Swift.min(Self.upperBound(of: index), max) }
        }
        return max
    }

    package static func index(of value: UInt64) -> Int {
        guard value >= fine else { return Int(value) }
        let power = 63 - value.leadingZeroBitCount
        // The seven bits below the highest one.
        let within = Int(value >> UInt64(power - 7)) & (half - 1)
        return Int(fine) + (power - 8) * half + within
    }

    /// The largest value of a bucket.
    package static func upperBound(of index: Int) -> UInt64 {
        guard index >= Int(fine) else { return UInt64(index) }
        let (power, within) = (index - Int(fine)).quotientAndRemainder(dividingBy: half)
        let width = UInt64(1) << UInt64(power + 1)
        return (UInt64(1) << UInt64(power + 8)) + (UInt64(within) * width + (width - 1))
    }
}
