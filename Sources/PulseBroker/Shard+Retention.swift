// Letting old segments go: those older than the retention that nothing needs any more. A segment is
// needed by a record that is not finished (ready, leased or held), for any group, and by a state
// checkpoint that is not durable yet. Its file is recycled for a later segment.

package import PulseCore
import PulseLog

extension Shard {
    /// Held rows that are looked at before giving up for this time: a retention pass must not stall
    /// the thread that serves.
    private static let heldRowsMax = 100_000
    private static let pageRows = 1024

    /// Releases what may go, now and then. Does nothing most of the time.
    package func releaseOldSegments(at now: Now) throws(ShardError) {
        // A group that is being made may start at the oldest record there is: it is asked again.
        guard now.wall >= retentionDue,
            !pendingGroups.contains(where: { Int($0.id.rawValue) > state.groups.count })
        else { return }
        let pause = min(max(configuration.retentionMilliseconds / 16, 1000), 3_600_000)
        retentionDue = now.wall.advanced(byMilliseconds: pause)
        let oldest = now.wall.advanced(byMilliseconds: -configuration.retentionMilliseconds)
        var below = LogPosition.zero
        for segment in log.segments {
            guard segment.isSealed, segment.latestWall < oldest, segment.end <= durableCheckpoint,
                try latestEnd(in: segment.number) < oldest
            else { break }
            below = segment.end
        }
        guard below > .zero else { return }
        below = min(below, try oldestNeeded(below: below))
        guard below > log.firstPosition else { return }
        try forgetDeadLetters(below: below)
        try forgetLateEnds(below: below)
        try fromLog { () throws(LogError) in try log.releaseSegments(below: below, jobs: &logJobs) }
        statistics.releases += 1
    }

    // MARK: - Late ends
    //
    // A notification that waited may end long after it was accepted, and is kept for the retention from
    // its end. One row a segment remembers the latest such end of its records:
    //
    //     key  'r' | segment u64, big-endian        value  wall ms i64, little-endian

    private static func lateEndKey(_ segment: UInt64) -> [UInt8] {
        var key: [UInt8] = [0x72]
        key.append(bigEndian: segment)
        return key
    }

    /// Writes the row for a message that ended after it had waited; called in log order, so that the
    /// latest end is the last one written.
    func noteLateEnd(_ command: Command, at wall: WallTimestamp, rows: inout StateBatch) {
        let step: Command.Step
        switch command {
        case .delivered(let ended, _, _), .dead(let ended, _, _, _, _): step = ended
        case .intent, .held, .templatePut, .groupCreated, .started: return
        }
        guard step.origin != .fresh,
            let position = try? log.locate(step.message.stream, step.message.offset)
        else { return }
        var value: [UInt8] = []
        value.append(littleEndian: wall.milliseconds)
        rows.put(Self.lateEndKey(position.rawValue / UInt64(log.segmentBytes)), value)
    }

    private func latestEnd(in segment: UInt64) throws(ShardError) -> WallTimestamp {
        let row = try fromStore { () throws(StorageError) in
            try store.get(Self.lateEndKey(segment))
        }
        let milliseconds = row?.withUnsafeBytes { bytes -> Int64? in
            var reader = ByteReader(bytes)
            return reader.littleEndian()
        }
        return WallTimestamp(milliseconds: (milliseconds ?? nil) ?? .min)
    }

    private func forgetLateEnds(below: LogPosition) throws(ShardError) {
        var batch = StateBatch()
        for segment in log.segments where segment.end <= below {
            batch.delete(Self.lateEndKey(segment.number))
        }
        let changes = batch
        try fromStore { () throws(StorageError) in try store.write(changes) }
    }

    /// The first position at or below which something is still needed; `.zero` when it is not known.
    private func oldestNeeded(below limit: LogPosition) throws(ShardError) -> LogPosition {
        var oldest = limit
        for group in state.groups {
            for (stream, progress) in group.streams where progress.floor < progress.end {
                let position = try fromLog { () throws(LogError) in
                    try log.locate(stream, progress.floor)
                }
                oldest = min(oldest, position ?? .zero)
            }
            oldest = min(oldest, try oldestHeld(group.id))
        }
        return oldest
    }

    private func oldestHeld(_ group: GroupID) throws(ShardError) -> LogPosition {
        var oldest = LogPosition(.max)
        var from = HeldRow.prefix(group)
        let below = HeldRow.prefix(GroupID(group.rawValue + 1))
        var seen = 0
        while true {
            let start = from
            let rows = try fromStore { () throws(StorageError) in
                try store.scan(from: start, below: below, limit: Self.pageRows)
            }
            for row in rows.compactMap(HeldRow.init) {
                let position = try fromLog { () throws(LogError) in
                    try log.locate(row.message.stream, row.message.offset)
                }
                oldest = min(oldest, position ?? .zero)
            }
            seen += rows.count
            guard rows.count == Self.pageRows, let last = rows.last else { return oldest }
            guard seen < Self.heldRowsMax else { return .zero }
            from = last.key + [0]
        }
    }

    /// Dead letters go with the segment that told of them.
    private func forgetDeadLetters(below: LogPosition) throws(ShardError) {
        for (stream, end) in state.streams where stream.lane == .dead {
            var from = DeadRow.key(stream, Offset(0))
            let limit = DeadRow.key(stream, end)
            while true {
                let start = from
                let rows = try fromStore { () throws(StorageError) in
                    try store.scan(from: start, below: limit, limit: Self.pageRows)
                }
                var batch = StateBatch()
                for row in rows.compactMap(DeadRow.init) {
                    let record = try fromLog { () throws(LogError) in
                        try log.locate(row.stream, row.offset)
                    }
                    // Offsets here are in the order of deaths, records in the order of births: a row that
                    // stays says nothing of the next.
                    if min(row.position, record ?? .zero) < below { batch.delete(row.key) }
                }
                if !batch.changes.isEmpty {
                    let changes = batch
                    try fromStore { () throws(StorageError) in try store.write(changes) }
                }
                guard rows.count == Self.pageRows, let last = rows.last else { break }
                from = last.key + [0]
            }
        }
    }

    /// The oldest offset of a stream that the log still has; its end when it has none.
    package func start(of stream: StreamID) throws(ShardError) -> Offset {
        var low: Int64 = 0
        var high = state.end(of: stream).rawValue
        while low < high {
            let middle = low + (high - low) / 2
            let found = try fromLog { () throws(LogError) in
                try placeOf(stream, Offset(middle))
            }
            if found == nil { low = middle + 1 } else { high = middle }
        }
        return Offset(low)
    }
}
