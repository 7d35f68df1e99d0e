// Reading what outlived its segment: records that were moved into rows, how they ended, and what waits.

package import PulseCore
import PulseLog

extension Shard {
    /// A record that was moved out of its segment; nil when it was not, or is over.
    package func kept(_ stream: StreamID, _ offset: Offset) throws(ShardError) -> KeptRecord? {
        guard state.book.keptRecords > 0, offset < state.book.keptBelow(stream) else { return nil }
        let key = KeptRecord.rowKey(stream, offset)
        let value = try fromStore { () throws(StorageError) in try store.get(key) }
        return value.flatMap { KeptRecord(StateRow(key: key, value: $0)) }
    }

    /// How a kept record ended for the key's group, when its own entry is gone.
    func endOfKept(_ key: MessageKey) throws(ShardError) -> StoryStep? {
        guard state.book.keptRecords > 0, key.offset < state.book.keptBelow(key.stream) else {
            return nil
        }
        let row = EndedRow.outcomeKey(key)
        return try fromStore { () throws(StorageError) in try store.get(row) }
            .flatMap(EndedRow.step(in:))
    }

    /// The row of a message that waits; nil when it does not.
    package func waitingRow(of message: MessageKey) throws(ShardError) -> HeldRow? {
        let place = WaitingRow.key(message)
        guard let value = try fromStore({ () throws(StorageError) in try store.get(place) }),
            let due = WaitingRow.due(in: value)
        else { return nil }
        let key = HeldRow.key(message, due: due)
        return try fromStore { () throws(StorageError) in try store.get(key) }
            .flatMap { HeldRow(StateRow(key: key, value: $0)) }
    }

    /// The kept record that used an idempotency key last, of those since `oldest`.
    func keptByKey(
        _ key: UnsafeRawBufferPointer,
        since oldest: WallTimestamp
    ) throws(ShardError) -> KeptRecord? {
        guard state.book.keptRecords > 0 else { return nil }
        // What is not in a segment any more is older than the segments there are. By age alone that is
        // older than any window, and no submission pays for it.
        let slack = Limits.clockStepMilliseconds
        if let latest = latestSteady(of: log.firstNumber),
            latest.advanced(byMilliseconds: slack) < oldest
        {
            return nil
        }
        let prefix = KeptRecord.idempotencyPrefix(key)
        let rows = try fromStore { () throws(StorageError) in
            try store.scan(
                from: prefix,
                below: prefix + [UInt8](repeating: 0xFF, count: 9),
                limit: 1024
            )
        }
        for row in rows.reversed() where row.key.count == prefix.count + 8 {
            let place = row.value.withUnsafeBytes { bytes -> (StreamID, Offset)? in
                var reader = ByteReader(bytes)
                guard let stream: UInt32 = reader.littleEndian(),
                    let offset: Int64 = reader.littleEndian()
                else { return nil }
                return (StreamID(rawValue: stream), Offset(offset))
            }
            guard let (stream, offset) = place, let record = try kept(stream, offset) else {
                continue
            }
            let written = clockWatch.steady.steady(record.wall, at: record.position)
            return written < oldest ? nil : record
        }
        return nil
    }

    /// The newest kept records of a stream below an offset, ascending; at most `limit`, and at least one if
    /// there is any. A store goes forward only: looked for in ever larger steps back, then by halves.
    func lastKept(
        _ stream: StreamID,
        below: Offset,
        limit: Int
    ) throws(ShardError) -> [KeptRecord] {
        var high = min(below, state.book.keptBelow(stream)).rawValue
        guard state.book.keptRecords > 0, high > 0 else { return [] }
        var width: Int64 = 64
        var low = max(0, high - width)
        // One more than may be returned: a whole piece is known to be the last.
        func rows() throws(ShardError) -> [StateRow] {
            let start = KeptRecord.rowKey(stream, Offset(low))
            let end = KeptRecord.rowKey(stream, Offset(high))
            return try fromStore { () throws(StorageError) in
                try store.scan(from: start, below: end, limit: limit + 1)
            }
        }
        var found = try rows()
        while found.isEmpty {
            guard low > 0 else { return [] }
            high = low
            width *= 4
            low = max(0, high - width)
            found = try rows()
        }
        // There is one from `low` on; everything from `high` on is empty, or was not asked for.
        var best = found
        while found.count > limit {
            let middle = low + (high - low) / 2
            guard middle > low else { break }
            let before = low
            low = middle
            found = try rows()
            if found.isEmpty {
                low = before
                high = middle
                found = best
            } else {
                best = found
            }
        }
        return best.suffix(limit).compactMap(KeptRecord.init)
    }

    /// The oldest offset of a stream that a new group may begin with; its end when there is none.
    package func start(of stream: StreamID) -> Offset {
        // Nothing is written to a lane `dead`: its offsets are rows.
        stream.lane == .dead ? state.end(of: stream) : state.book.keptBelow(stream)
    }
}

extension KeptRecord {
    /// Shows the record as it was read from its entry.
    func with<Result>(
        _ body: (EntryHeader, _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) ->
            Result
    ) -> Result {
        let header = EntryHeader(
            ofKept: stream,
            offset,
            position: position,
            wall: wall,
            bytes: value.count
        )
        return key.withUnsafeBytes { key in
            value.withUnsafeBytes { value in body(header, key, value) }
        }
    }
}
