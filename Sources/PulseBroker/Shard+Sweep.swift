// Rows whose time is over: kept records that ended long ago, dead letters whose record is gone, and
// templates' revisions that nothing can be rendered with any more. A bounded piece at each look.

import PulseCore
import PulseLog

extension Shard {
    /// Rows that are looked at, and bytes of them, in one look.
    private static let rowsPerLook = 256
    private static let templateBytesPerLook = 1 << 20

    /// Looks on in each sweep that is due, and asks for another turn when one is to go on.
    func sweepRows(
        into commands: inout RetentionCommands,
        pause: Int64,
        at now: Now
    ) throws(ShardError) {
        let rest = now.monotonic.advanced(byMilliseconds: pause)
        var forgotten: [ForgottenRow] = []
        if retention.ended.due <= now.monotonic { forgotten += try endedRows(rest, at: now) }
        if retention.dead.due <= now.monotonic { forgotten += try deadRows(rest) }
        if retention.templates.due <= now.monotonic { forgotten += try supersededTemplates(rest) }
        for sweep in [retention.ended, retention.dead, retention.templates] {
            retention.due = min(retention.due, sweep.due)
        }
        // Few in each command: a small segment's entry must hold it.
        while !forgotten.isEmpty {
            commands.append(.forgot(Array(forgotten.prefix(16))))
            forgotten.removeFirst(min(16, forgotten.count))
        }
    }

    // MARK: - Kept records

    private func endedRows(
        _ rest: MonotonicInstant,
        at now: Now
    ) throws(ShardError) -> [ForgottenRow] {
        let steady = steadyTime(at: now)
        let latest = steady.advanced(byMilliseconds: -configuration.shortestAge)
        let limit = EndedRow.limit(latest)
        let start = retention.ended.from
        guard start.lexicographicallyPrecedes(limit) else {
            retention.ended.rest(until: rest)
            return []
        }
        let rows = try fromStore { () throws(StorageError) in
            try store.scan(from: start, below: limit, limit: Self.rowsPerLook)
        }
        if rows.count == Self.rowsPerLook, let last = rows.last {
            retention.ended.goOn(at: last.key + [0])
        } else {
            retention.ended.rest(until: rest)
        }
        var forgotten: [ForgottenRow] = []
        var gone: [MessageKey] = []
        for row in rows {
            guard let ended = EndedRow(key: row.key) else { continue }
            let message = ended.message
            let oldest = steady.advanced(
                byMilliseconds: -configuration.age(of: message.stream.topic)
            )
            guard ended.wall < oldest else { continue }
            forgotten.append(.ended(ended))
            // Two groups may have ended it in the same look.
            let isGone = gone.contains {
                $0.stream == message.stream && $0.offset == message.offset
            }
            guard !isGone, let record = try kept(message.stream, message.offset),
                try isOver(record, since: oldest)
            else { continue }
            gone.append(message)
            let name = ForgottenRow.KeptName(
                stream: record.stream,
                offset: record.offset,
                revision: record.revision,
                groups: groups(of: record),
                idempotencyRow: record.idempotencyRowKey ?? []
            )
            forgotten.append(.kept(name, bytes: UInt32(record.rowBytes)))
        }
        return forgotten
    }

    /// The groups that may have a row which tells how the record ended.
    func groups(of record: KeptRecord) -> [GroupID] {
        let delivery = state.group(named: GroupState.deliveryName, on: record.stream.topic)?.id
        return Set(record.ready + record.waiting + (delivery.map { [$0] } ?? [])).sorted()
    }

    /// Whether every group has finished a kept record, and did so before `oldest`.
    private func isOver(
        _ record: KeptRecord,
        since oldest: WallTimestamp
    ) throws(ShardError) -> Bool {
        for id in record.ready + record.waiting {
            let key = MessageKey(group: id, stream: record.stream, offset: record.offset)
            guard let group = state.group(id), let index = group.index(of: record.stream) else {
                continue
            }
            if !group.streams[index].progress.isDone(record.offset) || leases.holds(key) {
                return false
            }
            let place = WaitingRow.key(key)
            let outcome = EndedRow.outcomeKey(key)
            let row = try fromStore { () throws(StorageError) in try store.get(place) }
            guard row == nil else { return false }
            let ended = try fromStore { () throws(StorageError) in try store.get(outcome) }
                .flatMap(EndedRow.step(in:))
            if let ended, try isYoung(key, endedAt: ended.at, since: oldest) { return false }
        }
        return true
    }

    /// Whether the end of a kept record, told with its wall time, is younger than `oldest`, a steady time.
    private func isYoung(
        _ message: MessageKey,
        endedAt wall: WallTimestamp,
        since oldest: WallTimestamp
    ) throws(ShardError) -> Bool {
        for steady in state.clock.candidates(wall) where steady >= oldest {
            if state.clock.isPlain { return true }
            // Its row in order of time says which of them it is; it goes when its time is over.
            let row = EndedRow(message: message, wall: steady).timeKey
            if try fromStore({ () throws(StorageError) in try store.get(row) }) != nil {
                return true
            }
        }
        return false
    }

    // MARK: - Dead letters

    /// Dead letters whose records are gone, by age or by size. They stand nearly in order of time in their
    /// stream: behind a page that mostly stays there is nothing to find.
    private func deadRows(_ rest: MonotonicInstant) throws(ShardError) -> [ForgottenRow] {
        let start = retention.dead.from
        let end = retention.dead.end
        let rows = try fromStore { () throws(StorageError) in
            try store.scan(from: start, below: end, limit: Self.rowsPerLook)
        }
        guard let first = rows.first.flatMap(DeadRow.init) else {
            retention.dead.rest(until: rest)
            return []
        }
        let page = rows.prefix { DeadRow($0)?.deadStream == first.deadStream }
        var forgotten: [ForgottenRow] = []
        for row in page {
            guard let dead = DeadRow(row), try isGone(dead) else { continue }
            forgotten.append(.plain(row.key))
        }
        if page.count == Self.rowsPerLook, forgotten.count > page.count / 2, let last = page.last {
            retention.dead.goOn(at: last.key + [0])
        } else {
            // Past every offset of the stream.
            retention.dead.goOn(at: DeadRow.key(first.deadStream, Offset(.max)) + [0])
        }
        return forgotten
    }

    /// Whether a dead letter's record is gone; what cannot be read may still be there.
    private func isGone(_ dead: DeadRow) throws(ShardError) -> Bool {
        do throws(ShardError) { return try !has(dead.stream, dead.offset) } catch {
            guard error.isUnreadable else { throw error }
            return false
        }
    }

    // MARK: - Templates

    /// Revisions that were superseded before anything that may still be rendered was accepted.
    private func supersededTemplates(
        _ rest: MonotonicInstant
    ) throws(ShardError) -> [ForgottenRow] {
        let oldest = oldestOpen
        var forgotten: [ForgottenRow] = []
        var bytes = 0
        var previous: StateRow?
        while bytes < Self.templateBytesPerLook {
            let start = retention.templates.from
            let end = retention.templates.end
            let rows = try fromStore { () throws(StorageError) in
                try store.scan(from: start, below: end, limit: 16)
            }
            for row in rows {
                defer { previous = row }
                bytes += row.value.count + row.key.count
                guard let before = previous, before.key != row.key,
                    before.key.dropLast(8) == row.key.dropLast(8),
                    Self.revisionPosition(row.key) <= oldest,
                    !isUsed(Self.revisionPosition(before.key))
                else { continue }
                forgotten.append(.plain(before.key))
            }
            guard rows.count == 16, let last = rows.last else {
                retention.templates.rest(until: rest)
                return forgotten
            }
            // Once more from the last one: the next may supersede it.
            retention.templates.goOn(at: last.key)
        }
        return forgotten
    }

    /// No record that somebody has not finished lies before this, but for those that were kept.
    private var oldestOpen: UInt64 {
        for segment in state.book.segments where !state.book.openBytes(in: segment.number).isEmpty {
            return segment.number * UInt64(log.segmentBytes)
        }
        return state.applied.rawValue
    }

    private func isUsed(_ revision: UInt64) -> Bool {
        state.book.revisions.contains { $0.position == revision }
    }

    private static func revisionPosition(_ key: [UInt8]) -> UInt64 {
        key.suffix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    }
}
