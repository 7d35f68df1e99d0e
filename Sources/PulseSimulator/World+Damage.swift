// After the end: what the node left on its disk is damaged, and a shard is opened on it. Whatever it
// then says is either right or explicit: "I cannot read this". Never wrong, never silently less.

import PulseBroker
import PulseCore
import PulseLog
import PulseNode

extension World {
    private static let damagesPerRun = 6

    func checkDamage() {
        findGone()
        for _ in 0..<Self.damagesPerRun {
            guard let damage = drawDamage() else { return }
            open(damagedBy: damage)
            guard witness.violations.isEmpty else { return }
        }
        openWithBadCheckpoint()
    }

    /// What retention let go before any damage.
    private func findGone() {
        gone.removeAll()
        places.removeAll()
        do throws(ShardError) {
            let shard = try Shard.open(
                directory: disk.copy(),
                store: store.copy(),
                configuration: knobs.node.shard,
                seed: 1,
                at: now
            )
            for id in witness.known {
                if let place = id.place(key: shard.log.identity.key),
                    let position = try fromLog(shard, place)
                {
                    places[id] = position
                }
                guard knobs.retention != nil, try shard.story(of: id, withSteps: false) == nil
                else { continue }
                if mayBeGone(id, from: shard) { gone.insert(id) }
            }
            logIsWhole = shard.log.firstNumber == 0
        } catch { witness.note("P1", "the log cannot be opened at the end: \(error)") }
    }

    private func fromLog(
        _ shard: Shard,
        _ place: (stream: StreamID, offset: Offset)
    ) throws(ShardError) -> LogPosition? {
        do throws(LogError) { return try shard.log.locate(place.stream, place.offset) } catch {
            throw .log(error)
        }
    }

    /// Something that can happen to one file.
    private func drawDamage() -> DiskDamage? {
        let files = disk.fileNames
        guard !files.isEmpty else { return nil }
        let segments = files.filter { $0.hasSuffix(".seg") }
        let among = extras.chance(perThousand: 700) && !segments.isEmpty ? segments : files
        let file = among[extras.below(among.count)]
        let content = disk.bytes(of: file) ?? []
        let used = max(1, (content.lastIndex { $0 != 0 } ?? 0) + 1)
        let byte = extras.below(used)
        switch extras.below(12) {
        case 0..<5: return .flipBit(file: file, byte: byte, bit: extras.below(8))
        case 5: return .zeros(file: file, byte..<min(used, byte + 1 + extras.below(1024)))
        case 6: return .deadSector(file: file, sector: byte / 512)
        case 7: return .truncate(file: file, bytes: byte)
        case 8: return .delete(file: file)
        default:
            let others = files.filter { $0.hasSuffix(file.suffix(4)) && $0 != file }
            guard !others.isEmpty else { return .delete(file: file) }
            let other = others[extras.below(others.count)]
            return extras.chance(perThousand: 500)
                ? .swap(other, file) : .overwrite(from: other, to: file)
        }
    }

    private func open(damagedBy damage: DiskDamage) {
        let damaged = disk.copy()
        damaged.suffer(damage)
        // With the store as it was, or with none: then everything comes from the log.
        let isKept = extras.chance(perThousand: 500) || !logIsWhole
        let rows = isKept ? store.copy() : SimulatedStore()
        trace("damage: \(damage), \(rows.count) rows")
        coverage.saw(damage.sight)
        do throws(ShardError) {
            let shard = try Shard.open(
                directory: damaged,
                store: rows,
                configuration: knobs.node.shard,
                seed: 1,
                at: now
            )
            let isTold = !shard.recovery.damaged.isEmpty
            var isWhole = true
            for id in witness.known {
                if !look(at: id, on: shard, "\(damage)") { isWhole = false }
            }
            coverage.saw(isTold || !isWhole ? .damageTold : .damageHarmless)
            if isTold, damage.isOfHelperFile {
                witness.note("P1", "what holds no data is taken for damage of the log: \(damage)")
            }
        } catch {
            coverage.saw(.damageTold)
            if damage.isOfHelperFile {
                witness.note("P1", "\(error) because of what holds no data: \(damage)")
            }
        }
    }

    /// False when it said that it cannot be read.
    private func look(
        at id: NotificationID,
        on shard: Shard,
        _ damage: String
    ) -> Bool {
        do throws(ShardError) {
            guard let story = try shard.story(of: id, withSteps: true) else {
                // Only what lies in a range that is told of may be gone, and what went before.
                let isTold = shard.recovery.damaged.contains { range in
                    places[id].map { range.from <= $0 && $0 < range.to } ?? true
                }
                if !isTold, !gone.contains(id) {
                    let place = places[id].map { "\($0.rawValue)" } ?? "a row"
                    witness.note("P1", "\(id) at \(place) is silently gone after: \(damage)")
                }
                return false
            }
            let number = Submission.number(markedIn: story.envelope)
            if number != witness.submissionNumber(of: id) {
                witness.note("P1", "\(id) has another content after: \(damage)")
            }
            // Told or not: an answer that may be overtaken says so itself.
            if let final = witness.finalState(of: id), final != story.state, !story.isUncertain {
                witness.note(
                    "P1",
                    "\(id) was \(final.name) and is \(story.state.name) after: \(damage)"
                )
            }
            return true
        } catch { return false }
    }

    /// A checkpoint that was cut short is refused or made anew, never taken for an empty one.
    private func openWithBadCheckpoint() {
        let cut = store.copy()
        guard let key = Shard.progressKeys.first,
            let saved = cut.allRows.first(where: { $0.key == key })?.value, saved.count > 1
        else { return }
        var batch = StateBatch()
        batch.put(key, Array(saved.prefix(1 + extras.below(saved.count - 1))))
        do throws(StorageError) { try cut.write(batch) } catch { return }
        do throws(ShardError) {
            let shard = try Shard.open(
                directory: disk.copy(),
                store: cut,
                configuration: knobs.node.shard,
                seed: 1,
                at: now
            )
            for id in witness.known {
                _ = look(at: id, on: shard, "a cut checkpoint")
            }
            let hash = XXH3.hash(shard.state.encoded(), seed: 0)
            if hash != stateHash {
                witness.note("P7", "a checkpoint that was cut short gives another state")
            }
        } catch { coverage.saw(.badCheckpointRefused) }
    }

    // MARK: - A log that is older than its store

    /// Now and then keeps a copy of the disk; later, when the store's rows have gone on, opening the
    /// old log with them must be refused.
    func rememberPast() {
        guard !options.isPlain, let node else { return }
        if let old = past, old.life == life, extras.chance(perThousand: 300) {
            past = nil
            let progress = Shard.progressKeys
            let rows = store.allRows.filter { !progress.contains($0.key) }
            guard rows != old.rows, node.shard.state.applied > .zero else { return }
            do throws(ShardError) {
                _ = try Shard.open(
                    directory: old.disk,
                    store: store.copy(),
                    configuration: knobs.node.shard,
                    seed: 1,
                    at: now
                )
                witness.note("P1", "a log older than its store was opened")
            } catch { coverage.saw(.olderLogRefused) }
        } else if past == nil || past?.life != life, !node.shard.hasUnsynced,
            !node.shard.hasUnwrittenCommands, extras.chance(perThousand: 200)
        {
            let progress = Shard.progressKeys
            past = PastMoment(
                life: life,
                disk: disk.copy(),
                rows: store.allRows.filter { !progress.contains($0.key) }
            )
        }
    }
}

extension DiskDamage {
    fileprivate var sight: Coverage.Sight {
        switch self {
        case .flipBit: .bitFlipped
        case .deadSector: .sectorDead
        case .zeros: .fileZeroed
        case .truncate: .fileCut
        case .delete: .fileDeleted
        case .swap: .filesSwapped
        case .overwrite: .fileOverwritten
        }
    }

    /// Whether it befalls a file that the log can do without: an index, a spare, the floor. A sector
    /// that cannot be read may still be told.
    fileprivate var isOfHelperFile: Bool {
        switch self {
        case .flipBit(let file, _, _), .zeros(let file, _), .truncate(let file, _),
            .delete(let file):
            !file.hasSuffix(".seg")
        case .deadSector, .swap, .overwrite: false
        }
    }
}
