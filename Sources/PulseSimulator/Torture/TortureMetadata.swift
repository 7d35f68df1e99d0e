// R09: whatever happens to the files that only help (floor, indexes) and to the state store, no segment is
// ever removed for it, and the state is the same as before, or the start is refused with the reason.

import PulseBroker
import PulseCore
import PulseLog

package struct TortureMetadata {
    package var seed: UInt64 = 1

    private enum FloorState: String, CaseIterable {
        case whole, slot0, slot1, bothSlots, half, empty, deleted
    }

    private enum IndexState: String, CaseIterable {
        case whole, header, page, half, empty, deleted
    }

    private enum StoreState: String, CaseIterable {
        case whole, lost, older, checkpointUnreadable, checkpointCut, appliedUnreadable
    }

    private static let checkpointKey = Array("checkpoint".utf8)
    private static let appliedKey = Array("applied".utf8)

    package init() {}

    package func run() -> TortureResult {
        var result = TortureResult("R09 damaged metadata")
        for index in 0..<4 {
            let seed = seed + UInt64(index)
            for ending in [TortureBench.End.clean, .kill] {
                // With retention and without: a log that is whole can replace its store.
                for steps in [60, 350] { life(seed, steps, ending, &result) }
            }
        }
        return result
    }

    private func life(
        _ seed: UInt64,
        _ steps: Int,
        _ ending: TortureBench.End,
        _ result: inout TortureResult
    ) {
        let bench = TortureBench(seed: seed)
        var older = SimulatedStore()
        do throws(ShardError) {
            for step in 0..<steps {
                if step == steps / 2 { older = bench.store.copy() }
                try bench.step()
            }
            try bench.settleDown()
            if bench.shard == nil { try bench.start() }
            try bench.finish(ending)
        } catch { return result.violate("seed \(seed), a healthy disk: \(error)") }
        for violation in bench.violations { result.violate("seed \(seed): \(violation)") }
        result.count("directories")
        let kept = keptWhenWhole(bench)
        for floor in FloorState.allCases {
            for index in IndexState.allCases {
                for store in StoreState.allCases {
                    result.count("combinations")
                    let disk = bench.disk.copy()
                    damage(disk, floor)
                    damage(disk, index)
                    let what = "seed \(seed), \(steps) steps, \(ending), floor \(floor.rawValue), "
                    boot(
                        bench,
                        disk,
                        damaged(bench.store, store, older),
                        isStoreWhole: store == .whole,
                        kept,
                        what + "indexes \(index.rawValue), store \(store.rawValue)",
                        &result
                    )
                }
            }
        }
    }

    /// The segments that are left when nothing is damaged: a start ends a release that had been decided,
    /// and damaged metadata must not make it remove one more.
    private func keptWhenWhole(_ bench: TortureBench) -> Set<String> {
        let disk = bench.disk.copy()
        _ = try? TortureBench.open(
            disk,
            bench.store.copy(),
            bench.configuration,
            seed: 1,
            at: bench.now
        )
        return Set(disk.fileNames.filter { $0.hasSuffix(".seg") })
    }

    private func boot(
        _ bench: TortureBench,
        _ disk: SimulatedDisk,
        _ store: SimulatedStore,
        isStoreWhole: Bool,
        _ kept: Set<String>,
        _ what: String,
        _ result: inout TortureResult
    ) {
        var ghost = bench.ghost
        do throws(ShardError) {
            let shard = try TortureBench.open(
                disk,
                store,
                bench.configuration,
                seed: 1,
                at: bench.now
            )
            result.count("opened with the same state")
            for broken in try ghost.broken(by: shard) { result.violate("\(what): \(broken)") }
            for broken in try ghost.brokenAnswers(of: shard, every: 3, from: 0) {
                result.violate("\(what): \(broken)")
            }
        } catch {
            switch error {
            case .storeLost, .unreadableCheckpoint, .storeAhead, .storeBehind, .storage:
                result.count("refused with the reason")
                if isStoreWhole { result.violate("\(what): refused a good store: \(error)") }
            default: result.violate("\(what): \(error)")
            }
        }
        let after = disk.fileNames.filter { $0.hasSuffix(".seg") }
        if !kept.isSubset(of: after) {
            result.violate("\(what): segments were removed: \(kept.sorted()) is now \(after)")
        }
    }

    private func damage(_ disk: SimulatedDisk, _ state: FloorState) {
        func flip(_ byte: Int) { disk.suffer(.flipBit(file: "floor", byte: byte, bit: 3)) }
        switch state {
        case .whole: break
        case .slot0: flip(33)
        case .slot1: flip(4096 + 33)
        case .bothSlots:
            flip(33)
            flip(4096 + 33)
        case .half: disk.suffer(.truncate(file: "floor", bytes: 4096))
        case .empty: disk.suffer(.truncate(file: "floor", bytes: 0))
        case .deleted: disk.suffer(.delete(file: "floor"))
        }
    }

    /// Everything that is neither segment nor spare nor floor: indexes of any kind.
    private func damage(_ disk: SimulatedDisk, _ state: IndexState) {
        for name in disk.fileNames {
            guard !name.hasSuffix(".seg"), !name.hasPrefix("spare-"), name != "floor" else {
                continue
            }
            let size = disk.bytes(of: name)?.count ?? 0
            switch state {
            case .whole: break
            case .header: disk.suffer(.flipBit(file: name, byte: 17, bit: 0))
            case .page: disk.suffer(.flipBit(file: name, byte: min(4100, size - 1), bit: 6))
            case .half: disk.suffer(.truncate(file: name, bytes: size / 2))
            case .empty: disk.suffer(.truncate(file: name, bytes: 0))
            case .deleted: disk.suffer(.delete(file: name))
            }
        }
    }

    private func damaged(
        _ store: SimulatedStore,
        _ state: StoreState,
        _ older: SimulatedStore
    ) -> SimulatedStore {
        let copy = store.copy()
        switch state {
        case .whole: break
        case .lost: return SimulatedStore()
        case .older: return older.copy()
        // A store has checksums of its own: a flipped bit is an error when the row is read.
        case .checkpointUnreadable: copy.unreadable = [Self.checkpointKey]
        case .appliedUnreadable: copy.unreadable = [Self.appliedKey]
        case .checkpointCut:
            guard let row = copy.allRows.first(where: { $0.key == Self.checkpointKey }) else {
                break
            }
            var batch = StateBatch()
            batch.put(row.key, Array(row.value.dropLast(3)))
            do throws(StorageError) { try copy.write(batch) } catch {}
        }
        return copy
    }
}
