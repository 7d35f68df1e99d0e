// The segment book made anew from what it is about: groups, and rows of what waits and of what was kept.
// After a gap it replaces the book's counts; in tests and in the simulator it is compared with them.

import PulseCore
import PulseLog

extension SegmentBook {
    /// Makes all counts of extents anew: what groups have not done, and what waits.
    mutating func recount(_ groups: [GroupState], _ waiting: [MessageKey]) {
        for place in streams.indices {
            for index in streams[place].extents.indices {
                streams[place].extents[index].open = 0
                streams[place].extents[index].waiting = 0
            }
        }
        for group in groups {
            for (stream, progress) in group.streams {
                var next = keptBelow(stream)
                while let offset = progress.nextOpen(from: next) {
                    reopen(stream, offset, waits: false)
                    next = offset.advanced(by: 1)
                }
            }
        }
        for message in waiting where message.offset >= keptBelow(message.stream) {
            reopen(message.stream, message.offset)
        }
    }

    mutating func reopen(_ stream: StreamID, _ offset: Offset, waits: Bool = true) {
        let place = place(of: stream)
        guard let index = streams[place].index(of: offset) else { return }
        streams[place].extents[index].open += 1
        if waits { streams[place].extents[index].waiting += 1 }
    }

    /// A record has left its segment; what that leaves open is for a recount to say.
    mutating func noteMoved(_ stream: StreamID, _ offset: Offset) {
        let place = place(of: stream)
        streams[place].keptBelow = max(streams[place].keptBelow, offset.advanced(by: 1))
    }

    /// Forgets what was counted of kept records, before all of them are counted again.
    mutating func clearKept() {
        keptRecords = 0
        keptBytes = 0
        revisions = []
    }

    /// Counts a record that has a row.
    mutating func count(_ kept: KeptRecord) {
        keptRecords += 1
        keptBytes += UInt64(kept.rowBytes)
        use(kept.revision, 1)
    }
}

extension Shard {
    private static let pageRows = 1024

    /// Shows all rows of a kind, in the order of their keys.
    func forEachRow(
        from first: [UInt8],
        below: [UInt8],
        _ show: (StateRow) throws(ShardError) -> Void
    ) throws(ShardError) {
        var from = first
        while true {
            let start = from
            let rows = try fromStore { () throws(StorageError) in
                try store.scan(from: start, below: below, limit: Self.pageRows)
            }
            for row in rows { try show(row) }
            guard rows.count == Self.pageRows, let last = rows.last else { return }
            from = last.key + [0]
        }
    }

    /// What the segment book says otherwise than groups and rows do; nil when they agree. Reads all rows of
    /// what waits and of what was kept: for tests and the simulator.
    package func bookFault() throws(ShardError) -> String? {
        guard state.oddities == odditiesAtStart else {
            return "\(state.oddities - odditiesAtStart) entries of this life do not fit the state"
        }
        guard !state.isUnsettled, !isUpgradeHeld else { return nil }
        var waiting: [MessageKey] = []
        var truth = state.book
        truth.clearKept()
        try forEachRow(from: [0x77], below: [0x78]) { row in
            if let message = WaitingRow.message(of: row.key) { waiting.append(message) }
        }
        try forEachRow(from: [0x6B], below: [0x6C]) { row in
            if let record = KeptRecord(row) { truth.count(record) }
        }
        truth.recount(state.groups, waiting)
        for (told, counted) in zip(state.book.streams, truth.streams) where told != counted {
            return "the segment book says \(told), and there is \(counted)"
        }
        guard state.book != truth else { return nil }
        return
            "the segment book says \(state.book.keptRecords) kept records of \(state.book.keptBytes)"
            + " bytes, and there are \(truth.keptRecords) of \(truth.keptBytes)"
    }
}
