// After a repair: the state learns what is lost, and its rows and counts are brought in line with what the
// log still says. Once, at the first start after the repair.

import PulseCore
import PulseLog

extension Shard {
    private static let pageRows = 1024

    /// Takes in gaps that lie below what was folded already, and settles the counts.
    func settleGaps() throws(ShardError) {
        for gap in log.gaps where gap.position < state.applied { state.fold(gap) }
        guard state.isUnsettled, !log.isReadOnly else { return }
        var batch = StateBatch()
        var scheduled = [UInt64](repeating: 0, count: Channel.allCases.count)
        var held = scheduled
        var waiting: [(message: MessageKey, due: Int64)] = []
        for group in state.groups {
            var from = HeldRow.prefix(group.id)
            let below = HeldRow.prefix(GroupID(group.id.rawValue + 1))
            while true {
                let start = from
                let rows = try fromStore { () throws(StorageError) in
                    try store.scan(from: start, below: below, limit: Self.pageRows)
                }
                for row in rows.compactMap(HeldRow.init) {
                    guard try isCurrent(row) else {
                        HeldRow.delete(row.message, due: row.due, from: &batch)
                        continue
                    }
                    row.put(into: &batch)
                    waiting.append((row.message, row.due.milliseconds))
                    guard group.isDelivery, let channel = Channel(topic: group.topic) else {
                        continue
                    }
                    let index = Int(channel.rawValue) - 1
                    if row.origin == .scheduled { scheduled[index] += 1 } else { held[index] += 1 }
                }
                guard rows.count == Self.pageRows, let last = rows.last else { break }
                from = last.key + [0]
            }
        }
        state.settle(scheduledRows: scheduled, heldRows: held, waiting: waiting)
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
