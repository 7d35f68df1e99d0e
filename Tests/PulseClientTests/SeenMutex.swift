// The lock of these tests in builds of the thread sanitizer: see PulseIO's `SeenMutex`. Exported, so that
// every file here sees its members.

#if THREAD_SANITIZER
@_exported import PulseIO

typealias Mutex<Value> = SeenMutex<Value>
#endif
