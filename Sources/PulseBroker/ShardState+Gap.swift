// Folding what a repair has given up. A gap tells which offsets are lost, never which commands; so from the
// first gap until the state was settled against the rows, commands may speak of things that the state has
// not seen. They are taken as true, and nothing is counted below zero.
//
//     fold ... gap ... commands behind it ... `settled` ...     counts are taken from the rows, there and
//              '------- unsettled ------------'                 in every later fold too
//
// Source: spec/03-storage.md, "Gap".

package import PulseCore
package import PulseLog

/// Offsets of a stream that are lost for good.
package struct LostRange: Hashable, Sendable {
    /// The gap that swallowed them: where they were, as far as anybody knows.
    package var gap: LogPosition
    /// ``StreamID/none`` where streams that nothing tells of may have gone on in the gap: each of them
    /// leaves out that many offsets when it goes on behind it.
    package var stream: StreamID
    package var first: Offset
    package var next: Offset
    /// All of them were records; otherwise some may never have been given away.
    package var isExact: Bool

    var count: Int64 { next.rawValue - first.rawValue }

    func holds(_ stream: StreamID, _ offset: Offset) -> Bool {
        self.stream == stream && first <= offset && offset < next
    }
}

extension ShardState {
    /// The range that swallowed a record, or nil when it is not known to be lost.
    package func lostRange(_ stream: StreamID, _ offset: Offset) -> LostRange? {
        lost.first { $0.holds(stream, offset) }
    }

    /// Behind a gap any entry may speak of what that has swallowed; more than one repair may be behind
    /// a log, and one of before says nothing of what a later one gave up.
    var isLenient: Bool { !gaps.isEmpty }

    /// An entry spoke of what no entry tells: the next start has the counts made anew.
    mutating func noteOddity() {
        oddities += 1
        isUnsettled = true
    }

    /// Takes a gap in, in its turn or long after it: what is lost is over for every group. A gap that was
    /// taken in before changes nothing.
    package mutating func fold(_ gap: Gap) {
        guard !gaps.contains(gap.position) else { return }
        if groups.isEmpty, gap.position.rawValue <= UInt64(Limits.segmentHeaderBytes) {
            // The very first entry made them, always the same.
            for (index, channel) in Channel.allCases.enumerated() {
                groups.append(
                    GroupState(
                        id: GroupID(UInt16(index + 1)),
                        topic: channel.topic,
                        name: GroupState.deliveryName,
                        streams: []
                    )
                )
            }
        }
        gaps.append(gap.position)
        isUnsettled = true
        for loss in gap.losses {
            lose(
                LostRange(
                    gap: gap.position,
                    stream: loss.stream,
                    first: loss.first,
                    next: loss.next,
                    isExact: loss.isExact
                )
            )
        }
    }

    /// Records that must have been there, although no gap tells of them.
    mutating func loseUntold(_ stream: StreamID, from first: Offset, to next: Offset) {
        let gap = gaps.last ?? .zero
        lose(LostRange(gap: gap, stream: stream, first: first, next: next, isExact: true))
    }

    mutating func lose(_ lost: LostRange) {
        var range = lost
        // What has left its segment is finished, or lives in a row.
        range.first = max(range.first, book.keptBelow(range.stream))
        guard range.first < range.next else { return }
        guard range.stream != .none else { return self.lost.append(range) }
        let end = end(of: range.stream)
        if range.next > end {
            if range.isExact, let channel = Channel(topic: range.stream.topic) {
                let unseen = range.next.rawValue - max(range.first, end).rawValue
                ledgers[Int(channel.rawValue) - 1].accepted += UInt64(unseen)
            }
            extend(range.stream, to: range.next)
        }
        for index in groups.indices { groups[index].lose(range) }
        for key in openIntents.keys.sorted() where range.holds(key.stream, key.offset) {
            openIntents[key] = nil
        }
        self.lost.append(range)
    }

    /// A stream that nobody knew of begins, or goes on, behind offsets that were left out for a gap which
    /// may have swallowed its newest. What lies before those was there.
    mutating func loseReserved(_ stream: StreamID, from first: Offset, to next: Offset) {
        let most = reserved(stream, newest: .zero)
        guard let mark = lost.last(where: { $0.stream == .none }), most > 0, first < next else {
            return
        }
        let reserved = max(first, Offset(next.rawValue - most))
        if isLenient {
            loseUntold(stream, from: first, to: reserved)
        } else if reserved > first {
            return
        }
        lose(
            LostRange(
                gap: mark.gap,
                stream: stream,
                first: reserved,
                next: next,
                isExact: false
            )
        )
    }

    /// What the first start after a repair knew of the streams holds in every fold.
    mutating func takeIn(_ reckoning: Reckoning) {
        for told in reckoning.streams {
            guard told.stream.lane != .dead else {
                // Dead letters have rows of their own: nothing is lost with an offset.
                if told.next > end(of: told.stream) { extend(told.stream, to: told.next) }
                continue
            }
            loseUntold(told.stream, from: end(of: told.stream), to: told.lostFrom)
            for (first, next, isExact) in [
                (told.lostFrom, told.end, true), (told.end, told.next, false),
            ] where lostRange(told.stream, first) == nil {
                lose(
                    LostRange(
                        gap: told.gap,
                        stream: told.stream,
                        first: first,
                        next: next,
                        isExact: isExact
                    )
                )
            }
        }
        for (index, accepted) in reckoning.accepted.enumerated()
        where ledgers.indices.contains(index) {
            ledgers[index].accepted = max(ledgers[index].accepted, accepted)
        }
    }

    /// A command speaks of a group that exists. Behind a gap its creation may be lost: nobody knows its
    /// name any more, and no other group gets its number.
    mutating func expectGroup(
        _ id: GroupID?,
        at position: LogPosition
    ) throws(StateError) {
        guard let id, Int(id.rawValue) > groups.count || id.rawValue == 0 else { return }
        guard isLenient, id.rawValue > 0, id.rawValue < .max else {
            throw StateError(position: position, problem: .groupUnknown(id))
        }
        noteOddity()
        addLostGroups(before: GroupID(id.rawValue + 1))
    }

    /// Groups of which only the number is known: they have no topic, and nothing is open for them.
    mutating func addLostGroups(before id: GroupID) {
        while Int(id.rawValue) > groups.count + 1 {
            let lost = GroupID(UInt16(groups.count + 1))
            groups.append(GroupState(id: lost, topic: TopicID(0), name: "", streams: []))
        }
    }

    /// How many offsets a stream leaves out before it goes on: its newest records, and how many they
    /// were, may have been swallowed by gaps behind `newest`.
    func reserved(_ stream: StreamID, newest: LogPosition) -> Int64 {
        // Dead letters have rows of their own, and no identifiers.
        guard stream.lane != .dead else { return 0 }
        let told = lost.reduce(.zero) { $1.stream == stream ? max($0, $1.gap) : $0 }
        return lost.filter { $0.stream == .none && $0.gap > max(newest, told) }
            .reduce(0) { $0 + $1.count }
    }

    /// Where a stream begins that nothing tells of; 0 for one that is known.
    func leftOut(by stream: StreamID) -> Offset {
        guard streamIndex[stream] == nil else { return Offset(0) }
        return Offset(reserved(stream, newest: .zero))
    }

    /// The gap that may have swallowed what came behind a position.
    func gapBehind(_ newest: LogPosition) -> LogPosition {
        let marks = lost.filter { $0.stream == .none && $0.gap > newest }
        return marks.map(\.gap).max() ?? gaps.filter { $0 > newest }.max() ?? gaps.last ?? .zero
    }

    /// Counts rows as they are, and what is in no place any more as lost.
    /// `waiting`: all messages that have a row.
    mutating func settle(
        scheduledRows: [UInt64],
        heldRows: [UInt64],
        waiting: [MessageKey]
    ) {
        book.recount(groups, waiting)
        for channel in Channel.allCases {
            let index = Int(channel.rawValue) - 1
            var ledger = ledgers[index]
            ledger.scheduledRows = scheduledRows[index]
            ledger.heldRows = heldRows[index]
            let group = group(named: GroupState.deliveryName, on: channel.topic)
            let open = group?.streams.reduce(0) { $0 + $1.progress.openCount } ?? 0
            let known =
                ledger.delivered + ledger.dead + ledger.cancelled + UInt64(open)
                + ledger.scheduledRows
                + ledger.heldRows
            // An outcome may be known of what was never seen to be accepted.
            ledger.accepted = max(ledger.accepted, known)
            ledger.lost = ledger.accepted - known
            ledgers[index] = ledger
        }
        isUnsettled = false
    }
}

extension GroupState {
    /// What is lost is over.
    mutating func lose(_ range: LostRange) {
        guard topic == range.stream.topic, let place = index(of: range.stream) else { return }
        var offset = max(range.first, streams[place].progress.floor)
        while offset < min(range.next, streams[place].progress.end) {
            streams[place].progress.markDone(offset)
            offset = offset.advanced(by: 1)
        }
    }
}
