// Why a test could not go on, and waiting with a bound.

import Glibc

/// A sentence for whoever reads the failed run.
struct TestFailure: Error, CustomStringConvertible {
    var description: String

    init(_ description: String) { self.description = description }
}

/// Seconds since some moment, never going back.
func uptime() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// Milliseconds since 1970.
func wallMilliseconds() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
}

/// Asks again and again until there is an answer.
///
/// - Throws: ``TestFailure`` that says what never came, after `seconds`.
@discardableResult
func eventually<Answer>(
    _ what: @autoclosure () -> String,
    within seconds: Double = 20,
    _ ask: () throws -> Answer?
) throws -> Answer {
    let deadline = uptime() + seconds
    while true {
        if let answer = try ask() { return answer }
        guard uptime() < deadline else {
            throw TestFailure("after \(seconds) s still not: \(what())")
        }
        usleep(10_000)
    }
}

/// The same for a condition.
func eventually(
    _ what: @autoclosure () -> String,
    within seconds: Double = 20,
    holds condition: () throws -> Bool
) throws {
    try eventually(what(), within: seconds) { try condition() ? () : nil }
}
