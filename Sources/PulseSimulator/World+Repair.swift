// After the end: a damaged copy is repaired with its loss accepted, as `pulse repair` does it. What lies
// outside the reported gaps must be there and answer rightly, what lies in them is called lost by name.

import PulseBroker
import PulseCore
import PulseLog

extension World {
    /// Where every record was before any damage; looked up.
    func findPlaces() -> [NotificationID: LogPosition] {
        var places: [NotificationID: LogPosition] = [:]
        do throws(ShardError) {
            let shard = try opened(disk.copy(), store.copy())
            for id in witness.known {
                guard let place = id.place(key: shard.log.identity.key) else { continue }
                do throws(LogError) {
                    places[id] = try shard.log.locate(place.stream, place.offset)
                } catch { witness.note("P1", "\(id) cannot be found at the end: \(error)") }
            }
        } catch { witness.note("P1", "the log cannot be opened at the end: \(error)") }
        return places
    }

    func opened(
        _ disk: SimulatedDisk,
        _ rows: SimulatedStore
    ) throws(ShardError) -> Shard {
        try Shard.open(
            directory: disk,
            store: rows,
            configuration: knobs.node.shard,
            seed: 1,
            at: now
        )
    }

    /// Repairs a copy of the disk that was damaged, and asks it for everything.
    func checkRepair(
        of damage: DiskDamage,
        _ rows: SimulatedStore,
        _ places: [NotificationID: LogPosition]
    ) {
        let repaired = disk.copy()
        repaired.suffer(damage)
        var gaps: [Gap] = []
        do throws(LogError) {
            let plan = try LogRepair.plan(repaired)
            gaps = plan.gaps
            _ = try LogRepair.perform(
                plan,
                in: repaired,
                trash: SimulatedDisk(),
                stamp: "20260101T000000Z",
                at: wall
            )
        } catch { return witness.note("P1", "no repair after \(damage): \(error)") }
        do throws(ShardError) {
            let shard = try opened(repaired, rows)
            for left in shard.recovery.damaged {
                witness.note("P1", "repaired after \(damage), it has \(left)")
            }
            coverage.saw(.repaired)
            for id in witness.known { ask(shard, for: id, gaps, places[id], "\(damage)") }
            shard.checkInvariants()
        } catch { witness.note("P1", "\(error) after a repair of \(damage)") }
    }

    private func ask(
        _ shard: Shard,
        for id: NotificationID,
        _ gaps: [Gap],
        _ place: LogPosition?,
        _ damage: String
    ) {
        let isInGap = place.map { place in
            gaps.contains { $0.position <= place && place < $0.to }
        }
        do throws(ShardError) {
            guard let story = try shard.story(of: id, withSteps: false) else {
                if !gone.contains(id) {
                    witness.note("P1", "\(id) is silently gone after a repair of \(damage)")
                }
                return
            }
            if Submission.number(markedIn: story.envelope) != witness.submissionNumber(of: id) {
                witness.note("P1", "\(id) has another content after a repair of \(damage)")
            }
            // The entry that tells of its end may lie in a gap; then it is not known to have ended.
            if !hasLostItsEnd(id, in: shard), let final = witness.finalState(of: id),
                final != story.state, gaps.isEmpty || story.state.isFinal
            {
                let change = "was \(final.name) and is \(story.state.name)"
                witness.note("P1", "\(id) \(change) after a repair of \(damage)")
            }
        } catch {
            guard case .lost = error else {
                return witness.note("P1", "\(id) answers \(error) after a repair of \(damage)")
            }
            coverage.saw(.lossTold)
            if isInGap != true {
                witness.note("P1", "\(id) lies in no gap, and is lost after a repair of \(damage)")
            }
        }
    }
}
