// Where a notification stands: the states of its life, as every interface names them.

/// Exactly one of these holds for every accepted notification at any moment. The numbers are the native
/// protocol's and never change.
package enum NotificationState: UInt8, CaseIterable, Sendable {
    /// Waits for the time it was asked to go at. Can become: ready, cancelled, suppressed.
    case scheduled = 1
    /// May go now. Can become: leased, expired, cancelled, suppressed.
    case ready = 2
    /// Waits for another attempt. Can become: ready, expired, cancelled, suppressed.
    case held = 3
    /// A worker or consumer has it. Can become: ready, held, delivered, dead.
    case leased = 4
    case delivered = 5
    /// Gave up; can become accepted again by a redrive.
    case dead = 6
    case expired = 7
    case cancelled = 8
    case suppressed = 9

    package var name: String {
        switch self {
        case .scheduled: "scheduled"
        case .ready: "ready"
        case .held: "held"
        case .leased: "leased"
        case .delivered: "delivered"
        case .dead: "dead"
        case .expired: "expired"
        case .cancelled: "cancelled"
        case .suppressed: "suppressed"
        }
    }

    package init?(name: String) {
        guard let state = NotificationState.allCases.first(where: { $0.name == name }) else {
            return nil
        }
        self = state
    }

    /// Whether nothing follows by itself.
    package var isFinal: Bool { rawValue >= NotificationState.delivered.rawValue }
}
