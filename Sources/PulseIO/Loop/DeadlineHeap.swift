// The few deadlines that belong to the room itself: a lingering close, libcurl's timer, a listener's
// pause. The broker's own deadlines are one number: the owner's next turn.

/// A binary heap of (due, token), earliest first.
///
/// Entries are never removed early: whoever takes one out checks whether it still means something.
///
/// Invariant: no entry is due before its parent at `(index - 1) / 2`.
struct DeadlineHeap {
    struct Entry {
        /// Nanoseconds of the monotonic clock.
        var due: UInt64
        var token: UInt64
    }

    private var entries: [Entry] = []

    var earliest: UInt64? { entries.first?.due }
    var count: Int { entries.count }

    mutating func insert(due: UInt64, token: UInt64) {
        entries.append(Entry(due: due, token: token))
        var child = entries.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard entries[child].due < entries[parent].due else { return }
            entries.swapAt(child, parent)
            child = parent
        }
    }

    /// Takes out the earliest entry when it is due.
    mutating func popDue(at current: UInt64) -> Entry? {
        guard let first = entries.first, first.due <= current else { return nil }
        let last = entries.removeLast()
        if !entries.isEmpty {
            entries[0] = last
            siftDown()
        }
        return first
    }

    private mutating func siftDown() {
        var parent = 0
        while true {
            var child = 2 * parent + 1
            guard child < entries.count else { return }
            if child + 1 < entries.count, entries[child + 1].due < entries[child].due { child += 1 }
            guard entries[child].due < entries[parent].due else { return }
            entries.swapAt(child, parent)
            parent = child
        }
    }
}
