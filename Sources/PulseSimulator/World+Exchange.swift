// Another disk is under the log's path when the process starts: somebody mounted the wrong one. The store
// knows better, and the start is refused for as long as the right one is not back.

import PulseBroker
import PulseCore
import PulseLog
import PulseNode

extension World {
    /// Copies the disk for a later fault, once there is something on it.
    func rememberOlder() {
        guard olderDisk == nil, let node, node.shard.state.applied > .zero else { return }
        let isWanted = plan.happening.contains {
            if case .exchangedDisk(let at, .older) = $0 { at > time } else { false }
        }
        guard isWanted else { return }
        olderDisk = (disk.copy(), node.shard.log.appendPosition)
    }

    /// Starts on the wrong disk, when that is planned: it must be refused, by name, and leave the store as
    /// it was. Then the right one is put back.
    func startOnOtherDisk() {
        guard let other = otherDisk else { return }
        otherDisk = nil
        guard let wrong = wrongDisk(other) else {
            trace("nothing tells \(other.rawValue) from the right one yet")
            return
        }
        let rows = store.allRows
        do throws(ShardError) {
            _ = try openNode(on: wrong, seed: 1)
            witness.note("P1", "\(other.rawValue) under the path was served")
        } catch {
            trace("exchanged for \(other.rawValue): \(error)")
            if !Self.namesIt(error, other) {
                witness.note("P1", "\(other.rawValue) under the path is refused with: \(error)")
            }
        }
        if store.allRows != rows {
            witness.note("P1", "\(other.rawValue) under the path changed the store")
        }
        coverage.saw(.exchanged(other))
    }

    /// The disk that will be refused, or nil when nobody can know that it is the wrong one.
    private func wrongDisk(_ other: OtherDisk) -> SimulatedDisk? {
        guard let saved = store.durableValue(of: Shard.checkpointKey),
            let applied = Checkpoint.state(in: saved)?.applied, applied > .zero
        else { return nil }
        switch other {
        case .empty: return SimulatedDisk()
        case .older:
            // The store reaches behind its end, or it is a log like any that was cut off earlier.
            guard let olderDisk, applied > olderDisk.end else { return nil }
            return olderDisk.disk
        case .another:
            let bench = TortureBench(seed: seed)
            do throws(ShardError) { for _ in 0..<60 { try bench.step() } } catch {
                witness.note("P1", "another log, on a healthy disk: \(error)")
            }
            bench.disk.killProcess()
            return bench.disk
        }
    }

    private static func namesIt(_ error: ShardError, _ other: OtherDisk) -> Bool {
        switch (error, other) {
        case (.storeAhead, .older), (.storeAhead, .empty), (.foreignStore, _): true
        default: false
        }
    }

    // MARK: - Disks that lie

    /// After the end of half of the runs: another log, small, on a disk that says yes and does something
    /// else. Nothing that was acknowledged need survive that, so that no world can go on; that what is lost
    /// is noticed is looked at here as in the torture.
    func checkLies() {
        guard options.hasInputs, extras.chance(perThousand: 500) else { return }
        let sights: [Coverage.Sight] = [
            .lostWrite, .misdirectedWrite, .lyingSync, .lyingDirectorySync,
        ]
        let trial = extras.below(sights.count)
        var result = TortureResult("disks that lie")
        TortureLies(seed: extras.next() >> 16).run(trial: trial, &result)
        if !result.counts.isEmpty { coverage.saw(sights[trial]) }
        for violation in result.violations { witness.note("P1", violation) }
    }
}
