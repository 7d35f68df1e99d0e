// R04 and R06: one scenario, and every call that it makes fails once, in every way in which such a call
// can fail. SQLite tests its own storage in this manner.

import PulseBroker
import PulseCore
import PulseLog

/// The scenario is run once for each call and way. Whatever the shard throws, the process ends as the
/// node would end it, another starts on what is left, and the scenario goes on to its end.
package struct TortureSingleFaults {
    package var seed: UInt64 = 1
    package var steps = 200
    /// Every so manyth call only, for a quick run; 1 for all.
    package var every = 1

    /// What is done after the failure came out.
    enum After: CaseIterable { case kill, powerLoss }

    struct Way: Sendable {
        var name: String
        var fault: DiskFault
        var after: [After]
    }

    static let ways: [Way] = [
        Way(name: "EIO", fault: .error(DiskFault.inputOutputError), after: After.allCases),
        Way(name: "ENOSPC", fault: .error(.noSpace), after: After.allCases),
        Way(
            name: "short writes",
            fault: .shortWrite(bytes: 700, DiskFault.inputOutputError),
            after: After.allCases
        ),
        Way(name: "short reads", fault: .shortRead(bytes: 100), after: [.kill]),
        Way(name: "failed syncs", fault: .syncError, after: After.allCases),
        Way(name: "EMFILE", fault: .error(.tooManyFiles), after: [.kill]),
    ]

    package init() {}

    /// R04: every way at every call of the disk, and of the store.
    package func run() -> TortureResult {
        var result = TortureResult("R04 every single I/O fault")
        let (calls, storeCalls) = reference(&result)
        for call in stride(from: 1, through: calls.count, by: every) {
            for way in Self.ways where way.fault.applies(to: calls[call - 1]) {
                for after in way.after {
                    result.count("points: \(way.name)")
                    strike(call, way, after, &result)
                    guard result.violationCount < 20 else { return result }
                }
            }
        }
        for call in stride(from: 1, through: storeCalls.count, by: every) {
            for reason in [DiskFault.inputOutputError, .noSpace] {
                if reason == .noSpace, storeCalls[call - 1] == .storeRead { continue }
                for after in After.allCases {
                    result.count("points: store")
                    strikeStore(call, reason, after, &result)
                    guard result.violationCount < 20 else { return result }
                }
            }
        }
        return result
    }

    /// R06: every sync of the scenario fails, with the power cut before the restart, after it, both
    /// times or never.
    package func runFailedSyncs() -> TortureResult {
        var result = TortureResult("R06 a failed sync")
        let (calls, _) = reference(&result)
        let way = Way(name: "failed syncs", fault: .syncError, after: [])
        for call in stride(from: 1, through: calls.count, by: every)
        where way.fault.applies(to: calls[call - 1]) {
            for after in After.allCases {
                result.count("points")
                strike(call, way, after, cutsAfterwards: true, &result)
                guard result.violationCount < 20 else { return result }
            }
        }
        return result
    }

    /// The calls of an undisturbed run.
    private func reference(
        _ result: inout TortureResult
    ) -> (disk: [StorageError.Operation], store: [StorageError.Operation]) {
        let bench = TortureBench(seed: seed)
        bench.disk.recordedCalls = []
        bench.store.recordedCalls = []
        do throws(ShardError) {
            for _ in 0..<steps { try bench.step() }
            try bench.settleDown()
        } catch { result.violate("seed \(seed), a healthy disk: \(error)") }
        for violation in bench.violations + bench.disk.violations { result.violate(violation) }
        let calls = bench.disk.recordedCalls ?? []
        let storeCalls = bench.store.recordedCalls ?? []
        result.count("operations of the scenario", steps)
        result.count("calls of the disk", calls.count)
        result.count("calls of the store", storeCalls.count)
        result.count("entries promised", bench.ghost.promisedEntries)
        result.count("rolls", Int(bench.newestSegment))
        result.count("releases", bench.releases)
        result.count("checkpoints", bench.checkpoints)
        result.count("starts", bench.starts)
        return (calls, storeCalls)
    }

    private func strike(
        _ call: Int,
        _ way: Way,
        _ after: After,
        cutsAfterwards: Bool = false,
        _ result: inout TortureResult
    ) {
        let bench = TortureBench(seed: seed)
        bench.disk.plan = DiskFaultPlan([PlannedDiskFault(call: call, fault: way.fault)])
        bench.disk.fate = SeededGenerator(seed: seed &+ UInt64(call))
        let fate = Self.storeFate(at: call)
        let what = "call \(call), \(way.name), then \(after), store \(fate)"
        play(bench, after, fate, cutsAfterwards, expected(way.fault), what, &result)
        if bench.disk.struck.isEmpty { result.violate("\(what): the fault did not happen") }
        for violation in bench.disk.violations { result.violate("\(what): \(violation)") }
    }

    private func strikeStore(
        _ call: Int,
        _ reason: StorageError.Reason,
        _ after: After,
        _ result: inout TortureResult
    ) {
        let bench = TortureBench(seed: seed)
        let store = bench.store
        store.failure = (call, reason)
        let fate = Self.storeFate(at: call)
        let what = "store call \(call), \(reason), then \(after), store \(fate)"
        play(bench, after, fate, false, [reason], what, &result)
        if !store.hasFailed { result.violate("\(what): the fault did not happen") }
    }

    /// The faults of disks meet stores that are behind by all, some or nothing of what was not flushed, and
    /// stores that are lost.
    private static func storeFate(at call: Int) -> TortureBench.StoreFate {
        TortureBench.StoreFate.allCases[call % TortureBench.StoreFate.allCases.count]
    }

    private func expected(_ fault: DiskFault) -> [StorageError.Reason] {
        switch fault {
        case .error(let reason), .shortWrite(_, let reason): [reason]
        case .shortRead(let bytes): [.short(got: bytes)]
        default: [DiskFault.inputOutputError]
        }
    }

    /// Runs the scenario through its fault to its end.
    ///
    /// - Parameters:
    ///   - after: How the process ends after the failure, and `fate` what that and all later ends leave of
    ///     the store.
    ///   - cutsAfterwards: Whether the power is cut again a little later.
    private func play(
        _ bench: TortureBench,
        _ after: After,
        _ fate: TortureBench.StoreFate,
        _ cutsAfterwards: Bool,
        _ expected: [StorageError.Reason],
        _ what: String,
        _ result: inout TortureResult
    ) {
        var failures = 0
        var step = 0
        // The last two steps come to rest and ask for everything.
        while step < steps + 2, bench.violations.isEmpty {
            step += 1
            do throws(ShardError) {
                if step <= steps {
                    try bench.step()
                } else {
                    if bench.shard == nil { try bench.start() }
                    try bench.settleDown()
                    if step == steps + 2 { try bench.askForAll() }
                }
            } catch {
                failures += 1
                guard isOfClass(error, expected) || isUnreadable(error, bench, expected) else {
                    return result.violate("\(what), step \(step): answered with \(error)")
                }
                guard failures == 1 else {
                    return result.violate("\(what), step \(step): failed again with \(error)")
                }
                result.count("ends of the process, store \(fate)")
                bench.storeFate = fate
                do throws(ShardError) {
                    try bench.restart(after == .kill ? .kill : .powerLoss)
                    if cutsAfterwards { try goOnAndCut(bench) }
                } catch {
                    return result.violate("\(what), step \(step): cannot start again: \(error)")
                }
            }
        }
        if failures == 0 { result.count("faults that the shard lived through") }
        do throws(ShardError) {
            for end in [TortureBench.End.powerLoss, .clean] where bench.violations.isEmpty {
                try bench.restart(end)
            }
            if bench.violations.isEmpty { try bench.askForAll() }
            result.count("keys asked for", bench.keysAsked)
        } catch { result.violate("\(what), at the end: \(error)") }
        for violation in bench.violations { result.violate("\(what): \(violation)") }
    }

    /// New promises on top of what the failed sync left, then a power cut.
    private func goOnAndCut(_ bench: TortureBench) throws(ShardError) {
        for _ in 0..<4 { try bench.step() }
        guard bench.violations.isEmpty, bench.shard != nil else { return }
        try bench.restart(.powerLoss)
    }

    /// A read that fails is damage of what was to be read, and of nothing else, for as long as it does.
    private func isUnreadable(
        _ error: ShardError,
        _ bench: TortureBench,
        _ expected: [StorageError.Reason]
    ) -> Bool {
        guard expected.contains(DiskFault.inputOutputError), case .log(.damaged(let range)) = error
        else { return false }
        return bench.disk.struck.map(\.call) == ["read \(range.file)"]
    }

    /// The failure that was made, said as what it is: not damage, not a missing file, not an empty log.
    private func isOfClass(_ error: ShardError, _ expected: [StorageError.Reason]) -> Bool {
        switch error {
        case .storage(let failure), .log(.storage(let failure)):
            expected.contains { DiskFault.name($0) == DiskFault.name(failure.reason) }
        default: false
        }
    }
}
