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
    /// How it ended may lie behind damage that the state was not folded past, or in what cannot be read:
    /// `state` is what is known.
    package var isUncertain: Bool
    /// Where steps of the story lie that cannot be read; nil when it is whole.
    package var unread: DamagedRange?
}

extension Shard {
    /// Whether a record can still be read.
    package func has(_ stream: StreamID, _ offset: Offset) throws(ShardError) -> Bool {
        let place = try fromLog { () throws(LogError) in try log.locate(stream, offset) }
        if place != nil { return true }
        if try kept(stream, offset) != nil { return true }
        try refuseIfDamaged()
        return false
    }

    /// Released or lost: while there is damage nobody can tell.
    private func refuseIfDamaged() throws(ShardError) {
        if let range = log.damaged.first { throw .log(.damaged(range)) }
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
        if let result = try withRecordIfAny(stream, offset, body) { return result }
        throw .log(.missing(stream, offset))
    }

    /// Reads one record where it lies; nil when it was released.
    ///
    /// - Throws: ``ShardError`` when it is damaged, or may be in what is.
    package func withRecordIfAny<Result>(
        _ stream: StreamID,
        _ offset: Offset,
        _ body: (EntryHeader, _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) ->
            Result
    ) throws(ShardError) -> Result? {
        var result: Result?
        let place = try fromLog { () throws(LogError) in try log.locate(stream, offset) }
        guard let position = place else {
            if let kept = try kept(stream, offset) { return kept.with(body) }
            if let range = hole(at: stream, offset) { throw .log(.damaged(range)) }
            return nil
        }
        do throws(LogError) {
            try log.read(at: position) { header, bytes throws(LogError) in
                let delta = Int(offset.rawValue - header.baseOffset.rawValue)
                try self.forEachRecord(in: bytes, of: header) { record in
                    guard record.offsetDelta == delta, let value = record.value else { return }
                    let none = UnsafeRawBufferPointer(start: nil, count: 0)
                    result = body(header, record.key ?? none, value)
                }
            }
            guard let result else { throw LogError.missing(stream, offset) }
            return result
        } catch { throw .log(error) }
    }

    /// Visits the records of an entry. A compressed batch is mostly asked for one record after another:
    /// what it was last inflated to is kept.
    ///
    /// - Throws: ``LogError/damaged(_:)`` when it is no batch, although its bytes verify; noted like any
    ///   other damage.
    func forEachRecord(
        in body: UnsafeRawBufferPointer,
        of header: EntryHeader,
        _ visit: (RecordView) -> Void
    ) throws(LogError) {
        let position = header.position
        let known = lastInflated?.position == position ? lastInflated?.records : nil
        let batch: RecordBatch
        do throws(RecordBatchError) {
            batch = try RecordBatch(body, .checksummed, inflated: known)
        } catch { throw log.damagedBatch(header, error) }
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
        let end = end(of: stream)
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
        guard place.offset < end(of: place.stream) else {
            // What lies in the damage was not folded in: that it never was cannot be said.
            if let range = log.damaged.first { throw .log(.damaged(range)) }
            // Nothing tells of its stream: it may have begun, and ended, in a gap.
            if place.offset < state.leftOut(by: place.stream) { throw .lost(id) }
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
        guard let group = deliveryGroup(of: stream) else { return nil }
        let key = MessageKey(group: group, stream: stream, offset: offset)
        guard let record = try record(stream, offset) else { return nil }
        var unread: DamagedRange?
        let steps = try steps(of: key, all: withSteps) { unread = unread ?? $0 }
        let newest = steps.last?.command
        let (state, attempts) =
            offset < self.state.end(of: stream)
            ? try standing(of: key, newest: newest)
            : standing(unfolded: newest, record.envelope, acceptedAt: record.wall)
        return NotificationStory(
            id: self.id(stream, offset),
            stream: stream,
            offset: offset,
            acceptedAt: record.wall,
            envelope: record.envelope,
            recordPosition: record.position,
            state: state,
            attempts: attempts,
            steps: steps,
            isUncertain: !state.isFinal && (unread != nil || isStateShort),
            unread: unread
        )
    }

    /// A record's bytes and where they came from; nil when it is gone.
    private func record(
        _ stream: StreamID,
        _ offset: Offset
    ) throws(ShardError) -> (position: LogPosition, wall: WallTimestamp, envelope: [UInt8])? {
        try withRecordIfAny(stream, offset) { header, _, value in
            (header.position, header.wall, [UInt8](value))
        }
    }

    /// Where a message stands: the leases and the state decide, the newest step explains.
    private func standing(
        of key: MessageKey,
        newest: Command?
    ) throws(ShardError) -> (NotificationState, attempts: Int) {
        guard let group = state.group(key.group) else { return (.ready, 0) }
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
        // The steps of a message that waits long may be gone: its row tells. Where there is a gap, or
        // damage, a step may tell of a wait that ended in what is lost.
        if newest == nil || !self.state.gaps.isEmpty || log.isDamaged {
            guard let row = try waitingRow(of: key) else {
                // It ended, and the entry that says how was lost to damage, or still may be restored.
                if let range = log.damaged.first { throw .log(.damaged(range)) }
                throw .lost(id(key.stream, key.offset))
            }
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

    /// The steps of a message, oldest first; only the newest unless `all`. As ``stepsInLog``.
    private func steps(
        of key: MessageKey,
        all: Bool,
        unread: ((DamagedRange) -> Void)? = nil
    ) throws(ShardError) -> [StoryStep] {
        let steps = try fromLog { () throws(LogError) in
            try stepsInLog(of: key, all: all, unread: unread)
        }
        guard steps.isEmpty, let last = try endOfKept(key) else { return steps }
        return [last]
    }

    /// The steps of a message that the log tells.
    ///
    /// - Parameter unread: Told of steps that cannot be read, which are then left out; nil when nothing
    ///   may be left out.
    func stepsInLog(
        of key: MessageKey,
        all: Bool,
        below end: LogPosition = LogPosition(.max),
        unread: ((DamagedRange) -> Void)? = nil
    ) throws(LogError) -> [StoryStep] {
        var position = try newestStepInLog(
            of: key,
            below: min(end, log.durablePosition),
            unread
        )
        var steps: [StoryStep] = []
        // What lies before the oldest segment was told in entries that retention has let go; a repair may
        // have given one up too.
        while let at = position, at >= log.firstPosition, !log.isLost(at),
            steps.count < 2 * configuration.retry.attemptsMax + 64
        {
            var found: StoryStep?
            try unless(unread) { () throws(LogError) in
                try log.read(at: at) { header, body in
                    guard header.kind == .command else { return }
                    _ = Command.forEach(in: body) { command in
                        if command.step?.message == key {
                            found = StoryStep(at: header.wall, command: command)
                        }
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
        try newestStep(of: key)?.command
    }

    /// The newest command about a message in an entry below a position.
    func newestCommand(
        of key: MessageKey,
        below end: LogPosition
    ) throws(ShardError) -> Command? {
        let steps = try fromLog { () throws(LogError) in
            try stepsInLog(of: key, all: false, below: end)
        }
        if let last = steps.last { return last.command }
        return try endOfKept(key)?.command
    }

    func newestStep(of key: MessageKey) throws(ShardError) -> StoryStep? {
        try steps(of: key, all: false).last
    }

    /// Runs a read; what it cannot read is told of, where somebody wants to hear that instead.
    private func unless(
        _ unread: ((DamagedRange) -> Void)?,
        _ read: () throws(LogError) -> Void
    ) throws(LogError) {
        do throws(LogError) { try read() } catch {
            guard let unread, case .damaged(let range) = error else { throw error }
            unread(range)
        }
    }

    private func newestStepInLog(
        of key: MessageKey,
        below end: LogPosition,
        _ unread: ((DamagedRange) -> Void)?
    ) throws(LogError) -> LogPosition? {
        let intent = state.openIntents[key].map(\.position).flatMap { log.isLost($0) ? nil : $0 }
        if let intent, !isStateShort { return intent }
        var found: LogPosition?
        // No step of a message is older than its record.
        let record = try log.locate(key.stream, key.offset) ?? .zero
        try log.lookup(hash.message(key.stream, key.offset), notBelow: record) {
            position throws(LogError) in
            guard position < end else { return true }
            try self.unless(unread) { () throws(LogError) in
                try self.log.read(at: position) { header, body in
                    guard header.kind == .command else { return }
                    _ = Command.forEach(in: body) { command in
                        if command.step?.message == key { found = position }
                    }
                }
            }
            return found == nil
        }
        if let intent { return max(intent, found ?? intent) }
        return found
    }
}
