// After a repair: the state learns what is lost, and its rows and counts are brought in line with what the
// log still says. Once, at the first start after the repair.

import PulseCore
import PulseLog

extension Shard {
    /// Takes in gaps that lie below what was folded already, and settles the counts.
    func settleGaps() throws(ShardError) {
        for gap in log.gaps where gap.position < state.applied { state.fold(gap) }
        guard state.isUnsettled, !log.isReadOnly else { return }
        var batch = StateBatch()
        var scheduled = [UInt64](repeating: 0, count: Channel.allCases.count)
        var held = scheduled
        var waiting: [HeldRow] = []
        try settleKept(into: &batch)
        try forEachRow(from: [0x68], below: [0x69]) { row throws(ShardError) in
            guard let row = HeldRow(row), let group = state.group(row.message.group) else { return }
            guard try isCurrent(row) else {
                HeldRow.delete(row.message, due: row.due, from: &batch)
                return
            }
            waiting.append(row)
            guard group.isDelivery, let channel = Channel(topic: group.topic) else { return }
            let index = Int(channel.rawValue) - 1
            if row.origin == .scheduled { scheduled[index] += 1 } else { held[index] += 1 }
        }
        // After the others are deleted: a message may have had two.
        for row in waiting { row.put(into: &batch) }
        state.settle(
            scheduledRows: scheduled,
            heldRows: held,
            waiting: waiting.map(\.message)
        )
        // The rows and the state that counts them, together.
        batch.put(Self.checkpointKey, state.encoded())
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
    /// moved it is lost, goes.
    private func settleKept(into batch: inout StateBatch) throws(ShardError) {
        state.book.clearKept()
        var changes = batch
        try forEachRow(from: [0x6B], below: [0x6C]) { row throws(ShardError) in
            guard let record = KeptRecord(row) else { return }
            if record.offset < state.book.keptBelow(record.stream),
                state.lostRange(record.stream, record.offset) == nil
            {
                state.book.count(record)
            } else {
                changes.delete(row.key)
                if let key = record.idempotencyRowKey { changes.delete(key) }
            }
        }
        batch = changes
    }

    /// Where each stream goes on: behind its end, and behind what gaps may have swallowed of it.
    func reserveOffsets() throws(ShardError) {
        for (stream, end) in state.streams {
            var newest: LogPosition?
            if end > Offset(0) {
                newest = try fromLog { () throws(LogError) in
                    try placeOf(stream, end.advanced(by: -1))
                }
            }
            let count = state.reserved(stream, newest: newest ?? .zero)
            nextOffsets[stream] = Offset(end.rawValue + count)
        }
    }

    /// The offset of the stream's next record.
    func nextOffset(of stream: StreamID) -> Offset {
        nextOffsets[stream] ?? Offset(state.reserved(stream, newest: .zero))
    }

    /// Whether a row still says where its message is, as far as the log tells.
    private func isCurrent(_ row: HeldRow) throws(ShardError) -> Bool {
        let message = row.message
        guard state.lostRange(message.stream, message.offset) == nil,
            try has(message.stream, message.offset)
        else { return false }
        let newest = try newestCommand(of: message)
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
