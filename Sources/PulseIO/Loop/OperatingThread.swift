// A thread of the operating system, started with a closure; joined by its owner, or left to end by itself.

import CKernel
import Glibc
import Synchronization

/// A running thread.
///
/// Join it at most once; it is not stopped for you. One that was let go unjoined gives its stack back when
/// it ends.
package final class OperatingThread: Sendable {
    private let handle: pthread_t
    private let isJoined = Atomic(false)

    private final class Body {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    /// Starts a thread.
    ///
    /// `name` is what `top -H` shows, at most 15 bytes.
    package init(name: String, _ run: @escaping @Sendable () -> Void) throws(IOFailure) {
        let body = Unmanaged.passRetained(
            Body {
                pulse_name_thread(name)
                run()
            }
        )
        var handle = pthread_t()
        let code = pthread_create(
            &handle,
            nil,
            { context in
                guard let context else { return nil }
                Unmanaged<Body>.fromOpaque(context).takeRetainedValue().run()
                return nil
            },
            body.toOpaque()
        )
        guard code == 0 else {
            body.release()
            throw IOFailure("start the thread", name, code: code)
        }
        self.handle = handle
    }

    /// Waits until the thread's closure has returned.
    package func join() {
        isJoined.store(true, ordering: .relaxed)
        pthread_join(handle, nil)
    }

    deinit {
        if !isJoined.load(ordering: .relaxed) { pthread_detach(handle) }
    }
}
