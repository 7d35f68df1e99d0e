// Reading the machine's clocks: the only place in Pulse that does.

import Glibc
package import PulseCore

package enum SystemClocks {
    /// Both times; read once a turn and handed to everything in it.
    package static func now() -> Now {
        let wall = read(CLOCK_REALTIME)
        return Now(
            monotonic: monotonic(),
            wall: WallTimestamp(
                milliseconds: Int64(wall.tv_sec) * 1000 + Int64(wall.tv_nsec) / 1_000_000
            )
        )
    }

    package static func monotonic() -> MonotonicInstant {
        let time = read(CLOCK_MONOTONIC)
        return MonotonicInstant(
            nanoseconds: UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
        )
    }

    /// Processor time this thread has used, in nanoseconds; for measurements.
    package static func threadProcessorNanoseconds() -> UInt64 {
        let time = read(CLOCK_THREAD_CPUTIME_ID)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    private static func read(_ clock: clockid_t) -> timespec {
        var time = timespec()
        let code = clock_gettime(clock, &time)
        precondition(code == 0, "these clocks exist on every Linux")
        return time
    }
}
