// What happens next, in simulated time. One queue orders everything in the world.

package import PulseCore

/// A binary heap ordered by time, then by order of adding: the order is total, so a run can be
/// repeated.
package struct EventQueue<Event> {
    private struct Item {
        var time: MonotonicInstant
        var sequence: UInt64
        var event: Event

        func isBefore(_ other: Item) -> Bool { (time, sequence) < (other.time, other.sequence) }
    }

    private var heap: [Item] = []
    private var nextSequence: UInt64 = 0

    package init() {}

    package var count: Int { heap.count }

    package mutating func add(_ event: Event, at time: MonotonicInstant) {
        heap.append(Item(time: time, sequence: nextSequence, event: event))
        nextSequence += 1
        var child = heap.count - 1
        while child > 0, heap[child].isBefore(heap[(child - 1) / 2]) {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    /// Takes the earliest event; nil when nothing is planned any more.
    package mutating func next() -> (time: MonotonicInstant, event: Event)? {
        guard let first = heap.first else { return nil }
        let last = heap.removeLast()
        if !heap.isEmpty {
            heap[0] = last
            sink()
        }
        return (first.time, first.event)
    }

    private mutating func sink() {
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2]
            where child < heap.count && heap[child].isBefore(heap[least]) {
                least = child
            }
            if least == parent { return }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}
