// Provider calls under way: which lease each one serves.

import PulseCore

struct ProviderCalls {
    struct Call {
        var lease: UInt64
        var channel: Channel
        /// Milliseconds after its beginning at which it is taken for lost.
        var patienceMilliseconds: Int64
    }

    private var calls: [CallID: Call] = [:]
    private var next: UInt64 = 1

    var count: Int { calls.count }

    subscript(_ id: CallID) -> Call? { calls[id] }

    mutating func begin(lease: UInt64, channel: Channel, patienceMilliseconds: Int64) -> CallID {
        let id = CallID(next)
        next += 1
        calls[id] = Call(
            lease: lease,
            channel: channel,
            patienceMilliseconds: patienceMilliseconds
        )
        return id
    }

    mutating func end(_ id: CallID) -> Call? { calls.removeValue(forKey: id) }
}
