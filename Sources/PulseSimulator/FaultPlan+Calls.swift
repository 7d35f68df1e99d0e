// Faults of single calls of the disk, and disks that are exchanged: drawn from a stream of their own, after
// everything else.

package import PulseCore

/// What is under the path instead of the log's own disk.
package enum OtherDisk: String, CaseIterable, Sendable {
    case empty = "an empty disk"
    /// A copy of some time ago, which the store has left behind.
    case older = "an older copy"
    case another = "another log's disk"
}

extension FaultPlan {
    /// The same plan with calls that take their time, reads that fall short, and another disk at a start.
    package func withCalls(
        _ random: inout SeededGenerator,
        during milliseconds: Int64
    ) -> FaultPlan {
        var more = faults
        func instant() -> MonotonicInstant {
            let at = 1000 + random.below(Int(milliseconds) + 2000)
            return MonotonicInstant(nanoseconds: UInt64(at) * 1_000_000)
        }
        if random.chance(perThousand: 350) {
            for _ in 0..<(1 + random.below(3)) {
                let spread = random.chance(perThousand: 700) ? 2000 : 12_000
                let stall = DiskFault.stall(milliseconds: Int64(100 + random.below(spread)))
                more.append(.call(at: instant(), after: random.below(30), stall))
            }
        }
        if random.chance(perThousand: 250) {
            for _ in 0..<(1 + random.below(2)) {
                let short = DiskFault.shortRead(bytes: random.below(300))
                more.append(.call(at: instant(), after: random.below(30), short))
            }
        }
        if random.chance(perThousand: 250) {
            let other = OtherDisk.allCases[random.below(OtherDisk.allCases.count)]
            more.append(.exchangedDisk(at: instant(), other))
        }
        if random.chance(perThousand: 400) {
            for _ in 0..<(1 + random.below(2)) {
                more.append(
                    .crash(
                        PlannedCrash(
                            kind: random.below(2) == 0 ? .powerLoss : .processKill,
                            at: instant(),
                            afterOperations: 1 + random.below(12),
                            fromRename: false,
                            inJob: true,
                            downMilliseconds: Int64(5 + random.below(500))
                        )
                    )
                )
            }
        }
        return FaultPlan(more, disk)
    }
}
