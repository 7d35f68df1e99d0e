// When to try again: exponential backoff with full jitter, so that what failed together does not
// come back together; a server that names a time is believed, up to a day.
// Source: Marc Brooker, "Exponential Backoff And Jitter", 2015.

package struct RetryPolicy: Hashable, Sendable {
    /// Milliseconds: the most that the first delay can be.
    package var baseMs: Int64
    /// Each further delay's ceiling is this many times the one before.
    package var factor: Int64
    /// Milliseconds no ceiling exceeds.
    package var capMs: Int64
    /// Attempts in all, the first included.
    package var attemptsMax: Int

    /// Milliseconds a server can ask us to wait; longer requests are cut to this.
    package static let retryAtMsMax: Int64 = 24 * 3_600_000

    package init(
        baseMs: Int64 = 1000,
        factor: Int64 = 2,
        capMs: Int64 = 900_000,
        attemptsMax: Int = 6
    ) {
        precondition(
            baseMs > 0 && factor >= 1 && capMs >= baseMs && attemptsMax > 0,
            "a retry policy has a positive base, a factor of 1 or more, a cap not below the base"
        )
        self.baseMs = baseMs
        self.factor = factor
        self.capMs = capMs
        self.attemptsMax = attemptsMax
    }

    /// Whether there is no attempt after this one, counted from 1.
    package func isLast(attempt: Int) -> Bool { attempt >= attemptsMax }

    /// The longest delay after an attempt, counted from 1: base, base × factor, … up to the cap.
    package func ceilingMs(afterAttempt attempt: Int) -> Int64 {
        var ceiling = baseMs
        var step = 1
        while step < attempt, ceiling < capMs {
            let (product, overflow) = ceiling.multipliedReportingOverflow(by: factor)
            if overflow { return capMs }
            if product == ceiling { break }
            ceiling = product
            step += 1
        }
        return min(ceiling, capMs)
    }

    /// Milliseconds to wait after attempt `attempt`, counted from 1.
    ///
    /// Without a server's word: uniform between a tenth of the base and the ceiling; never 0. With
    /// it: never earlier than asked, plus up to one base so that a queue does not return as one.
    package func delayMs(
        afterAttempt attempt: Int,
        retryAtSeconds: Int64? = nil,
        using random: inout SeededGenerator
    ) -> Int64 {
        let floor = max(1, baseMs / 10)
        if let retryAtSeconds {
            let asked = min(max(0, retryAtSeconds), Self.retryAtMsMax / 1000) * 1000
            return max(floor, Mutant.isOn(.ignoreRetryAfter) ? 0 : asked)
                + Int64(random.below(Int(baseMs)))
        }
        let ceiling = ceilingMs(afterAttempt: attempt)
        return floor + Int64(random.below(Int(ceiling - floor + 1)))
    }
}
