// What answers are made of: the node fills these in, the gateway gives them each dialect's shape.

package import PulseCore

extension NotificationState {
    /// System 000's word.
    ///
    ///     scheduled, ready                         pending
    ///     leased     never tried / tried before    pending / retrying
    ///     held                                     retrying
    ///     delivered                                sent
    ///     dead, expired, cancelled, suppressed     failed
    package func compatible(attempts: Int) -> CompatibleStatus {
        switch self {
        case .scheduled, .ready: .pending
        case .leased: attempts > 0 ? .retrying : .pending
        case .held: .retrying
        case .delivered: .sent
        case .dead, .expired, .cancelled, .suppressed: .failed
        }
    }
}

/// The four words of system 000.
package enum CompatibleStatus: String, CaseIterable, Sendable {
    case pending
    case sent
    case retrying
    case failed
}

/// The `status` of a list query, in the words of its dialect.
package enum StatusFilter: Hashable, Sendable {
    case state(NotificationState)
    case compatible(CompatibleStatus)

    package func admits(_ state: NotificationState, attempts: Int) -> Bool {
        switch self {
        case .state(let wanted): state == wanted
        case .compatible(let wanted): state.compatible(attempts: attempts) == wanted
        }
    }
}

/// All that status and list answers tell of one notification.
package struct NotificationView: Sendable {
    package struct Event: Hashable, Sendable {
        package var at: WallTimestamp
        package var what: String
        package var detail: String?

        package init(at: WallTimestamp, what: String, detail: String?) {
            self.at = at
            self.what = what
            self.detail = detail
        }
    }

    package var id: NotificationID
    package var user: String?
    package var template: String?
    package var channel: Channel
    package var to: String
    package var lane: Lane
    package var state: NotificationState
    /// Tries so far, the one under way included.
    package var attempts: Int
    package var attemptsMax: Int
    package var createdAt: WallTimestamp
    package var sentAt: WallTimestamp?
    package var lastAttemptAt: WallTimestamp?
    package var nextAttemptAt: WallTimestamp?
    package var error: String?
    /// Whether it may have ended, with that in what is damaged.
    package var isUncertain = false
    package var idempotencyKey: String?
    /// What happened, oldest first; only told on `/v1`.
    package var history: [Event]

    package init(
        id: NotificationID,
        user: String?,
        template: String?,
        channel: Channel,
        to: String,
        lane: Lane,
        state: NotificationState,
        attempts: Int,
        attemptsMax: Int,
        createdAt: WallTimestamp,
        sentAt: WallTimestamp? = nil,
        lastAttemptAt: WallTimestamp? = nil,
        nextAttemptAt: WallTimestamp? = nil,
        error: String? = nil,
        idempotencyKey: String? = nil,
        history: [Event] = []
    ) {
        self.id = id
        self.user = user
        self.template = template
        self.channel = channel
        self.to = to
        self.lane = lane
        self.state = state
        self.attempts = attempts
        self.attemptsMax = attemptsMax
        self.createdAt = createdAt
        self.sentAt = sentAt
        self.lastAttemptAt = lastAttemptAt
        self.nextAttemptAt = nextAttemptAt
        self.error = error
        self.idempotencyKey = idempotencyKey
        self.history = history
    }
}

package struct TemplateView: Hashable, Sendable {
    package var name: String
    /// A UUID, for clients which expect one.
    package var id: String
    package var channel: Channel
    package var subject: String?
    package var text: String?
    package var html: String?
    package var createdAt: WallTimestamp
    package var revision: UInt64
    /// A newer revision may lie behind damage of the log.
    package var isUncertain = false

    package init(
        name: String,
        id: String,
        channel: Channel,
        subject: String?,
        text: String?,
        html: String?,
        createdAt: WallTimestamp,
        revision: UInt64
    ) {
        self.name = name
        self.id = id
        self.channel = channel
        self.subject = subject
        self.text = text
        self.html = html
        self.createdAt = createdAt
        self.revision = revision
    }
}

/// One notification that the development catcher took instead of a provider.
package struct OutboxEntry: Hashable, Sendable {
    package var id: NotificationID
    package var caughtAt: WallTimestamp
    package var channel: Channel
    package var to: String
    package var user: String?
    package var subject: String?
    package var text: String?
    package var html: String?

    package init(
        id: NotificationID,
        caughtAt: WallTimestamp,
        channel: Channel,
        to: String,
        user: String?,
        subject: String?,
        text: String?,
        html: String?
    ) {
        self.id = id
        self.caughtAt = caughtAt
        self.channel = channel
        self.to = to
        self.user = user
        self.subject = subject
        self.text = text
        self.html = html
    }
}

/// What `GET /v1/status` tells of the server.
package struct ServerStatusView: Sendable {
    package var version: String
    /// `serving` or `draining`.
    package var state: String
    package var startedAt: WallTimestamp
    /// Named counts, in the order they are to be shown.
    package var counts: [(name: String, value: Int64)]

    package init(
        version: String,
        state: String,
        startedAt: WallTimestamp,
        counts: [(name: String, value: Int64)]
    ) {
        self.version = version
        self.state = state
        self.startedAt = startedAt
        self.counts = counts
    }
}
