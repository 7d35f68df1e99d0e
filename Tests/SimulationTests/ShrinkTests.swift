// Parts of worlds: stopping early, leaving things out, and finding the smallest part that still fails.

import PulseCore
import PulseSimulator
import Testing

@Suite("A part of a world")
struct ShrinkTests {
    @Test("ends after an event")
    func stopsAfterAnEvent() {
        var options = RunOptions()
        options.untilEvent = 500
        let verdict = Simulation.run(seed: 3, options: options)
        #expect(verdict.counts.events == 500)
        #expect(verdict.isKept)
    }

    @Test("has no crash when every fault is left out")
    func leavesOutFaults() {
        var options = RunOptions()
        options.faults = []
        let verdict = Simulation.run(seed: 3, options: options)
        #expect(verdict.isKept)
        #expect(verdict.counts.crashes == 0)
        #expect(verdict.notifications > 100)
    }

    @Test("has nothing to deliver when nobody submits")
    func leavesOutSubmissions() {
        var options = RunOptions()
        options.submissionsMax = 0
        let verdict = Simulation.run(seed: 3, options: options)
        #expect(verdict.isKept)
        #expect(verdict.notifications == 0)
    }

    @Test("is named by the arguments that repeat it")
    func namesItself() {
        var options = RunOptions()
        options.faults = [7, 1]
        options.clients = []
        options.submissionsMax = 12
        options.untilEvent = 900
        #expect(
            options.arguments == " --faults 1,7 --clients none --submissions 12 --until 900"
        )
    }

    @Test("is as small as it can be")
    func shrinks() {
        var shrinker = Shrinker(RunOptions()) { run in
            let faults = run.faults ?? Set(1...9)
            let clients = run.clients ?? Set(0..<5)
            return faults.isSuperset(of: [3, 8]) && clients.contains(2)
                && run.submissionsMax ?? 100 >= 17
        }
        shrinker.shrink(faults: 9, clients: 5, submissions: 100)
        #expect(shrinker.options.faults == [3, 8])
        #expect(shrinker.options.clients == [2])
        #expect(shrinker.options.submissionsMax == 17)
    }

    @Test("A fault is drawn whether or not it happens")
    func keepsTheNumbersOfFaults() {
        var random = SeededGenerator(seed: 9)
        let plan = FaultPlan(&random, during: 10_000)
        let kept = plan.keeping([2])
        #expect(kept.faults.count == plan.faults.count)
        #expect(kept.happening.count == 1)
        #expect(plan.keeping([]).resetPerThousand == 0)
    }

    @Test("Coverage knows what was never seen")
    func countsSights() {
        var coverage = Coverage()
        let all = coverage.never.count
        coverage.saw(.tornTailCut)
        #expect(coverage.never.count == all - 1)
        var sum = Coverage()
        sum += coverage
        #expect(sum.never == coverage.never)
    }

    @Test("Unusual things happen at a quarter of the sites, now and then")
    func buggifies() {
        var enabled = 0
        for seed in UInt64(0)..<200 {
            let buggify = Buggify(SeededGenerator(seed: seed))
            enabled += buggify.sites.count
            var fired = 0
            for _ in 0..<1000 where buggify.fires(.earlyTick) { fired += 1 }
            #expect(buggify.sites.contains(.earlyTick) ? (20...90).contains(fired) : fired == 0)
        }
        let share = Double(enabled) / Double(200 * Buggify.Site.allCases.count)
        #expect((0.2...0.3).contains(share))
    }
}
