// Lists of notifications: newest first, by channel and recipient. A merge of streams, each in the order of
// its offsets; what outlived its segment follows what is in the log.

package import PulseCore
import PulseLog

/// A stream's kept records, from the newest to the oldest, some at a time.
private struct KeptWalk {
    let stream: StreamID
    /// All from here on were read.
    var below: Offset
    /// Ascending: the next one is the last.
    var records: [KeptRecord] = []

    /// Only while there is a record.
    var place: Shard.ListPlace {
        let next = records.last
        return Shard.ListPlace(position: next?.position ?? .zero, offset: next?.offset ?? Offset(0))
    }
}

extension Shard {
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
    /// - Throws: ``ShardError`` when it begins with a record that cannot be read, or with bytes in which
    ///   there may be one. Where it comes to such a place later, it stops before it: nothing is left out
    ///   without a word, and who goes on is refused.
    package func walkNewestFirst(
        channel: Channel?,
        user: UnsafeRawBufferPointer?,
        olderThan place: ListPlace?,
        examineMax: Int,
        _ visit: (NotificationStory) -> Bool
    ) throws(ShardError) -> ListPlace? {
        var reached: ListPlace?
        do throws(ShardError) {
            return try walk(channel, user, olderThan: place, examineMax) { story in
                reached = story.place
                return visit(story)
            }
        } catch {
            guard error.isUnreadable, let reached else { throw error }
            return reached
        }
    }

    private func walk(
        _ channel: Channel?,
        _ user: UnsafeRawBufferPointer?,
        olderThan place: ListPlace?,
        _ examineMax: Int,
        _ visit: (NotificationStory) -> Bool
    ) throws(ShardError) -> ListPlace? {
        if let user {
            // Kept records are older than the log, and in no index of it.
            let isInLog = place.map { $0.position >= log.firstPosition } ?? true
            if isInLog {
                let walked = try walk(user: user, channel, place, examineMax, visit)
                guard walked.isWhole else { return walked.next }
            }
            return try walkKept(of: user, channel, isInLog ? nil : place, examineMax, visit)
        }
        var fronts: [NotificationStory] = []
        for (stream, end) in streamEnds where lists(stream, channel) {
            var below = end
            if let place { below = try firstOffset(of: stream, notBefore: place) }
            if let story = try front(stream, below: below) { fronts.append(story) }
        }
        var examined = 0
        var reached = place?.position ?? LogPosition(.max)
        while let newest = fronts.indices.max(by: { fronts[$0].place.isBefore(fronts[$1].place) }) {
            let story = fronts[newest]
            try refuseToPass(from: reached, to: story.recordPosition)
            reached = story.recordPosition
            examined += 1
            let goOn = visit(story)
            if let next = try front(story.stream, below: story.offset) {
                fronts[newest] = next
            } else {
                fronts.remove(at: newest)
            }
            if !goOn || examined >= examineMax {
                let isMore = !fronts.isEmpty || !log.unindexed.isEmpty
                return isMore ? story.place : nil
            }
        }
        try refuseToPass(from: reached, to: .zero)
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
        var high = end(of: stream).rawValue
        while low < high {
            let middle = low + (high - low) / 2
            if try nextPlace(of: stream, from: Offset(middle)).isBefore(place) {
                low = middle + 1
            } else {
                high = middle
            }
        }
        return Offset(low)
    }

    /// Where the record is, or, when its segment is gone, the next one that is there.
    private func nextPlace(
        of stream: StreamID,
        from offset: Offset
    ) throws(ShardError) -> ListPlace {
        let position = try fromLog { () throws(LogError) in try placeOf(stream, offset) }
        if let position { return ListPlace(position: position, offset: offset) }
        // In a hole: where the records behind it are, or newer than all there is.
        if !log.unindexed.isEmpty, offset >= state.book.keptBelow(stream) {
            let next = log.next(of: stream, from: offset)
            return ListPlace(position: next?.position ?? LogPosition(.max), offset: offset)
        }
        let start = KeptRecord.rowKey(stream, offset)
        let end = KeptRecord.rowKey(stream, state.book.keptBelow(stream))
        guard start.lexicographicallyPrecedes(end) else {
            return ListPlace(position: log.firstPosition, offset: Offset(0))
        }
        let next = try fromStore { () throws(StorageError) in
            try store.scan(from: start, below: end, limit: 1)
        }.first.flatMap(KeptRecord.init)
        guard let next else { return ListPlace(position: log.firstPosition, offset: Offset(0)) }
        return ListPlace(position: next.position, offset: next.offset)
    }

    private func front(
        _ stream: StreamID,
        below: Offset
    ) throws(ShardError) -> NotificationStory? {
        var below = below
        while below.rawValue > 0 {
            let offset = below.advanced(by: -1)
            // What is lost for good is stepped over; asked for by its identifier, it says so.
            if let range = state.lostRange(stream, offset) {
                below = range.first
                continue
            }
            do throws(ShardError) {
                if let story = try story(at: stream, offset, withSteps: false) { return story }
            } catch {
                guard case .lost = error else { throw error }
                below = offset
                continue
            }
            // Its segment is gone: only what was kept is older.
            guard let kept = try lastKept(stream, below: offset, limit: 1).last else { return nil }
            below = kept.offset.advanced(by: 1)
        }
        return nil
    }

    private func walk(
        user: UnsafeRawBufferPointer,
        _ channel: Channel?,
        _ place: ListPlace?,
        _ examineMax: Int,
        _ visit: (NotificationStory) -> Bool
    ) throws(ShardError) -> (next: ListPlace?, isWhole: Bool) {
        var found: [(stream: StreamID, place: ListPlace)] = []
        var lastPosition: LogPosition?
        var unread: LogError?
        do throws(LogError) {
            try log.lookup(hash.recipient(user)) { position throws(LogError) in
                // A batch with several records of this user is met once for each of them.
                guard position < self.log.durablePosition, position != lastPosition else {
                    return true
                }
                if let place, place.position < position { return true }
                lastPosition = position
                var here: [(stream: StreamID, place: ListPlace)] = []
                do throws(LogError) {
                    try self.log.read(at: position) { header, body throws(LogError) in
                        guard header.kind == .recordBatch, lists(header.stream, channel) else {
                            return
                        }
                        try self.forEachRecord(in: body, of: header) { record in
                            let offset = header.baseOffset.advanced(by: record.offsetDelta)
                            guard let own = record.key, own.elementsEqual(user) else { return }
                            let candidate = ListPlace(position: position, offset: offset)
                            if let place, !candidate.isBefore(place) { return }
                            here.append((header.stream, candidate))
                        }
                    }
                } catch {
                    // Those that are newer may fill the page.
                    guard case .damaged = error else { throw error }
                    unread = error
                    return false
                }
                found.append(contentsOf: here.reversed())
                return found.count < examineMax
            }
        } catch { throw .log(error) }
        // The search stopped at its bound: there may be more, although nothing more was found.
        let isCut = found.count >= examineMax
        var reached = place?.position ?? LogPosition(.max)
        for (index, entry) in found.enumerated() {
            try refuseToPass(from: reached, to: entry.place.position)
            reached = entry.place.position
            let story = try storyUnlessLost(at: entry.stream, entry.place.offset)
            if let story, !visit(story) {
                let isMore =
                    index + 1 < found.count || isCut || unread != nil || !log.unindexed.isEmpty
                    || state.book.keptRecords > 0
                return (isMore ? entry.place : nil, false)
            }
        }
        if isCut { return (found.last?.place, false) }
        if let unread { throw .log(unread) }
        try refuseToPass(from: reached, to: .zero)
        return (nil, true)
    }

    private func storyUnlessLost(
        at stream: StreamID,
        _ offset: Offset
    ) throws(ShardError) -> NotificationStory? {
        do throws(ShardError) { return try story(at: stream, offset, withSteps: false) } catch {
            guard case .lost = error else { throw error }
            return nil
        }
    }

    /// Walks a recipient's kept records, newest first: all of a channel are looked at.
    private func walkKept(
        of user: UnsafeRawBufferPointer,
        _ channel: Channel?,
        _ place: ListPlace?,
        _ examineMax: Int,
        _ visit: (NotificationStory) -> Bool
    ) throws(ShardError) -> ListPlace? {
        guard state.book.keptRecords > 0 else { return nil }
        var fronts: [KeptWalk] = []
        for (stream, _) in state.streams where lists(stream, channel) {
            var below = state.book.keptBelow(stream)
            if let place { below = min(below, try firstOffset(of: stream, notBefore: place)) }
            var walk = KeptWalk(stream: stream, below: below)
            if try goOn(&walk) { fronts.append(walk) }
        }
        var examined = 0
        while let newest = fronts.indices.max(by: {
            fronts[$0].place.isBefore(fronts[$1].place)
        }) {
            let here = fronts[newest].place
            examined += 1
            var wantsMore = true
            if let record = fronts[newest].records.last, record.key.elementsEqual(user),
                let story = try storyUnlessLost(at: record.stream, record.offset)
            {
                wantsMore = visit(story)
            }
            fronts[newest].records.removeLast()
            if try !goOn(&fronts[newest]) { fronts.remove(at: newest) }
            if !wantsMore || examined >= examineMax { return fronts.isEmpty ? nil : here }
        }
        return nil
    }

    /// Makes sure that the walk has its next record, older than the log; false when none is left.
    private func goOn(_ walk: inout KeptWalk) throws(ShardError) -> Bool {
        while walk.records.isEmpty {
            walk.records = try lastKept(walk.stream, below: walk.below, limit: 64)
            guard let first = walk.records.first else { return false }
            walk.below = first.offset
            // What is still in its segment was found there.
            walk.records.removeAll { $0.position >= log.firstPosition }
        }
        return true
    }
}

extension NotificationStory {
    package var place: Shard.ListPlace {
        Shard.ListPlace(position: recordPosition, offset: offset)
    }
}
