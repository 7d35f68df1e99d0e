// What the torture's memory does when a loss was accepted: it gives up what the gaps swallowed, and nothing
// else.

import PulseBroker
import PulseCore
import PulseLog

extension TortureBench {
    /// Starts on a repaired log; answers with the promises it broke.
    func start(after gaps: [Gap]) throws(ShardError) -> [String] {
        starts += 1
        pass(milliseconds: 5)
        let born = try Self.open(disk, store, configuration, seed: UInt64(starts), at: now)
        let broken = try ghost.accept(gaps, by: born)
        guard broken.isEmpty else { return broken }
        shard = born
        ghost.settleRelease(born)
        try ghost.promise(born)
        jobs += born.takeLogJobs()
        check(born)
        return []
    }
}

extension TortureGhost {
    /// Looks whether a repaired log has all that lies outside the gaps, and tells of what lies in them;
    /// then what it has is what is promised.
    mutating func accept(_ gaps: [Gap], by shard: Shard) throws(ShardError) -> [String] {
        var broken = shard.recovery.damaged.map { "a repaired log has \($0)" }
        let lost = entries.filter { Self.isIn(gaps, $0.position) }
        var found: [Entry] = []
        broken += compare(gaps, shard, &found)
        guard broken.isEmpty else { return broken }
        broken += try acceptLosses(of: lost, gaps, shard)
        guard let folded = ShardState(encoded: shard.state.encoded()) else {
            return broken + ["the state cannot be read back"]
        }
        rebase(found.filter { $0.end <= folded.applied.rawValue }, folded)
        return broken
    }

    private static func isIn(_ gaps: [Gap], _ position: UInt64) -> Bool {
        gaps.contains { $0.position.rawValue <= position && position < $0.to.rawValue }
    }

    /// Every entry in its order: the promised ones outside the gaps, and the gaps.
    private func compare(_ gaps: [Gap], _ shard: Shard, _ found: inout [Entry]) -> [String] {
        var broken: [String] = []
        var all: [Entry] = []
        let first = shard.log.firstPosition.rawValue
        var expected = entries.filter {
            !Self.isIn(gaps, $0.position) && ($0.position >= releasedBelow || $0.position >= first)
        }[...]
        let known = end
        do throws(LogError) {
            try shard.log.scan(from: .zero) { header, body in
                let position = header.position.rawValue
                let hash = Self.hash(header, body)
                all.append(
                    Entry(position: position, end: header.endPosition.rawValue, hash: hash)
                )
                if let next = expected.first, next.position <= position {
                    expected.removeFirst()
                    if next.position < position {
                        broken.append("entry \(next.position) lies in no gap and is lost")
                    } else if next.hash != hash {
                        broken.append("entry \(position) has another content")
                    }
                } else if header.kind == .gap {
                    if !gaps.contains(where: { $0.position == header.position }) {
                        broken.append("there is a gap at \(position) that was not reported")
                    }
                } else if position < known {
                    broken.append("there is an entry at \(position) that nobody wrote")
                }
                return broken.isEmpty
            }
        } catch { broken.append("the repaired log cannot be read: \(error)") }
        if broken.isEmpty, let next = expected.first {
            broken.append(
                "\(expected.count) entries from \(next.position) lie in no gap and are lost"
            )
        }
        found = all
        return broken
    }

    /// Asks for every notification. One whose entry is in a gap is called lost, by name; an outcome whose
    /// entry is in one may be forgotten.
    private mutating func acceptLosses(
        of lost: [Entry],
        _ gaps: [Gap],
        _ shard: Shard
    ) throws(ShardError) -> [String] {
        var broken: [String] = []
        var left: [Record] = []
        for record in records {
            let isLost = lost.contains {
                $0.position < record.durableAt && record.durableAt <= $0.end
            }
            do throws(ShardError) {
                _ = try shard.story(of: record.id, withSteps: false)
            } catch {
                guard case .lost = error else { throw error }
                // One that ended may have its end in a gap, told or not.
                let end = outcomes[record.id]?.at
                let hasLostItsEnd = end.map { end in
                    lost.contains { $0.position < end && end <= $0.end }
                }
                if !isLost, !(hasLostItsEnd ?? !lost.isEmpty) {
                    broken.append("\(record.id) lies in no gap and is called lost")
                }
                continue
            }
            switch answer(of: shard, record) {
            case .right, .gone: left.append(record)
            case .forgotten(let change, let at):
                if !lost.contains(where: { $0.position < at && at <= $0.end }) {
                    broken.append("\(record.id) \(change), and its outcome lies in no gap")
                }
                forgetOutcome(of: record.id)
                left.append(record)
            case .uncertain: broken.append("\(record.id) may have ended, it says")
            case .reported(let error): broken.append("\(record.id) answers \(error)")
            // Retention has let go of it, and its file was still there.
            case .silentlyLost where record.offset < shard.state.book.keptBelow(record.stream):
                break
            case .silentlyLost: broken.append("\(record.id) is silently lost")
            case .wrong(let what): broken.append("\(record.id) \(what)")
            }
        }
        keep(left)
        return broken
    }

    /// An identifier that two acknowledged notifications have.
    var firstOfTwo: NotificationID? {
        var seen: Set<NotificationID> = []
        return records.first { !seen.insert($0.id).inserted }?.id
    }
}
