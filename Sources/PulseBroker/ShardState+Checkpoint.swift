// The hot part of the state as bytes: what a checkpoint saves and a start reads. Equal states give equal
// bytes, so that two replicas, or two replays, can be compared.
//
// Source: spec/03-storage.md, "State".

import PulseCore

extension ShardState {
    /// The version that is written. Version 1 knew no gaps; version 2 no segment book, no cancelled
    /// notifications and nothing that expired.
    static let version: UInt8 = 3
    /// The first that has a segment book.
    static let bookVersion: UInt8 = 3
    /// Version 3, and behind it the clock and the keys that outlive their records; written only where there
    /// is anything to say of either.
    static let clockVersion: UInt8 = 4
    /// What a start can begin with.
    package static let readableVersions: ClosedRange<UInt8> = 1...clockVersion

    /// How many of a ledger's fields a version has, in their order.
    private static func ledgerFields(_ version: UInt8) -> Int {
        switch version {
        case 1: 8
        case 2: 9
        default: 10
        }
    }

    /// The hot part as bytes: equal states give equal bytes.
    package func encoded() -> [UInt8] {
        encoded(version: clock.isPlain && keys == KeyMemory() ? Self.version : Self.clockVersion)
    }

    /// As an earlier version would have been written, without what it did not have.
    package func encoded(version: UInt8) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(version)
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
            if version >= 3 {
                bytes.append(littleEndian: group.lastActive.milliseconds)
                bytes.append(littleEndian: group.expired)
            }
            bytes.append(littleEndian: UInt32(group.streams.count))
            for (stream, progress) in group.streams {
                bytes.append(littleEndian: stream.rawValue)
                if Mutant.isOn(.cursorAhead), !group.isDelivery {
                    StreamProgress(floor: progress.end, end: progress.end).append(to: &bytes)
                    continue
                }
                progress.append(to: &bytes)
            }
        }
        bytes.append(littleEndian: UInt32(openIntents.count))
        let byKey = openIntents.sorted { $0.key < $1.key }
        for (key, intent) in Mutant.isOn(.checkpointInAnyOrder) ? Array(openIntents) : byKey {
            bytes.append(littleEndian: key.group.rawValue)
            bytes.append(littleEndian: key.stream.rawValue)
            bytes.append(littleEndian: key.offset.rawValue)
            bytes.append(littleEndian: intent.attempt)
            bytes.append(littleEndian: intent.position.rawValue)
        }
        for ledger in ledgers {
            for value in ledger.values.prefix(Self.ledgerFields(version)) {
                bytes.append(littleEndian: value)
            }
        }
        guard version > 1 else { return bytes }
        bytes.append(isUnsettled ? 1 : 0)
        bytes.append(littleEndian: UInt32(gaps.count))
        for gap in gaps { bytes.append(littleEndian: gap.rawValue) }
        bytes.append(littleEndian: UInt32(lost.count))
        for range in lost {
            bytes.append(littleEndian: range.gap.rawValue)
            bytes.append(littleEndian: range.stream.rawValue)
            bytes.append(littleEndian: range.first.rawValue)
            bytes.append(littleEndian: range.next.rawValue)
            bytes.append(range.isExact ? 1 : 0)
        }
        if version >= 3 { book.append(to: &bytes) }
        if version >= Self.clockVersion {
            clock.append(to: &bytes)
            bytes.append(littleEndian: keys.to.rawValue)
            bytes.append(littleEndian: keys.count)
        }
        return bytes
    }

    /// Reads what ``encoded()`` wrote; nil when the bytes are anything else.
    package init?(encoded bytes: [UInt8]) {
        let read = bytes.withUnsafeBytes { buffer -> ShardState? in
            var reader = ByteReader(buffer)
            return ShardState(&reader)
        }
        // Equal states give equal bytes, so bytes that the state would not give were not written by us.
        guard let read, read.encoded(version: bytes[0]) == bytes else { return nil }
        self = read
    }

    private init?(_ reader: inout ByteReader) {
        guard let version = reader.byte(), Self.readableVersions.contains(version),
            let applied: UInt64 = reader.littleEndian(),
            let streamCount: UInt32 = reader.littleEndian()
        else { return nil }
        self.init(segmentBytes: 1)
        self.applied = LogPosition(applied)
        for index in 0..<Int(streamCount) {
            guard let raw: UInt32 = reader.littleEndian(), let end: Int64 = reader.littleEndian()
            else { return nil }
            guard streamIndex[StreamID(rawValue: raw)] == nil else { return nil }
            streams.append((StreamID(rawValue: raw), Offset(end)))
            streamIndex[StreamID(rawValue: raw)] = index
        }
        guard let groupCount: UInt32 = reader.littleEndian(), groupCount <= UInt16.max else {
            return nil
        }
        for index in 0..<Int(groupCount) {
            guard let group = Self.readGroup(&reader, version, id: GroupID(UInt16(index + 1)))
            else { return nil }
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
                group: GroupID(group),
                stream: StreamID(rawValue: stream),
                offset: Offset(offset)
            )
            openIntents[key] = OpenIntent(attempt: attempt, position: LogPosition(position))
        }
        for index in ledgers.indices {
            guard ledgers[index].read(&reader, version) else { return nil }
        }
        if version >= 2 { guard readGaps(&reader) else { return nil } }
        if version >= 3 {
            guard let book = SegmentBook(&reader) else { return nil }
            self.book = book
        }
        if version >= Self.clockVersion {
            guard let clock = SteadyClock(&reader), let to: UInt64 = reader.littleEndian(),
                let count: UInt64 = reader.littleEndian()
            else { return nil }
            self.clock = clock
            keys.to = LogPosition(to)
            keys.count = count
        }
        guard reader.isAtEnd else { return nil }
    }

    private mutating func readGaps(_ reader: inout ByteReader) -> Bool {
        guard let unsettled = reader.byte(), let gapCount: UInt32 = reader.littleEndian() else {
            return false
        }
        isUnsettled = unsettled == 1
        for _ in 0..<gapCount {
            guard let gap: UInt64 = reader.littleEndian() else { return false }
            gaps.append(LogPosition(gap))
        }
        guard let lostCount: UInt32 = reader.littleEndian() else { return false }
        for _ in 0..<lostCount {
            guard let gap: UInt64 = reader.littleEndian(),
                let stream: UInt32 = reader.littleEndian(),
                let first: Int64 = reader.littleEndian(), let next: Int64 = reader.littleEndian(),
                let exact = reader.byte(), first <= next
            else { return false }
            lost.append(
                LostRange(
                    gap: LogPosition(gap),
                    stream: StreamID(rawValue: stream),
                    first: Offset(first),
                    next: Offset(next),
                    isExact: exact == 1
                )
            )
        }
        return true
    }

    private static func readGroup(
        _ reader: inout ByteReader,
        _ version: UInt8,
        id: GroupID
    ) -> GroupState? {
        guard let topic: UInt16 = reader.littleEndian(), let name = reader.string16() else {
            return nil
        }
        var group = GroupState(id: id, topic: TopicID(topic), name: name, streams: [])
        if version >= 3 {
            guard let lastActive: Int64 = reader.littleEndian(),
                let expired: UInt64 = reader.littleEndian()
            else { return nil }
            group.lastActive = WallTimestamp(milliseconds: lastActive)
            group.expired = expired
        }
        guard let count: UInt32 = reader.littleEndian() else { return nil }
        for _ in 0..<count {
            guard let stream: UInt32 = reader.littleEndian(),
                let progress = StreamProgress(&reader)
            else { return nil }
            group.streams.append((StreamID(rawValue: stream), progress))
        }
        return group
    }
}

extension Ledger {
    fileprivate var values: [UInt64] {
        [
            accepted, delivered, dead, scheduledRows, heldRows, attempts, retries, unknownOutcomes,
            lost, cancelled,
        ]
    }

    fileprivate mutating func read(_ reader: inout ByteReader, _ version: UInt8) -> Bool {
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
        if version >= 2 {
            guard let lost: UInt64 = reader.littleEndian() else { return false }
            self.lost = lost
        }
        if version >= 3 {
            guard let cancelled: UInt64 = reader.littleEndian() else { return false }
            self.cancelled = cancelled
        }
        return true
    }
}
