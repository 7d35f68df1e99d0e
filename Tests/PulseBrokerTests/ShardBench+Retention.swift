// What tests of retention do again and again: traffic goes by, time passes, segments go.

import PulseBroker
import PulseCore
import PulseLog
import Testing

extension ShardBench {
    static let minute: Int64 = 60_000

    /// Small segments, and everything that ended is kept for a minute.
    static func retaining(
        seed: UInt64 = 1,
        segmentBytes: Int = 32 << 10,
        checkpointBytes: Int = 16 << 10,
        policy: RetentionPolicy = RetentionPolicy()
    ) throws -> ShardBench {
        try ShardBench(
            seed: seed,
            retry: RetryPolicy(baseMs: 100, capMs: 1000, attemptsMax: 3),
            segmentBytes: segmentBytes,
            checkpointBytes: checkpointBytes,
            window: minute,
            retention: minute,
            policy: policy
        )
    }

    /// Turns in which retention does all that it can do now.
    func retain(turns: Int = 40) throws {
        for _ in 0..<turns {
            pass(milliseconds: 110)
            try shard.reachedTime(now)
            try shard.releaseOldSegments(at: now)
            try sync()
        }
        #expect(try shard.bookFault() == nil)
    }

    func deliverAll(_ channel: Channel = .email) throws {
        while true {
            let leases = try dispatch(channel, slots: 100)
            if leases.isEmpty { return }
            for lease in leases {
                try shard.settle(lease.id, .delivered(code: 250, detail: ""), at: now)
            }
            try sync()
        }
    }

    /// Notifications that are delivered at once and have nothing to do with what is looked at.
    func traffic(_ count: Int = 300) throws {
        for _ in 0..<count / 20 {
            for _ in 0..<20 {
                _ = try submit(user: "bob", text: String(repeating: "x", count: 400))
            }
            try sync()
            try deliverAll()
        }
    }
}
