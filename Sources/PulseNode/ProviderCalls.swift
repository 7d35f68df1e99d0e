// Provider calls under way: which lease each one serves.

import PulseCore

struct ProviderCalls {
    struct Call {
        var lease: UInt64
        var channel: Channel
        var startedAt: MonotonicInstant
    }

    private var calls: [CallID: Call] = [:]
    private var next: UInt64 = 1

    var count: Int { calls.count }

    mutating func begin(lease: UInt64, channel: Channel, at now: MonotonicInstant) -> CallID {
        let id = CallID(next)
        next += 1
        calls[id] = Call(lease: lease, channel: channel, startedAt: now)
        return id
    }

    mutating func end(_ id: CallID) -> Call? { calls.removeValue(forKey: id) }
}
