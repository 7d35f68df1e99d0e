// Now and then the log of a stopped node is damaged where somebody had been promised something, and
// repaired with its loss accepted, as `pulse repair --accept-loss` does it. The world goes on: what lies
// outside the gaps is served as before, what lies in them is called lost by name.
//
//     stopped -> damage -> inspect says so -> plan -> perform -> nothing is damaged any more -> started
//                                 '--- the witness gives up what the gaps swallowed, and nothing else
//
// An identifier of a notification that is lost is never given to another; the node of before may be told
// from the one after by nothing else.

import PulseBroker
import PulseCore
import PulseLog
import PulseNode

/// What was in the log before the damage.
private struct BeforeRepair {
    /// Templates that submissions name are spared: without them no client can go on.
    var spared = LogPosition.zero
    /// Below this another entry vouches for what is there.
    var vouched = LogPosition.zero
    var segments: [SegmentDescription] = []
    var records: [NotificationID: (position: LogPosition, state: NotificationState)] = [:]
    var gone: Set<NotificationID> = []
    var isWhole = true
}

extension World {
    private static let damagesMax = 3

    /// Before a start, in worlds that are repaired.
    func considerRepair() {
        guard repairsLeft > 0, isFaulty, dying == nil, !diskIsFull,
            templatesSaved.count == Channel.allCases.count, repairing.chance(perThousand: 400)
        else { return }
        repairsLeft -= 1
        do throws(ShardError) {
            guard let before = try lookBefore(), let damages = drawDamages(before) else { return }
            trace("damaged while it is down: \(damages)")
            for damage in damages { disk.suffer(damage) }
            let gaps = try repair(damages)
            past = nil
            guard !gaps.isEmpty else { return coverage.saw(.repairedWithoutLoss) }
            let storeIsLost = before.isWhole && repairing.chance(perThousand: 500)
            if storeIsLost { dropStore() }
            knowsMoreThanLog = !storeIsLost
            try compare(before, gaps, storeIsLost: storeIsLost, "\(damages)")
        } catch { witness.note("P1", "a log is not repaired: \(error)") }
    }

    private func openCopy() throws(ShardError) -> Shard {
        try Shard.open(
            directory: disk.copy(),
            store: store.copy(),
            configuration: knobs.node.shard,
            seed: 1,
            at: now
        )
    }

    /// What a start would find now; nil when a start would not be well, which is for others to say.
    private func lookBefore() throws(ShardError) -> BeforeRepair? {
        let shard = try openCopy()
        guard shard.recovery.damaged.isEmpty else { return nil }
        var before = BeforeRepair()
        before.segments = shard.log.segments
        before.isWhole = shard.log.firstNumber == 0
        let end = shard.restored?.state.position ?? .zero
        let names = Set(Channel.allCases.map { Submission.templateName($0) })
        var missing = names
        do throws(LogError) {
            try shard.log.scan(from: .zero) { header, body in
                // The newest were written by the start of the copy, which never was.
                guard header.endPosition <= end else { return false }
                before.vouched = max(before.vouched, header.syncedUpTo)
                guard header.kind == .command, !missing.isEmpty else { return true }
                _ = Command.forEach(in: body) { command in
                    guard case .templatePut(let row) = command else { return }
                    if missing.remove(row.name) != nil { before.spared = header.endPosition }
                }
                return true
            }
        } catch { throw .log(error) }
        for id in witness.known {
            guard let story = try shard.story(of: id, withSteps: false) else {
                before.gone.insert(id)
                continue
            }
            // Let go before, and only its file is still there.
            let number = shard.state.book.number(of: story.recordPosition)
            if number < shard.state.book.releasedBelow,
                try shard.kept(story.stream, story.offset) == nil
            {
                before.gone.insert(id)
            }
            before.records[id] = (story.recordPosition, story.state)
        }
        return before
    }

    /// One to three, in entries that something vouches for, or in a header.
    private func drawDamages(_ before: BeforeRepair) -> [DiskDamage]? {
        let first = max(
            before.spared.rawValue,
            before.segments.first.map { $0.base.rawValue + UInt64(Limits.segmentHeaderBytes) } ?? 0
        )
        guard first < before.vouched.rawValue else { return nil }
        return (0...repairing.below(Self.damagesMax)).compactMap { _ in
            let width = Int(before.vouched.rawValue - first)
            let position = first + UInt64(repairing.below(width))
            guard let segment = before.segments.last(where: { $0.base.rawValue <= position }) else {
                return nil
            }
            let byte = Int(position - segment.base.rawValue)
            let end = Int(
                min(segment.end.rawValue, before.vouched.rawValue) - segment.base.rawValue
            )
            guard byte >= Limits.segmentHeaderBytes, byte < end else { return nil }
            switch repairing.below(8) {
            case 0..<5: return .flipBit(file: segment.name, byte: byte, bit: repairing.below(8))
            case 5: return .flipBit(file: segment.name, byte: repairing.below(80), bit: 1)
            case 6: return .zeros(file: segment.name, byte..<min(end, byte + 600))
            default:
                let sector = byte / 512
                guard sector * 512 >= Limits.segmentHeaderBytes, sector * 512 + 512 <= end else {
                    return nil
                }
                return .deadSector(file: segment.name, sector: sector)
            }
        }
    }

    /// Inspects, plans, performs: as the program does it for a person who accepts the loss.
    private func repair(_ damages: [DiskDamage]) throws(ShardError) -> [Gap] {
        let reach = try Shard.reach(of: store)
        do throws(LogError) {
            let found = try LogInspector.inspect(disk, verify: false)
            let plan = try LogRepair.plan(disk, reach)
            if found.problems.isEmpty, !plan.isClean {
                witness.note("P1", "inspect finds nothing, repair does: \(damages)")
            }
            let trash = SimulatedDisk()
            let kept = try LogRepair.perform(
                plan,
                in: disk,
                trash: trash,
                stamp: "20260101T000000Z",
                at: wall
            )
            let again = try LogRepair.plan(disk, reach)
            if !again.isClean {
                witness.note("P1", "after a repair of \(damages) there is \(again.lines)")
            }
            if kept.count != plan.files.filter(\.exists).count {
                witness.note("P1", "the trash has \(kept) after a repair of \(damages)")
            }
            for line in plan.lines { trace("repair: \(line)") }
            if !plan.isClean { coverage.saw(.repaired) }
            return plan.gaps
        } catch { throw .log(error) }
    }

    /// The state store is gone too: the log alone tells what there was.
    private func dropStore() {
        trace("the state store is lost")
        coverage.saw(.repairedWithoutStore)
        var batch = StateBatch()
        for row in store.allRows { batch.delete(row.key) }
        let changes = batch
        do throws(StorageError) {
            try store.write(changes)
            try store.flush()
        } catch { witness.note("P1", "the store cannot be emptied: \(error)") }
    }

    /// What the next start will find, and what the witness gives up because of it.
    private func compare(
        _ before: BeforeRepair,
        _ gaps: [Gap],
        storeIsLost: Bool,
        _ what: String
    ) throws(ShardError) {
        let shard = try openCopy()
        for damage in shard.recovery.damaged {
            witness.note("P1", "repaired, it still has \(damage): \(what)")
        }
        shard.checkInvariants()
        var lost: [NotificationID] = []
        var ended: Set<NotificationID> = []
        var cancelled: [NotificationID] = []
        for id in witness.known {
            if before.gone.contains(id) {
                lost.append(id)
                continue
            }
            let old = before.records[id]
            let isIn = old.map { old in
                gaps.contains { $0.position <= old.position && old.position < $0.to }
            }
            do throws(ShardError) {
                guard let story = try shard.story(of: id, withSteps: true) else {
                    witness.note("P1", "\(id) is silently gone after a repair: \(what)")
                    continue
                }
                if Submission.number(markedIn: story.envelope) != witness.submissionNumber(of: id) {
                    witness.note("P1", "\(id) has another content after a repair: \(what)")
                }
                if story.state == .cancelled { cancelled.append(id) }
                if let old, old.state.isFinal, story.state.isFinal, old.state != story.state {
                    witness.note(
                        "P2",
                        "\(id) was \(old.state.name) and is \(story.state.name) after a repair: \(what)"
                    )
                }
            } catch {
                guard case .lost = error else { throw error }
                // Its record is there, and the gap has how it ended, or that it was to wait.
                let hasSteps = old.map { $0.state != .ready && $0.state != .leased } ?? true
                if isIn == false, !hasSteps {
                    witness.note("P1", "\(id) lies in no gap and is lost after a repair: \(what)")
                }
                lost.append(id)
                let place = id.place(key: shard.log.identity.key)
                if let place, shard.state.lostRange(place.stream, place.offset) == nil,
                    try shard.has(place.stream, place.offset)
                {
                    ended.insert(id)
                }
            }
        }
        coverage.saw(.lossTold, lost.count)
        witness.repaired(
            lost: lost,
            ended: ended,
            storeIsLost: storeIsLost,
            cancelled: cancelled,
            balances: Channel.allCases.map { shard.balance(of: $0) }
        )
        for group in groups
        where shard.state.group(named: group.name, on: group.channel.topic) == nil {
            witness.lostGroup(group.name, group.channel)
        }
        extraTemplates = extraTemplates.filter { shard.revisionInForce(of: $0) != nil }
    }
}
