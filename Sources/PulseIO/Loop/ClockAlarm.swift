// The kernel's word that somebody set the wall clock, as an event of the loop: the broker looks at both
// clocks at once, and not when it next has something to do.
//
//      armed --(the clock is set)--> readable: ECANCELED --> armed again --> told
//                                                   refused ----------------> lost: told, and no more
//
// Source: timerfd_create(2), TFD_TIMER_CANCEL_ON_SET; spec/03-storage.md, "Clocks".

import CKernel
import Glibc

/// A timer that the kernel cancels when the wall clock is set.
package protocol ClockTimer: AnyObject {
    /// Readable when ``take()`` has something to say.
    var descriptor: Int32 { get }
    /// Arms it. 0, or errno; `ECANCELED` when the clock was set since the last ``take()``, and it is armed.
    func arm() -> Int32
    /// 0 when it rang, `ECANCELED` when the clock was set, `EAGAIN` when nothing happened, or errno.
    func take() -> Int32
}

/// Watches for the wall clock being set.
package final class ClockAlarm: EventHandler {
    package enum Word: Hashable, Sendable {
        /// Somebody set the wall clock, or the machine woke up.
        case clockSet
        /// The kernel tells no more of it; whoever wants to know has to look.
        case lost(IOFailure)
    }

    private let loop: EventLoop
    private let timer: any ClockTimer
    private let deliver: (Word) -> Void
    private var registration: Registration?

    /// Arms the timer and waits for it in `loop`.
    ///
    /// - Throws: ``IOFailure`` when the kernel has no such timer to give.
    package init(
        loop: EventLoop,
        timer: (any ClockTimer)? = nil,
        deliver: @escaping (Word) -> Void
    ) throws(IOFailure) {
        let timer: any ClockTimer = if let timer { timer } else { try KernelTimer() }
        self.loop = loop
        self.timer = timer
        self.deliver = deliver
        let code = timer.arm()
        guard code == 0 || code == ECANCELED else { throw Self.failure(code) }
        registration = try loop.register(timer.descriptor, for: .readable, handler: self)
    }

    package func close() {
        if let registration { loop.remove(registration) }
        registration = nil
    }

    package func ready(_ readiness: Readiness, descriptor: Int32) {
        guard registration != nil else { return }
        // Set once more while it was being armed: this turn's time may be from before that.
        if readiness.contains(.posted) { return deliver(.clockSet) }
        let code = timer.take()
        switch code {
        case EAGAIN: return
        case 0, ECANCELED: armAgain()
        default: lose(code)
        }
    }

    private func armAgain() {
        let code = timer.arm()
        switch code {
        case 0: break
        case ECANCELED: loop.callNextTurn(self)
        default:
            lose(code)
            return
        }
        deliver(.clockSet)
    }

    private func lose(_ code: Int32) {
        close()
        deliver(.lost(Self.failure(code)))
    }

    private static func failure(_ code: Int32) -> IOFailure {
        IOFailure("watch the wall clock", code: code)
    }
}

private final class KernelTimer: ClockTimer {
    private let timer: OwnedDescriptor

    init() throws(IOFailure) {
        timer = OwnedDescriptor(
            takingOver: try SystemCall.require("watch the wall clock") { pulse_clock_alarm() }
        )
    }

    var descriptor: Int32 { timer.rawValue }

    func arm() -> Int32 { pulse_clock_alarm_arm(timer.rawValue) }

    func take() -> Int32 {
        var count: UInt64 = 0
        switch SystemCall.attempt({ read(timer.rawValue, &count, 8) }) {
        case .done: return 0
        case .wouldBlock: return EAGAIN
        case .failed(let code): return code
        }
    }
}
