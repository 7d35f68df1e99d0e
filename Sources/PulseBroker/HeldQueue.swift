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
        if wheel.count > 0, isLoaded { gone.insert(key) }
    }

    /// A row, and when its own delay is over whatever the wall clock says.
    private struct Waiting: BitwiseCopyable, Sendable {
        var row: HeldRow
        var until: MonotonicInstant?
    }

    /// How long a row may wait at most, when its due time was set by a clock that was ahead; nil when its
    /// due time is to be trusted. See ``Shard/ownWait(of:at:)``.
    package typealias OwnWait = (HeldRow) -> Int64?

    package var countInMemory: Int { wheel.count }

    package init(group: GroupID, at now: Now, limit: Int) {
        self.group = group
        self.limit = limit
        wheel = TimingWheel(at: now.monotonic)
        loadedThrough = HeldRow.prefix(group)
    }

    package var nextDeadline: MonotonicInstant? { wheel.nextDeadline }

    /// Notes a row that was just written to the store.
    package mutating func add(
        _ row: HeldRow,
        at now: Now,
        from store: any StateStore,
        except isOut: (MessageKey) -> Bool
    ) throws(StorageError) {
        if let loadedThrough, loadedThrough.lexicographicallyPrecedes(row.key) { return }
        place(row, at: now)
        if wheel.count > 2 * limit { try reload(at: now, from: store, except: isOut) }
    }

    /// Starts anew from the store.
    package mutating func reload(
        at now: Now,
        from store: any StateStore,
        except isOut: (MessageKey) -> Bool,
        ownWait: OwnWait = { _ in nil }
    ) throws(StorageError) {
        wheel = TimingWheel(at: now.monotonic)
        gone = []
        loadedThrough = Mutant.isOn(.forgetWheel) ? nil : HeldRow.prefix(group)
        try loadMore(at: now, from: store, except: isOut, ownWait: ownWait)
    }

    /// Calls `release` for every row that is due, in due order to a tick.
    package mutating func advance(
        to now: Now,
        from store: any StateStore,
        except isOut: (MessageKey) -> Bool,
        ownWait: OwnWait = { _ in nil },
        release: (HeldRow) -> Void
    ) throws(StorageError) {
        // Rows that a lease had taken out are among them: the rows there are tell.
        if gone.count > limit { try reload(at: now, from: store, except: isOut, ownWait: ownWait) }
        var early: [Waiting] = []
        var stale: Set<[UInt8]> = []
        swap(&stale, &gone)
        wheel.advance(to: now.monotonic) { waiting in
            // The wall clock was set back, or runs slower: the row's own time decides, unless it waited
            // for its own delay already.
            let isOver = waiting.until.map { $0 <= now.monotonic } ?? false
            let isEarly = waiting.row.due > now.wall && !isOver && !Mutant.isOn(.heldEarly)
            if !stale.isEmpty, stale.remove(waiting.row.key) != nil { return }
            if isEarly { early.append(waiting) } else { release(waiting.row) }
        }
        for waiting in early { place(waiting.row, at: now, until: waiting.until) }
        if wheel.count > 0 { gone = stale }
        if loadedThrough != nil, wheel.count < max(1, limit / 2) {
            try loadMore(at: now, from: store, except: isOut, ownWait: ownWait)
        }
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

    private mutating func loadMore(
        at now: Now,
        from store: any StateStore,
        except isOut: (MessageKey) -> Bool,
        ownWait: OwnWait
    ) throws(StorageError) {
        guard let through = loadedThrough else { return }
        let below = HeldRow.prefix(GroupID(group.rawValue + 1))
        let rows = try store.scan(from: through + [0], below: below, limit: limit)
        for stored in rows {
            guard let row = HeldRow(stored), Mutant.isOn(.dueTwice) || !isOut(row.message)
            else { continue }
            place(
                row,
                at: now,
                until: ownWait(row).map { now.monotonic.advanced(byMilliseconds: $0) }
            )
        }
        loadedThrough = rows.count == limit ? rows.last?.key : nil
        if Mutant.isOn(.loadRowsOnce) { loadedThrough = nil }
    }
}
