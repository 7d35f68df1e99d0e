// Answering for a notification: where it stands, and the story of how it came there. A read of the log,
// never a table of its own.

package import PulseCore
package import PulseLog

/// One step of a notification's story.
package struct StoryStep: Hashable, Sendable {
    package var at: WallTimestamp
    package var command: Command
}

/// All that is known of one notification.
package struct NotificationStory: Sendable {
    package var id: NotificationID
    package var stream: StreamID
    package var offset: Offset
    package var acceptedAt: WallTimestamp
    /// The record's value.
    package var envelope: [UInt8]
    package var recordPosition: LogPosition
    package var state: NotificationState
    /// Attempts begun.
    package var attempts: Int
    /// Oldest first.
    package var steps: [StoryStep]
}

extension Shard {
    /// Whether a record can still be read.
    package func has(_ stream: StreamID, _ offset: Offset) throws(ShardError) -> Bool {
        let place = try fromLog { () throws(LogError) in try log.locate(stream, offset) }
        if place != nil { return true }
        if try kept(stream, offset) != nil { return true }
        // Released or lost: while there is damage nobody can tell.
        if let range = log.damaged.first { throw .log(.damaged(range)) }
        return false
    }

    /// Reads one record where it lies.
    ///
    /// - Throws: ``ShardError`` when it is gone or damaged: a leased message never is.
    package func withRecord<Result>(
        _ stream: StreamID,
        _ offset: Offset,
        _ body: (EntryHeader, _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) ->
            Result
    ) throws(ShardError) -> Result {
        var result: Result?
        let position = try fromLog { () throws(LogError) in try log.locate(stream, offset) }
        if position == nil, let kept = try kept(stream, offset) { return kept.with(body) }
        do throws(LogError) {
            guard let position else { throw LogError.missing(stream, offset) }
            try log.read(at: position) { header, bytes in
                let delta = Int(offset.rawValue - header.baseOffset.rawValue)
                forEachRecord(in: bytes, at: position) { record in
                    guard record.offsetDelta == delta, let value = record.value else { return }
                    let none = UnsafeRawBufferPointer(start: nil, count: 0)
                    result = body(header, record.key ?? none, value)
                }
            }
            guard let result else { throw LogError.missing(stream, offset) }
            return result
        } catch { throw .log(error) }
    }

    /// Visits the records of the entry at `position`. A compressed batch is mostly asked for one record
    /// after another: what it was last inflated to is kept.
    func forEachRecord(
        in body: UnsafeRawBufferPointer,
        at position: LogPosition,
        _ visit: (RecordView) -> Void
    ) {
        let known = lastInflated?.position == position ? lastInflated?.records : nil
        guard let batch = try? RecordBatch(body, .checksummed, inflated: known) else { return }
        if let records = batch.inflated { lastInflated = (position, records) }
        batch.forEach { record in
            visit(record)
            return true
        }
    }

    /// A record of a stream, its place in that stream told apart from where it was first written: in
    /// the lane `dead` the two differ.
    package struct BrowsedRecord {
        package var offset: Offset
        package var stream: StreamID
        package var origin: Offset
    }

    /// The records of a stream from an offset on, at most `count`: for looking, without a group.
    package func browse(
        _ stream: StreamID,
        from offset: Offset,
        count: Int
    ) throws(ShardError) -> [BrowsedRecord] {
        let end = state.end(of: stream)
        guard offset < end else { return [] }
        guard stream.lane == .dead else {
            let last = min(end.rawValue, offset.rawValue + Int64(count))
            return (offset.rawValue..<last).map {
                BrowsedRecord(offset: Offset($0), stream: stream, origin: Offset($0))
            }
        }
        do throws(StorageError) {
            let rows = try store.scan(
                from: DeadRow.key(stream, offset),
                below: DeadRow.key(stream, end),
                limit: count
            )
            return rows.compactMap(DeadRow.init).map {
                BrowsedRecord(offset: $0.deadOffset, stream: $0.stream, origin: $0.offset)
            }
        } catch { throw .storage(error) }
    }

    /// The notification an identifier names, nil when there is none (never accepted here, not durable
    /// yet, or deleted by retention).
    ///
    /// - Parameter withSteps: Whether to follow the whole story; otherwise `steps` holds the newest only.
    package func story(
        of id: NotificationID,
        withSteps: Bool
    ) throws(ShardError) -> NotificationStory? {
        guard let place = id.place(key: log.identity.key), place.stream.lane != .dead else {
            return nil
        }
        guard place.offset < state.end(of: place.stream) else {
            // What lies behind damage was not folded in: that it never was cannot be said.
            if let range = log.damaged.first { throw .log(.damaged(range)) }
            return nil
        }
        if state.lostRange(place.stream, place.offset) != nil { throw .lost(id) }
        return try story(at: place.stream, place.offset, withSteps: withSteps)
    }

    package func story(
        at stream: StreamID,
        _ offset: Offset,
        withSteps: Bool
    ) throws(ShardError) -> NotificationStory? {
        guard let group = state.group(named: GroupState.deliveryName, on: stream.topic) else {
            return nil
        }
        let key = MessageKey(group: group.id, stream: stream, offset: offset)
        guard let record = try record(stream, offset) else { return nil }
        let steps = try steps(of: key, all: withSteps)
        let (state, attempts) = try standing(of: key, in: group, newest: steps.last?.command)
        return NotificationStory(
            id: self.id(stream, offset),
            stream: stream,
            offset: offset,
            acceptedAt: record.wall,
            envelope: record.envelope,
            recordPosition: record.position,
            state: state,
            attempts: attempts,
            steps: steps
        )
    }

    /// A record's bytes and where they came from; nil when it is gone.
    private func record(
        _ stream: StreamID,
        _ offset: Offset
    ) throws(ShardError) -> (position: LogPosition, wall: WallTimestamp, envelope: [UInt8])? {
        guard try has(stream, offset) else { return nil }
        return try withRecord(stream, offset) { header, _, value in
            (header.position, header.wall, [UInt8](value))
        }
    }

    /// Where a message stands: the leases and the state decide, the newest step explains.
    private func standing(
        of key: MessageKey,
        in group: GroupState,
        newest: Command?
    ) throws(ShardError) -> (NotificationState, attempts: Int) {
        // An attempt that a crash cut off may be older than what is left of the log.
        let attempts = Int(newest?.step?.attempt ?? self.state.openIntents[key]?.attempt ?? 0)
        switch newest {
        case .delivered: return (.delivered, attempts)
        case .dead: return (.dead, attempts)
        case .cancelled: return (.cancelled, attempts)
        default: break
        }
        if leases.holds(key) { return (.leased, attempts) }
        if queues[Int(key.group.rawValue) - 1].waiting[key] != nil { return (.ready, attempts) }
        guard let index = group.index(of: key.stream),
            group.streams[index].progress.isDone(key.offset)
        else { return (.ready, attempts) }
        // The steps of a message that waits long may be gone: its row tells.
        if newest == nil, let row = try waitingRow(of: key) {
            return (row.origin == .held ? .held : .scheduled, max(Int(row.attempt), attempts))
        }
        // As the ledger counts its row: a held message may have no attempt that counts, because its
        // channel was not configured rightly, and a scheduled one an attempt that a crash cut off.
        switch newest {
        case .held: return (.held, attempts)
        case .intent(let step): return (step.origin == .held ? .held : .scheduled, attempts)
        default: return (.scheduled, attempts)
        }
    }

    /// The steps of a message, oldest first; only the newest unless `all`.
    private func steps(of key: MessageKey, all: Bool) throws(ShardError) -> [StoryStep] {
        let steps = try fromLog { () throws(LogError) in try stepsInLog(of: key, all: all) }
        guard steps.isEmpty, let last = try endOfKept(key) else { return steps }
        return [last]
    }

    private func stepsInLog(of key: MessageKey, all: Bool) throws(LogError) -> [StoryStep] {
        var position = try newestStep(of: key)
        var steps: [StoryStep] = []
        // What lies before the oldest segment was told in entries that retention has let go.
        while let at = position, at >= log.firstPosition,
            steps.count < 2 * configuration.retry.attemptsMax + 64
        {
            var found: StoryStep?
            try log.read(at: at) { header, body in
                guard header.kind == .command else { return }
                _ = Command.forEach(in: body) { command in
                    if command.step?.message == key {
                        found = StoryStep(at: header.wall, command: command)
                    }
                }
            }
            guard let found, let step = found.command.step else { break }
            steps.append(found)
            // Positions only go back; anything else would be a damaged chain.
            position = all && step.previous < at ? step.previous : nil
        }
        return steps.reversed()
    }

    /// The newest durable command about a message of a group.
    func newestCommand(of key: MessageKey) throws(ShardError) -> Command? {
        try steps(of: key, all: false).last?.command
    }

    private func newestStep(of key: MessageKey) throws(LogError) -> LogPosition? {
        if let intent = state.openIntents[key] { return intent.position }
        var found: LogPosition?
        // No step of a message is older than its record.
        let record = try log.locate(key.stream, key.offset) ?? .zero
        try log.lookup(hash.message(key.stream, key.offset), notBelow: record) {
            position throws(LogError) in
            guard position < self.log.durablePosition else { return true }
            try self.log.read(at: position) { header, body in
                guard header.kind == .command else { return }
                _ = Command.forEach(in: body) { command in
                    if command.step?.message == key { found = position }
                }
            }
            return found == nil
        }
        return found
    }

    // MARK: - Lists

    /// Where a list goes on: after this record.
    package struct ListPlace: Hashable, Sendable {
        package var position: LogPosition
        package var offset: Offset

        package init(position: LogPosition, offset: Offset) {
            self.position = position
            self.offset = offset
        }

        /// Whether `self` is older than `other`.
        func isBefore(_ other: ListPlace) -> Bool {
            (position, offset) < (other.position, other.offset)
        }
    }

    /// Walks notifications from the newest to the oldest.
    ///
    /// - Parameters:
    ///   - user: Only this recipient's; found through the index, without reading the others.
    ///   - place: Only those older than this one.
    ///   - examineMax: How many may be looked at, so that a filter that matches little costs little.
    ///   - visit: Says whether to go on.
    /// - Returns: Where to go on when the walk stopped before the end, else nil.
    package func walkNewestFirst(
        channel: Channel?,
        user: UnsafeRawBufferPointer?,
        olderThan place: ListPlace?,
        examineMax: Int,
        _ visit: (NotificationStory) -> Bool
    ) throws(ShardError) -> ListPlace? {
        if let user {
            return try walk(user: user, channel, place, examineMax, visit)
        }
        var fronts: [NotificationStory] = []
        for (stream, end) in state.streams where lists(stream, channel) {
            var below = end
            if let place { below = try firstOffset(of: stream, notBefore: place) }
            if let story = try front(stream, below: below) { fronts.append(story) }
        }
        var examined = 0
        while let newest = fronts.indices.max(by: { fronts[$0].place.isBefore(fronts[$1].place) }) {
            let story = fronts[newest]
            examined += 1
            let goOn = visit(story)
            if let next = try front(story.stream, below: story.offset) {
                fronts[newest] = next
            } else {
                fronts.remove(at: newest)
            }
            if !goOn || examined >= examineMax { return fronts.isEmpty ? nil : story.place }
        }
        return nil
    }

    private func lists(_ stream: StreamID, _ channel: Channel?) -> Bool {
        guard let own = Channel(topic: stream.topic), stream.lane != .dead else { return false }
        return channel == nil || channel == own
    }

    /// The first offset of a stream whose record is not older than `place`: a binary search, since
    /// positions grow with offsets.
    private func firstOffset(
        of stream: StreamID,
        notBefore place: ListPlace
    ) throws(ShardError) -> Offset {
        var low: Int64 = 0
        var high = state.end(of: stream).rawValue
        do throws(LogError) {
            while low < high {
                let middle = low + (high - low) / 2
                // Records that retention has deleted are older than any that a list can name.
                let position = try placeOf(stream, Offset(middle)) ?? .zero
                let here = ListPlace(position: position, offset: Offset(middle))
                if here.isBefore(place) { low = middle + 1 } else { high = middle }
            }
        } catch { throw .log(error) }
        return Offset(low)
    }

    private func front(
        _ stream: StreamID,
        below: Offset
    ) throws(ShardError) -> NotificationStory? {
        var below = below
        // What is lost for good is stepped over; asked for by its identifier, it says so.
        while below.rawValue > 0,
            let range = state.lostRange(stream, below.advanced(by: -1))
        {
            below = range.first
        }
        guard below.rawValue > 0 else { return nil }
        return try story(at: stream, below.advanced(by: -1), withSteps: false)
    }

    private func walk(
        user: UnsafeRawBufferPointer,
        _ channel: Channel?,
        _ place: ListPlace?,
        _ examineMax: Int,
        _ visit: (NotificationStory) -> Bool
    ) throws(ShardError) -> ListPlace? {
        var found: [(stream: StreamID, offset: Offset)] = []
        var lastPosition: LogPosition?
        do throws(LogError) {
            try log.lookup(hash.recipient(user)) { position throws(LogError) in
                // A batch with several records of this user is met once for each of them.
                guard position < self.log.durablePosition, position != lastPosition else {
                    return true
                }
                if let place, place.position < position { return true }
                lastPosition = position
                var here: [(stream: StreamID, offset: Offset)] = []
                try self.log.read(at: position) { header, body in
                    guard header.kind == .recordBatch, lists(header.stream, channel) else { return }
                    RecordBatch.forEachRecord(in: body) { record in
                        let offset = header.baseOffset.advanced(by: record.offsetDelta)
                        guard let own = record.key, own.elementsEqual(user) else { return }
                        let candidate = ListPlace(position: position, offset: offset)
                        if let place, !candidate.isBefore(place) { return }
                        here.append((header.stream, offset))
                    }
                }
                found.append(contentsOf: here.reversed())
                return found.count < examineMax
            }
        } catch { throw .log(error) }
        // The search stopped at its bound: there may be more, although nothing more was found.
        let isCut = found.count >= examineMax
        var last: ListPlace?
        for (index, entry) in found.enumerated() {
            guard let story = try story(at: entry.stream, entry.offset, withSteps: false) else {
                continue
            }
            if !visit(story) {
                return index + 1 < found.count || isCut ? story.place : nil
            }
            last = story.place
        }
        return isCut ? last : nil
    }
}

extension NotificationStory {
    package var place: Shard.ListPlace {
        Shard.ListPlace(position: recordPosition, offset: offset)
    }
}
