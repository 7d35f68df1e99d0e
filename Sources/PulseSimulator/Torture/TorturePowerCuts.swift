// R05: the power goes at random instants, and at each of them every pending sector and name goes its own
// way, again and again. What is left is recovered and asked for everything that was ever acknowledged.

import PulseBroker
import PulseCore
import PulseLog

/// Runs scenarios and cuts the power inside them: between any two changes of the disk, also in the
/// middle of a commit, a roll, a background job or a recovery. The scenario itself goes on unharmed,
/// because the cuts happen to clones.
package struct TorturePowerCuts {
    package var cuts: Int
    package var cutsPerInstant = 50
    package var firstSeed: UInt64 = 1

    /// Instants in one scenario; more scenarios see more shapes of a log.
    private static let instantsPerScenario = 25
    private static let steps = 400
    /// One change of the disk in so many becomes an instant.
    private static let changesPerInstant = 12

    package init(cuts: Int) { self.cuts = cuts }

    package func run() -> TortureResult {
        var result = TortureResult("R05 power cuts")
        var seed = firstSeed
        while result.count(of: "power cuts") < cuts, result.violationCount < 20 {
            result.add(scenario(seed, cuts - result.count(of: "power cuts")))
            seed += 1
        }
        return result
    }

    private func scenario(_ seed: UInt64, _ most: Int) -> TortureResult {
        var result = TortureResult("")
        result.count("scenarios")
        let bench = TortureBench(seed: seed)
        var instants = SeededGenerator(seed: seed ^ 0x1257_A475)
        var left = min(Self.instantsPerScenario, (most + cutsPerInstant - 1) / cutsPerInstant)
        bench.disk.beforeChange = {
            guard left > 0, instants.below(Self.changesPerInstant) == 0 else { return }
            left -= 1
            var own = instants.fork()
            result.count("instants")
            let change = bench.disk.operationCount
            for cut in 0..<min(cutsPerInstant, most) {
                for violation in Self.cut(bench, &own, &result) {
                    result.violate("seed \(seed), change \(change), cut \(cut): \(violation)")
                }
            }
        }
        for step in 0..<Self.steps where left > 0 && bench.violations.isEmpty {
            do throws(ShardError) { try bench.step() } catch {
                result.violate("seed \(seed), step \(step): a healthy disk: \(error)")
                return result
            }
        }
        for violation in bench.violations { result.violate("seed \(seed): \(violation)") }
        for violation in bench.disk.violations { result.violate("seed \(seed): \(violation)") }
        return result
    }

    /// One cut: what survives is drawn, the shard is opened on it and asked.
    ///
    /// - Parameter losesFloor: The note of how far the log is durable is gone as well: it holds no data,
    ///   so that the log must open without it.
    static func cut(
        _ bench: TortureBench,
        losesFloor: Bool = false,
        _ random: inout SeededGenerator,
        _ result: inout TortureResult
    ) -> [String] {
        result.count("power cuts")
        let disk = bench.disk.clone()
        disk.faults = drawnFaults(&random)
        // Now and then it is the process only that dies.
        if random.below(10) == 0 {
            result.count("kills among them")
            disk.killProcess()
        } else {
            disk.losePower(&random)
        }
        if losesFloor { disk.suffer(.delete(file: "floor")) }
        let store = leftOfStore(bench, &random, &result)
        let isDeep = random.below(10) == 0
        // A second cut falls into the recovery from the first.
        if isDeep { disk.operationsLeft = random.below(24) }
        do throws(ShardError) {
            let shard: Shard
            do throws(ShardError) {
                shard = try open(bench, disk, store)
            } catch {
                guard isDeep, disk.isDead else { throw error }
                result.count("cuts inside the recovery from another")
                // Killed in it, it leaves in the page cache what is on no disk.
                if random.below(2) == 0 { disk.losePower(&random) } else { disk.killProcess() }
                store.crash(&random)
                shard = try open(bench, disk, store)
            }
            disk.operationsLeft = nil
            var ghost = bench.ghost
            var broken = try ghost.broken(by: shard)
            count(shard.recovery, &result)
            result.count("entries compared", ghost.comparisons - bench.ghost.comparisons)
            guard isDeep, broken.isEmpty, !disk.isDead else { return broken }
            broken = try ghost.brokenAnswers(of: shard, every: 16, from: random.below(16))
            guard broken.isEmpty else { return broken }
            let keys = try ghost.brokenKeys(
                of: shard,
                at: bench.now,
                windowMilliseconds: bench.configuration.idempotencyWindowMilliseconds
            )
            result.count("keys asked for", keys.asked)
            guard keys.broken.isEmpty else { return keys.broken }
            // What was recovered is promised: another cut must not take it.
            try ghost.promise(shard)
            disk.losePower(&random)
            store.crash(&random)
            result.count("second cuts after a recovery")
            return try ghost.broken(by: try open(bench, disk, store))
        } catch {
            return ["cannot be opened: \(error)"]
        }
    }

    private static func open(
        _ bench: TortureBench,
        _ disk: SimulatedDisk,
        _ store: SimulatedStore
    ) throws(ShardError) -> Shard {
        try TortureBench.open(disk, store, bench.configuration, seed: 1, at: bench.now)
    }

    /// A prefix of what was not flushed, mostly; or all of it, nothing, or no store at all where the log
    /// reaches back to its beginning.
    private static func leftOfStore(
        _ bench: TortureBench,
        _ random: inout SeededGenerator,
        _ result: inout TortureResult
    ) -> SimulatedStore {
        let store = bench.store.clone()
        switch random.below(8) {
        case 0: store.crash(keeping: store.unflushedCount)
        case 1: store.crash(keeping: 0)
        case 2 where bench.ghost.lowest == 0:
            result.count("stores lost as well")
            return SimulatedStore()
        default: store.crash(&random)
        }
        return store
    }

    private static func drawnFaults(_ random: inout SeededGenerator) -> DiskFaults {
        var faults = DiskFaults()
        faults.applied = [0, 200, 400, 800, 1000][random.below(5)]
        faults.dropped = min(1000 - faults.applied, [0, 300, 600, 1000][random.below(4)])
        faults.unorderedNames = [0, 0, 0, 500][random.below(4)]
        return faults
    }

    private static func count(_ report: RecoveryReport, _ result: inout TortureResult) {
        if report.tornTail != nil { result.count("torn tails cut") }
        if report.rollUndone { result.count("rolls undone") }
        if !report.footersRebuilt.isEmpty { result.count("footers made again") }
        if !report.segmentsDropped.isEmpty { result.count("unfinished segments removed") }
        if !report.floorSlotsUnreadable.isEmpty { result.count("torn floors") }
        if report.indexesRebuilt > 0 { result.count("recoveries that rebuilt indexes") }
        if report.created { result.count("logs not yet begun") }
    }
}
