// The waiting messages of one group that are due soon, on a timing wheel; the rest stay in the state
// store until the wheel has room, in due order.
//
//      state store:  row row row row | row row row row row ...        sorted by due time
//                    in memory       ^ loadedThrough
//
// The wheel is only a cache over the rows: it is rebuilt from them at start, after a clock was set, and
// when it grew past twice its limit.

package import PulseCore

package struct HeldQueue: Sendable {
    private var wheel: TimingWheel<Waiting>
    private let group: GroupID
    /// Rows with keys up to this one are in memory (or leased); nil when all rows are.
    private var loadedThrough: [UInt8]?
    private let limit: Int
    /// Keys of rows that were deleted while the wheel may have held them: cancelled, expired.
    private var gone: Set<[UInt8]> = []

    /// A row is deleted that no lease took.
    package mutating func noteGone(_ key: [UInt8]) {
        let isLoaded = loadedThrough.map { !$0.lexicographicallyPrecedes(key) } ?? true
        if wheel.count > 0, isLoaded || ahead.contains(key) { gone.insert(key) }
    }

    /// A row, and when its own delay is over whatever the wall clock says.
    private struct Waiting: BitwiseCopyable, Sendable {
        var row: HeldRow
        var until: MonotonicInstant?
    }

    /// When a row's own delay is over, when its due time was set by a clock that was ahead; nil when its
    /// due time is to be trusted. See ``Shard/ownEnd(of:at:)``.
    package typealias OwnEnd = (HeldRow) -> MonotonicInstant?

    /// Rows that a step of the clock made due: they are the catch-up's, not the wheel's.
    private var catchUp: CatchUp?
    /// Where the search stands for rows behind the loaded ones that are not to wait for their due time.
    private var search: Search?
    /// Those it found: they are on the wheel before their turn.
    private var ahead: Set<[UInt8]> = []

    private struct Search {
        var cursor: [UInt8]
        var next: MonotonicInstant

        static let rowsPerPiece = 1024
        static let periodMilliseconds: Int64 = 100
    }

    package var countInMemory: Int { wheel.count }

    package init(group: GroupID, at now: Now, limit: Int) {
        self.group = group
        self.limit = limit
        wheel = TimingWheel(at: now.monotonic)
        loadedThrough = HeldRow.prefix(group)
    }

    package var nextDeadline: MonotonicInstant? {
        let searches = ahead.count < aheadMax ? search?.next : nil
        return [wheel.nextDeadline, catchUp?.next, searches].compactMap { $0 }.min()
    }

    /// Notes a row that was just written to the store.
    package mutating func add(
        _ row: HeldRow,
        at now: Now,
        from store: any StateStore,
        except isOut: (MessageKey) -> Bool,
        ownEnd: OwnEnd = { _ in nil }
    ) throws(StorageError) {
        let key = row.key
        if let catchUp, catchUp.contains(key) {
            if catchUp.comesTo(key) { return }
        } else if let loadedThrough, loadedThrough.lexicographicallyPrecedes(key) {
            return
        }
        place(row, at: now)
        if wheel.count > 2 * limit {
            try reload(at: now, from: store, except: isOut, ownEnd: ownEnd)
        }
    }

    /// The clock was set: what became due by that alone is caught up with. To be followed by a reload.
    ///
    /// - Parameter expected: What the clock would say, had it not been set.
    package mutating func clockSet(from expected: WallTimestamp, perSecond: Int, at now: Now) {
        catchUp = CatchUp(group, after: catchUp, expected: expected, perSecond: perSecond, at: now)
    }

    /// Starts anew from the store.
    package mutating func reload(
        at now: Now,
        from store: any StateStore,
        except isOut: (MessageKey) -> Bool,
        ownEnd: OwnEnd = { _ in nil }
    ) throws(StorageError) {
        wheel = TimingWheel(at: now.monotonic)
        gone = []
        ahead = []
        catchUp?.rewind()
        loadedThrough = Mutant.isOn(.forgetWheel) ? nil : HeldRow.prefix(group)
        try loadMore(at: now, from: store, except: isOut, ownEnd: ownEnd)
        search = loadedThrough.map { Search(cursor: $0, next: now.monotonic) }
    }

    /// Calls `release` for every row that is due, in due order to a tick.
    package mutating func advance(
        to now: Now,
        from store: any StateStore,
        except isOut: (MessageKey) -> Bool,
        ownEnd: OwnEnd = { _ in nil },
        release: (HeldRow) -> Void
    ) throws(StorageError) {
        // Rows that a lease had taken out are among them: the rows there are tell.
        if gone.count > limit { try reload(at: now, from: store, except: isOut, ownEnd: ownEnd) }
        var early: [Waiting] = []
        var stale: Set<[UInt8]> = []
        swap(&stale, &gone)
        let found = ahead
        var over: [[UInt8]] = []
        wheel.advance(to: now.monotonic) { waiting in
            // The wall clock was set back, or runs slower: the row's own time decides, unless it waited
            // for its own delay already.
            let isOver = waiting.until.map { $0 <= now.monotonic } ?? false
            let isEarly = waiting.row.due > now.wall && !isOver && !Mutant.isOn(.heldEarly)
            if !stale.isEmpty, stale.remove(waiting.row.key) != nil { return }
            if isEarly {
                early.append(waiting)
            } else {
                release(waiting.row)
                if !found.isEmpty { over.append(waiting.row.key) }
            }
        }
        for waiting in early { place(waiting.row, at: now, until: waiting.until) }
        if wheel.count > 0 { gone = stale }
        try releaseOvertaken(at: now, from: store, except: isOut, release)
        if loadedThrough != nil, wheel.count < max(1, limit / 2) {
            try loadMore(at: now, from: store, except: isOut, ownEnd: ownEnd)
        }
        // Not before: their rows are still there.
        for key in over { ahead.remove(key) }
        try searchOn(at: now, from: store, except: isOut, ownEnd: ownEnd)
    }

    private mutating func place(
        _ row: HeldRow,
        at now: Now,
        until: MonotonicInstant? = nil
    ) {
        // A day at most: a far row comes round again, and a wait cannot overflow.
        let isDue = row.due <= now.wall
        let (ahead, isFar) = row.due.milliseconds.subtractingReportingOverflow(
            now.wall.milliseconds
        )
        var wait = isDue ? 0 : min(isFar ? .max : ahead, 86_400_000)
        if Mutant.isOn(.heldEarly) { wait = max(0, wait - 1000) }
        var instant = now.monotonic.advanced(byMilliseconds: wait)
        if let until { instant = min(instant, max(until, now.monotonic)) }
        _ = wheel.schedule(Waiting(row: row, until: until), at: instant)
    }

    /// Releases a piece of what the clock has overtaken, and all of it that would be due anyway.
    private mutating func releaseOvertaken(
        at now: Now,
        from store: any StateStore,
        except isOut: (MessageKey) -> Bool,
        _ release: (HeldRow) -> Void
    ) throws(StorageError) {
        guard var work = catchUp, work.next <= now.monotonic else { return }
        let reached = work.reached(now.monotonic)
        var left = work.rowsPerPeriod
        var isOver = false
        scanning: while !isOver {
            let rows = try store.scan(
                from: work.cursor + [0],
                below: work.end,
                limit: Self.overtakenPerScan
            )
            for stored in rows {
                if let row = HeldRow(stored), !isOut(row.message) {
                    guard left > 0 || row.due <= reached else { break scanning }
                    left -= left > 0 ? 1 : 0
                    release(row)
                }
                work.cursor = stored.key
            }
            isOver = rows.count < Self.overtakenPerScan
        }
        work.next = now.monotonic.advanced(byMilliseconds: CatchUp.periodMilliseconds)
        catchUp = isOver ? nil : work
    }

    private static let overtakenPerScan = 256

    /// Loads rows in due order until the memory is full or all are there; those that the clock has
    /// overtaken are passed by.
    private mutating func loadMore(
        at now: Now,
        from store: any StateStore,
        except isOut: (MessageKey) -> Bool,
        ownEnd: OwnEnd
    ) throws(StorageError) {
        let end = HeldRow.prefix(GroupID(group.rawValue + 1))
        var left = limit
        while let through = loadedThrough, left > 0 {
            let stop = catchUp.flatMap {
                through.lexicographicallyPrecedes($0.begin) ? $0.begin : nil
            }
            let rows = try store.scan(from: through + [0], below: stop ?? end, limit: left)
            for stored in rows {
                guard let row = HeldRow(stored), Mutant.isOn(.dueTwice) || !isOut(row.message),
                    ahead.isEmpty || ahead.remove(stored.key) == nil
                else { continue }
                place(row, at: now, until: ownEnd(row))
            }
            let isFull = rows.count == left
            left -= rows.count
            loadedThrough = isFull ? rows.last?.key : stop == nil ? nil : catchUp?.end
        }
        if Mutant.isOn(.loadRowsOnce) { loadedThrough = nil }
    }

    /// Looks behind the loaded rows for retries whose delay was given by a clock that was ahead: in due
    /// order their turn comes when that clock's time comes.
    private mutating func searchOn(
        at now: Now,
        from store: any StateStore,
        except isOut: (MessageKey) -> Bool,
        ownEnd: OwnEnd
    ) throws(StorageError) {
        guard var work = search, let loadedThrough else {
            search = nil
            return
        }
        // Those on the wheel go first: the next look is when one of them has gone.
        guard ahead.count < aheadMax, work.next <= now.monotonic else { return }
        if work.cursor.lexicographicallyPrecedes(loadedThrough) { work.cursor = loadedThrough }
        let end = HeldRow.prefix(GroupID(group.rawValue + 1))
        let rows = try store.scan(
            from: work.cursor + [0],
            below: end,
            limit: Search.rowsPerPiece
        )
        var isOver = rows.count < Search.rowsPerPiece
        for stored in rows {
            guard ahead.count < aheadMax else {
                isOver = false
                break
            }
            work.cursor = stored.key
            guard let row = HeldRow(stored), !isOut(row.message), let until = ownEnd(row) else {
                continue
            }
            place(row, at: now, until: until)
            ahead.insert(stored.key)
        }
        work.next = now.monotonic.advanced(byMilliseconds: Search.periodMilliseconds)
        search = isOver ? nil : work
    }

    private var aheadMax: Int { max(1, limit / 2) }
}
