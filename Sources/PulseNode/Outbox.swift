// The development catcher: what would have gone to a provider, the newest kept for a look.

import PulseCore
import PulseDelivery
import PulseGateway

struct Outbox {
    private var ring: [CaughtNotification] = []
    private var next = 0
    /// How many were ever caught.
    private(set) var count: UInt64 = 0

    mutating func keep(_ caught: CaughtNotification) {
        count += 1
        if ring.count < Limits.outboxEntriesMax {
            ring.append(caught)
        } else {
            ring[next] = caught
        }
        next = (next + 1) % Limits.outboxEntriesMax
    }

    /// Newest first.
    var entries: [OutboxEntry] {
        let isFull = ring.count == Limits.outboxEntriesMax
        let oldestFirst = isFull ? Array(ring[next...] + ring[..<next]) : ring
        return oldestFirst.reversed().map {
            OutboxEntry(
                id: $0.id,
                caughtAt: $0.at,
                channel: $0.channel,
                to: $0.to,
                user: $0.user,
                subject: $0.subject.isEmpty ? nil : $0.subject,
                text: $0.text.isEmpty ? nil : $0.text,
                html: $0.html.isEmpty ? nil : $0.html
            )
        }
    }
}
