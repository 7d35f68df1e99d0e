// A mutex that the thread sanitizer sees, for its builds only.

#if THREAD_SANITIZER
import Glibc

/// Stands in for `Mutex` of the standard library where `Scripts/sanitize.sh thread` builds.
///
/// A `Mutex` that somebody waits for is handed over by the kernel (`FUTEX_LOCK_PI`), where the sanitizer
/// does not look: it reports what the lock protects as a race. It knows `pthread_mutex_lock`.
///
/// `@unchecked Sendable`: `value` is touched between lock and unlock only.
package struct SeenMutex<Value>: ~Copyable, @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let value: UnsafeMutablePointer<Value>

    package init(_ value: consuming sending Value) {
        mutex = .allocate(capacity: 1)
        pthread_mutex_init(mutex, nil)
        self.value = .allocate(capacity: 1)
        self.value.initialize(to: value)
    }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
        value.deinitialize(count: 1)
        value.deallocate()
    }

    package borrowing func withLock<Result, Failure: Error>(
        _ body: (inout sending Value) throws(Failure) -> sending Result
    ) throws(Failure) -> sending Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body(&value.pointee)
    }
}

typealias Mutex<Value> = SeenMutex<Value>
#endif
