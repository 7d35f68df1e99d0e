// Which rare paths a set of runs took. A path that is never taken is not tested, however many seeds pass.

import PulseCore

/// Counts by name. A name of ``Sight`` is something the world saw, one of `Buggify.Sight` something the
/// code it ran did.
package struct Coverage: Sendable, CustomStringConvertible {
    /// What the world looks out for.
    package enum Sight: String, CaseIterable, Sendable {
        case tornTailCut
        case rollUndone
        case footerRebuilt
        case indexRebuilt
        case segmentDropped
        case leaseExpired
        case lateOutcomeRefused
        case duplicateFound
        case conflictFound
        case crashBeforeFlush
        case deathInRecovery
        case failedSync
        case stalled
        case fullDiskRefused
        case fullDiskResumed
        case damageTold
        case damageHarmless
        case olderLogRefused
        case badCheckpointRefused
        case segmentReleased
        case recordEvacuated
        case evacuatedDelivered
        case groupLostItsShare
        case cancelled
        case tooLateToCancel
        case cancelledOnFullDisk
        case cancelRefusedForRoom
        case nearlyFullRefused
        case nearlyFullResumed
        case repaired
        case repairedWithoutLoss
        case repairedWithoutStore
        case lossTold
        /// A life ended while a slot of the floor was being written.
        case floorCutOff
        case syncPartlyLost
        case writeTornByKill
        case callStalled
        case loopStalled
        case stallTold
        case stallRefused
        case stallOver
        case shortReadStopped
        case shortReadAtStart
        case exchangedEmpty
        case exchangedOlder
        case exchangedForeign
        case bitFlipped
        case sectorDead
        case fileZeroed
        case fileCut
        case fileDeleted
        case filesSwapped
        case fileOverwritten
        case lostWrite
        case misdirectedWrite
        case lyingSync
        case lyingDirectorySync
        case deathInSpare
        case deathInIndex
        case deathInMerge
        case deathInDiscard
        case deathInRelease
        case deathInOtherJob

        static func exchanged(_ other: OtherDisk) -> Self {
            switch other {
            case .empty: .exchangedEmpty
            case .older: .exchangedOlder
            case .another: .exchangedForeign
            }
        }
    }

    private var counts: [String: Int] = [:]

    package init() {
        for sight in Sight.allCases { counts[sight.rawValue] = 0 }
        for sight in Buggify.Sight.allCases { counts["\(sight)"] = 0 }
        for site in Buggify.Site.allCases { counts["buggify \(site)"] = 0 }
    }

    package mutating func saw(_ sight: Sight, _ times: Int = 1) {
        counts[sight.rawValue, default: 0] += times
    }

    mutating func add(_ buggify: Buggify) {
        for sight in Buggify.Sight.allCases {
            counts["\(sight)", default: 0] += buggify.seen[sight.rawValue]
        }
        for site in Buggify.Site.allCases {
            counts["buggify \(site)", default: 0] += buggify.fired[site.rawValue]
        }
    }

    package static func += (sum: inout Self, other: Self) {
        for name in other.counts.keys.sorted() {
            sum.counts[name, default: 0] += other.counts[name] ?? 0
        }
    }

    /// `staleTokenForgiven` needs a client that repeats an acknowledgement, which none does yet.
    private static let rare: Set<String> = [
        "footerRebuilt", "segmentDropped", "fullDiskResumed", "rollWithoutSpare",
        "staleTokenForgiven", "groupLostItsShare", "cancelRefusedForRoom", "repaired",
        "repairedWithoutLoss", "repairedWithoutStore", "lossTold",
        // A flush and a scrub change no files: the machine dies in the job after them.
        "deathInOtherJob", "deathInDiscard", "deathInMerge", "deathInRelease",
    ]

    /// Names that a few hundred seeds may well not see.
    package static func isRare(_ name: String) -> Bool {
        rare.contains(name)
    }

    /// Names that nothing was counted for.
    package var never: [String] { counts.keys.sorted().filter { counts[$0] == 0 } }

    package var description: String {
        counts.keys.sorted().map { "\($0) \(counts[$0] ?? 0)" }.joined(separator: ", ")
    }
}
