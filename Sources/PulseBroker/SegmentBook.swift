// What the log's segments still hold that somebody needs: part of the hot state, kept by the fold, so
// that retention never has to search.
//
//      stream A   | extent | extent |        | extent |      an extent: one stream's records in
//      stream B   |        | extent | extent |               one segment
//                 '--------'--------'--------'--------'
//      segment        7        8        9       10
//
// A record is *open* for a group until the group has finished it, and *waiting* while it has a row
// (scheduled or held). An extent counts pairs of record and group. Records below a stream's `keptBelow`
// have left their segments: what was open of them lives on as rows (``KeptRow``).
//
// Invariants: waiting <= open; extents of a stream ascend without overlap; `keptBelow` and
// `releasedBelow` only grow.

package import PulseCore
import PulseLog

/// One stream's records in one segment.
package struct Extent: Hashable, Sendable {
    package var segment: UInt64
    package var first: Offset
    package var records: Int
    /// Bytes of their entries.
    package var bytes: Int
    /// Pairs of record and group that are not finished.
    package var open: Int
    /// Of those, the ones that wait in a row.
    package var waiting: Int

    package var end: Offset { first.advanced(by: records) }

    /// Bytes of the records that `pairs` stands for, by the mean of the extent.
    func bytes(ofPairs pairs: Int) -> Int {
        guard records > 0 else { return 0 }
        return Int(Double(bytes) * Double(min(pairs, records)) / Double(records))
    }
}

/// What is known of one segment besides its extents.
package struct SegmentAccount: Hashable, Sendable {
    package var number: UInt64
    /// Bytes of entries of any kind.
    package var bytes: Int
    /// Bit *n*: a record or an outcome of topic *n* is in here; bit 0 for all others.
    package var topics: UInt64
    /// When the latest of its records came to its end.
    package var latestEnd: WallTimestamp
}

package struct StreamBook: Hashable, Sendable {
    package var stream: StreamID
    package var extents: [Extent] = []
    /// Records below have left their segments.
    package var keptBelow = Offset(0)

    /// The extent that holds an offset, or nil when its segment was let go.
    func index(of offset: Offset) -> Int? {
        var low = 0
        var high = extents.count
        while low < high {
            let middle = (low + high) / 2
            if extents[middle].end <= offset { low = middle + 1 } else { high = middle }
        }
        return low < extents.count && extents[low].first <= offset ? low : nil
    }

    func extent(in segment: UInt64) -> Extent? {
        var low = 0
        var high = extents.count
        while low < high {
            let middle = (low + high) / 2
            if extents[middle].segment < segment { low = middle + 1 } else { high = middle }
        }
        return low < extents.count && extents[low].segment == segment ? extents[low] : nil
    }
}

package struct SegmentBook: Hashable, Sendable {
    /// Bytes of a segment: where one ends and the next begins.
    package let segmentBytes: Int
    /// Ascending.
    package internal(set) var segments: [SegmentAccount] = []
    /// In the order in which the streams came to exist.
    package internal(set) var streams: [StreamBook] = []
    private var places: [StreamID: Int] = [:]
    /// Segments below were let go; what their files took may still be on the disk.
    package internal(set) var releasedBelow: UInt64 = 0
    /// Where the log says so: a durable checkpoint past it lets the files go.
    package internal(set) var releasedAt = LogPosition.zero
    /// Rows of kept records, and their bytes.
    package internal(set) var keptRecords: UInt64 = 0
    package internal(set) var keptBytes: UInt64 = 0
    /// An entry counted down what was not there: it cannot follow what came before it. Not saved.
    var isBroken = false
    /// Behind a gap that may be because of what it swallowed: it is left out, and noted. Not saved.
    var isLenient = false
    private var isOdd = false
    /// Records that were ever moved into rows.
    package internal(set) var evacuated: UInt64 = 0
    /// Kept records that are rendered with a template's revision, by its position; ascending.
    package internal(set) var revisions: [(position: UInt64, uses: UInt32)] = []

    package init(segmentBytes: Int) { self.segmentBytes = segmentBytes }

    package func number(of position: LogPosition) -> UInt64 {
        position.rawValue / UInt64(segmentBytes)
    }

    package func book(of stream: StreamID) -> StreamBook? { places[stream].map { streams[$0] } }

    package func keptBelow(_ stream: StreamID) -> Offset {
        places[stream].map { streams[$0].keptBelow } ?? Offset(0)
    }

    // MARK: - The fold

    /// An entry counts down what is not there.
    private mutating func refuse() {
        if isLenient { isOdd = true } else { isBroken = true }
    }

    /// Whether an entry was left out since the last call.
    mutating func takeOddity() -> Bool {
        defer { isOdd = false }
        return isOdd
    }

    mutating func noteEntry(_ header: EntryHeader, topics: UInt64) {
        let number = number(of: header.position)
        if segments.last?.number != number {
            segments.append(
                SegmentAccount(
                    number: number,
                    bytes: 0,
                    topics: 0,
                    latestEnd: WallTimestamp(milliseconds: .min)
                )
            )
        }
        let last = segments.count - 1
        segments[last].bytes += Int(header.endPosition.rawValue - header.position.rawValue)
        segments[last].topics |= topics
    }

    static func bit(of topic: TopicID) -> UInt64 {
        (1...63).contains(topic.rawValue) ? 1 << UInt64(topic.rawValue) : 1
    }

    /// Records came, open for `groups` groups.
    mutating func add(_ header: EntryHeader, groups: Int) {
        let place = place(of: header.stream)
        let number = number(of: header.position)
        let bytes = Int(header.endPosition.rawValue - header.position.rawValue)
        if streams[place].extents.last?.segment != number {
            streams[place].extents.append(
                Extent(
                    segment: number,
                    first: header.baseOffset,
                    records: 0,
                    bytes: 0,
                    open: 0,
                    waiting: 0
                )
            )
        }
        let last = streams[place].extents.count - 1
        // Behind a gap offsets may be missing: they count as finished.
        let end = header.baseOffset.advanced(by: header.recordCount)
        let first = streams[place].extents[last].first
        streams[place].extents[last].records = Int(end.rawValue - first.rawValue)
        streams[place].extents[last].bytes += bytes
        streams[place].extents[last].open += header.recordCount * groups
    }

    /// A group begins: all that it has not done is open for it. Not before what was kept.
    mutating func open(_ stream: StreamID, _ progress: StreamProgress) {
        guard let place = places[stream] else { return }
        for index in streams[place].extents.indices {
            let extent = streams[place].extents[index]
            streams[place].extents[index].open += progress.openCount(in: extent.first..<extent.end)
        }
    }

    /// A message begins, or ceases, to wait in a row.
    mutating func wait(_ stream: StreamID, _ offset: Offset, _ change: Int) {
        guard let (place, index) = extent(of: stream, offset) else { return }
        let waiting = streams[place].extents[index].waiting + change
        guard waiting >= 0, waiting <= streams[place].extents[index].open else {
            refuse()
            return
        }
        streams[place].extents[index].waiting = waiting
    }

    /// A group has finished a message, at a time if that decides how long it is kept.
    ///
    /// - Returns: Whether the record lives in a row: its end is to be noted there.
    mutating func finish(_ stream: StreamID, _ offset: Offset, at wall: WallTimestamp?) -> Bool {
        guard let (place, index) = extent(of: stream, offset) else { return true }
        guard streams[place].extents[index].open > streams[place].extents[index].waiting else {
            refuse()
            return false
        }
        streams[place].extents[index].open -= 1
        let number = streams[place].extents[index].segment
        if let wall, let account = account(of: number), segments[account].latestEnd < wall {
            segments[account].latestEnd = wall
        }
        return false
    }

    /// A record moves from its segment into a row, with the groups that have not finished it.
    mutating func keep(_ kept: KeptRecord) {
        if let (place, index) = extent(of: kept.stream, kept.offset) {
            var extent = streams[place].extents[index]
            if extent.waiting < kept.waiting.count
                || extent.open - extent.waiting < kept.ready.count
            {
                refuse()
                guard isLenient else { return }
            }
            // Where more moves than is counted, it has moved all the same.
            extent.waiting = max(0, extent.waiting - kept.waiting.count)
            let open = extent.open - kept.waiting.count - kept.ready.count
            extent.open = max(open, extent.waiting)
            streams[place].extents[index] = extent
            streams[place].keptBelow = kept.offset.advanced(by: 1)
        }
        count(kept)
        evacuated += 1
    }

    /// A kept record's row is deleted.
    mutating func forget(_ bytes: UInt32, revision: LogPosition) {
        guard keptRecords > 0, keptBytes >= UInt64(bytes) else {
            refuse()
            return
        }
        keptRecords -= 1
        keptBytes -= UInt64(bytes)
        use(revision, -1)
    }

    /// Segments below `below` are let go; false when something in them is not finished. Behind a gap,
    /// which may have swallowed how it was moved away, those before it go.
    mutating func release(below: UInt64, at position: LogPosition) -> Bool {
        let open = streams.compactMap { $0.extents.first { $0.open > 0 }?.segment }.min() ?? below
        if open < below {
            guard isLenient else { return false }
            isOdd = true
        }
        let number = min(below, open)
        for place in streams.indices {
            let count = streams[place].extents.prefix { $0.segment < number }.count
            guard count > 0 else { continue }
            let end = streams[place].extents[count - 1].end
            streams[place].keptBelow = max(streams[place].keptBelow, end)
            streams[place].extents.removeFirst(count)
        }
        segments.removeAll { $0.number < number }
        releasedBelow = max(releasedBelow, number)
        releasedAt = position
        return true
    }

    mutating func use(_ revision: LogPosition, _ change: Int64) {
        guard revision > .zero else { return }
        let position = revision.rawValue
        let place = revisions.firstIndex { $0.position >= position } ?? revisions.count
        if place < revisions.count, revisions[place].position == position {
            let uses = Int64(revisions[place].uses) + change
            if uses > 0 {
                revisions[place].uses = UInt32(uses)
            } else {
                revisions.remove(at: place)
            }
        } else if change > 0 {
            revisions.insert((position, UInt32(change)), at: place)
        }
    }

    /// The place of an offset's extent; nil once the record has left its segment.
    private func extent(of stream: StreamID, _ offset: Offset) -> (Int, Int)? {
        guard let place = places[stream], offset >= streams[place].keptBelow,
            let index = streams[place].index(of: offset)
        else { return nil }
        return (place, index)
    }

    private func account(of number: UInt64) -> Int? {
        guard let last = segments.last else { return nil }
        // Numbers follow one another, but for a gap that a repair accepted.
        let guess = segments.count - 1 - Int(clamping: last.number - min(number, last.number))
        if segments.indices.contains(guess), segments[guess].number == number { return guess }
        return segments.firstIndex { $0.number == number }
    }

    mutating func place(of stream: StreamID) -> Int {
        if let place = places[stream] { return place }
        places[stream] = streams.count
        streams.append(StreamBook(stream: stream))
        return streams.count - 1
    }

    // MARK: - Questions

    /// Bytes of the records of a segment that somebody has not finished, by the mean of their extents,
    /// and of those the ones that are ready.
    /// Records in a segment, open or not.
    func records(in segment: UInt64) -> UInt64 {
        streams.reduce(0) { sum, book in
            sum
                + (book.extent(in: segment).map { UInt64($0.end.rawValue - $0.first.rawValue) } ?? 0)
        }
    }

    package func openBytes(in segment: UInt64) -> (all: Int, ready: Int, isEmpty: Bool) {
        var all = 0
        var ready = 0
        var isEmpty = true
        for book in streams {
            guard let extent = book.extent(in: segment), extent.open > 0 else { continue }
            isEmpty = false
            all += extent.bytes(ofPairs: extent.open)
            ready += extent.bytes(ofPairs: extent.open - extent.waiting)
        }
        return (all, ready, isEmpty)
    }

    /// Segments in which somebody has something to finish: one walk over all extents.
    var openSegments: Set<UInt64> {
        var open: Set<UInt64> = []
        for book in streams {
            for extent in book.extents where extent.open > 0 { open.insert(extent.segment) }
        }
        return open
    }

    package func checkInvariants() {
        for book in streams {
            for extent in book.extents {
                precondition(
                    extent.open >= extent.waiting && extent.waiting >= 0,
                    "an extent's counts fit: \(extent) of stream \(book.stream.rawValue)"
                )
            }
        }
    }

    package static func == (a: Self, b: Self) -> Bool { a.encoded == b.encoded }
    package func hash(into hasher: inout Hasher) { hasher.combine(encoded) }
    private var encoded: [UInt8] {
        var bytes: [UInt8] = []
        append(to: &bytes)
        return bytes
    }
}
