// Bytes on their way out of one connection: appended at the end, sent from the front.

/// A byte queue in one array.
///
/// Invariant: `start <= bytes.count`; what lies before `start` has been sent.
struct OutgoingBytes {
    private var bytes: [UInt8] = []
    private var start = 0

    /// Capacity kept when empty.
    ///
    /// Ten thousand idle connections must not hold ten thousand peaks.
    private static let capacityKept = 4 << 10

    var count: Int { bytes.count - start }
    var isEmpty: Bool { start == bytes.count }

    mutating func append(_ more: UnsafeRawBufferPointer) {
        // Moving the rest to the front is worth it once half of the array is history.
        if start > 0, start >= bytes.count / 2 {
            bytes.removeSubrange(0..<start)
            start = 0
        }
        bytes.append(contentsOf: more)
    }

    mutating func sent(_ count: Int) {
        start += count
        guard start == bytes.count else { return }
        start = 0
        bytes.removeAll(keepingCapacity: bytes.capacity <= Self.capacityKept)
    }

    mutating func removeAll() {
        bytes = []
        start = 0
    }

    func withUnsafeBytes<Value>(_ body: (UnsafeRawBufferPointer) -> Value) -> Value {
        bytes.withUnsafeBytes { body(UnsafeRawBufferPointer(rebasing: $0[start...])) }
    }
}
