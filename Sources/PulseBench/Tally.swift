// What a run has seen: counted while it runs, judged when it is over.

package import PulseCore

package struct Tally: Sendable {
    /// Notifications that left.
    package var sent = 0
    package var identifiers: [NotificationID] = []
    /// Answers that were not "accepted", by what they said.
    package var others: [String: Int] = [:]
    /// Notifications that never got an answer.
    package var unanswered = 0
    /// From the intended time to the answer.
    package var latency = LatencyHistogram()
    /// From the intended time to when the generator came to it.
    package var lateness = LatencyHistogram()
    /// From the first intended time to the last answer.
    package var elapsedNanoseconds: UInt64 = 0

    package init() {}

    package var accepted: Int { identifiers.count }

    /// Whether no identifier was given twice.
    package var identifiersAreUnique: Bool {
        let sorted = identifiers.sorted { ($0.high, $0.low) < ($1.high, $1.low) }
        return zip(sorted, sorted.dropFirst()).allSatisfy { $0 != $1 }
    }

    mutating func take(_ verdicts: [BenchVerdict], of batch: Int) {
        for verdict in verdicts {
            switch verdict {
            case .accepted(let id): identifiers.append(id)
            case .other(let words): others[words, default: 0] += 1
            }
        }
        // A batch that is refused as a whole has one verdict.
        if verdicts.count < batch { unanswered += batch - verdicts.count }
    }
}
