// One thread's wait for the world: epoll, deadlines, and turns.
//
//     wait --> turnBegan --> handlers: posted, ready, deadlines --> turnEnded --> write what was sent
//       ^                                                                            |
//       `----------------------------------------------------------------------------'
//
// Everything that happened during the wait is told in one turn, so its owner can act on all of it
// with one write, one sync and one send per connection.

import CKernel
import Glibc
package import PulseCore

/// A level-triggered epoll loop.
///
/// Belongs to the thread that runs it; nothing here is shared.
///
/// Invariants:
/// - a slot is free exactly when its handler is nil;
/// - a slot's generation grows when it is freed, so an event that was fetched before and told after
///   is recognised as stale by its token;
/// - every slot with a deadline has an entry in `deadlines` that is due no later.
package final class EventLoop {
    private struct Slot {
        var handler: (any EventHandler)?
        var descriptor: Int32
        var generation: UInt32
        var deadline: UInt64
        /// When the earliest entry of this slot in `deadlines` is due.
        var armed: UInt64
    }

    /// The time of the current turn.
    package private(set) var now: Now
    /// Where every connection reads; large, so that a turn takes one `recv` per connection.
    let readBuffer: UnsafeMutableRawBufferPointer

    private let epoll: OwnedDescriptor
    private let events: UnsafeMutableBufferPointer<epoll_event>
    private var slots: [Slot] = []
    private var freeSlots: [Int] = []
    private var deadlines = DeadlineHeap()
    private var posted: [any EventHandler] = []
    private var ending: [any EventHandler] = []

    /// Bytes a connection may read in a turn before the others have theirs.
    package static let readBytesMax = 256 << 10
    /// Events fetched in one wait; more wait for the next turn, in the kernel's order.
    private static let eventsMax = 512

    /// Reads the clock again in the middle of a turn, when what the turn did took long.
    package func readClock() { now = SystemClocks.now() }

    package init() throws(IOFailure) {
        epoll = OwnedDescriptor(
            takingOver: try SystemCall.require("create an event queue") {
                epoll_create1(Int32(O_CLOEXEC))
            }
        )
        events = .allocate(capacity: Self.eventsMax)
        events.initialize(repeating: epoll_event())
        readBuffer = .allocate(byteCount: Self.readBytesMax, alignment: 64)
        now = SystemClocks.now()
    }

    deinit {
        events.deallocate()
        readBuffer.deallocate()
    }

    // MARK: Turns

    /// Takes turns until the owner says stop.
    package func run(_ owner: some LoopOwner) throws(IOFailure) {
        var deadline = MonotonicInstant(nanoseconds: 0)
        while case .by(let next) = try turn(owner, waitingUntil: deadline) { deadline = next }
    }

    /// One turn: waits for events until `deadline` at the latest, tells them, ends the turn.
    package func turn(
        _ owner: some LoopOwner,
        waitingUntil deadline: MonotonicInstant
    ) throws(IOFailure) -> NextTurn {
        // What was sent between turns leaves before the wait.
        tellEnding()
        let count = try wait(until: deadline)
        now = SystemClocks.now()
        owner.turnBegan(at: now)
        tellPosted()
        for index in 0..<count { tell(events[index]) }
        tellDeadlines()
        let next = owner.turnEnded(at: now)
        tellEnding()
        return next
    }

    private func wait(until deadline: MonotonicInstant) throws(IOFailure) -> Int {
        let timeout: Int32
        if posted.isEmpty {
            let due = min(deadline.nanoseconds, deadlines.earliest ?? .max)
            timeout = Self.timeout(until: due)
        } else {
            timeout = 0
        }
        while true {
            let count = epoll_wait(
                epoll.rawValue,
                events.baseAddress,
                Int32(events.count),
                timeout
            )
            if count >= 0 { return Int(count) }
            let code = errno
            // An interrupted wait is a turn without events: the deadline is looked at again.
            if code == EINTR { return 0 }
            throw IOFailure("wait for events", code: code)
        }
    }

    /// Milliseconds for epoll, rounded up: rounded down, the last fraction would be spun away.
    private static func timeout(until due: UInt64) -> Int32 {
        guard due != .max else { return -1 }
        let current = SystemClocks.monotonic().nanoseconds
        guard due > current else { return 0 }
        return Int32(clamping: (due - current + 999_999) / 1_000_000)
    }

    private func tell(_ event: epoll_event) {
        let token = event.data.u64
        guard let index = index(of: Registration(rawValue: token)),
            let handler = slots[index].handler
        else { return }
        var readiness: Readiness = []
        if event.events & pulse_epoll_in != 0 { readiness.insert(.readable) }
        if event.events & pulse_epoll_out != 0 { readiness.insert(.writable) }
        if event.events & pulse_epoll_gone != 0 { readiness.insert(.gone) }
        handler.ready(readiness, descriptor: slots[index].descriptor)
    }

    private func tellPosted() {
        guard !posted.isEmpty else { return }
        let called = posted
        posted.removeAll(keepingCapacity: true)
        for handler in called { handler.ready(.posted, descriptor: -1) }
    }

    private func tellEnding() {
        // By index: a handler may add another while it is being called.
        var index = 0
        while index < ending.count {
            let handler = ending[index]
            handler.ready(.turnEnding, descriptor: -1)
            index += 1
        }
        ending.removeAll(keepingCapacity: true)
    }

    // MARK: Registrations

    /// Watches a descriptor (or none: -1, for a deadline only) on behalf of `handler`, which is
    /// kept until ``remove(_:)``.
    ///
    /// The descriptor stays the caller's.
    package func register(
        _ descriptor: Int32,
        for interest: Readiness,
        handler: any EventHandler
    ) throws(IOFailure) -> Registration {
        let index: Int
        if let free = freeSlots.popLast() {
            index = free
            slots[index].handler = handler
            slots[index].descriptor = descriptor
        } else {
            index = slots.count
            slots.append(
                Slot(
                    handler: handler,
                    descriptor: descriptor,
                    generation: 1,
                    deadline: .max,
                    armed: .max
                )
            )
        }
        let registration = Registration(
            rawValue: UInt64(slots[index].generation) << 32 | UInt64(index)
        )
        if descriptor >= 0 {
            let code = setInterest(interest, of: registration, descriptor: descriptor)
            guard code == 0 else {
                free(index)
                throw IOFailure("watch a descriptor", code: code)
            }
        }
        return registration
    }

    /// Changes what a registered descriptor is watched for.
    package func update(_ registration: Registration, for interest: Readiness) {
        guard let index = index(of: registration) else { return }
        let code = setInterest(
            interest,
            of: registration,
            descriptor: slots[index].descriptor
        )
        precondition(code == 0 || code == EBADF, "a watched descriptor can be watched differently")
    }

    /// Forgets a registration.
    ///
    /// Call before closing the descriptor; nothing is told of it any more.
    package func remove(_ registration: Registration) {
        guard let index = index(of: registration) else { return }
        if slots[index].descriptor >= 0 {
            pulse_epoll_remove(epoll.rawValue, slots[index].descriptor)
        }
        free(index)
    }

    /// Calls the handler with ``Readiness/deadline`` at `instant`; replaces the earlier wish, and
    /// `.distantFuture` withdraws it.
    package func setDeadline(_ instant: MonotonicInstant, for registration: Registration) {
        guard let index = index(of: registration) else { return }
        slots[index].deadline = instant.nanoseconds
        guard instant.nanoseconds < slots[index].armed else { return }
        slots[index].armed = instant.nanoseconds
        deadlines.insert(due: instant.nanoseconds, token: registration.rawValue)
    }

    /// Calls `handler` with ``Readiness/posted`` early in the next turn, which will not wait.
    package func callNextTurn(_ handler: any EventHandler) { posted.append(handler) }

    /// Calls `handler` with ``Readiness/turnEnding`` when the owner has ended this turn.
    package func callAtTurnEnd(_ handler: any EventHandler) { ending.append(handler) }

    private func tellDeadlines() {
        let current = now.monotonic.nanoseconds
        while let entry = deadlines.popDue(at: current) {
            let registration = Registration(rawValue: entry.token)
            guard let index = index(of: registration), slots[index].armed == entry.due else {
                continue
            }
            slots[index].armed = .max
            let wanted = slots[index].deadline
            if wanted <= current {
                slots[index].deadline = .max
                let handler = slots[index].handler
                handler?.ready(.deadline, descriptor: -1)
            } else if wanted != .max {
                slots[index].armed = wanted
                deadlines.insert(due: wanted, token: entry.token)
            }
        }
    }

    private func setInterest(
        _ interest: Readiness,
        of registration: Registration,
        descriptor: Int32
    ) -> Int32 {
        var bits: UInt32 = 0
        if interest.contains(.readable) { bits |= pulse_epoll_in }
        if interest.contains(.writable) { bits |= pulse_epoll_out }
        return pulse_epoll_set(epoll.rawValue, descriptor, bits, registration.rawValue)
    }

    private func index(of registration: Registration) -> Int? {
        let index = Int(registration.rawValue & 0xFFFF_FFFF)
        guard index < slots.count, slots[index].handler != nil,
            UInt64(slots[index].generation) == registration.rawValue >> 32
        else { return nil }
        return index
    }

    private func free(_ index: Int) {
        slots[index].handler = nil
        slots[index].descriptor = -1
        slots[index].generation &+= 1
        slots[index].deadline = .max
        slots[index].armed = .max
        freeSlots.append(index)
    }
}
