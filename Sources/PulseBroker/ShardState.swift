// What is true now, as a fold over the log: the same entries give the same state, byte for byte.
//
// Two parts with one rule. The hot part (stream ends, group progress, open intents, counters) lives in
// memory and is saved whole at a checkpoint. The cold part (held rows, templates) are rows in the state
// store, written with each turn. Folding the same entry twice into the rows changes nothing, because
// every command says which row it takes and which it leaves; so after a crash the log is replayed from
// the checkpoint over whatever rows survived.
//
// Source: spec/03-storage.md, "State".

package import PulseCore
package import PulseLog

/// One group's standing on one topic.
package struct GroupState: Sendable {
    package var id: GroupID
    package var topic: TopicID
    package var name: String
    /// Progress by stream; streams appear in the order in which they came to exist.
    package var streams: [(stream: StreamID, progress: StreamProgress)]

    /// When it last settled anything, or was made: how long nobody has read is told from here on.
    package var lastActive = WallTimestamp(milliseconds: 0)
    /// Messages it lost to retention while nobody read.
    package var expired: UInt64 = 0

    package func index(of stream: StreamID) -> Int? { streams.firstIndex { $0.stream == stream } }

    /// Whether a message is neither finished nor in a row.
    func isOpen(_ stream: StreamID, _ offset: Offset) -> Bool {
        index(of: stream).map { !streams[$0].progress.isDone(offset) } ?? false
    }

    /// Whether its outcomes decide what became of a notification.
    package var isDelivery: Bool { name == GroupState.deliveryName }

    /// The group of each channel's delivery workers.
    package static let deliveryName = "delivery"
}

/// How many notifications went where, per channel topic. Counters of the delivery group.
package struct Ledger: Hashable, Sendable {
    package var accepted: UInt64 = 0
    package var delivered: UInt64 = 0
    package var dead: UInt64 = 0
    /// Rows that wait for a time somebody named, and rows that wait for a retry.
    package var scheduledRows: UInt64 = 0
    package var heldRows: UInt64 = 0
    /// Attempts begun, and attempts that were followed by a wait.
    package var attempts: UInt64 = 0
    package var retries: UInt64 = 0
    /// Intents that a crash cut off: their outcome is unknown.
    package var unknownOutcomes: UInt64 = 0
    /// Lost to damage before their end was known, and given up by a repair.
    package var lost: UInt64 = 0
    package var cancelled: UInt64 = 0

    package init() {}
}

/// An attempt that was announced and has no outcome yet.
package struct OpenIntent: Hashable, Sendable {
    package var attempt: UInt16
    package var position: LogPosition
}

package struct ShardState: Sendable {
    /// All streams that hold a record, in order of first use, with their ends.
    package internal(set) var streams: [(stream: StreamID, end: Offset)] = []
    var streamIndex: [StreamID: Int] = [:]
    /// In order of creation; ids count up from 1.
    package internal(set) var groups: [GroupState] = []
    package internal(set) var openIntents: [MessageKey: OpenIntent] = [:]
    /// By channel, in the order of `Channel.allCases`.
    package internal(set) var ledgers = [Ledger](repeating: Ledger(), count: Channel.allCases.count)
    /// Gaps folded in, and what they swallowed, in the order of folding.
    package internal(set) var gaps: [LogPosition] = []
    package internal(set) var lost: [LostRange] = []
    /// A gap was folded in, and the counts were not settled since.
    package internal(set) var isUnsettled = false
    /// Entries that spoke of what no entry tells, as only a gap can bring about: taken as true as far as
    /// can be. Not saved.
    package internal(set) var oddities: UInt64 = 0
    /// Everything below this position has been folded in.
    package internal(set) var applied = LogPosition.zero
    /// What the log's segments hold that somebody needs.
    package internal(set) var book: SegmentBook
    /// By which clock things age.
    package internal(set) var clock = SteadyClock()
    /// Keys that outlive their records.
    package internal(set) var keys = KeyMemory()

    /// No stream grows so far: an offset past it was not written by us.
    private static let offsetMax = Int64.max / 2

    package init(segmentBytes: Int) { book = SegmentBook(segmentBytes: segmentBytes) }

    package func end(of stream: StreamID) -> Offset {
        streamIndex[stream].map { streams[$0].end } ?? Offset(0)
    }

    package func group(_ id: GroupID) -> GroupState? {
        let index = Int(id.rawValue) - 1
        return groups.indices.contains(index) ? groups[index] : nil
    }

    package func group(named name: String, on topic: TopicID) -> GroupState? {
        groups.first { $0.topic == topic && $0.name == name }
    }

    package func ledger(of channel: Channel) -> Ledger { ledgers[Int(channel.rawValue) - 1] }

    // MARK: - The fold

    /// Folds one entry in. `rows` receives the changes to the state store.
    ///
    /// - Returns: The entry's commands that concern more than the state: saved templates, and what
    ///   makes rows in memory stale. Few, so that decoding once is enough for all.
    /// - Throws: ``StateError`` when the entry cannot follow what came before it: a damaged or foreign
    ///   log, or a bug. The state is not to be used then.
    @discardableResult
    package mutating func apply(
        _ header: EntryHeader,
        _ body: UnsafeRawBufferPointer,
        rows: inout StateBatch
    ) throws(StateError) -> [Command] {
        var notable: [Command] = []
        book.isLenient = isLenient
        switch header.kind {
        case .recordBatch: try applyRecords(header, body, rows: &rows)
        case .command:
            var failure: StateError?
            var topics: UInt64 = 0
            let whole = Command.forEach(in: body) { command in
                guard failure == nil else { return }
                do throws(StateError) {
                    try applyCommand(command, at: header, rows: &rows)
                } catch { failure = error }
                if let step = command.step {
                    topics |= SegmentBook.bit(of: step.message.stream.topic)
                }
                if command.isNotable { notable.append(command) }
            }
            book.noteEntry(header, topics: topics)
            if let failure { throw failure }
            guard whole else { throw StateError(position: header.position, problem: .unreadable) }
        case .gap:
            guard let gap = Gap(header, body),
                gap.losses.allSatisfy({ $0.next.rawValue < Self.offsetMax })
            else {
                throw StateError(position: header.position, problem: .unreadable)
            }
            fold(gap)
        }
        guard !book.isBroken else {
            throw StateError(position: header.position, problem: .impossibleCount)
        }
        if book.takeOddity() { noteOddity() }
        applied = header.endPosition
        return notable
    }

    private mutating func applyRecords(
        _ header: EntryHeader,
        _ body: UnsafeRawBufferPointer,
        rows: inout StateBatch
    ) throws(StateError) {
        let stream = header.stream
        if header.baseOffset > end(of: stream) {
            loseReserved(stream, from: end(of: stream), to: header.baseOffset)
        }
        let known = end(of: stream)
        let newEnd = header.baseOffset.advanced(by: header.recordCount)
        if isLenient, header.baseOffset != known {
            noteOddity()
            // A gap had no room to tell of it.
            loseUntold(stream, from: known, to: header.baseOffset)
            // What was called lost is lost.
            if header.baseOffset < known {
                book.noteEntry(header, topics: SegmentBook.bit(of: stream.topic))
                return loseUntold(stream, from: known, to: newEnd)
            }
        }
        guard header.baseOffset == end(of: stream) else {
            throw StateError(
                position: header.position,
                problem: .offsetGap(stream, expected: end(of: stream), found: header.baseOffset)
            )
        }
        extend(stream, to: newEnd)
        book.noteEntry(header, topics: SegmentBook.bit(of: stream.topic))
        book.add(header, groups: groups.count { $0.topic == stream.topic })
        guard let channel = Channel(topic: stream.topic) else { return }
        let ledger = Int(channel.rawValue) - 1
        ledgers[ledger].accepted += UInt64(header.recordCount)
        guard let delivery = group(named: GroupState.deliveryName, on: stream.topic) else { return }
        func schedule(_ record: RecordView) {
            guard let value = record.value, let due = Envelope.deliverAt(in: value),
                due > header.wall
            else { return }
            let offset = header.baseOffset.advanced(by: record.offsetDelta)
            let key = MessageKey(group: delivery.id, stream: stream, offset: offset)
            markDone(key)
            book.wait(stream, offset, 1)
            ledgers[ledger].scheduledRows += 1
            let row = HeldRow(
                message: key,
                due: due,
                attempt: 0,
                reason: .scheduled,
                position: header.position,
                since: header.wall
            )
            row.put(into: &rows)
        }
        do throws(RecordBatchError) {
            try RecordBatch.forEachRecord(in: body, schedule)
        } catch { throw StateError(position: header.position, problem: .unreadable) }
    }

    private mutating func applyCommand(
        _ command: Command,
        at header: EntryHeader,
        rows: inout StateBatch
    ) throws(StateError) {
        let position = header.position
        try expectGroup(command.latestGroup, at: position)
        switch command {
        case .intent(let step):
            openIntents[step.message] = OpenIntent(attempt: step.attempt, position: position)
            count(step.message) { $0.attempts += 1 }
        case .delivered(let step, _, _):
            guard try take(step, at: position, rows: &rows) else { return }
            finish(command, step, at: header, rows: &rows)
            count(step.message) { $0.delivered += 1 }
        case .cancelled(let step):
            guard try take(step, at: position, rows: &rows) else { return }
            finish(command, step, at: header, rows: &rows)
            count(step.message) { $0.cancelled += 1 }
        case .held(let step, let due, let reason, _, _):
            _ = try take(step, at: position, rows: &rows)
            let row = HeldRow(
                message: step.message,
                due: due,
                attempt: Mutant.isOn(.forgetAttempts) ? 0 : step.attempt,
                reason: reason,
                position: position,
                since: header.wall
            )
            row.put(into: &rows)
            book.wait(step.message.stream, step.message.offset, 1)
            noteActive(step.message.group, at: clock.steady(header.wall))
            count(step.message) {
                $0.heldRows += 1
                $0.retries += 1
            }
        case .dead(let step, let deadOffset, _, _, _):
            guard deadOffset.rawValue >= 0, deadOffset.rawValue < Self.offsetMax else {
                throw StateError(position: position, problem: .impossibleOffset(deadOffset))
            }
            if try take(step, at: position, rows: &rows) {
                finish(command, step, at: header, rows: &rows)
                count(step.message) { $0.dead += 1 }
            }
            let stream = step.message.stream
            let dead = StreamID(topic: stream.topic, partition: stream.partition, lane: .dead)
            extend(dead, to: max(end(of: dead), deadOffset.advanced(by: 1)))
            let row = DeadRow(
                deadStream: dead,
                deadOffset: deadOffset,
                stream: stream,
                offset: step.message.offset,
                position: position
            )
            if !Mutant.isOn(.forgetDeadRow) { rows.put(row.key, row.value) }
        case .templatePut(let row):
            var value: [UInt8] = []
            row.append(to: &value)
            rows.put(TemplateCatalog.key(row.name, position), value)
        case .groupCreated(let id, let topic, let name, let starts):
            if isLenient, Int(id.rawValue) != groups.count + 1 {
                noteOddity()
                // Made before by the first gap, or after others that are lost.
                guard Int(id.rawValue) > groups.count else { return }
                addLostGroups(before: id)
            }
            guard Int(id.rawValue) == groups.count + 1 else {
                throw StateError(position: position, problem: .groupOutOfTurn(id))
            }
            for start in starts {
                let end = end(of: start.stream)
                if isLenient, start.stream.topic == topic, start.offset.rawValue < Self.offsetMax {
                    if start.offset > end { noteOddity() }
                    // What it begins behind was there; a gap had no room to tell of it.
                    loseUntold(start.stream, from: end, to: start.offset)
                } else if start.offset > end {
                    throw StateError(position: position, problem: .impossibleOffset(start.offset))
                }
                guard start.offset >= Offset(0) else {
                    throw StateError(position: position, problem: .impossibleOffset(start.offset))
                }
            }
            var group = GroupState(id: id, topic: topic, name: name, streams: [])
            group.lastActive = clock.steady(header.wall)
            // Nothing is promised to it that has left its segment, or is about to.
            for start in starts {
                let floor = max(start.offset, book.keptBelow(start.stream))
                let progress = StreamProgress(floor: floor, end: end(of: start.stream))
                group.streams.append((start.stream, progress))
            }
            // Streams that came to exist after the group was asked for and before this entry.
            for (stream, end) in streams
            where stream.topic == topic && stream.lane != .dead && group.index(of: stream) == nil {
                let floor = book.keptBelow(stream)
                group.streams.append((stream, StreamProgress(floor: floor, end: end)))
            }
            // What is lost is over for every group, those that come later too.
            for range in lost { group.lose(range) }
            for (stream, progress) in group.streams { book.open(stream, progress) }
            groups.append(group)
        case .started:
            for key in openIntents.keys.sorted() {
                count(key) { $0.unknownOutcomes += 1 }
            }
        case .kept(let record):
            book.keep(record)
            rows.put(KeptRecord.rowKey(record.stream, record.offset), record.rowValue)
            if let key = record.idempotencyRowKey { rows.put(key, record.place) }
        case .released(let below):
            guard below <= book.number(of: position),
                book.release(below: below, at: header.endPosition)
            else {
                throw StateError(position: position, problem: .releasedUnfinished(below))
            }
        case .expired(let expiry): expire(expiry, at: clock.steady(header.wall), rows: &rows)
        case .forgot(let forgotten):
            for row in forgotten { forget(row, rows: &rows) }
        case .told(let wall, let end):
            guard let step = end.step else { return }
            rows.put(EndedRow.outcomeKey(step.message), EndedRow.outcome(end, at: wall))
        case .remembered(let piece): keys.remember(piece, rows: &rows)
        case .keysOver(let over): keys.forget(over, rows: &rows)
        case .clockSet(let milliseconds, _):
            clock.set(by: milliseconds, at: position, header.wall)
        case .settled(let reckoning):
            guard reckoning.streams.allSatisfy({ $0.next.rawValue < Self.offsetMax }),
                reckoning.accepted.allSatisfy({ $0 < UInt64(Self.offsetMax) })
            else {
                throw StateError(position: position, problem: .impossibleCount)
            }
            takeIn(reckoning)
        }
    }

    /// Takes a message from where it was before the step: ready, or a held row.
    ///
    /// - Returns: False when its end was counted before, which only a gap can bring about.
    private mutating func take(
        _ step: Command.Step,
        at position: LogPosition,
        rows: inout StateBatch
    ) throws(StateError) -> Bool {
        openIntents[step.message] = nil
        switch step.origin {
        case .fresh:
            if markDone(step.message) { return true }
            guard isLenient else {
                throw StateError(position: position, problem: .doneTwice(step.message))
            }
            noteOddity()
            return lostRange(step.message.stream, step.message.offset) != nil
        case .scheduled, .held:
            // The step that moved it there is lost: for this state it was ready until now.
            if isLenient, markDone(step.message) {
                noteOddity()
                break
            }
            let counter = step.origin == .held ? \Ledger.heldRows : \Ledger.scheduledRows
            try release(step.message, counter, at: position)
        }
        book.wait(step.message.stream, step.message.offset, -1)
        if Mutant.isOn(.keepHeldRow) { return true }
        HeldRow.delete(
            step.message,
            due: WallTimestamp(milliseconds: step.heldDue),
            from: &rows
        )
        return true
    }

    /// One waiting message less; there must have been one.
    private mutating func release(
        _ message: MessageKey,
        _ counter: WritableKeyPath<Ledger, UInt64>,
        at position: LogPosition
    ) throws(StateError) {
        var wasThere = true
        count(message) {
            wasThere = $0[keyPath: counter] > 0
            if wasThere { $0[keyPath: counter] -= 1 }
        }
        guard !wasThere else { return }
        guard isLenient else {
            throw StateError(position: position, problem: .neverWaited(message))
        }
        noteOddity()
    }

    @discardableResult
    mutating func markDone(_ key: MessageKey) -> Bool {
        let group = Int(key.group.rawValue) - 1
        guard groups.indices.contains(group), let index = groups[group].index(of: key.stream),
            key.offset < groups[group].streams[index].progress.end
        else { return false }
        return groups[group].streams[index].progress.markDone(key.offset)
    }

    mutating func extend(_ stream: StreamID, to newEnd: Offset) {
        if let index = streamIndex[stream] {
            streams[index].end = newEnd
        } else {
            streamIndex[stream] = streams.count
            streams.append((stream, newEnd))
        }
        guard stream.lane != .dead else { return }
        for index in groups.indices where groups[index].topic == stream.topic {
            if let place = groups[index].index(of: stream) {
                groups[index].streams[place].progress.extend(to: newEnd)
            } else {
                groups[index].streams.append(
                    (stream, StreamProgress(floor: Offset(0), end: newEnd))
                )
            }
        }
    }

    /// Changes the ledger of the message's channel, if the message is the delivery group's.
    private mutating func count(_ message: MessageKey, _ change: (inout Ledger) -> Void) {
        guard let channel = Channel(topic: message.stream.topic),
            group(message.group)?.isDelivery == true
        else { return }
        change(&ledgers[Int(channel.rawValue) - 1])
    }
}

extension Command {
    fileprivate var isNotable: Bool {
        switch self {
        case .templatePut, .cancelled, .expired, .released, .settled: true
        case .delivered, .dead, .intent, .held, .groupCreated, .started, .kept, .forgot,
            .clockSet, .told, .remembered, .keysOver:
            false
        }
    }
}
