// The client's clocks.

internal import Glibc
internal import PulseCore

enum SystemTime {
    static func now() -> Now {
        Now(
            monotonic: MonotonicInstant(nanoseconds: read(CLOCK_MONOTONIC)),
            wall: WallTimestamp(milliseconds: Int64(read(CLOCK_REALTIME) / 1_000_000))
        )
    }

    private static func read(_ clock: clockid_t) -> UInt64 {
        var time = timespec()
        let result = clock_gettime(clock, &time)
        precondition(result == 0, "the machine has a monotonic and a wall clock")
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
