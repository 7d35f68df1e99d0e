// Faults of the disk while the world goes on: a sync that fails, one that takes a minute, no room.

import PulseBroker
import PulseCore
import PulseLog
import PulseNode

extension World {
    func begin(_ fault: PlannedFault) {
        guard isFaulty else { return }
        trace("\(fault)")
        switch fault {
        case .failedSync: nextSyncFails = true
        case .stall(_, let milliseconds): nextSyncMilliseconds = milliseconds
        case .fullDisk(_, let milliseconds):
            diskIsFull = true
            disk.capacityBytes = disk.fileNames.reduce(0) { $0 + (disk.bytes(of: $1)?.count ?? 0) }
            queue.add(.room, at: time.advanced(byMilliseconds: milliseconds))
        case .crash, .clockStep, .resets, .slowReaders, .slowSyncs, .configurationErrors: break
        }
    }

    func roomAgain() {
        trace("the disk has room again")
        diskIsFull = false
        disk.capacityBytes = .max
        if node?.shard.log.isShortOfSpace == true { coverage.saw(.fullDiskResumed) }
    }

    /// A sync of the log failed: the process says so and ends with exit code 70.
    func stopAfterFailedSync() {
        fall(
            PlannedCrash(
                kind: .processKill,
                at: time,
                afterOperations: 0,
                fromRename: false,
                downMilliseconds: 20
            )
        )
    }

    /// The node said why it cannot start. On a full disk it is started again later.
    func startLater(after error: ShardError) {
        guard diskIsFull, error.isForRoom else {
            witness.note("P1", "the node cannot start again: \(error)")
            return
        }
        trace("cannot start: \(error)")
        queue.add(.start, at: time.advanced(byMilliseconds: 500))
    }
}

extension ShardError {
    fileprivate var isForRoom: Bool {
        switch self {
        case .log(.diskFull): true
        case .log(.storage(let error)), .storage(let error): error.reason == .noSpace
        default: false
        }
    }
}
