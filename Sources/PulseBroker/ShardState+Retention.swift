// What retention folds into the state: ends of kept records, groups that lost what nobody read, and rows
// whose time is over. Part of the fold: nothing here reads the store.

import PulseCore
import PulseLog

extension ShardState {
    /// A group has finished a message. Where the record was kept, its end becomes a row, since the entry
    /// that tells of it goes with its segment.
    mutating func finish(
        _ command: Command,
        _ step: Command.Step,
        at header: EntryHeader,
        rows: inout StateBatch
    ) {
        let message = step.message
        let steady = clock.steady(header.wall)
        noteActive(message.group, at: steady)
        let decides = group(message.group)?.isDelivery ?? false
        let isKept = book.finish(
            message.stream,
            message.offset,
            at: decides ? steady : nil
        )
        guard isKept else { return }
        rows.put(EndedRow.outcomeKey(message), EndedRow.outcome(command, at: header.wall))
        rows.put(EndedRow(message: message, wall: steady).timeKey, [])
    }

    mutating func noteActive(_ group: GroupID, at wall: WallTimestamp) {
        let index = Int(group.rawValue) - 1
        guard groups.indices.contains(index) else { return }
        groups[index].lastActive = max(groups[index].lastActive, wall)
    }

    mutating func expire(_ expiry: Expiry, at wall: WallTimestamp, rows: inout StateBatch) {
        let place = Int(expiry.group.rawValue) - 1
        guard groups.indices.contains(place), let index = groups[place].index(of: expiry.stream)
        else { return }
        var next = expiry.from
        while let offset = groups[place].streams[index].progress.nextOpen(from: next),
            offset < expiry.to
        {
            groups[place].streams[index].progress.markDone(offset)
            end(expiry, offset, at: wall, rows: &rows)
            next = offset.advanced(by: 1)
        }
        for (offset, due) in expiry.waiting {
            let key = MessageKey(group: expiry.group, stream: expiry.stream, offset: offset)
            book.wait(expiry.stream, offset, -1)
            HeldRow.delete(key, due: WallTimestamp(milliseconds: due), from: &rows)
            end(expiry, offset, at: wall, rows: &rows)
        }
    }

    private mutating func end(
        _ expiry: Expiry,
        _ offset: Offset,
        at wall: WallTimestamp,
        rows: inout StateBatch
    ) {
        groups[Int(expiry.group.rawValue) - 1].expired += 1
        guard book.finish(expiry.stream, offset, at: nil) else { return }
        let key = MessageKey(group: expiry.group, stream: expiry.stream, offset: offset)
        rows.put(EndedRow(message: key, wall: wall).timeKey, [])
    }

    mutating func forget(_ row: ForgottenRow, rows: inout StateBatch) {
        switch row {
        case .plain(let key): rows.delete(key)
        case .ended(let ended): rows.delete(ended.timeKey)
        case .kept(let name, let bytes):
            book.forget(bytes, revision: name.revision)
            rows.delete(KeptRecord.rowKey(name.stream, name.offset))
            if !name.idempotencyRow.isEmpty { rows.delete(name.idempotencyRow) }
            for group in name.groups {
                rows.delete(
                    EndedRow.outcomeKey(
                        MessageKey(group: group, stream: name.stream, offset: name.offset)
                    )
                )
            }
        }
    }
}
