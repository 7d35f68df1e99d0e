// How long things are kept: by age and by size, for all and per topic.
//
// One log holds all topics. A topic *requires* a segment while something of it in there (a record, or
// the end of one) is younger than the topic's age, and the topic's records in later segments do not yet
// fill the topic's size. A segment is past policy when no topic requires it, or when the log is larger
// than its own size. What is past policy and not finished is another matter: Shard+Evacuation.
//
// Source: spec/05-delivery.md, "Retention".

package import PulseCore

package struct RetentionPolicy: Hashable, Sendable {
    package struct Topic: Hashable, Sendable {
        /// nil: as for all.
        package var ageMilliseconds: Int64?
        /// Bytes of the topic's records, 0 for no limit.
        package var bytes: Int64

        package init(ageMilliseconds: Int64? = nil, bytes: Int64 = 0) {
            self.ageMilliseconds = ageMilliseconds
            self.bytes = bytes
        }
    }

    /// Bytes of the log's files, spare ones and indexes included, and of the state store's; 0 for no limit.
    package var bytes: Int64
    /// By channel, in the order of `Channel.allCases`.
    package var topics: [Topic]

    package init(bytes: Int64 = 0, topics: [Topic] = []) {
        self.bytes = bytes
        let others = max(0, Channel.allCases.count - topics.count)
        self.topics = topics + Array(repeating: Topic(), count: others)
    }

    package func topic(_ topic: TopicID) -> Topic {
        guard let channel = Channel(topic: topic) else { return Topic() }
        return topics[Int(channel.rawValue) - 1]
    }
}

extension ShardConfiguration {
    /// How long what ended is kept; never shorter than an idempotency key is remembered, by age.
    package func age(of topic: TopicID) -> Int64 {
        guard let own = retention.topic(topic).ageMilliseconds else { return retentionMilliseconds }
        return max(own, idempotencyWindowMilliseconds)
    }

    package var shortestAge: Int64 {
        Channel.allCases.map { age(of: $0.topic) }.min() ?? retentionMilliseconds
    }
}

/// Why a segment is not required any more.
package enum PastPolicy: Hashable, Sendable {
    case age
    /// The log is too large: what is younger goes too.
    case size
}

/// One look over the segments, oldest first.
struct RetentionVerdicts {
    private let configuration: ShardConfiguration
    private let now: WallTimestamp
    private let book: SegmentBook
    /// Segments that go because the log is too large.
    private var overSize: Int
    /// Bytes of each topic's records in the segments not looked at yet; empty when no topic has a limit.
    private var topicBytes: [(topic: TopicID, bytes: Int64)] = []

    init(
        _ configuration: ShardConfiguration,
        _ book: SegmentBook,
        excessBytes: Int64,
        at now: WallTimestamp
    ) {
        self.configuration = configuration
        self.now = now
        self.book = book
        let size = Int64(book.segmentBytes)
        overSize = excessBytes > 0 ? Int((excessBytes + size - 1) / size) : 0
        for channel in Channel.allCases where configuration.retention.topic(channel.topic).bytes > 0
        {
            let bytes = book.streams.reduce(Int64(0)) { sum, stream in
                guard stream.stream.topic == channel.topic else { return sum }
                return sum + stream.extents.reduce(Int64(0)) { $0 + Int64($1.bytes) }
            }
            topicBytes.append((channel.topic, bytes))
        }
    }

    /// Whether the next segment is past policy, and why; nil when somebody requires it. All times are
    /// steady ones.
    mutating func next(_ segment: SegmentAccount, latest: WallTimestamp) -> PastPolicy? {
        for index in topicBytes.indices {
            let topic = topicBytes[index].topic
            for stream in book.streams where stream.stream.topic == topic {
                topicBytes[index].bytes -= Int64(stream.extent(in: segment.number)?.bytes ?? 0)
            }
        }
        defer { overSize -= 1 }
        if overSize > 0 { return .size }
        let latest = max(latest, segment.latestEnd)
        for topic in 0..<64 where segment.topics >> UInt64(topic) & 1 == 1 {
            if isRequired(TopicID(UInt16(topic)), latest) { return nil }
        }
        if segment.topics == 0, isYoung(latest, configuration.retentionMilliseconds) { return nil }
        return .age
    }

    private func isRequired(_ topic: TopicID, _ latest: WallTimestamp) -> Bool {
        guard isYoung(latest, configuration.age(of: topic)) else { return false }
        let limit = configuration.retention.topic(topic).bytes
        guard limit > 0, let newer = topicBytes.first(where: { $0.topic == topic }) else {
            return true
        }
        return newer.bytes < limit
    }

    private func isYoung(_ latest: WallTimestamp, _ age: Int64) -> Bool {
        latest >= now.advanced(byMilliseconds: -age)
    }
}
