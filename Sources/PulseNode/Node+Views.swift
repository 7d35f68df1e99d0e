// What is known of a notification or a template, in the shape that answers are made of.

import PulseBroker
import PulseCore
import PulseGateway

extension Node {
    /// Notifications that one list request may look at, whatever it filters.
    private static let listExamineMax = 5000

    func list(_ query: ListQuery, _ dialect: APIDialect) throws(ShardError) -> HTTPResponse {
        let place = query.cursor.map {
            Shard.ListPlace(
                position: LogPosition($0.first),
                offset: Offset(Int64(bitPattern: $0.second))
            )
        }
        var views: [NotificationView] = []
        func visit(_ story: NotificationStory) -> Bool {
            if query.status?.admits(story.state, attempts: story.attempts) ?? true {
                views.append(view(of: story))
            }
            return views.count < query.limit
        }
        let next: Shard.ListPlace?
        if var user = query.user {
            next = try user.withUTF8 { utf8 -> Result<Shard.ListPlace?, ShardError> in
                do throws(ShardError) {
                    return .success(
                        try shard.walkNewestFirst(
                            channel: query.channel,
                            user: UnsafeRawBufferPointer(utf8),
                            olderThan: place,
                            examineMax: Self.listExamineMax,
                            visit
                        )
                    )
                } catch { return .failure(error) }
            }.get()
        } else {
            next = try shard.walkNewestFirst(
                channel: query.channel,
                user: nil,
                olderThan: place,
                examineMax: Self.listExamineMax,
                visit
            )
        }
        let cursor = next.map {
            ListCursor(
                first: $0.position.rawValue,
                second: UInt64(bitPattern: $0.offset.rawValue)
            )
        }
        return .list(views, next: cursor, dialect)
    }

    func view(of story: NotificationStory) -> NotificationView {
        story.envelope.withUnsafeBytes { bytes in
            let envelope = Envelope(bytes)
            let channel = Channel(topic: story.stream.topic) ?? .email
            var view = NotificationView(
                id: story.id,
                user: envelope?.user?.text,
                template: envelope?.template?.text,
                channel: channel,
                to: envelope?.address?.text ?? "",
                lane: story.stream.lane ?? .normal,
                state: story.state,
                attempts: story.attempts,
                attemptsMax: configuration.shard.retry.attemptsMax,
                createdAt: story.acceptedAt
            )
            view.idempotencyKey = envelope?.idempotencyKey?.text
            if story.state == .scheduled { view.nextAttemptAt = envelope?.deliverAt }
            view.history.append(.init(at: story.acceptedAt, what: "accepted", detail: nil))
            for step in story.steps { describe(step, in: &view) }
            if let range = story.unread {
                let detail = "steps that cannot be read: \(range)"
                view.history.append(.init(at: story.acceptedAt, what: "unreadable", detail: detail))
            }
            view.isUncertain = story.isUncertain
            if story.isUncertain {
                view.error = "the log is damaged: what became of it behind the damage is not known"
            }
            return view
        }
    }

    private func describe(_ step: StoryStep, in view: inout NotificationView) {
        func event(_ what: String, _ detail: String?) {
            view.history.append(.init(at: step.at, what: what, detail: detail))
        }
        switch step.command {
        case .intent(let intent):
            view.lastAttemptAt = step.at
            view.nextAttemptAt = nil
            event("attempt", "attempt \(intent.attempt)")
        case .delivered(_, _, let detail):
            view.sentAt = step.at
            view.lastAttemptAt = view.lastAttemptAt ?? step.at
            view.nextAttemptAt = nil
            view.error = nil
            event("delivered", detail)
        case .held(_, let due, let reason, _, let detail):
            view.nextAttemptAt = due
            view.lastAttemptAt = view.lastAttemptAt ?? step.at
            view.error = detail
            event("held", "\(reason.name) until \(due.rfc3339): \(detail)")
        case .dead(_, _, let cause, _, let detail):
            view.error = detail
            view.lastAttemptAt = view.lastAttemptAt ?? step.at
            view.nextAttemptAt = nil
            event("dead", "\(cause.name): \(detail)")
        case .cancelled:
            view.nextAttemptAt = nil
            event("cancelled", nil)
        case .templatePut, .groupCreated, .started, .kept, .released, .expired, .forgot, .told,
            .remembered, .keysOver, .clockSet, .settled:
            break
        }
    }

    func view(_ revision: TemplateRevision) -> TemplateView {
        let row = revision.row
        func part(_ text: String) -> String? { text.isEmpty ? nil : text }
        var view = TemplateView(
            name: row.name,
            id: templateID(row.name),
            channel: row.channel,
            subject: part(row.subject),
            text: part(row.text),
            html: part(row.html),
            createdAt: row.savedAt,
            revision: revision.position.rawValue
        )
        view.isUncertain = shard.isStateShort
        return view
    }

    /// A UUID that belongs to the name for ever, for clients which expect one.
    func templateID(_ name: String) -> String {
        let high = XXH3.hash(name, seed: 1) & ~0xF000 | 0x8000
        let low = XXH3.hash(name, seed: 2) & ~(0b11 << 62) | 0b10 << 62
        return NotificationID(high: high, low: low).description
    }

    func serverStatus() -> ServerStatusView {
        var counts: [(name: String, value: Int64)] = []
        for channel in Channel.allCases {
            let balance = shard.balance(of: channel)
            counts.append(("\(channel.name).accepted", Int64(balance.accepted)))
            counts.append(("\(channel.name).scheduled", Int64(balance.scheduled)))
            counts.append(("\(channel.name).ready", Int64(balance.ready)))
            counts.append(("\(channel.name).held", Int64(balance.held)))
            counts.append(("\(channel.name).leased", Int64(balance.leased)))
            counts.append(("\(channel.name).delivered", Int64(balance.delivered)))
            counts.append(("\(channel.name).dead", Int64(balance.dead)))
            counts.append(("\(channel.name).lost", Int64(balance.lost)))
            counts.append(("\(channel.name).cancelled", Int64(balance.cancelled)))
        }
        return ServerStatusView(
            version: configuration.version,
            state: servingState,
            startedAt: startedAt,
            counts: counts
        )
    }

    private var servingState: String {
        switch obstacle {
        case nil: "serving"
        case .draining: "draining"
        case .dataCorrupt: "read-only"
        default: "refusing work"
        }
    }

    /// The template that `--dev` loads so that the first request has something to name.
    func loadSampleTemplate(at now: Now) throws(ShardError) {
        guard shard.templates.revision(named: "welcome") == nil else { return }
        _ = try shard.put(
            TemplateRow(
                name: "welcome",
                channel: .email,
                subject: "Welcome, {{ name }}",
                text: "Hello {{ name }}, it is good to have you here.\n",
                html: "<p>Hello <b>{{ name }}</b>, it is good to have you here.</p>\n",
                savedAt: now.wall
            ),
            at: now
        )
    }
}
