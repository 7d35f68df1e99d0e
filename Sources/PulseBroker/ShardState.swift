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

    package func index(of stream: StreamID) -> Int? { streams.firstIndex { $0.stream == stream } }

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

    package init() {}
}

/// An attempt that was announced and has no outcome yet.
package struct OpenIntent: Hashable, Sendable {
    package var attempt: UInt16
    package var position: LogPosition
}

package struct ShardState: Sendable {
    /// All streams that hold a record, in order of first use, with their ends.
    package private(set) var streams: [(stream: StreamID, end: Offset)] = []
    private var streamIndex: [StreamID: Int] = [:]
    /// In order of creation; ids count up from 1.
    package private(set) var groups: [GroupState] = []
    package private(set) var openIntents: [MessageKey: OpenIntent] = [:]
    /// By channel, in the order of `Channel.allCases`.
    package private(set) var ledgers = [Ledger](repeating: Ledger(), count: Channel.allCases.count)
    /// Everything below this position has been folded in.
    package private(set) var applied = LogPosition.zero

    package init() {}

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
    /// - Returns: The entry's commands that concern more than the state: saved templates, and ends of
    ///   messages that had waited. Few, so that decoding once is enough for all.
    /// - Throws: ``StateError`` when the entry cannot follow what came before it: a damaged or foreign
    ///   log, or a bug. The state is not to be used then.
    @discardableResult
    package mutating func apply(
        _ header: EntryHeader, _ body: UnsafeRawBufferPointer, rows: inout StateBatch
    ) throws(StateError) -> [Command] {
        var notable: [Command] = []
        switch header.kind {
        case .recordBatch: try applyRecords(header, body, rows: &rows)
        case .command:
            var failure: StateError?
            let whole = Command.forEach(in: body) { command in
                guard failure == nil else { return }
                do throws(StateError) {
                    try applyCommand(command, at: header.position, rows: &rows)
                } catch { failure = error }
                if command.isNotable { notable.append(command) }
            }
            if let failure { throw failure }
            guard whole else { throw StateError(position: header.position, problem: .unreadable) }
        }
        applied = header.endPosition
        return notable
    }

    private mutating func applyRecords(
        _ header: EntryHeader, _ body: UnsafeRawBufferPointer, rows: inout StateBatch
    ) throws(StateError) {
        let stream = header.stream
        guard header.baseOffset == end(of: stream) else {
            throw StateError(
                position: header.position,
                problem: .offsetGap(stream, expected: end(of: stream), found: header.baseOffset))
        }
        let newEnd = header.baseOffset.advanced(by: header.recordCount)
        extend(stream, to: newEnd)
        guard let channel = Channel(topic: stream.topic) else { return }
        let ledger = Int(channel.rawValue) - 1
        ledgers[ledger].accepted += UInt64(header.recordCount)
        guard let delivery = group(named: GroupState.deliveryName, on: stream.topic) else { return }
        RecordBatch.forEachRecord(in: body) { record in
            guard let value = record.value, let due = Envelope.deliverAt(in: value),
                due > header.wall
            else { return }
            let offset = header.baseOffset.advanced(by: record.offsetDelta)
            let key = MessageKey(group: delivery.id, stream: stream, offset: offset)
            markDone(key)
            ledgers[ledger].scheduledRows += 1
            let row = HeldRow(
                message: key, due: due, attempt: 0, reason: .scheduled, position: header.position)
            rows.put(row.key, row.value)
        }
    }

    private mutating func applyCommand(
        _ command: Command, at position: LogPosition, rows: inout StateBatch
    ) throws(StateError) {
        switch command {
        case .intent(let step):
            openIntents[step.message] = OpenIntent(attempt: step.attempt, position: position)
            count(step.message) { $0.attempts += 1 }
        case .delivered(let step, _, _):
            try take(step, at: position, rows: &rows)
            count(step.message) { $0.delivered += 1 }
        case .held(let step, let due, let reason, _, _):
            try take(step, at: position, rows: &rows)
            let row = HeldRow(
                message: step.message, due: due, attempt: step.attempt, reason: reason,
                position: position)
            rows.put(row.key, row.value)
            count(step.message) {
                $0.heldRows += 1
                $0.retries += 1
            }
        case .dead(let step, let deadOffset, _, _, _):
            try take(step, at: position, rows: &rows)
            count(step.message) { $0.dead += 1 }
            let stream = step.message.stream
            let dead = StreamID(topic: stream.topic, partition: stream.partition, lane: .dead)
            extend(dead, to: deadOffset.advanced(by: 1))
            let row = DeadRow(
                deadStream: dead, deadOffset: deadOffset, stream: stream,
                offset: step.message.offset, position: position)
            rows.put(row.key, row.value)
        case .templatePut(let row):
            var value: [UInt8] = []
            row.append(to: &value)
            rows.put(TemplateCatalog.key(row.name, position), value)
        case .groupCreated(let id, let topic, let name, let starts):
            guard Int(id.rawValue) == groups.count + 1 else {
                throw StateError(position: position, problem: .groupOutOfTurn(id))
            }
            var group = GroupState(
                id: id, topic: topic, name: name,
                streams: starts.map {
                    ($0.stream, StreamProgress(floor: $0.offset, end: end(of: $0.stream)))
                })
            // Streams that came to exist after the group was asked for and before this entry.
            for (stream, end) in streams
            where stream.topic == topic && stream.lane != .dead && group.index(of: stream) == nil {
                group.streams.append((stream, StreamProgress(floor: Offset(0), end: end)))
            }
            groups.append(group)
        case .started:
            for key in openIntents.keys.sorted() {
                count(key) { $0.unknownOutcomes += 1 }
            }
        }
    }

    /// Takes a message from where it was before the step: ready, or a held row.
    private mutating func take(
        _ step: Command.Step, at position: LogPosition, rows: inout StateBatch
    ) throws(StateError) {
        openIntents[step.message] = nil
        switch step.origin {
        case .fresh:
            guard markDone(step.message) else {
                throw StateError(position: position, problem: .doneTwice(step.message))
            }
            return
        case .scheduled: count(step.message) { $0.scheduledRows -= 1 }
        case .held: count(step.message) { $0.heldRows -= 1 }
        }
        rows.delete(HeldRow.key(step.message, due: WallTimestamp(milliseconds: step.heldDue)))
    }

    @discardableResult
    private mutating func markDone(_ key: MessageKey) -> Bool {
        let group = Int(key.group.rawValue) - 1
        guard groups.indices.contains(group), let index = groups[group].index(of: key.stream),
            key.offset < groups[group].streams[index].progress.end
        else { return false }
        return groups[group].streams[index].progress.markDone(key.offset)
    }

    private mutating func extend(_ stream: StreamID, to newEnd: Offset) {
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
                    (stream, StreamProgress(floor: Offset(0), end: newEnd)))
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

    // MARK: - Checkpoint

    /// The hot part as bytes: equal states give equal bytes.
    package func encoded() -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(1)  // version
        bytes.append(littleEndian: applied.rawValue)
        bytes.append(littleEndian: UInt32(streams.count))
        for (stream, end) in streams {
            bytes.append(littleEndian: stream.rawValue)
            bytes.append(littleEndian: end.rawValue)
        }
        bytes.append(littleEndian: UInt32(groups.count))
        for group in groups {
            bytes.append(littleEndian: group.topic.rawValue)
            bytes.append(string16: group.name)
            bytes.append(littleEndian: UInt32(group.streams.count))
            for (stream, progress) in group.streams {
                bytes.append(littleEndian: stream.rawValue)
                progress.append(to: &bytes)
            }
        }
        bytes.append(littleEndian: UInt32(openIntents.count))
        for (key, intent) in openIntents.sorted(by: { $0.key < $1.key }) {
            bytes.append(littleEndian: key.group.rawValue)
            bytes.append(littleEndian: key.stream.rawValue)
            bytes.append(littleEndian: key.offset.rawValue)
            bytes.append(littleEndian: intent.attempt)
            bytes.append(littleEndian: intent.position.rawValue)
        }
        for ledger in ledgers {
            for value in ledger.values { bytes.append(littleEndian: value) }
        }
        return bytes
    }

    /// Reads what ``encoded()`` wrote; nil when the bytes are anything else.
    package init?(encoded bytes: [UInt8]) {
        let read = bytes.withUnsafeBytes { buffer -> ShardState? in
            var reader = ByteReader(buffer)
            return ShardState(&reader)
        }
        guard let read else { return nil }
        self = read
    }

    private init?(_ reader: inout ByteReader) {
        guard reader.byte() == 1, let applied: UInt64 = reader.littleEndian(),
            let streamCount: UInt32 = reader.littleEndian()
        else { return nil }
        self.applied = LogPosition(applied)
        for index in 0..<Int(streamCount) {
            guard let raw: UInt32 = reader.littleEndian(), let end: Int64 = reader.littleEndian()
            else { return nil }
            streams.append((StreamID(rawValue: raw), Offset(end)))
            streamIndex[StreamID(rawValue: raw)] = index
        }
        guard let groupCount: UInt32 = reader.littleEndian() else { return nil }
        for index in 0..<Int(groupCount) {
            guard let group = Self.readGroup(&reader, id: GroupID(UInt16(index + 1))) else {
                return nil
            }
            groups.append(group)
        }
        guard let intentCount: UInt32 = reader.littleEndian() else { return nil }
        for _ in 0..<intentCount {
            guard let group: UInt16 = reader.littleEndian(),
                let stream: UInt32 = reader.littleEndian(),
                let offset: Int64 = reader.littleEndian(),
                let attempt: UInt16 = reader.littleEndian(),
                let position: UInt64 = reader.littleEndian()
            else { return nil }
            let key = MessageKey(
                group: GroupID(group), stream: StreamID(rawValue: stream), offset: Offset(offset))
            openIntents[key] = OpenIntent(attempt: attempt, position: LogPosition(position))
        }
        for index in ledgers.indices {
            guard ledgers[index].read(&reader) else { return nil }
        }
        guard reader.isAtEnd else { return nil }
    }

    private static func readGroup(_ reader: inout ByteReader, id: GroupID) -> GroupState? {
        guard let topic: UInt16 = reader.littleEndian(), let name = reader.string16(),
            let count: UInt32 = reader.littleEndian()
        else { return nil }
        var group = GroupState(id: id, topic: TopicID(topic), name: name, streams: [])
        for _ in 0..<count {
            guard let stream: UInt32 = reader.littleEndian(),
                let progress = StreamProgress(&reader)
            else { return nil }
            group.streams.append((StreamID(rawValue: stream), progress))
        }
        return group
    }
}

extension Command {
    fileprivate var isNotable: Bool {
        switch self {
        case .templatePut: true
        case .delivered(let step, _, _), .dead(let step, _, _, _, _): step.origin != .fresh
        case .intent, .held, .groupCreated, .started: false
        }
    }
}

extension Ledger {
    fileprivate var values: [UInt64] {
        [
            accepted, delivered, dead, scheduledRows, heldRows, attempts, retries, unknownOutcomes,
        ]
    }

    fileprivate mutating func read(_ reader: inout ByteReader) -> Bool {
        guard let accepted: UInt64 = reader.littleEndian(),
            let delivered: UInt64 = reader.littleEndian(),
            let dead: UInt64 = reader.littleEndian(),
            let scheduledRows: UInt64 = reader.littleEndian(),
            let heldRows: UInt64 = reader.littleEndian(),
            let attempts: UInt64 = reader.littleEndian(),
            let retries: UInt64 = reader.littleEndian(),
            let unknownOutcomes: UInt64 = reader.littleEndian()
        else { return false }
        self.accepted = accepted
        self.delivered = delivered
        self.dead = dead
        self.scheduledRows = scheduledRows
        self.heldRows = heldRows
        self.attempts = attempts
        self.retries = retries
        self.unknownOutcomes = unknownOutcomes
        return true
    }
}

/// An entry that cannot follow what came before it.
package struct StateError: Error, Hashable, Sendable, CustomStringConvertible {
    package enum Problem: Hashable, Sendable {
        case unreadable
        case offsetGap(StreamID, expected: Offset, found: Offset)
        case doneTwice(MessageKey)
        case groupOutOfTurn(GroupID)
    }

    package var position: LogPosition
    package var problem: Problem

    package var description: String {
        let what =
            switch problem {
            case .unreadable: "its commands cannot be read"
            case .offsetGap(let stream, let expected, let found):
                "stream \(stream.rawValue) continues at offset \(found.rawValue), expected "
                    + "\(expected.rawValue)"
            case .doneTwice(let key):
                "offset \(key.offset.rawValue) of stream \(key.stream.rawValue) ends twice for "
                    + "group \(key.group.rawValue)"
            case .groupOutOfTurn(let id): "group \(id.rawValue) is created out of turn"
            }
        return "the log entry at position \(position.rawValue) does not fit the state: \(what)"
    }
}
