// What one group may lease next: fresh records in stream order, and messages whose wait is over. All of
// it can be derived from the state and the store; none of it is saved.
//
// The cursor of a stream only moves forward and never waits: whatever cannot be delivered now is leased,
// held or finished, and comes back, if at all, through `due`.

import PulseCore

/// A queue that is filled at one end and emptied at the other, without moving its elements each time.
struct FIFO<Element>: Sendable where Element: Sendable {
    private var elements: [Element] = []
    private var head = 0

    var count: Int { elements.count - head }
    var isEmpty: Bool { count == 0 }

    mutating func append(_ element: Element) { elements.append(element) }

    var first: Element? { head < elements.count ? elements[head] : nil }

    /// All elements, oldest first.
    var all: ArraySlice<Element> { elements[head...] }

    mutating func popFirst() -> Element? {
        guard head < elements.count else { return nil }
        defer {
            head += 1
            if head > 64, head * 2 > elements.count {
                elements.removeFirst(head)
                head = 0
            }
        }
        return elements[head]
    }
}

struct GroupQueue: Sendable {
    let group: GroupID
    /// By stream index in the group's state.
    private var cursors: [Offset] = []
    private var due: [FIFO<Candidate>] = Array(repeating: FIFO(), count: 4)
    /// Messages in `due`, and what they were taken from.
    private(set) var waiting: [MessageKey: MessageOrigin] = [:]
    /// Of those, the ones that were taken from a held or a scheduled row.
    private(set) var waitingFromHeld = 0
    private(set) var waitingFromScheduled = 0
    /// Whether the last pick of a lane was a due message: due and fresh take turns.
    private var lastWasDue: [Bool] = Array(repeating: false, count: 4)
    var held: HeldQueue
    var pace: Pace
    var lanes = LaneScheduler()

    init(group: GroupID, at now: Now, heldLimit: Int) {
        self.group = group
        held = HeldQueue(group: group, at: now, limit: heldLimit)
        pace = Pace(at: now.monotonic)
    }

    /// Makes a message leasable whose wait is over or whose lease was given back.
    mutating func makeDue(_ candidate: Candidate) {
        guard let lane = candidate.message.stream.lane, lane != .dead else { return }
        guard waiting[candidate.message] == nil else { return }
        waiting[candidate.message] = candidate.origin
        count(candidate.origin, 1)
        due[Int(lane.rawValue)].append(candidate)
    }

    /// Takes a due message back: it was cancelled or has expired. Its place in the queue is passed over.
    mutating func drop(_ message: MessageKey) {
        if let origin = waiting.removeValue(forKey: message) { count(origin, -1) }
    }

    /// Takes back what was given back unfinished and lies in a range of offsets that the group lost.
    mutating func dropFresh(_ stream: StreamID, _ offsets: Range<Offset>) {
        guard let lane = stream.lane, lane != .dead else { return }
        for candidate in due[Int(lane.rawValue)].all
        where candidate.origin == .fresh && candidate.message.stream == stream
            && offsets.contains(candidate.message.offset)
        {
            drop(candidate.message)
        }
    }

    /// Removes from the front what was taken back.
    private mutating func skipDropped(_ lane: Int) {
        while let first = due[lane].first, waiting[first.message] == nil {
            _ = due[lane].popFirst()
        }
    }

    /// Forgets all due messages: they are about to be loaded again from their rows. Messages that were
    /// given back without a row stay.
    mutating func dropDueRows() {
        for lane in due.indices {
            var kept = FIFO<Candidate>()
            while let candidate = due[lane].popFirst() {
                guard waiting[candidate.message] != nil else { continue }
                if candidate.origin == .fresh {
                    kept.append(candidate)
                } else {
                    drop(candidate.message)
                }
            }
            due[lane] = kept
        }
    }

    /// Bit *n* is set when lane *n* of the given ones has something to lease.
    ///
    /// - Parameter freshToo: False when the window above the floor is full: what comes back is still
    ///   leased then, or the floor could never move.
    mutating func readyLanes(
        _ state: GroupState,
        among mask: UInt8,
        freshToo: Bool = true
    ) -> UInt8 {
        var ready: UInt8 = 0
        for lane in 0..<4 where mask >> UInt8(lane) & 1 == 1 && !due[lane].isEmpty {
            skipDropped(lane)
            guard !due[lane].isEmpty else { continue }
            ready |= 1 << UInt8(lane)
        }
        while cursors.count < state.streams.count { cursors.append(Offset(0)) }
        guard freshToo else { return ready }
        for index in state.streams.indices {
            guard let lane = state.streams[index].stream.lane, lane != .dead else { continue }
            let bit: UInt8 = 1 << lane.rawValue
            if mask & bit != 0, ready & bit == 0, fresh(index, state) != nil { ready |= bit }
        }
        return ready
    }

    /// Takes the next message of a lane; nil when there is none.
    mutating func take(
        _ lane: Lane,
        _ state: GroupState,
        freshToo: Bool = true
    ) -> (Candidate, isFresh: Bool)? {
        let place = Int(lane.rawValue)
        skipDropped(place)
        if !due[place].isEmpty, !lastWasDue[place] || !freshToo || !hasFresh(lane, state),
            let candidate = due[place].popFirst()
        {
            lastWasDue[place] = true
            drop(candidate.message)
            pace.took()
            return (candidate, false)
        }
        lastWasDue[place] = false
        for index in state.streams.indices where state.streams[index].stream.lane == lane {
            guard let offset = fresh(index, state) else { continue }
            pace.took()
            cursors[index] = offset.advanced(by: 1)
            let key = MessageKey(
                group: group,
                stream: state.streams[index].stream,
                offset: offset
            )
            return (
                Candidate(message: key, attempt: 0, origin: .fresh, heldDue: 0, newest: .zero), true
            )
        }
        return nil
    }

    /// Records before the cursors that are neither done nor anywhere else: must be none.
    func cursor(of index: Int) -> Offset { index < cursors.count ? cursors[index] : Offset(0) }

    private func hasFresh(_ lane: Lane, _ state: GroupState) -> Bool {
        state.streams.indices.contains {
            state.streams[$0].stream.lane == lane && fresh($0, state) != nil
        }
    }

    private func fresh(_ index: Int, _ state: GroupState) -> Offset? {
        state.streams[index].progress.nextOpen(from: cursor(of: index))
    }

    private mutating func count(_ origin: MessageOrigin, _ change: Int) {
        switch origin {
        case .fresh: break
        case .scheduled: waitingFromScheduled += change
        case .held: waitingFromHeld += change
        }
    }
}
