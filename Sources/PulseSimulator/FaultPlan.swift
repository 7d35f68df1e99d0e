// What goes wrong in a run, as data: drawn up-front from a stream of its own, so that a fault can
// be left out without moving anything else.

package import PulseCore

/// One crash of the node.
package struct PlannedCrash: Sendable, CustomStringConvertible {
    package enum Kind: String, Sendable {
        /// `kill -9`: what the process wrote is in the page cache.
        case processKill
        /// Whatever was not synced is applied, dropped or torn.
        case powerLoss
        /// A clean stop: drained, closed, started again.
        case drain
    }

    package var kind: Kind
    package var at: MonotonicInstant
    /// Disk operations that still succeed from then on: 0 is at once; more lets the crash fall into
    /// the middle of a write, a roll, a background job or a recovery.
    package var afterOperations: Int
    /// Whether they are counted from the next rename on: the middle of a roll, of a new floor, of
    /// an index.
    package var fromRename: Bool
    /// Milliseconds until the node is started again.
    package var downMilliseconds: Int64

    package var description: String {
        "\(kind.rawValue)@\(TraceWriter.seconds(at))+\(afterOperations)ops\(fromRename ? "R" : "")"
    }
}

/// Somebody sets the wall clock.
package struct PlannedClockStep: Sendable, CustomStringConvertible {
    package var at: MonotonicInstant
    /// Forwards, or backwards when negative.
    package var milliseconds: Int64

    package var description: String { "\(milliseconds)ms@\(TraceWriter.seconds(at))" }
}

/// The faults of one run.
///
/// Swarm testing: a run has only some kinds of faults, so that a frequent one does not hide what a
/// rare one would find.
package struct FaultPlan: Sendable, CustomStringConvertible {
    package var crashes: [PlannedCrash] = []
    package var clockSteps: [PlannedClockStep] = []
    /// Parts of a thousand, each time a client sends something.
    package var resetPerThousand = 0
    /// Parts of a thousand of connections whose client reads slowly.
    package var slowReaderPerThousand = 0
    /// Parts of a thousand of syncs that take a hundred times longer.
    package var slowSyncPerThousand = 0
    /// Whether providers may say that they are not configured rightly.
    package var configurationErrors = false
    package var disk = DiskFaults()

    package init() {}

    package init(_ random: inout SeededGenerator, during milliseconds: Int64) {
        let kinds: [[PlannedCrash.Kind]] = [
            [.powerLoss], [.processKill], [.powerLoss, .processKill],
            [.powerLoss, .powerLoss, .processKill, .drain],
        ]
        let allowed = kinds[random.below(kinds.count)]
        let aimed = random.chance(perThousand: 500)
        for _ in 0..<(2 + random.below(4)) {
            let at = 300 + random.below(Int(milliseconds) + 4000)
            let kind = allowed[random.below(allowed.count)]
            let fromRename = aimed && kind != .drain && random.chance(perThousand: 500)
            let operations =
                aimed && kind != .drain ? 1 + random.below(fromRename ? 8 : 40) : 0
            crashes.append(
                PlannedCrash(
                    kind: kind,
                    at: MonotonicInstant(nanoseconds: UInt64(at) * 1_000_000),
                    afterOperations: operations,
                    fromRename: fromRename,
                    downMilliseconds: Int64(random.chance(perThousand: 300) ? 4000 : 5)
                        + Int64(random.below(500))
                )
            )
        }
        crashes.sort { $0.at < $1.at }
        func swarm(_ value: Int) -> Int { random.chance(perThousand: 500) ? value : 0 }
        resetPerThousand = swarm(30)
        slowReaderPerThousand = swarm(200)
        slowSyncPerThousand = swarm(10)
        configurationErrors = swarm(1) == 1
        for _ in 0..<swarm(3) {
            let at = UInt64(random.below(Int(milliseconds) + 4000)) * 1_000_000
            let isForward = random.chance(perThousand: 600)
            let step = isForward ? 500 + random.below(600_000) : -500 - random.below(3000)
            clockSteps.append(
                PlannedClockStep(
                    at: MonotonicInstant(nanoseconds: at),
                    milliseconds: Int64(step)
                )
            )
        }
        disk.applied = [0, 400, 900][random.below(3)]
        disk.dropped = [0, 300, 1000 - disk.applied][random.below(3)]
        if disk.applied + disk.dropped > 1000 { disk.dropped = 1000 - disk.applied }
    }

    package var description: String {
        """
        crashes=\(crashes) reset=\(resetPerThousand) slowReader=\(slowReaderPerThousand) \
        slowSync=\(slowSyncPerThousand) clock=\(clockSteps) config=\(configurationErrors) \
        disk=\(disk.applied)/\(disk.dropped)
        """
    }
}
