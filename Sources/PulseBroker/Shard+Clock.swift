// What the shard does when somebody sets the wall clock. Everything but due times and retention goes by
// monotonic time and does not notice.
//
// Source: spec/03-storage.md, "Clocks".

import PulseCore
import PulseLog

extension Shard {
    /// When wall and monotonic time have drifted apart by more than a second since the wheels were laid
    /// out, in one step or in many, they are laid out anew from the rows, which name wall times.
    func reloadIfClockWasSet(_ now: Now) throws(StorageError) {
        let monotonic =
            Int64(now.monotonic.nanoseconds / 1_000_000)
            - Int64(clockBase.monotonic.nanoseconds / 1_000_000)
        let wall = now.wall.milliseconds - clockBase.wall.milliseconds
        guard abs(wall - monotonic) > 1000, !Mutant.isOn(.ignoreClockStep) else { return }
        clockBase = now
        statistics.clockChanges += 1
        if queues.contains(where: { $0.held.countInMemory > 0 }) {
            configuration.log.buggify?.saw(.clockSetWithHeld)
        }
        for index in queues.indices { try reloadQueue(index, at: now) }
    }

    func reloadQueue(_ index: Int, at now: Now) throws(StorageError) {
        queues[index].dropDueRows()
        let waiting = queues[index].waiting
        try queues[index].held.reload(
            at: now,
            from: store,
            except: { waiting.contains($0) || self.leases.holds($0) },
            ownWait: { self.ownWait(of: $0, at: now) }
        )
    }

    /// The delay that a retry was given, when it was given by a clock that was ahead of now: it never
    /// waits longer than that. Nil for what a person scheduled, and for all when no clock was ahead.
    ///
    /// The entry that put the row there has both: when it was written, and until when it is to wait.
    func ownWait(of row: HeldRow, at now: Now) -> Int64? {
        guard row.reason != .scheduled, row.due > now.wall, log.latestEntryWall > now.wall else {
            return nil
        }
        var heldAt: WallTimestamp?
        do throws(LogError) {
            try log.read(at: row.position) { header, _ in heldAt = header.wall }
        } catch {
            // Damage is met again, and told, when the message is given out.
            return nil
        }
        guard let heldAt, heldAt > now.wall else { return nil }
        return max(0, row.due.milliseconds - heldAt.milliseconds)
    }
}
