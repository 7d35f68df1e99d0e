// A hierarchical timing wheel: thousands of deadlines, constant time to set, to cancel and to reach.
//
//     level 0   256 slots of    1 ms        a timer sits in the lowest level whose span reaches its
//     level 1   256 slots of  256 ms        deadline; when the hand passes a slot of a higher level,
//     level 2   256 slots of   65.5 s       the slot's timers move down; at level 0 they are due.
//     level 3   256 slots of    4.66 h      Beyond 49 days a timer waits in the last slot and is placed
//                                           again from there.
//
// Timers of a slot form a doubly linked list in one flat array: no allocation per timer once grown.
// Source: Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", 1987.

package struct TimingWheel<Payload: BitwiseCopyable & Sendable>: Sendable {
    /// Names a timer until it fires or is cancelled; a stale handle is recognised and ignored.
    package struct Handle: Hashable, BitwiseCopyable, Sendable {
        fileprivate var index: Int32
        fileprivate var generation: UInt32
        package static var none: Handle { Handle(index: -1, generation: 0) }
    }

    private struct Node: Sendable {
        var payload: Payload
        var tick: UInt64
        var next: Int32
        var previous: Int32
        var slot: Int32
        var generation: UInt32
    }

    private static var levels: Int { 4 }
    private static var slotsPerLevel: Int { 256 }
    private static var nanosecondsPerTick: UInt64 { 1_000_000 }

    private var nodes: [Node] = []
    private var heads: [Int32]
    /// One bit a slot, four words a level: empty stretches are skipped without touching them.
    private var occupied: [UInt64]
    private var free: Int32 = -1
    /// All timers with a tick at or before this one have fired.
    private var hand: UInt64
    package private(set) var count = 0

    package init(at now: MonotonicInstant) {
        heads = Array(repeating: -1, count: Self.levels * Self.slotsPerLevel)
        occupied = Array(repeating: 0, count: Self.levels * Self.slotsPerLevel / 64)
        hand = now.nanoseconds / Self.nanosecondsPerTick
    }

    /// Sets a timer. It fires with the first ``advance(to:_:)`` at or after `deadline`, never before; a
    /// deadline in the past fires with the next.
    package mutating func schedule(_ payload: Payload, at deadline: MonotonicInstant) -> Handle {
        let (quotient, remainder) = deadline.nanoseconds.quotientAndRemainder(
            dividingBy: Self.nanosecondsPerTick
        )
        let tick = max(quotient + (remainder > 0 ? 1 : 0), hand + 1)
        let index: Int32
        if free >= 0 {
            index = free
            free = nodes[Int(index)].next
            nodes[Int(index)].payload = payload
            nodes[Int(index)].tick = tick
        } else {
            index = Int32(nodes.count)
            nodes.append(
                Node(payload: payload, tick: tick, next: -1, previous: -1, slot: -1, generation: 0)
            )
        }
        link(index)
        count += 1
        return Handle(index: index, generation: nodes[Int(index)].generation)
    }

    /// Forgets a timer; false when it has fired or was cancelled before.
    @discardableResult
    package mutating func cancel(_ handle: Handle) -> Bool {
        guard handle.index >= 0, Int(handle.index) < nodes.count,
            nodes[Int(handle.index)].generation == handle.generation,
            nodes[Int(handle.index)].slot >= 0
        else { return false }
        unlink(handle.index)
        release(handle.index)
        return true
    }

    /// Moves the hand to `now` and calls `fire` for every timer reached, in order of their ticks.
    package mutating func advance(to now: MonotonicInstant, _ fire: (Payload) -> Void) {
        let target = now.nanoseconds / Self.nanosecondsPerTick
        while hand < target {
            guard let next = nextStop(before: target) else {
                hand = target
                return
            }
            hand = next
            cascade()
            let slot = Int(hand & 0xFF)
            while heads[slot] >= 0 {
                let index = heads[slot]
                let payload = nodes[Int(index)].payload
                unlink(index)
                release(index)
                fire(payload)
            }
        }
    }

    /// A time at or before the earliest deadline: waking then and advancing is never late by more than
    /// a tick. Nil when no timer is set.
    package var nextDeadline: MonotonicInstant? {
        guard count > 0 else { return nil }
        guard let stop = nextStop(before: .max) else { return nil }
        return MonotonicInstant(nanoseconds: stop * Self.nanosecondsPerTick)
    }

    /// The next tick at which some slot must be looked at: a level-0 slot with timers, or a boundary at
    /// which a higher slot with timers moves down.
    private func nextStop(before limit: UInt64) -> UInt64? {
        var best: UInt64?
        for level in 0..<Self.levels {
            let shift = UInt64(level * 8)
            let current = hand >> shift
            guard let distance = distanceToOccupied(level: level, after: Int(current & 0xFF)) else {
                continue
            }
            let stop = (current + UInt64(distance)) << shift
            if best.map({ stop < $0 }) ?? true { best = stop }
        }
        guard let best, best <= limit else { return nil }
        return best
    }

    /// How many slots ahead (1...256) the next occupied slot of a level is.
    private func distanceToOccupied(level: Int, after slot: Int) -> Int? {
        let base = level * 4
        if occupied[base] | occupied[base + 1] | occupied[base + 2] | occupied[base + 3] == 0 {
            return nil
        }
        var distance = 1
        while distance <= Self.slotsPerLevel {
            let candidate = (slot + distance) & 0xFF
            let word = occupied[base + candidate / 64] >> UInt64(candidate % 64)
            if word != 0 {
                let step = word.trailingZeroBitCount
                if candidate % 64 + step < 64, distance + step <= Self.slotsPerLevel {
                    return distance + step
                }
            }
            distance += 64 - candidate % 64
        }
        return nil
    }

    /// At a boundary, moves the timers of the higher slots that begin here down to where they belong.
    private mutating func cascade() {
        var level = 1
        while level < Self.levels, hand & ((1 << UInt64(level * 8)) - 1) == 0 {
            let slot = level * Self.slotsPerLevel + Int(hand >> UInt64(level * 8) & 0xFF)
            var index = heads[slot]
            heads[slot] = -1
            occupied[slot / 64] &= ~(1 << UInt64(slot % 64))
            while index >= 0 {
                let next = nodes[Int(index)].next
                link(index)
                index = Mutant.isOn(.cascadeOnlyOne) ? -1 : next
            }
            level += 1
        }
    }

    private mutating func link(_ index: Int32) {
        let tick = nodes[Int(index)].tick
        let distance = tick > hand ? tick - hand : 0
        let level: Int
        switch distance {
        case 0..<(1 << 8): level = 0
        case (1 << 8)..<(1 << 16): level = 1
        case (1 << 16)..<(1 << 24): level = 2
        default: level = 3
        }
        // Beyond the wheel's span: the farthest slot, from which it is placed again.
        let reachable = min(tick, hand + (255 << 24))
        let slot = level * Self.slotsPerLevel + Int(reachable >> UInt64(level * 8) & 0xFF)
        nodes[Int(index)].slot = Int32(slot)
        nodes[Int(index)].previous = -1
        nodes[Int(index)].next = heads[slot]
        if heads[slot] >= 0 { nodes[Int(heads[slot])].previous = index }
        heads[slot] = index
        occupied[slot / 64] |= 1 << UInt64(slot % 64)
    }

    private mutating func unlink(_ index: Int32) {
        let node = nodes[Int(index)]
        if node.previous >= 0 {
            nodes[Int(node.previous)].next = node.next
        } else {
            heads[Int(node.slot)] = node.next
            if node.next < 0 {
                occupied[Int(node.slot) / 64] &= ~(1 << UInt64(node.slot % 64))
            }
        }
        if node.next >= 0 { nodes[Int(node.next)].previous = node.previous }
    }

    private mutating func release(_ index: Int32) {
        nodes[Int(index)].slot = -1
        nodes[Int(index)].generation &+= 1
        nodes[Int(index)].next = free
        free = index
        count -= 1
    }
}
