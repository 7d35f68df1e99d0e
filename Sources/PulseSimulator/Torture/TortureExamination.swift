// What a shard on a damaged disk says, held against the ghost: right, or reported, or a broken promise.

import PulseBroker
import PulseCore
import PulseLog

struct TortureExamination {
    let ghost: TortureGhost
    /// Nothing vouches for the newest group: its loss cannot be told from a torn tail.
    let mayLoseTail: Bool
    /// A disk that lied may have lost what nobody reads before it is asked for: pages of an index, steps.
    /// Then a refusal is enough, wherever the damage lies that was told so far.
    var mayRefuseIntact = false

    /// What was seen.
    struct Findings {
        var wrong: [String] = []
        /// Why it was not opened at all.
        var refusal: String?
        /// Something said that there is damage.
        var isReported = false
        var right = 0
        var reported = 0
        /// Outside of what was told to be damaged, and refused.
        var unserved = 0
        /// Outcomes that went with reported damage.
        var forgotten = 0
        /// Promised, gone, and not to be told from a torn tail.
        var undecidable = 0
    }

    func open(
        _ disk: SimulatedDisk,
        _ store: SimulatedStore,
        _ configuration: ShardConfiguration,
        at now: Now
    ) -> Findings {
        var findings = Findings()
        let shard: Shard
        do throws(ShardError) {
            shard = try TortureBench.open(disk, store, configuration, seed: 1, at: now)
        } catch {
            findings.refusal = "\(error)"
            findings.isReported = true
            if !Self.isHonest(error) { findings.wrong.append("refused with \(error)") }
            return findings
        }
        let report = shard.recovery
        findings.isReported =
            !report.damaged.isEmpty || !report.footersRebuilt.isEmpty
            || !report.floorSlotsUnreadable.isEmpty
        scan(shard, &findings)
        for record in ghost.records {
            switch ghost.answer(of: shard, record) {
            case .right: findings.right += 1
            case .gone: break
            case .uncertain:
                // Its outcome was in what is damaged, and that is said.
                findings.forgotten += 1
            case .forgotten(_, let at) where isUndecidable(at):
                findings.undecidable += 1
            case .forgotten(let what, _), .wrong(let what):
                findings.wrong.append("\(record.id) \(what)")
            case .reported(let error):
                findings.isReported = true
                findings.reported += 1
                if !Self.isHonest(error) {
                    findings.wrong.append("\(record.id) answers \(error)")
                } else if isIntact(record, shard.log.damaged) {
                    findings.unserved += 1
                    if !mayRefuseIntact {
                        findings.wrong.append("\(record.id) is intact, and answers \(error)")
                    }
                }
            case .silentlyLost:
                if Self.covers(report.damaged, record.durableAt - 1) {
                    findings.reported += 1
                } else if isUndecidable(record.durableAt) {
                    findings.undecidable += 1
                } else {
                    findings.wrong.append("\(record.id) is silently lost")
                }
            }
        }
        return findings
    }

    /// Every entry, in order: those that come are the promised ones, those that do not are reported.
    private func scan(_ shard: Shard, _ findings: inout Findings) {
        let first = shard.log.firstPosition.rawValue
        var expected = ghost.entries.filter {
            $0.position >= ghost.releasedBelow || $0.position >= first
        }[...]
        var wrong: [String] = []
        var lost: [TortureGhost.Entry] = []
        var isCut = false
        do throws(LogError) {
            try shard.log.scan(from: .zero) { header, body in
                let position = header.position.rawValue
                while let next = expected.first, next.position < position {
                    lost.append(next)
                    expected.removeFirst()
                }
                guard let next = expected.first, next.position == position else { return true }
                if next.hash == TortureGhost.hash(header, body) {
                    expected.removeFirst()
                } else if isUndecidable(next.end) {
                    // The tail was cut, and written anew.
                    lost.append(next)
                    expected.removeFirst()
                } else {
                    wrong.append("entry \(position) has another content")
                }
                return wrong.isEmpty
            }
        } catch {
            findings.isReported = true
            isCut = true
            if !Self.isHonest(.log(error)) { wrong.append("the scan ends with \(error)") }
        }
        findings.wrong += wrong
        guard wrong.isEmpty else { return }
        if !isCut { lost += expected }
        for entry in lost where !Self.covers(shard.recovery.damaged, entry.position) {
            guard isUndecidable(entry.end) else {
                findings.wrong.append("entry \(entry.position) is silently missing")
                return
            }
            findings.undecidable += 1
        }
    }

    /// Whether nothing from a notification's record to where its end was durable, if it ended, was told to
    /// be damaged: then there is no reason not to answer. The end's own entry is one of those in between.
    private func isIntact(_ record: TortureGhost.Record, _ damaged: [DamagedRange]) -> Bool {
        // What retention let go cannot be told from what the damage holds.
        guard record.durableAt > ghost.releasedBelow,
            let entry = ghost.entries.last(where: { $0.position < record.durableAt })
        else { return false }
        let end = max(entry.end, ghost.outcomes[record.id]?.at ?? 0)
        return !damaged.contains { $0.from.rawValue < end && entry.position < $0.to.rawValue }
    }

    /// An entry that ends behind all that vouches for anything.
    private func isUndecidable(_ end: UInt64) -> Bool { mayLoseTail && end > ghost.vouched }

    private static func covers(_ damaged: [DamagedRange], _ position: UInt64) -> Bool {
        damaged.contains { $0.from.rawValue <= position && position < $0.to.rawValue }
    }

    /// Errors that say that the storage is not what it was.
    private static func isHonest(_ error: ShardError) -> Bool {
        switch error {
        case .log(.damaged), .log(.foreign), .log(.newerFormat), .log(.storage): true
        case .storage, .storeAhead, .storeBehind, .foreignStore, .storeLost: true
        case .unreadableCheckpoint: true
        default: false
        }
    }
}

extension TortureExamination.Findings {
    /// Counts what was seen and says what was broken.
    func tell(_ what: String, isPromised: Bool, _ result: inout TortureResult) {
        if refusal != nil { result.count("refused to open") }
        result.count("answers right", right)
        result.count("answers that report damage", reported)
        result.count("undecidable losses in the newest group", undecidable)
        result.count("outcomes lost with reported damage", forgotten)
        result.count("intact notifications that are not served", unserved)
        if isPromised { result.count("hits of promised bytes") }
        if isPromised, isReported { result.count("hits reported") }
        for wrong in wrong.prefix(3) { result.violate("\(what): \(wrong)") }
        if isPromised, !isReported, undecidable == 0, wrong.isEmpty {
            result.violate("\(what): nothing was noticed")
        }
    }
}
