// The loop and what wakes it: deadlines, mailboxes, workers, signals.

import Glibc
import PulseCore
import PulseIO
import Synchronization
import Testing

@Suite struct EventLoopTests {
    @Test func aDeadlineIsToldOnceAndNotBeforeItsTime() throws {
        let rig = try LoopRig()
        let probe = Probe()
        let registration = try rig.loop.register(-1, for: [], handler: probe)
        let start = SystemClocks.monotonic()
        rig.loop.setDeadline(start.advanced(byMilliseconds: 20), for: registration)

        #expect(try rig.run { !probe.told.isEmpty })

        #expect(SystemClocks.monotonic().milliseconds(since: start) >= 20)
        #expect(probe.told == [.deadline])
        #expect(try !rig.run(forMilliseconds: 30) { probe.told.count > 1 })
    }

    @Test func aDeadlineCanBePutOffAndWithdrawn() throws {
        let rig = try LoopRig()
        let late = Probe()
        let never = Probe()
        let first = try rig.loop.register(-1, for: [], handler: late)
        let second = try rig.loop.register(-1, for: [], handler: never)
        let start = SystemClocks.monotonic()
        rig.loop.setDeadline(start.advanced(byMilliseconds: 5), for: first)
        rig.loop.setDeadline(start.advanced(byMilliseconds: 50), for: first)
        rig.loop.setDeadline(start.advanced(byMilliseconds: 5), for: second)
        rig.loop.setDeadline(.distantFuture, for: second)

        #expect(try rig.run { !late.told.isEmpty })

        #expect(SystemClocks.monotonic().milliseconds(since: start) >= 50)
        #expect(never.told.isEmpty)
    }

    @Test func aRemovedHandlerHearsNothingEvenWhenItsPlaceIsTakenAgain() throws {
        let rig = try LoopRig()
        let old = Probe()
        let new = Probe()
        let registration = try rig.loop.register(-1, for: [], handler: old)
        rig.loop.setDeadline(MonotonicInstant(nanoseconds: 1), for: registration)
        rig.loop.remove(registration)
        _ = try rig.loop.register(-1, for: [], handler: new)

        #expect(try !rig.run(forMilliseconds: 10) { false })

        #expect(old.told.isEmpty)
        #expect(new.told.isEmpty)
    }

    @Test func aMailboxWakesTheLoopFromAnotherThread() throws {
        let rig = try LoopRig()
        let mailbox = try Mailbox<Int>()
        var got: [Int] = []
        let attachment = try mailbox.attach(to: rig.loop) { got += $0 }
        let poster = try OperatingThread(name: "poster") {
            for number in 0..<1000 { mailbox.post(number) }
        }

        #expect(try rig.run { got.count == 1000 })

        poster.join()
        #expect(got == Array(0..<1000))
        // One wake carries many messages, or the mailbox would cost more than it saves.
        #expect(rig.turns < 1000)
        attachment.detach()
    }

    @Test func aWorkerRunsJobsInOrderAndFinishesThemBeforeItStops() throws {
        let rig = try LoopRig()
        let worker = try BackgroundWorker<Int>(name: "worker")
        var results: [Int] = []
        _ = try worker.completions.attach(to: rig.loop) { results += $0 }
        let caller = pthread_self()
        let wasElsewhere = Mutex(true)
        for number in 0..<50 {
            worker.submit {
                if pthread_equal(pthread_self(), caller) != 0 {
                    wasElsewhere.withLock { $0 = false }
                }
                return number
            }
        }
        worker.stop()

        #expect(try rig.run { results.count == 50 })

        #expect(results == Array(0..<50))
        #expect(wasElsewhere.withLock { $0 })
    }

    @Test func aSignalIsToldInATurn() throws {
        let rig = try LoopRig()
        var told: [Signals.Signal] = []
        let signals = try Signals(loop: rig.loop) { told.append($0) }
        // To this thread only: the test process's other threads do not block it.
        pthread_kill(pthread_self(), SIGHUP)

        #expect(try rig.run { !told.isEmpty })

        #expect(told == [.hangUp])
        signals.close()
    }

    @Test func theClocksAgreeOnWhatTimeItIs() {
        let first = SystemClocks.now()
        let second = SystemClocks.now()
        #expect(first.monotonic < second.monotonic)
        // After 2024, before 2100: milliseconds, not seconds or microseconds.
        #expect((1_704_067_200_000..<4_102_444_800_000).contains(first.wall.milliseconds))
    }
}

private final class Probe: EventHandler {
    var told: [Readiness] = []
    func ready(_ readiness: Readiness, descriptor: Int32) { told.append(readiness) }
}
