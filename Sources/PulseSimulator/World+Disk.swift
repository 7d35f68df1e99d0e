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
            disk.capacityBytes = usedBytes
            queue.add(.room, at: time.advanced(byMilliseconds: milliseconds))
        case .shortOfRoom(_, let milliseconds, let segments):
            diskIsFull = true
            disk.capacityBytes = usedBytes + segments * knobs.segmentBytes
            let end = time.advanced(byMilliseconds: milliseconds)
            looksUntil = end
            queue.add(.room, at: end)
            queue.add(.diskLook, at: time)
        case .call(_, let after, let fault):
            disk.plan.faults.append(
                PlannedDiskFault(call: disk.callCount + 1 + after, fault: fault)
            )
        case .exchangedDisk(_, let other):
            otherDisk = other
            if node != nil { kill(downMilliseconds: 20) }
        case .crash, .clockStep, .resets, .slowReaders, .slowSyncs, .configurationErrors: break
        }
    }

    func roomAgain() {
        trace("the disk has room again")
        diskIsFull = false
        disk.capacityBytes = .max
        if node?.shard.log.isShortOfSpace == true { coverage.saw(.fullDiskResumed) }
        if node?.shard.disk != nil, node?.shard.obstacleOfRoom == true {
            coverage.saw(.nearlyFullResumed)
        }
        tellDisk()
        roomSince = (time, node?.shard.disk != nil)
    }

    private var usedBytes: Int {
        disk.fileNames.reduce(0) { $0 + (disk.bytes(of: $1)?.count ?? 0) }
    }

    // MARK: - What the shell sees

    /// Bytes of the whole disk, and milliseconds between two looks at it.
    private static let diskBytes: Int64 = 8 << 20
    private static let lookMilliseconds: Int64 = 250

    func lookAtDisk() {
        guard let looksUntil, time < looksUntil else { return }
        tellDisk()
        queue.add(.diskLook, at: time.advanced(byMilliseconds: Self.lookMilliseconds))
    }

    /// Tells the node what room there is, in worlds where the shell looks at the disk at all.
    func tellDisk() {
        guard looksUntil != nil || watchesSyncs, node != nil else { return }
        guard !isBlocked else {
            deferred.append(.watch(life: life))
            return
        }
        var status = DiskStatus(freeBytes: Self.diskBytes, totalBytes: Self.diskBytes)
        if disk.capacityBytes != .max {
            // What is below the least is not for segments.
            status.freeBytes = status.freeBytesLeast + Int64(disk.capacityBytes - usedBytes)
        }
        status.isStalled = watch.isStallTold
        step(.disk(status))
    }

    /// Milliseconds after the end of a full disk within which new work is taken again.
    private var resumeMilliseconds: Int64 {
        var most: Int64 = roomSince?.wasTold == true ? 5000 : 8000
        if buggify?.sites.contains(.slowJob) == true { most += 7000 }
        // A sync that stalls holds up what makes room.
        return most + plan.holdUpMilliseconds
    }

    /// P6: a client was refused for want of room by what it sent then.
    func checkRefusedForRoom(sentAt: MonotonicInstant) {
        guard !diskIsFull else {
            if node?.shard.disk != nil { coverage.saw(.nearlyFullRefused) }
            return
        }
        guard let room = roomSince else {
            witness.note("P6", "a client was refused for want of room on a disk that has it")
            return
        }
        let since = max(room.time, witness.upSince(room.time))
        guard sentAt > since else { return }
        let late = sentAt.milliseconds(since: since)
        if late > resumeMilliseconds {
            witness.note("P6", "new work is refused \(late) ms after the disk had room again")
        }
    }

    /// A sync of the log failed: the process says so and ends with exit code 70.
    func stopAfterFailedSync() {
        kill(downMilliseconds: 20)
    }

    /// The process ends here and now.
    func kill(downMilliseconds: Int64) {
        fall(
            PlannedCrash(
                kind: .processKill,
                at: time,
                afterOperations: 0,
                fromRename: false,
                downMilliseconds: downMilliseconds
            )
        )
    }

    /// The node said why it cannot start. On a full disk it is started again later.
    func startLater(after error: ShardError) {
        guard diskIsFull && error.isForRoom || isShort(error) else {
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
