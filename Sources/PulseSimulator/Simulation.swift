// The face of this room: one seed in, a verdict out.

package import PulseCore

/// What became of one seed.
package struct Verdict: Sendable {
    package var seed: UInt64
    package var knobs: Knobs
    package var plan: FaultPlan
    package var violations: [Violation]
    package var traceHash: UInt64
    package var stateHash: UInt64
    package var lastLines: [String]
    package var counts: WorldCounts
    package var coverage: Coverage
    package var options: RunOptions
    package var buggifySites: [Buggify.Site]
    /// Notifications that existed at the end.
    package var notifications: Int
    package var simulated: MonotonicInstant

    package var isKept: Bool { violations.isEmpty }
}

package enum Simulation {
    /// Runs the world of a seed.
    ///
    /// - Parameter listener: Sees every trace line as it is written.
    package static func run(
        seed: UInt64,
        options: RunOptions = RunOptions(),
        listener: ((String) -> Void)? = nil
    ) -> Verdict {
        let world = World(seed: seed, options: options, listener: listener)
        world.run()
        return Verdict(
            seed: seed,
            knobs: world.knobs,
            plan: world.plan,
            violations: world.witness.violations,
            traceHash: world.tracer.hash,
            stateHash: world.stateHash,
            lastLines: world.tracer.lastLines,
            counts: world.counts,
            coverage: world.coverage,
            options: options,
            buggifySites: world.buggify?.sites ?? [],
            notifications: world.witness.known.count,
            simulated: world.time
        )
    }

    /// How much there is in the world of a seed to leave out.
    package static func size(
        seed: UInt64,
        options: RunOptions
    ) -> (plan: FaultPlan, faults: Int, clients: Int, submissions: Int) {
        var none = options
        none.untilEvent = 1
        let world = World(seed: seed, options: none)
        world.run()
        return (
            world.plan, world.plan.faults.count, world.clients.count,
            world.witness.submissions.count
        )
    }

    /// A hash as it is printed: 16 hexadecimal digits.
    package static func hexadecimal(_ hash: UInt64) -> String {
        let digits = String(hash, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
