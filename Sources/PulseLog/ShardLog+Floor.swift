// Noting in the floor how far the log is durable and where it begins, and letting files go once it says so.
//
//     durable, or segments let go  ->  .writeFloor  ->  the floor says so
//                                                            |
//                        both slots say that the log begins above them  ->  .release
//
// One note is under way at a time: two could be written into one slot, in either order.

package import PulseCore

extension ShardLog {
    /// Whether a note is under way in the background; until it ended no slot may be touched.
    package var isWritingFloor: Bool { floorComing != nil }

    /// How far the newest slot that is known to be durable says that the log is.
    package var notedPosition: LogPosition { LogPosition(floor?.position ?? 0) }

    /// Asks for a note of how far the log is durable now; nothing while one is under way, or when the
    /// newest says the same.
    package func requestFloor(into jobs: inout [LogJob]) {
        guard refusal == nil, !isWritingFloor,
            floor?.position != durable || floor?.first != firstBase
        else { return }
        beginFloor(into: &jobs)
    }

    /// Notes it here and now, as ``requestFloor(into:)`` does in the background: the end of a clean run.
    /// Does nothing while a note is under way; one that is behind only weakens a check.
    package func writeFloor() throws(LogError) {
        guard refusal == nil, !isWritingFloor,
            floor?.position != durable || floor?.first != firstBase
        else { return }
        let next = nextFloor()
        do throws(StorageError) {
            try next.perform(in: directory)
        } catch {
            // A full disk: the log can do without, and the next one is written when there is room.
            guard error.reason == .noSpace else { throw .storage(error) }
            return
        }
        floorWritten(next.floor)
    }

    /// Where the oldest segment begins that is neither released nor about to be.
    private var firstBase: UInt64 { (kept.first ?? active).base }

    private func nextFloor() -> FloorWrite {
        let next = Floor(
            sequence: (floor?.sequence ?? 0) + 1,
            identity: identity,
            position: Mutant.isOn(.floorAhead) ? position : durable,
            chain: durableChain,
            first: firstBase
        )
        return FloorWrite(floor: next, makesFile: floor == nil)
    }

    private func beginFloor(into jobs: inout [LogJob]) {
        let next = nextFloor()
        floorComing = next.floor
        jobs.append(.writeFloor(next))
    }

    private func floorWritten(_ next: Floor) {
        firstInOtherSlot = floor?.first ?? 0
        floor = next
    }

    func floorFinished(_ failure: StorageError?) {
        guard let written = floorComing else { return }
        floorComing = nil
        // What failed wrote to its own slot at most: the next one goes there again, and the other stands.
        guard failure == nil else { return rest() }
        floorWritten(written)
        if !releasing.isEmpty { wantsRelease = true }
    }

    /// No file goes before both slots of the floor say, durably, that the log begins above it: otherwise
    /// nobody could tell a released segment from one that was lost. Called by each ``flush(jobs:)`` that
    /// can go on with it; does nothing while there is nothing to do.
    package func requestRelease(into jobs: inout [LogJob]) {
        wantsRelease = false
        // A damaged log lets nothing go: what is left may be what a repair needs.
        guard refusal == nil, !releasing.isEmpty, !releaseJobPending, !isDamaged else { return }
        var first = min(floor?.first ?? 0, firstInOtherSlot)
        if Mutant.isOn(.releaseBeforeMark) { first = .max }
        let marked = Array(releasing.prefix { $0.base < first })
        if marked.count < releasing.count, !isWritingFloor { beginFloor(into: &jobs) }
        guard !marked.isEmpty else { return }
        releaseJobPending = true
        jobs.append(.release(marked))
    }
}
