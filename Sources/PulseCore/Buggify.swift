// Rare paths made common: a simulator hands one of these to the code it runs, which asks it, at places
// where doing something unusual is always allowed, whether to do so now. Production hands in none, and
// a place costs the comparison with nil.
//
//     if configuration.buggify?.fires(.forceRoll) == true { ... }
//     configuration.buggify?.saw(.rollDuringSync)

/// `@unchecked Sendable`: confined to the simulator's one thread.
package final class Buggify: @unchecked Sendable {
    /// Where something unusual may be done.
    package enum Site: Int, CaseIterable, Sendable {
        /// The node asks for a turn at once.
        case earlyTick
        /// One message is given out in a turn.
        case oneAtATime
        case forceCheckpoint
        case forceFloor
        /// The log goes on in a new segment although there is room.
        case forceRoll
        /// A roll makes its file although a spare is there.
        case spareNotReady
        /// An entry is read in two pieces.
        case smallRead
        /// Entries are folded in one by one.
        case smallFold
        /// A turn's entries are written before its end.
        case flushMidTurn
        /// Background jobs are asked for in another order.
        case reverseJobs
        /// A background job takes seconds.
        case slowJob
    }

    /// What a good set of runs has seen at least once.
    package enum Sight: Int, CaseIterable, Sendable {
        case rollDuringSync
        case rollWithoutSpare
        case duplicateInTurn
        case duplicateInSealed
        case clockSetWithHeld
        case candidateUsedUp
        case staleTokenForgiven
    }

    /// Parts of a thousand: sites that a run has, and how often one of them fires.
    private static let enabledPerThousand = 250
    private static let firesPerThousand = 50

    private var random: SeededGenerator
    private let enabled: [Bool]
    /// By site and by sight.
    package private(set) var fired = [Int](repeating: 0, count: Site.allCases.count)
    package private(set) var seen = [Int](repeating: 0, count: Sight.allCases.count)

    package init(_ random: SeededGenerator) {
        var random = random
        enabled = Site.allCases.map { _ in
            random.chance(perThousand: Self.enabledPerThousand)
        }
        self.random = random
    }

    /// The sites of this run.
    package var sites: [Site] { Site.allCases.filter { enabled[$0.rawValue] } }

    /// Whether to do the unusual thing now.
    package func fires(_ site: Site) -> Bool {
        guard enabled[site.rawValue], random.chance(perThousand: Self.firesPerThousand) else {
            return false
        }
        fired[site.rawValue] += 1
        return true
    }

    package func saw(_ sight: Sight) { seen[sight.rawValue] += 1 }
}
