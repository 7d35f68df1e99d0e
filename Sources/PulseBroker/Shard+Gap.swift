// After a repair: the state learns what is lost, the log learns what the state knew, and rows and counts
// are brought in line with what the log says. Decided once, at the first start after the repair, and
// written down as the command `settled`: every later fold does it again at that place.

import PulseCore
import PulseLog

extension Shard {
    /// Takes in gaps that lie below what was folded already.
    func foldLateGaps() {
        for gap in log.gaps where gap.position < state.applied { state.fold(gap) }
    }

    /// What is known where the log ends, for the log to tell: an unsettled state is settled when it has
    /// folded that in. Nil when there is nothing to tell, or it was told.
    func reckoningIfDue() throws(ShardError) -> Reckoning? {
        guard !state.gaps.isEmpty else { return nil }
        let reckoning = try reckoning()
        // A state that an older program has settled may know of offsets to be left out.
        let leavesOut = reckoning.streams.contains { $0.end < $0.next }
        return state.isUnsettled || leavesOut ? reckoning : nil
    }

    private func reckoning() throws(ShardError) -> Reckoning {
        var streams: [Reckoning.Stream] = []
        for (stream, end) in state.streams {
            let lostFrom = try firstUntold(of: stream, end)
            let newest = try fromLog { () throws(LogError) in
                lostFrom > Offset(0) ? try placeOf(stream, lostFrom.advanced(by: -1)) : nil
            }
            let next = end.advanced(by: Int(state.reserved(stream, newest: newest ?? .zero)))
            streams.append(
                Reckoning.Stream(
                    stream: stream,
                    gap: lostFrom < next ? state.gapBehind(newest ?? .zero) : .zero,
                    lostFrom: lostFrom,
                    end: end,
                    next: next
                )
            )
        }
        return Reckoning(accepted: state.ledgers.map(\.accepted), streams: streams)
    }

    /// From where on neither the log, nor a row, nor a gap tells of a stream's records; its end when all
    /// are told of.
    private func firstUntold(
        of stream: StreamID,
        _ end: Offset
    ) throws(ShardError) -> Offset {
        guard stream.lane != .dead else { return end }
        var first = end
        while first > state.book.keptBelow(stream) {
            let newest = first.advanced(by: -1)
            guard state.lostRange(stream, newest) == nil, try !has(stream, newest) else { break }
            first = newest
        }
        return first
    }

    /// Brings rows and counts in line with the log as far as it is folded in, right behind `settled`.
    func settle() throws(ShardError) {
        isSettlementDue = false
        // Damage that was met since may hide what a row depends on: the start after its repair settles.
        guard !log.isReadOnly else { return }
        var batch = StateBatch()
        var scheduled = [UInt64](repeating: 0, count: Channel.allCases.count)
        var held = scheduled
        var waiting: [HeldRow] = []
        try settleKept(into: &batch)
        try forEachRow(from: [0x68], below: [0x69]) { row throws(ShardError) in
            guard let row = HeldRow(row) else { return }
            // Of a group whose creation is lost nothing waits.
            guard let group = state.group(row.message.group),
                group.index(of: row.message.stream) != nil, try isCurrent(row)
            else {
                HeldRow.delete(row.message, due: row.due, from: &batch)
                guard row.message.offset < state.book.keptBelow(row.message.stream) else { return }
                let wall = state.clock.steady(row.since ?? WallTimestamp(milliseconds: 0))
                return batch.put(EndedRow(message: row.message, wall: wall).timeKey, [])
            }
            waiting.append(row)
            guard group.isDelivery, let channel = Channel(topic: group.topic) else { return }
            let index = Int(channel.rawValue) - 1
            if row.origin == .scheduled { scheduled[index] += 1 } else { held[index] += 1 }
        }
        // After the others are deleted: a message may have had two. What moved it there may be lost.
        for row in waiting {
            row.put(into: &batch)
            state.markDone(row.message)
        }
        state.settle(
            scheduledRows: scheduled,
            heldRows: held,
            waiting: waiting.map(\.message)
        )
        // The rows and the state that counts them, together.
        batch.put(Self.checkpointKey, Checkpoint.row(state.encoded()))
        batch.put(Self.appliedKey, Self.encoded(state.applied))
        let changes = batch
        try fromStore { () throws(StorageError) in
            try store.write(changes)
            try store.flush()
        }
        checkpointed = state.applied
        durableCheckpoint = state.applied
    }

    /// Counts the rows of kept records anew. One whose record is lost, or where it was because what
    /// moved it is lost, goes. What ended without a trace gets a row that lets the record go in its time.
    private func settleKept(into batch: inout StateBatch) throws(ShardError) {
        state.book.clearKept()
        var changes = batch
        // What is not in the log has moved, although the command that says so is lost.
        try forEachRow(from: [0x6B], below: [0x6C]) { row throws(ShardError) in
            guard let record = KeptRecord(row),
                record.offset >= state.book.keptBelow(record.stream),
                state.lostRange(record.stream, record.offset) == nil
            else { return }
            let place = try fromLog { () throws(LogError) in
                try log.locate(record.stream, record.offset)
            }
            if place == nil { state.book.noteMoved(record.stream, record.offset) }
        }
        try forEachRow(from: [0x6B], below: [0x6C]) { row throws(ShardError) in
            guard let record = KeptRecord(row) else { return }
            if record.offset < state.book.keptBelow(record.stream),
                state.lostRange(record.stream, record.offset) == nil
            {
                state.book.count(record)
                guard let key = try untracedEnd(of: record) else { return }
                let wall = state.clock.steady(record.wall)
                changes.put(EndedRow(message: key, wall: wall).timeKey, [])
            } else {
                changes.delete(row.key)
                if let key = record.idempotencyRowKey { changes.delete(key) }
                for group in groups(of: record) {
                    changes.delete(EndedRow.outcomeKey(record.message(of: group)))
                }
            }
        }
        batch = changes
    }

    /// A group for which a kept record is over although no row says so: the group is lost, or the end is.
    private func untracedEnd(of record: KeptRecord) throws(ShardError) -> MessageKey? {
        for id in record.ready + record.waiting {
            let key = record.message(of: id)
            let isOpen = state.group(id)?.isOpen(record.stream, record.offset) ?? false
            if isOpen { continue }
            if try waitingRow(of: key) != nil { continue }
            let outcome = EndedRow.outcomeKey(key)
            let told = try fromStore { () throws(StorageError) in try store.get(outcome) }
            if told == nil { return key }
        }
        return nil
    }

    /// The offset of the stream's next record: behind its end, which a settled state knows; one that nobody
    /// knows of begins behind what gaps may have swallowed of it.
    func nextOffset(of stream: StreamID) -> Offset {
        if let next = nextOffsets[stream] { return next }
        return max(state.end(of: stream), state.leftOut(by: stream))
    }

    /// Whether a row still says where its message is, as far as the log tells that is folded in.
    private func isCurrent(_ row: HeldRow) throws(ShardError) -> Bool {
        let message = row.message
        guard state.lostRange(message.stream, message.offset) == nil,
            try has(message.stream, message.offset)
        else { return false }
        let newest = try newestCommand(of: message, below: state.applied)
        switch newest {
        case .delivered, .dead, .cancelled: return false
        case .held(_, let due, _, _, _): return due == row.due
        default: return true
        }
    }

    /// Where a record is, or was before it was lost: positions that grow with offsets.
    func placeOf(_ stream: StreamID, _ offset: Offset) throws(LogError) -> LogPosition? {
        try log.locate(stream, offset) ?? state.lostRange(stream, offset)?.gap
    }
}
