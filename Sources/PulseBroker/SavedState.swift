// A name for a state: where in the log it is, and a hash of its bytes. Two runs, two replays or two
// brokers that folded the same log as far agree on both.

package import PulseCore

package struct SavedState: Hashable, Sendable {
    package var position: LogPosition
    /// Of the hot state's bytes (spec/03-storage.md, "State").
    package var hash: UInt64

    init(_ position: LogPosition, encoded: [UInt8]) {
        self.position = position
        hash = encoded.withUnsafeBytes { XXH3.hash($0, seed: 0) }
    }

    package init(_ state: ShardState) { self.init(state.applied, encoded: state.encoded()) }

    /// Sixteen hexadecimal digits.
    package var hashText: String {
        let digits = String(hash, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    package var fields: [LogEvent.Field] {
        [.init("position", "\(position.rawValue)"), .init("hash", hashText)]
    }
}

/// What a shard began with, before it wrote anything.
package struct RestoredState: Hashable, Sendable {
    package var state: SavedState
    /// Where the replay began.
    package var replayedFrom: LogPosition
    /// Whether the store had nothing: all comes from the log.
    package var storeWasEmpty: Bool
}
