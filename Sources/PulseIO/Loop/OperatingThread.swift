// A thread of the operating system, started with a closure and joined by its owner.

import CKernel
import Glibc

/// A running thread.
///
/// Join it once; it is not stopped for you.
package final class OperatingThread: Sendable {
    private let handle: pthread_t

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
    package func join() { pthread_join(handle, nil) }
}
