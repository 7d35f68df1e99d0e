// The generator's clocks.

import Glibc

enum BenchClock {
    /// Nanoseconds since some moment, never going back.
    static func nanoseconds() -> UInt64 { read(CLOCK_MONOTONIC) }

    static func wallMilliseconds() -> Int64 { Int64(read(CLOCK_REALTIME) / 1_000_000) }

    private static func read(_ clock: clockid_t) -> UInt64 {
        var time = timespec()
        clock_gettime(clock, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
