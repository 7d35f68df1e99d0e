// Repaired logs: a directory is damaged, repaired with its loss accepted, and lived on, again and again.
// The power is cut in the middle of repairs and in the lives after them.

import PulseBroker
import PulseCore
import PulseLog

/// What lies outside the reported gaps is promised as before; what lies in them is told as lost.
package struct TortureRepairs {
    package var scenarios: Int
    package var seed: UInt64 = 1

    private static let stepsBefore = 220
    private static let stepsAfter = 60
    private static let repairsPerScenario = 3
    private static let cutsPerRepair = 6
    private static let cutsPerInstant = 3
    /// One change of the disk in so many becomes an instant to cut the power at.
    private static let changesPerInstant = 40

    package init(scenarios: Int) { self.scenarios = scenarios }

    package func run() -> TortureResult {
        var result = TortureResult("Repaired logs")
        for number in 0..<scenarios {
            let own = seed + UInt64(number)
            do throws(ShardError) { try scenario(own, &result) } catch {
                result.violate("seed \(own), a healthy disk: \(error)")
            }
        }
        return result
    }

    private func scenario(_ seed: UInt64, _ result: inout TortureResult) throws(ShardError) {
        let bench = TortureBench(seed: seed, retentionMilliseconds: 40_000)
        var random = SeededGenerator(seed: seed ^ 0x2E_9A12)
        for _ in 0..<Self.stepsBefore where bench.violations.isEmpty { try bench.step() }
        for number in 1...Self.repairsPerScenario where result.violationCount < 20 {
            let end = TortureBench.End.allCases[random.below(3)]
            if bench.shard == nil { try bench.start() }
            try bench.settleDown()
            let segments = bench.shard?.log.segments ?? []
            try bench.finish(end)
            let damages = Self.damages(
                segments,
                below: bench.ghost.vouched,
                isClosed: end == .clean,
                &random
            )
            for damage in damages { bench.disk.suffer(damage) }
            let what = "seed \(seed), repair \(number) after \(end), \(damages)"
            guard try repair(bench, what, &random, &result) else { return }
            try liveOn(bench, what, &random, &result)
        }
        for violation in bench.violations { result.violate("seed \(seed): \(violation)") }
        for violation in bench.disk.violations { result.violate("seed \(seed): \(violation)") }
    }

    // MARK: - Damage

    /// One to three, in what something vouches for.
    private static func damages(
        _ segments: [SegmentDescription],
        below vouched: UInt64,
        isClosed: Bool,
        _ random: inout SeededGenerator
    ) -> [DiskDamage] {
        let hit = segments.filter { $0.base.rawValue + 8192 < vouched }
        guard !hit.isEmpty else { return [] }
        return (0...random.below(3)).map { _ in
            let segment = hit[random.below(hit.count)]
            let end = min(segment.end.rawValue, vouched) - segment.base.rawValue
            let byte =
                Limits.segmentHeaderBytes + random.below(Int(end) - Limits.segmentHeaderBytes)
            switch random.below(isClosed ? 8 : 6) {
            case 0..<3: return .flipBit(file: segment.name, byte: byte, bit: random.below(8))
            case 3: return .zeros(file: segment.name, byte..<byte + 1 + random.below(600))
            case 4: return .deadSector(file: segment.name, sector: byte / 512)
            case 5: return .flipBit(file: segment.name, byte: random.below(512), bit: 1)
            case 6: return .truncate(file: segment.name, bytes: byte)
            default: return .delete(file: segment.name)
            }
        }
    }

    // MARK: - Repair

    /// Repairs the bench's disk, and clones of it whose power is cut in the middle of the repair. Starts
    /// on the repaired log; false when a promise was broken.
    private func repair(
        _ bench: TortureBench,
        _ what: String,
        _ random: inout SeededGenerator,
        _ result: inout TortureResult
    ) throws(ShardError) -> Bool {
        let plan = try fromPlan(bench.disk, bench.store)
        let whole = bench.disk.clone()
        let before = whole.operationCount
        _ = try perform(plan, whole, SimulatedDisk(), bench)
        let operations = whole.operationCount - before
        for _ in 0..<Self.cutsPerRepair where !plan.isClean {
            try cutInside(bench, plan, operations, what, &random, &result)
        }
        let trash = SimulatedDisk()
        let damaged = bench.disk.clone()
        let kept = try perform(plan, bench.disk, trash, bench)
        for (name, file) in zip(kept, plan.files.filter(\.exists)) {
            let isKept = trash.bytes(of: name)?.count == damaged.bytes(of: file.name)?.count
            if !isKept { result.violate("\(what): the trash does not have \(file.name)") }
        }
        result.count(plan.isClean ? "damages that cost nothing" : "repairs")
        result.count("gaps", plan.gaps.count)
        let again = try fromPlan(bench.disk, bench.store)
        if !again.isClean { result.violate("\(what): not whole after its repair: \(again.lines)") }
        let broken = try bench.start(after: plan.gaps)
        for violation in broken {
            result.violate("\(what): \(violation); planned: \(plan.lines)")
        }
        result.count("notifications still answered rightly", bench.ghost.acknowledgedRecords)
        return broken.isEmpty && result.isKept
    }

    /// The power goes in the middle of a repair; the next one finishes it, at no further loss.
    private func cutInside(
        _ bench: TortureBench,
        _ plan: RepairPlan,
        _ operations: Int,
        _ what: String,
        _ random: inout SeededGenerator,
        _ result: inout TortureResult
    ) throws(ShardError) {
        result.count("power cuts inside repairs")
        let disk = bench.disk.clone()
        let trash = SimulatedDisk()
        disk.operationsLeft = random.below(max(1, operations))
        do throws(ShardError) { _ = try perform(plan, disk, trash, bench) } catch {
            guard disk.isDead else { throw error }
        }
        disk.losePower(&random)
        trash.losePower(&random)
        let rest = try fromPlan(disk, bench.store)
        _ = try perform(rest, disk, trash, bench)
        let store = bench.store.clone()
        store.crash(&random)
        let shard = try TortureBench.open(disk, store, bench.configuration, seed: 1, at: bench.now)
        var ghost = bench.ghost
        for violation in try ghost.accept(plan.gaps, by: shard) {
            result.violate("\(what), cut in its middle: \(violation)")
        }
    }

    private func fromPlan(
        _ disk: SimulatedDisk,
        _ store: SimulatedStore
    ) throws(ShardError) -> RepairPlan {
        let reach = try Shard.reach(of: store)
        do throws(LogError) { return try LogRepair.plan(disk, reach) } catch { throw .log(error) }
    }

    private func perform(
        _ plan: RepairPlan,
        _ disk: SimulatedDisk,
        _ trash: SimulatedDisk,
        _ bench: TortureBench
    ) throws(ShardError) -> [String] {
        do throws(LogError) {
            return try LogRepair.perform(
                plan,
                in: disk,
                trash: trash,
                stamp: "20261120T120000Z",
                at: bench.now.wall
            )
        } catch { throw .log(error) }
    }

    // MARK: - The life after

    /// New work on the repaired log, and power cuts: every promise holds as on any other.
    private func liveOn(
        _ bench: TortureBench,
        _ what: String,
        _ random: inout SeededGenerator,
        _ result: inout TortureResult
    ) throws(ShardError) {
        var instants = random.fork()
        var found = TortureResult("")
        bench.disk.beforeChange = {
            guard instants.below(Self.changesPerInstant) == 0 else { return }
            for _ in 0..<Self.cutsPerInstant {
                for violation in TorturePowerCuts.cut(bench, &instants, &found) {
                    found.violate("\(what), lived on, power cut: \(violation)")
                }
            }
        }
        for _ in 0..<Self.stepsAfter where bench.violations.isEmpty && found.isKept {
            try bench.step()
        }
        bench.disk.beforeChange = nil
        result.count("power cuts on repaired logs", found.count(of: "power cuts"))
        for violation in found.violations { result.violate(violation) }
        if let twice = bench.ghost.firstOfTwo {
            result.violate("\(what): \(twice) was given to two notifications")
        }
    }
}
