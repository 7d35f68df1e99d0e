// The timing wheel against the simplest thing that can be right: a list of deadlines, searched whole.

import PulseCore
import Testing

@Suite struct TimingWheelTests {
    /// What the wheel should be doing, slowly.
    private struct Model {
        var timers: [(id: Int, deadline: UInt64)] = []
    }

    private static let tick: UInt64 = 1_000_000

    /// Jumps that meet every level of the wheel and what lies beyond its 49 days.
    private static let spans: [UInt64] = [
        1, 3, 200, 255, 256, 257, 5000, 65_535, 65_536, 70_000, 16_777_215, 16_777_216, 90_000_000,
        4_294_967_296, 9_000_000_000,
    ]

    @Test(arguments: 0..<30)
    func firesNeverEarlyAndNeverLaterThanATick(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        var now = UInt64(random.below(3)) * 77_777_777_777 + UInt64(random.below(1_000_000))
        var wheel = TimingWheel<Int>(at: MonotonicInstant(nanoseconds: now))
        var model = Model()
        var handles: [Int: TimingWheel<Int>.Handle] = [:]
        var next = 0
        for _ in 0..<600 {
            switch random.below(10) {
            case 0..<5:
                let span = Self.spans[random.below(Self.spans.count)]
                let ahead = UInt64(random.below(Int(span) + 1)) * Self.tick
                let deadline = now + ahead + UInt64(random.below(1_000_000))
                handles[next] = wheel.schedule(next, at: MonotonicInstant(nanoseconds: deadline))
                model.timers.append((next, deadline))
                next += 1
            case 5:
                guard next > 0 else { continue }
                let victim = random.below(next)
                let handle = try #require(handles[victim])
                let wasSet = model.timers.contains { $0.id == victim }
                let wasCancelled = wheel.cancel(handle)
                #expect(wasCancelled == wasSet, "seed \(seed)")
                model.timers.removeAll { $0.id == victim }
            default:
                // Either a jump of its own, or exactly to where the wheel asks to be woken.
                if random.below(2) == 0, let wake = wheel.nextDeadline {
                    now = max(now, wake.nanoseconds)
                } else {
                    let span = Self.spans[random.below(Self.spans.count)]
                    now += UInt64(random.below(Int(span) + 1)) * Self.tick
                }
                var fired: [Int] = []
                wheel.advance(to: MonotonicInstant(nanoseconds: now)) { fired.append($0) }
                for id in fired {
                    let deadline = model.timers.first { $0.id == id }?.deadline
                    #expect(try #require(deadline) <= now, "early: seed \(seed)")
                }
                // All that was due a whole tick ago has fired.
                let overdue = model.timers.filter { $0.deadline + Self.tick <= now }
                #expect(overdue.allSatisfy { fired.contains($0.id) }, "late: seed \(seed)")
                #expect(Set(fired).count == fired.count, "twice: seed \(seed)")
                model.timers.removeAll { fired.contains($0.id) }
            }
            #expect(wheel.count == model.timers.count, "seed \(seed)")
            let earliest = model.timers.map(\.deadline).min()
            if let earliest {
                let wake = try #require(wheel.nextDeadline, "seed \(seed)")
                #expect(wake.nanoseconds < max(earliest, now) + 2 * Self.tick, "seed \(seed)")
                if earliest > now + Self.tick {
                    #expect(wake.nanoseconds < earliest + Self.tick, "seed \(seed)")
                }
            } else {
                #expect(wheel.nextDeadline == nil, "seed \(seed)")
            }
        }
    }

    @Test func wakesOnlyAsOftenAsItMustUntilAFarTimer() throws {
        var wheel = TimingWheel<Int>(at: MonotonicInstant(nanoseconds: 0))
        let deadline: UInt64 = 120 * 86_400_000 * Self.tick
        _ = wheel.schedule(1, at: MonotonicInstant(nanoseconds: deadline))
        var fired: [Int] = []
        var wakes = 0
        while fired.isEmpty, wakes < 100 {
            let wake = try #require(wheel.nextDeadline)
            #expect(wake.nanoseconds <= deadline, "never later than the timer")
            wheel.advance(to: wake) { fired.append($0) }
            wakes += 1
        }
        #expect(fired == [1])
        #expect(wakes <= 10, "a timer 120 days ahead costs a few wakes, not a tick each")
    }

    @Test func aFiredHandleCannotCancelItsSuccessor() {
        var wheel = TimingWheel<Int>(at: MonotonicInstant(nanoseconds: 0))
        let first = wheel.schedule(1, at: MonotonicInstant(nanoseconds: 5 * Self.tick))
        wheel.advance(to: MonotonicInstant(nanoseconds: 5 * Self.tick)) { _ in }
        let second = wheel.schedule(2, at: MonotonicInstant(nanoseconds: 9 * Self.tick))
        let stale = [wheel.cancel(first), wheel.cancel(.none)]
        #expect(stale == [false, false])
        #expect(wheel.count == 1)
        let live = [wheel.cancel(second), wheel.cancel(second)]
        #expect(live == [true, false])
        #expect(wheel.count == 0)
    }

    @Test func firesInOrderOfTicksOverOneJump() {
        var wheel = TimingWheel<Int>(at: MonotonicInstant(nanoseconds: 0))
        let days49 = 49 * 86_400_000
        let ticks = [70_000, 3, days49, 255, 256, 65_536, 16_777_216, 1, 16_777_215, 90]
        for tick in ticks {
            _ = wheel.schedule(tick, at: MonotonicInstant(nanoseconds: UInt64(tick) * Self.tick))
        }
        var fired: [Int] = []
        wheel.advance(to: MonotonicInstant(nanoseconds: UInt64(days49) * Self.tick)) {
            fired.append($0)
        }
        #expect(fired == ticks.sorted())
    }

    @Test func aDeadlineInThePastFiresWithTheNextTick() {
        var wheel = TimingWheel<Int>(at: MonotonicInstant(nanoseconds: 1000 * Self.tick))
        _ = wheel.schedule(1, at: MonotonicInstant(nanoseconds: 0))
        var fired: [Int] = []
        wheel.advance(to: MonotonicInstant(nanoseconds: 1001 * Self.tick)) { fired.append($0) }
        #expect(fired == [1])
    }

    @Test func timeThatStandsStillOrGoesBackDoesNothing() {
        var wheel = TimingWheel<Int>(at: MonotonicInstant(nanoseconds: 1000 * Self.tick))
        _ = wheel.schedule(1, at: MonotonicInstant(nanoseconds: 1500 * Self.tick))
        for now: UInt64 in [1000, 1000, 0, 1499, 1000] {
            wheel.advance(to: MonotonicInstant(nanoseconds: now * Self.tick)) { _ in
                Issue.record("fired at \(now)")
            }
        }
        #expect(wheel.count == 1)
    }
}
