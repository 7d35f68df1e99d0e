// Signals as events of the loop, told between turns like everything else.

import CKernel
import Glibc

/// Requests from outside: terminate, interrupt, reload.
package final class Signals: EventHandler {
    package enum Signal: Hashable, Sendable, CaseIterable {
        case terminate
        case interrupt
        case hangUp

        package var number: Int32 {
            switch self {
            case .terminate: SIGTERM
            case .interrupt: SIGINT
            case .hangUp: SIGHUP
            }
        }
    }

    private let loop: EventLoop
    private let descriptor: OwnedDescriptor
    private var registration: Registration?
    private let deliver: (Signal) -> Void

    /// Blocks the signals for this thread and those it starts later; they wait for the loop that is
    /// to come. Call it before anything that starts a thread, a state store or a worker: the kernel
    /// gives a process's signal to any thread that does not block it, which would end the process.
    package static func holdBack() {
        var set = sigset_t()
        sigemptyset(&set)
        for signal in Signal.allCases { sigaddset(&set, signal.number) }
        let code = pthread_sigmask(SIG_BLOCK, &set, nil)
        precondition(code == 0, "blocking known signals cannot fail")
    }

    /// Blocks the signals as ``holdBack()`` does, and takes those that already wait.
    package init(
        loop: EventLoop,
        deliver: @escaping (Signal) -> Void
    ) throws(IOFailure) {
        let numbers = Signal.allCases.map(\.number)
        descriptor = OwnedDescriptor(
            takingOver: try SystemCall.require("wait for signals") {
                pulse_signalfd(numbers, Int32(numbers.count))
            }
        )
        self.loop = loop
        self.deliver = deliver
        registration = try loop.register(descriptor.rawValue, for: .readable, handler: self)
    }

    /// Makes writing to a connection that is gone an error to handle instead of the end of the
    /// process.
    ///
    /// Our own sends say so themselves; libraries' may not.
    package static func ignoreBrokenPipes() { _ = signal(SIGPIPE, SIG_IGN) }

    package func close() {
        if let registration { loop.remove(registration) }
        registration = nil
    }

    package func ready(_ readiness: Readiness, descriptor: Int32) {
        while registration != nil {
            let number = pulse_signalfd_next(self.descriptor.rawValue)
            guard number > 0 else { return }
            if let signal = Signal.allCases.first(where: { $0.number == number }) {
                deliver(signal)
            }
        }
    }
}
