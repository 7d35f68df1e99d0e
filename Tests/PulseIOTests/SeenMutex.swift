// The lock of these tests in builds of the thread sanitizer: see PulseIO's `SeenMutex`.

#if THREAD_SANITIZER
import PulseIO

typealias Mutex<Value> = SeenMutex<Value>
#endif
