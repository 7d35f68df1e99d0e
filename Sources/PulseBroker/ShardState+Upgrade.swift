// From a checkpoint of version 1 or 2, which had no segment book: it is made from the log, once. All that
// was not finished pinned its segment then, so everything that is needed is there. A log that begins at 0
// is replayed instead, and gives the state exactly.

import PulseCore
import PulseLog

extension ShardState {
    /// Makes the segment book, and the rows that find waiting messages.
    mutating func upgrade(from log: ShardLog, _ store: any StateStore) throws(ShardError) {
        var draft = self
        draft.book = SegmentBook(segmentBytes: log.segmentBytes)
        var waiting: [MessageKey: Int64] = [:]
        let end = applied
        try fromLog { () throws(LogError) in
            try log.scan(from: .zero) { header, body throws(LogError) in
                guard header.endPosition <= end else { return false }
                do throws(RecordBatchError) {
                    try draft.note(header, body, waiting: &waiting)
                } catch { throw log.damagedBatch(header, error) }
                return true
            }
        }
        for (stream, end) in streams where stream.lane != .dead {
            draft.book.begin(stream, end: end)
        }
        var rows = StateBatch()
        let sorted = waiting.sorted { $0.key < $1.key }.map { (message: $0.key, due: $0.value) }
        draft.book.recount(groups, sorted.map(\.message))
        for (message, due) in sorted {
            let time = WallTimestamp(milliseconds: due)
            rows.put(WaitingRow.key(message), WaitingRow.value(due: time))
        }
        let changes = rows
        try fromStore { () throws(StorageError) in try store.write(changes) }
        self = draft
    }

    /// Version 1 noted late ends in rows; one for each segment.
    static func forgetLateEnds(_ store: any StateStore) throws(ShardError) {
        let late = try fromStore { () throws(StorageError) in
            try store.scan(from: [0x72], below: [0x73], limit: 1 << 20)
        }
        var rows = StateBatch()
        for row in late { rows.delete(row.key) }
        let changes = rows
        try fromStore { () throws(StorageError) in try store.write(changes) }
    }

    /// Counts an entry that was folded in long ago.
    fileprivate mutating func note(
        _ header: EntryHeader,
        _ body: UnsafeRawBufferPointer,
        waiting: inout [MessageKey: Int64]
    ) throws(RecordBatchError) {
        switch header.kind {
        case .recordBatch:
            book.noteEntry(header, topics: SegmentBook.bit(of: header.stream.topic))
            book.add(header, groups: 0)
            guard
                let delivery = group(named: GroupState.deliveryName, on: header.stream.topic)
            else { return }
            try RecordBatch.forEachRecord(in: body) { record in
                guard let value = record.value, let due = Envelope.deliverAt(in: value),
                    due > header.wall
                else { return }
                let key = MessageKey(
                    group: delivery.id,
                    stream: header.stream,
                    offset: header.baseOffset.advanced(by: record.offsetDelta)
                )
                waiting[key] = due.milliseconds
            }
        case .command:
            var topics: UInt64 = 0
            _ = Command.forEach(in: body) { command in
                guard let step = command.step else { return }
                topics |= SegmentBook.bit(of: step.message.stream.topic)
                if case .intent = command { return }
                noteActive(step.message.group, at: header.wall)
                if case .held(_, let due, _, _, _) = command {
                    waiting[step.message] = due.milliseconds
                } else {
                    waiting[step.message] = nil
                    book.noteEnd(step.message.stream, step.message.offset, at: header.wall)
                }
            }
            book.noteEntry(header, topics: topics)
        case .gap: break
        }
    }
}

extension SegmentBook {
    fileprivate mutating func noteEnd(
        _ stream: StreamID,
        _ offset: Offset,
        at wall: WallTimestamp
    ) {
        reopen(stream, offset, waits: false)
        _ = finish(stream, offset, at: wall)
    }

    /// What lies before a stream's first extent has left its segment.
    fileprivate mutating func begin(_ stream: StreamID, end: Offset) {
        let place = place(of: stream)
        streams[place].keptBelow = streams[place].extents.first?.first ?? end
    }
}
