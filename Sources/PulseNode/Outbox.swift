// The development catcher: what would have gone to a provider, the newest kept for a look.

import PulseCore
import PulseDelivery
import PulseGateway

/// A ring of the newest notifications, bounded in number and in bytes.
struct Outbox {
    private var ring = [CaughtNotification?](repeating: nil, count: Limits.outboxEntriesMax)
    private var oldest = 0
    private var kept = 0
    private var bytes = 0
    /// How many were ever caught.
    private(set) var count: UInt64 = 0

    /// Bytes of texts kept at once.
    private static let bytesMax = 32 << 20

    mutating func keep(_ caught: CaughtNotification) {
        count += 1
        let size = Self.size(of: caught)
        while kept == ring.count || kept > 0 && bytes + size > Self.bytesMax { dropOldest() }
        ring[(oldest + kept) % ring.count] = caught
        kept += 1
        bytes += size
    }

    private mutating func dropOldest() {
        if let gone = ring[oldest] { bytes -= Self.size(of: gone) }
        ring[oldest] = nil
        oldest = (oldest + 1) % ring.count
        kept -= 1
    }

    private static func size(of caught: CaughtNotification) -> Int {
        caught.subject.utf8.count + caught.text.utf8.count + caught.html.utf8.count
    }

    /// Newest first.
    var entries: [OutboxEntry] {
        (0..<kept).reversed().compactMap { ring[(oldest + $0) % ring.count] }.map {
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
