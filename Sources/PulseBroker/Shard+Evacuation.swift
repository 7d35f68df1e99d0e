// Making room in a segment that is past policy although something in it is not finished: the records
// move into rows (command `kept`), or, for a consumer group that nobody reads, are given up (`expired`).

import PulseCore
import PulseLog

/// A segment that should go and cannot yet, and what could go with it.
///
///      | half open | finished | a little open | finished | young ...
///        number      '------ behind, past policy -----'
struct SegmentRoom {
    /// The segment that would be emptied.
    var number: UInt64
    /// Bytes of entries in it and in those looked at behind it.
    private(set) var bytes = 0
    /// Bytes of them that would have to move.
    private(set) var movingBytes = 0

    init(number: UInt64) { self.number = number }

    /// Takes in the segment or the next one behind it. Where the log is too large, only what is ready is
    /// worth sparing: a backlog that is being worked off would be copied for nothing.
    mutating func add(
        _ account: SegmentAccount,
        _ open: (all: Int, ready: Int, isEmpty: Bool),
        _ reason: PastPolicy
    ) {
        bytes += account.bytes
        movingBytes += reason == .size ? open.ready : open.all
    }

    /// Whether copying what is open is worth what is freed.
    var isWorthMoving: Bool { movingBytes * 2 < bytes }
}

extension Shard {
    /// Bytes of records that are moved in one turn.
    private static let bytesPerTurn = 256 << 10
    /// Messages that are looked at in one turn.
    private static let messagesPerTurn = 1024
    /// Messages that groups lose in one turn: a fold of them is short.
    private static let expiredPerTurn = 4096

    func makeRoom(
        _ room: SegmentRoom,
        into commands: inout RetentionCommands,
        at now: Now
    ) throws(ShardError) {
        if try expireAbandoned(in: room, into: &commands, at: now) {
            retention.hasMore = true
            return
        }
        guard room.isWorthMoving else {
            retention.obstacle = .backlog(segment: room.number)
            return
        }
        // Moving needs room of its own, which on a full disk belongs to outcomes.
        guard !log.isNearlyFull else { return }
        retention.obstacle = .evacuating(segment: room.number)
        do throws(ShardError) {
            try evacuate(room.number, into: &commands, at: now)
        } catch {
            guard error.isUnreadable else { throw error }
            retention.obstacle = .damaged(segment: room.number)
        }
    }

    /// When to try again what an outcome under way kept from being moved.
    private static func soon(_ now: Now) -> MonotonicInstant {
        now.monotonic.advanced(byMilliseconds: 100)
    }

    // MARK: - Kept

    /// A record and the groups that have not finished it.
    private struct OpenRecord {
        var offset: Offset
        var ready: [GroupID] = []
        var waiting: [GroupID] = []
    }

    private func evacuate(
        _ segment: UInt64,
        into commands: inout RetentionCommands,
        at now: Now
    ) throws(ShardError) {
        for book in state.book.streams {
            guard let extent = book.extent(in: segment), extent.open > 0 else { continue }
            let open = try openRecords(of: book, in: extent)
            var next = 0
            while next < open.count {
                guard commands.bytes < min(Self.bytesPerTurn, log.segmentBytes / 4) else { break }
                let moved = try move(open[next...], of: book.stream, into: &commands)
                guard moved > 0 else { break }
                next += moved
            }
            // One stream at a time: what is left, and the next streams, come with the next look.
            retention.hasMore = next > 0
            if next == 0 { retention.due = min(retention.due, Self.soon(now)) }
            return
        }
    }

    /// The first records of an extent that are not finished and still in it, in order.
    private func openRecords(
        of book: StreamBook,
        in extent: Extent
    ) throws(ShardError) -> [OpenRecord] {
        let from = max(extent.first, book.keptBelow)
        var end = extent.end
        var pairs: [(offset: Offset, group: GroupID, waits: Bool)] = []
        let start = WaitingRow.key(book.stream, from)
        let limit = WaitingRow.key(book.stream, end)
        let rows = try fromStore { () throws(StorageError) in
            try store.scan(from: start, below: limit, limit: Self.messagesPerTurn)
        }
        for row in rows {
            guard let message = WaitingRow.message(of: row.key) else { continue }
            pairs.append((message.offset, message.group, true))
        }
        // A record may have several rows: the last one seen may not have them all here.
        if rows.count == Self.messagesPerTurn, let last = pairs.last { end = last.offset }
        for group in state.groups where group.topic == book.stream.topic {
            guard let index = group.index(of: book.stream) else { continue }
            let progress = group.streams[index].progress
            var next = from
            var count = 0
            while let offset = progress.nextOpen(from: next), offset < end {
                pairs.append((offset, group.id, false))
                next = offset.advanced(by: 1)
                count += 1
                if count == Self.messagesPerTurn { end = next }
            }
        }
        var records: [OpenRecord] = []
        for pair in pairs.sorted(by: { ($0.offset, $0.group) < ($1.offset, $1.group) })
        where pair.offset < end {
            if records.last?.offset != pair.offset {
                records.append(OpenRecord(offset: pair.offset))
            }
            let last = records.count - 1
            if pair.waits {
                records[last].waiting.append(pair.group)
            } else {
                records[last].ready.append(pair.group)
            }
        }
        return records
    }

    /// Moves the records that share an entry with the first one.
    ///
    /// - Returns: How many; 0 when the first one cannot be moved now.
    private func move(
        _ open: ArraySlice<OpenRecord>,
        of stream: StreamID,
        into commands: inout RetentionCommands
    ) throws(ShardError) -> Int {
        guard let first = open.first else { return 0 }
        let position = try fromLog { () throws(LogError) in
            try log.locate(stream, first.offset)
        }
        guard let position else { throw .log(.missing(stream, first.offset)) }
        var found: [KeptRecord] = []
        try fromLog { () throws(LogError) in
            try log.read(at: position) { header, body throws(LogError) in
                var index = open.startIndex
                try self.forEachRecord(in: body, of: header) { record in
                    let offset = header.baseOffset.advanced(by: record.offsetDelta)
                    guard index < open.endIndex, open[index].offset == offset,
                        let value = record.value
                    else { return }
                    found.append(
                        KeptRecord(
                            stream: stream,
                            offset: offset,
                            position: header.position,
                            wall: header.wall,
                            revision: .zero,
                            ready: open[index].ready,
                            waiting: open[index].waiting,
                            key: record.key.map { [UInt8]($0) } ?? [],
                            value: [UInt8](value)
                        )
                    )
                    index += 1
                }
            }
        }
        var moved = 0
        for var record in found {
            // An outcome that is in the log and not folded in would come before the move.
            let groups = record.ready + record.waiting
            let isSettling = groups.contains { group in
                let key = MessageKey(group: group, stream: stream, offset: record.offset)
                return leases.lease(of: key)?.state == .settling
            }
            guard !isSettling else { break }
            record.revision = try revision(of: record)
            // Before the record: cut short between the two, nothing is kept that does not tell its end.
            if let end = try endTold(of: record), !Mutant.isOn(.keepWithoutEnd) {
                commands.append(.told(at: end.at, end.command))
            }
            guard commands.append(.kept(record)) else { break }
            moved += 1
        }
        return moved
    }

    /// How the delivery of a record ended that is kept for the sake of others; nil when it has not.
    private func endTold(of record: KeptRecord) throws(ShardError) -> StoryStep? {
        guard let group = state.group(named: GroupState.deliveryName, on: record.stream.topic),
            !record.ready.contains(group.id), !record.waiting.contains(group.id)
        else { return nil }
        let key = MessageKey(group: group.id, stream: record.stream, offset: record.offset)
        guard let newest = try newestStep(of: key) else { return nil }
        switch newest.command {
        case .delivered, .dead, .cancelled: return newest
        default: return nil
        }
    }

    /// The template's revision that a record is rendered with: it stays as long as the record.
    private func revision(of record: KeptRecord) throws(ShardError) -> LogPosition {
        let name = record.value.withUnsafeBytes { Envelope($0)?.template?.text }
        guard let name else { return .zero }
        return try fromStore { () throws(StorageError) in
            try templates.revision(named: name, before: record.position, in: store)
        }?.position ?? .zero
    }

    // MARK: - Expired

    /// Gives up what a segment and those before it hold for groups that nobody reads; false when there
    /// is nothing.
    private func expireAbandoned(
        in room: SegmentRoom,
        into commands: inout RetentionCommands,
        at now: Now
    ) throws(ShardError) -> Bool {
        var left = Self.expiredPerTurn
        for group in state.groups where isAbandoned(group, at: now) {
            let waiting = try waitingMessages(of: group, upTo: room.number, max: left)
            left -= waiting.count
            for (stream, progress) in group.streams {
                guard let extent = state.book.book(of: stream)?.extent(in: room.number)
                else { continue }
                var expiry = Expiry(
                    group: group.id,
                    stream: stream,
                    from: progress.floor,
                    to: progress.floor,
                    waiting: waiting.filter { $0.message.stream == stream }
                        .map { ($0.message.offset, $0.due.milliseconds) }
                )
                while left > 0, let open = progress.nextOpen(from: expiry.to), open < extent.end {
                    expiry.to = open.advanced(by: 1)
                    left -= 1
                }
                guard expiry.from < expiry.to || !expiry.waiting.isEmpty else { continue }
                commands.append(.expired(expiry))
            }
            if left <= 0 { break }
        }
        return left < Self.expiredPerTurn
    }

    /// The first messages of a group that wait in rows, of a segment and those before it. By the group's
    /// own rows: however many of others there are, they cost nothing.
    private func waitingMessages(
        of group: GroupState,
        upTo segment: UInt64,
        max count: Int
    ) throws(ShardError) -> [HeldRow] {
        guard retention.emptied[group.id].map({ $0 < segment }) ?? true else { return [] }
        var found: [HeldRow] = []
        var from = HeldRow.prefix(group.id)
        let below = HeldRow.prefix(GroupID(group.id.rawValue + 1))
        while true {
            let start = from
            let rows = try fromStore { () throws(StorageError) in
                try store.scan(from: start, below: below, limit: Self.messagesPerTurn)
            }
            for row in rows.compactMap(HeldRow.init) {
                let message = row.message
                let extent = state.book.book(of: message.stream)?.extent(in: segment)
                guard let extent, message.offset < extent.end else { continue }
                found.append(row)
                if found.count == min(count, Self.messagesPerTurn) { return found }
            }
            guard rows.count == Self.messagesPerTurn, let last = rows.last else { break }
            from = last.key + [0]
        }
        // Nobody reads for it, so nothing begins to wait: these need not be looked for again.
        retention.emptied[group.id] = segment
        return found
    }
}
