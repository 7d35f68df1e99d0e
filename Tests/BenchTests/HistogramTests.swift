// The numbers that pulse-bench prints are only as good as its histogram.

import PulseBench
import Testing

@Suite("Latency histogram")
struct HistogramTests {
    @Test("Small values are exact")
    func exact() {
        var histogram = LatencyHistogram()
        for value: UInt64 in 1...100 { histogram.record(value) }
        #expect(histogram.count == 100)
        #expect((histogram.min, histogram.max) == (1, 100))
        #expect(histogram.mean == 50.5)
        #expect(histogram.value(at: 0.5) == 50)
        #expect(histogram.value(at: 0.99) == 99)
        #expect(histogram.value(at: 0.999) == 100)
        #expect(histogram.value(at: 1) == 100)
        #expect(histogram.value(at: 0) == 1)
    }

    @Test("Nothing recorded is nothing, not a trap")
    func empty() {
        let histogram = LatencyHistogram()
        #expect(histogram.isEmpty)
        #expect(histogram.value(at: 0.99) == 0)
        #expect(histogram.mean == 0)
    }

    @Test("Every bucket begins where the one before ends, up to the largest number there is")
    func buckets() {
        var last: UInt64 = 0
        for index in 1..<(256 + 56 * 128) {
            #expect(LatencyHistogram.index(of: last) == index - 1)
            #expect(LatencyHistogram.index(of: last + 1) == index)
            last = LatencyHistogram.upperBound(of: index)
        }
        #expect(last == .max)
        #expect(LatencyHistogram.index(of: .max) == 256 + 56 * 128 - 1)
    }

    @Test("A percentile is never too small, and too large by less than 0.8 %")
    func error() {
        // Powers of a ratio, from a microsecond to a minute.
        var values: [UInt64] = []
        var value = 1000.0
        while value < 60e9 {
            values.append(UInt64(value))
            value *= 1.01
        }
        var histogram = LatencyHistogram()
        for value in values.reversed() { histogram.record(value) }
        for share in [0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1] {
            let rank = max(1, Int((share * Double(values.count)).rounded(.up)))
            let exact = values[rank - 1]
            let found = histogram.value(at: share)
            #expect(found >= exact)
            #expect(Double(found) <= Double(exact) * (1 + 1.0 / 128))
        }
    }

    @Test("Two halves added are the whole")
    func adding() {
        var (whole, even, odd) = (LatencyHistogram(), LatencyHistogram(), LatencyHistogram())
        for value: UInt64 in 0..<10_000 {
            whole.record(value * value)
            if value % 2 == 0 { even.record(value * value) } else { odd.record(value * value) }
        }
        even.add(odd)
        #expect(even.count == whole.count && even.max == whole.max && even.min == whole.min)
        for share in [0.1, 0.5, 0.99] { #expect(even.value(at: share) == whole.value(at: share)) }
    }
}
