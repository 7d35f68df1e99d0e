// What the shard does about a disk that is full or does not answer. The shell looks at the disk and says
// what it saw; the log's spare segments are the reserve that outcomes are written to meanwhile.
//
//      room for two more segments,     new work, deliveries, outcomes
//      enough bytes free, and a store
//      that keeps up
//      ------------------------------  new work refused (disk_full)
//      two segments in reserve         deliveries, outcomes
//      ------------------------------  nothing more is leased
//      the end of the last one         outcomes
//      ------------------------------  outcomes wait in memory for room
//
// Source: spec/03-storage.md, "When the disk says no".

package import PulseCore
import PulseLog

extension Shard {
    /// Segments that must be to be had for new work: the reserve for outcomes.
    private static let reserveSegments = 2

    /// Takes in what the shell saw of the disk.
    package func noteDisk(_ status: DiskStatus) {
        disk = status
        let room = max(0, status.freeBytes - status.freeBytesLeast)
        log.noteRoom(bytes: Int(clamping: room))
        if status.freeBytes < status.freeBytesLeast || lacksSegments {
            diskIsFull = true
        } else if status.freeBytes >= status.freeBytesEnough {
            diskIsFull = false
        }
    }

    /// What the disk has against new work.
    var obstacleOfDisk: ErrorCode? {
        if disk?.isStalled ?? false { return .diskStalled }
        return obstacleOfRoom ? .diskFull : nil
    }

    /// Whether new work is refused for want of room.
    package var obstacleOfRoom: Bool {
        diskIsFull || isWaitingForRoom || log.isShortOfSpace || lacksSegments || storeIsBehind
    }

    /// Whether so many rows wait for the state store that what is under way needs the rest of the bound.
    private var storeIsBehind: Bool {
        (disk?.storeWaitingBytes ?? 0) >= Limits.storeWaitingBytesMax / 4
    }

    /// Asked each time: between two looks at the disk a quick producer fills segments.
    private var lacksSegments: Bool {
        disk != nil && log.segmentsToBeHad < Self.reserveSegments
    }

    /// Whether leases may be granted: every one of them will want room for its outcome, in the log and
    /// perhaps among the rows.
    var mayLease: Bool {
        !log.isReadOnly && !log.isNearlyFull && !isWaitingForRoom
            && (disk?.storeWaitingBytes ?? 0) < Limits.storeWaitingBytesMax / 2
    }
}
