// Disks that say yes and do something else: a write that never arrives or arrives elsewhere, a sync that
// leaves everything where it was. Found after the next power cut, or reported when it is read.

import PulseBroker
import PulseCore
import PulseLog

struct TortureLies {
    let seed: UInt64

    private static let steps = 120
    private static let kinds = [
        "writes lost", "writes misdirected", "syncs that lied", "directory syncs that lied",
    ]

    private static func fault(_ kind: Int, _ random: inout SeededGenerator) -> DiskFault {
        switch kind {
        case 0: .lostWrite(sector: random.below(3) == 0 ? nil : random.below(16))
        case 1: .misdirectedWrite(file: random.below(64), sector: random.below(1 << 16))
        case 2: .lyingSync
        default: .lyingDirectorySync
        }
    }

    func run(trials: Int, _ result: inout TortureResult) {
        for trial in 0..<trials where result.violationCount < 20 {
            run(trial: trial, &result)
        }
    }

    func run(trial: Int, _ result: inout TortureResult) {
        var random = SeededGenerator(seed: seed &+ UInt64(trial) &* 0x9E37_79B9)
        let kind = trial % Self.kinds.count
        let call = 1 + random.below(350)
        let fault = PlannedDiskFault(call: call, fault: Self.fault(kind, &random))
        run(fault, Self.kinds[kind], scenario: seed + UInt64(trial % 16), &result)
    }

    private func run(
        _ fault: PlannedDiskFault,
        _ kind: String,
        scenario: UInt64,
        _ result: inout TortureResult
    ) {
        let bench = TortureBench(seed: scenario)
        bench.disk.plan = DiskFaultPlan([fault])
        let what = "scenario \(scenario), \(fault)"
        do throws(ShardError) {
            // One life: a restart would look with the eyes of a mere crash.
            bench.restarts = false
            for _ in 0..<Self.steps { try bench.step() }
            try bench.settleDown()
            try bench.finish(.powerLoss)
        } catch {
            // The running process met it: an error is a report.
            result.count("\(kind), met at once")
            return
        }
        guard !bench.disk.struck.isEmpty else { return }
        result.count(kind)
        for violation in bench.violations { result.violate("\(what): \(violation)") }
        var examination = TortureExamination(ghost: bench.ghost, mayLoseTail: true)
        examination.mayRefuseIntact = true
        let seen = examination.open(bench.disk, bench.store, bench.configuration, at: bench.now)
        seen.tell(what, isPromised: false, &result)
    }
}
