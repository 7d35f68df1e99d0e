// Whole worlds: every promise is kept under drawn crashes, and a seed is one run and no other.

import PulseSimulator
import Testing

@Suite("Simulated worlds")
struct WorldTests {
    @Test("keep every promise", arguments: UInt64(1)...24)
    func keepsPromises(seed: UInt64) {
        let verdict = Simulation.run(seed: seed)
        #expect(verdict.violations.isEmpty, "repeat: pulse-sim --seed \(seed) --verbose")
        #expect(verdict.notifications > 100)
    }

    @Test("are the same run for the same seed", arguments: [3, 14, 15] as [UInt64])
    func repeatsItself(seed: UInt64) {
        let first = Simulation.run(seed: seed)
        let second = Simulation.run(seed: seed)
        #expect(first.traceHash == second.traceHash)
        #expect(first.stateHash == second.stateHash)
        #expect(first.counts.events == second.counts.events)
    }

    @Test("are another run for another seed")
    func differs() {
        #expect(Simulation.run(seed: 4).traceHash != Simulation.run(seed: 5).traceHash)
    }

    @Test("tell every event to whoever listens")
    func traces() {
        var lines = 0
        let verdict = Simulation.run(seed: 1) { _ in lines += 1 }
        #expect(lines > 1000)
        #expect(verdict.lastLines.count == 200)
    }

    // Every seed that found a bug stays, by the name of the bug.

    @Test("seed 78: a torn tail that recovery had cut was reported as damage")
    func tornTailIsNoDamage() { expectKept(78) }

    @Test("seed 29: a group created in the turn of a stream's first record never saw that stream")
    func groupSeesStreamOfItsTurn() { expectKept(29) }

    @Test("seed 20: a held row noted before its lease ended was lost by a reload of the wheel")
    func heldRowSurvivesReload() { expectKept(20) }

    @Test("seed 154: a drain with a paused channel asked for turn after turn")
    func drainWithPauseRests() { expectKept(154) }

    @Test("seed 207: on a full disk a group was confirmed whose entry was not written")
    func answersWaitForCommands() { expectKept(207, .keepingAll) }

    @Test("seed 818: a group was dealt what it had given back and then lost by retention")
    func lostIsNotDealt() { expectKept(818, .withoutInputs) }

    @Test("seed 890: a group lost messages in the turn in which it was dealt them")
    func dealtIsNotLost() { expectKept(890, .withoutInputs) }

    @Test("seed 898: while a group's creation waited for room, retention asked for turn after turn")
    func retentionRests() { expectKept(898, .withoutInputs) }

    @Test(
        "seed 11299: a cut that only the page cache knew to be over was made again, through new entries"
    )
    func floorIsSynced() { expectKept(11_299, .withoutInputs) }

    @Test("seed 6070: an idle node did not notice that the clock was set before its next timer")
    func idleNodeNoticesClock() { expectKept(6070, .withoutInputs) }

    @Test("seed 189: replay past a hole in the log trapped on a message that had never been held")
    func holeIsNoTrap() { expectKept(189, .keepingAll) }

    private func expectKept(_ seed: UInt64, _ options: RunOptions = .plain) {
        let verdict = Simulation.run(seed: seed, options: options)
        #expect(verdict.violations.isEmpty)
    }
}
