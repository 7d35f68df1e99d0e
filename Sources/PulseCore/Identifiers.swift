// The small numbers that name things: topics, partitions, lanes, streams, offsets, positions, epochs,
// connections. Each is a type of its own, so that no two can be swapped.

/// A topic's number, given when the topic is created and never reused.
package struct TopicID: Hashable, Comparable, BitwiseCopyable, Sendable {
    package var rawValue: UInt16

    @inlinable package init(_ rawValue: UInt16) { self.rawValue = rawValue }
    @inlinable package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// A partition's number inside its topic. Partition *p* lives in shard *p mod shards*.
package struct PartitionID: Hashable, Comparable, BitwiseCopyable, Sendable {
    package var rawValue: UInt16

    @inlinable package init(_ rawValue: UInt16) { self.rawValue = rawValue }
    @inlinable package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// A separately scheduled urgency class of a topic. Each lane is a stream of its own, so an urgent
/// record is never behind bulk, on disk either.
package enum Lane: UInt8, CaseIterable, BitwiseCopyable, Sendable {
    case critical = 0
    case high = 1
    case normal = 2
    case bulk = 3
    /// Where a record comes to rest when its attempts are used up or it failed for good.
    case dead = 4

    /// The word used in configuration, in JSON and on the command line.
    package var name: String {
        switch self {
        case .critical: "critical"
        case .high: "high"
        case .normal: "normal"
        case .bulk: "bulk"
        case .dead: "dead"
        }
    }

    package init?(name: String) {
        guard let lane = Lane.allCases.first(where: { $0.name == name }) else { return nil }
        self = lane
    }
}

/// One lane of one partition of one topic: the unit that has offsets.
///
///      31            16 15          4 3    0
///     +----------------+-------------+------+
///     |     topic      |  partition  | lane |
///     +----------------+-------------+------+
package struct StreamID: Hashable, Comparable, BitwiseCopyable, Sendable {
    package var rawValue: UInt32

    @inlinable package init(rawValue: UInt32) { self.rawValue = rawValue }

    @inlinable package init(topic: TopicID, partition: PartitionID, lane: Lane) {
        precondition(partition.rawValue < 4096, "a partition number has 12 bits")
        rawValue =
            UInt32(topic.rawValue) << 16 | UInt32(partition.rawValue) << 4 | UInt32(lane.rawValue)
    }

    /// Used by entries that belong to no stream: commands about the shard itself.
    package static let none = StreamID(rawValue: .max)

    @inlinable package var topic: TopicID { TopicID(UInt16(truncatingIfNeeded: rawValue >> 16)) }
    @inlinable package var partition: PartitionID {
        PartitionID(UInt16(truncatingIfNeeded: rawValue >> 4 & 0xFFF))
    }
    /// The lane, or nil when the bits name none (damaged or foreign bytes).
    @inlinable package var lane: Lane? { Lane(rawValue: UInt8(truncatingIfNeeded: rawValue & 0xF)) }

    @inlinable package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// A record's place in its stream: dense, from 0.
package struct Offset: Hashable, Comparable, BitwiseCopyable, Sendable {
    package var rawValue: Int64

    @inlinable package init(_ rawValue: Int64) { self.rawValue = rawValue }
    @inlinable package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
    @inlinable package func advanced(by count: Int) -> Offset { Offset(rawValue + Int64(count)) }
}

/// A byte position in a shard's log, counted over all its segments from the first byte of the first.
package struct LogPosition: Hashable, Comparable, BitwiseCopyable, Sendable {
    package var rawValue: UInt64

    @inlinable package init(_ rawValue: UInt64) { self.rawValue = rawValue }
    @inlinable package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
    package static let zero = LogPosition(0)
}

/// The number of a leadership. Messages of an older one are fenced off.
package struct LeaderEpoch: Hashable, Comparable, BitwiseCopyable, Sendable {
    package var rawValue: UInt32

    @inlinable package init(_ rawValue: UInt32) { self.rawValue = rawValue }
    @inlinable package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// One connection to this process, numbered by the shell in order of acceptance, never reused.
package struct ConnectionID: Hashable, Comparable, BitwiseCopyable, Sendable {
    package var rawValue: UInt64

    @inlinable package init(_ rawValue: UInt64) { self.rawValue = rawValue }
    @inlinable package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// Names a requested sync; comes back with its completion.
package struct SyncTicket: Hashable, Comparable, BitwiseCopyable, Sendable {
    package var rawValue: UInt64

    @inlinable package init(_ rawValue: UInt64) { self.rawValue = rawValue }
    @inlinable package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// Names one call to a provider; comes back with its answer.
package struct CallID: Hashable, Comparable, BitwiseCopyable, Sendable {
    package var rawValue: UInt64

    @inlinable package init(_ rawValue: UInt64) { self.rawValue = rawValue }
    @inlinable package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// Names a piece of slow work given to the background; comes back with its result.
package struct JobID: Hashable, Comparable, BitwiseCopyable, Sendable {
    package var rawValue: UInt64

    @inlinable package init(_ rawValue: UInt64) { self.rawValue = rawValue }
    @inlinable package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// How a notification reaches a person.
package enum Channel: UInt8, CaseIterable, Sendable {
    case email = 1
    case webhook = 2
    case sms = 3
    case push = 4

    package var name: String {
        switch self {
        case .email: "email"
        case .webhook: "webhook"
        case .sms: "sms"
        case .push: "push"
        }
    }

    package init?(name: String) {
        guard let channel = Channel.allCases.first(where: { $0.name == name }) else { return nil }
        self = channel
    }

    /// The topic of this channel's notifications. Topic numbers 1 to 15 are reserved for channels.
    package var topic: TopicID { TopicID(UInt16(rawValue)) }
    package var topicName: String { "notify." + name }

    package init?(topic: TopicID) {
        guard topic.rawValue <= UInt16(UInt8.max) else { return nil }
        self.init(rawValue: UInt8(topic.rawValue))
    }
}
