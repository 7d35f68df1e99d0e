// A message that would be written again and again is written once, and then as a count now and then.

import PulseCore

/// Messages that were written lately, by their sentence. Sentences are constants: there are few.
struct RepeatedMessages {
    private struct Entry {
        var event: LogEvent
        /// Until then it is only counted.
        var quietUntil: MonotonicInstant
        var count = 0
    }

    private var entries: [Entry] = []

    /// Whether to write the event now; if not it is counted.
    mutating func admits(_ event: LogEvent, at now: MonotonicInstant) -> Bool {
        guard event.mayRepeat else { return true }
        if let index = entries.firstIndex(where: { $0.event.message == event.message }) {
            entries[index].event = event
            entries[index].count += 1
            return false
        }
        entries.append(Entry(event: event, quietUntil: Self.quiet(from: now)))
        return true
    }

    /// When ``takeSummaries(at:)`` has something to say or to forget.
    var due: MonotonicInstant? { entries.map(\.quietUntil).min() }

    /// What was counted in a time that is over, one line for each message, the last one's fields.
    mutating func takeSummaries(at now: MonotonicInstant) -> [LogEvent] {
        var summaries: [LogEvent] = []
        for index in entries.indices.reversed() where entries[index].quietUntil <= now {
            guard entries[index].count > 0 else {
                entries.remove(at: index)
                continue
            }
            var event = entries[index].event
            event.fields.append(.init("repeated", "\(entries[index].count)"))
            summaries.append(event)
            entries[index].count = 0
            entries[index].quietUntil = Self.quiet(from: now)
        }
        return summaries
    }

    private static func quiet(from now: MonotonicInstant) -> MonotonicInstant {
        now.advanced(byMilliseconds: Limits.repeatedLogMilliseconds)
    }
}
