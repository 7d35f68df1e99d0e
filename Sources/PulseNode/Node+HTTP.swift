// The HTTP conversations: requests in, decisions of the shard, answers out in order.

import PulseBroker
import PulseCore
import PulseDelivery
import PulseGateway
import PulseLog

/// One HTTP connection.
final class HTTPConversation {
    let id: ConnectionID
    let session: HTTPSession
    var isPaused = false
    /// Too many bytes wait to be sent.
    var isBackedUp = false
    /// The session timer that is set, and for when.
    var timer = TimingWheel<ConnectionID>.Handle.none
    var timerAt = MonotonicInstant.distantFuture

    init(id: ConnectionID, session: HTTPSession) {
        self.id = id
        self.session = session
    }
}

extension Node {
    func openHTTP(_ id: ConnectionID, at now: Now) {
        let conversation = HTTPConversation(id: id, session: HTTPSession(at: now.monotonic))
        http[id] = conversation
        setTimer(conversation)
    }

    func receive(
        _ bytes: UnsafeRawBufferPointer,
        from conversation: HTTPConversation,
        at now: Now,
        into effects: inout EffectQueue
    ) throws(ShardError) {
        collect(conversation, into: &effects) { session, requests, output in
            session.receive(bytes, at: now.monotonic, requests: &requests, output: &output)
        }
        try answerRequests(of: conversation, at: now, into: &effects)
    }

    /// Runs one call of the session; what it appends to the output is sent, what it parses is kept in
    /// `requests`.
    private func collect(
        _ conversation: HTTPConversation,
        into effects: inout EffectQueue,
        _ call: (HTTPSession, inout [IncomingRequest], inout [UInt8]) -> Void
    ) {
        let start = effects.bytes.count
        call(conversation.session, &requests, &effects.bytes)
        if effects.bytes.count > start {
            effects.append(.send(conversation.id, start..<effects.bytes.count))
        }
    }

    private func answerRequests(
        of conversation: HTTPConversation,
        at now: Now,
        into effects: inout EffectQueue
    ) throws(ShardError) {
        while !requests.isEmpty {
            var batch: [IncomingRequest] = []
            swap(&batch, &requests)
            for incoming in batch {
                metrics.httpRequests += 1
                try answer(incoming, of: conversation, at: now, into: &effects)
            }
            // Answers make room for requests that were left unparsed.
            if conversation.session.needsResume {
                collect(conversation, into: &effects) { session, requests, output in
                    session.resume(at: now.monotonic, requests: &requests, output: &output)
                }
            }
        }
        settleFlow(of: conversation, into: &effects)
    }

    /// Closes or pauses a connection as its session now wants.
    private func settleFlow(of conversation: HTTPConversation, into effects: inout EffectQueue) {
        if conversation.session.shouldClose {
            forget(conversation.id)
            effects.append(.close(conversation.id, abruptly: false))
            return
        }
        setTimer(conversation)
        let wantsPause = !conversation.session.canReceiveMore || conversation.isBackedUp
        if wantsPause != conversation.isPaused {
            conversation.isPaused = wantsPause
            effects.append(
                wantsPause
                    ? .pauseReading(conversation.id) : .resumeReading(conversation.id)
            )
        }
    }

    func respond(
        _ response: HTTPResponse,
        slot: UInt32,
        to conversation: HTTPConversation,
        into effects: inout EffectQueue
    ) {
        metrics.note(status: response.status)
        effects.send(on: conversation.id) {
            conversation.session.respond(to: slot, response, output: &$0)
        }
    }

    /// Sends an answer that was waiting for a sync.
    func deliver(
        _ response: HTTPResponse,
        slot: UInt32,
        to id: ConnectionID,
        at now: Now,
        into effects: inout EffectQueue
    ) throws(ShardError) {
        guard let conversation = http[id] else { return }
        respond(response, slot: slot, to: conversation, into: &effects)
        if conversation.session.needsResume {
            collect(conversation, into: &effects) { session, requests, output in
                session.resume(at: now.monotonic, requests: &requests, output: &output)
            }
        }
        try answerRequests(of: conversation, at: now, into: &effects)
    }

    /// Stops reading from a client that does not read its answers, until it does.
    func backlogChanged(
        _ id: ConnectionID,
        _ bytes: Int,
        at now: Now,
        into effects: inout EffectQueue
    ) throws(ShardError) {
        let isFull = bytes >= Limits.outgoingBytesMax
        if let conversation = http[id] {
            conversation.isBackedUp = isFull
            settleFlow(of: conversation, into: &effects)
        } else if let conversation = native[id], conversation.isBackedUp != isFull {
            conversation.isBackedUp = isFull
            shard.noteBacklog(of: id, isFull: isFull)
            effects.append(isFull ? .pauseReading(id) : .resumeReading(id))
        }
    }

    // MARK: - Requests

    private func answer(
        _ incoming: IncomingRequest,
        of conversation: HTTPConversation,
        at now: Now,
        into effects: inout EffectQueue
    ) throws(ShardError) {
        let slot = incoming.slot
        let response: HTTPResponse
        switch incoming.request {
        case .submit(let submission):
            try submit(submission, slot: slot, of: conversation, at: now, into: &effects)
            return
        case .putTemplate(let name, let draft):
            try putTemplate(name, draft, slot: slot, of: conversation, at: now, into: &effects)
            return
        case .status(let id, let dialect):
            let found = try unlessUnreadable { () throws(ShardError) in
                try self.shard.story(of: id, withSteps: true)
            }
            switch found {
            case nil: response = .unavailable(.dataCorrupt, retryAfterSeconds: nil, dialect)
            case .some(nil): response = .notFound(.notification, dialect)
            case .some(let story?): response = .notification(view(of: story), dialect)
            }
        case .list(let query, let dialect):
            response =
                try unlessUnreadable { () throws(ShardError) in try self.list(query, dialect) }
                ?? .unavailable(.dataCorrupt, retryAfterSeconds: nil, dialect)
        case .templates(let channel, let dialect):
            let revisions = shard.templates.newest.filter {
                channel == nil || $0.row.channel == channel
            }
            response = .templates(revisions.map(view), dialect)
        case .template(let name, let dialect):
            if let revision = findTemplate(name) {
                response = .template(view(revision), created: false, dialect)
            } else {
                response = .notFound(.template, dialect)
            }
        case .outbox(let asPage):
            response =
                configuration.development
                ? .outbox(outbox.entries, asPage: asPage) : .notFound(.path, .v1)
        case .metrics: response = .metrics(metricsText())
        case .live: response = .live()
        case .ready: response = .ready(obstacle?.name)
        case .serverStatus: response = .serverStatus(serverStatus())
        case .answered(let decided): response = decided
        }
        respond(response, slot: slot, to: conversation, into: &effects)
    }

    private func submit(
        _ submission: Submission,
        slot: UInt32,
        of conversation: HTTPConversation,
        at now: Now,
        into effects: inout EffectQueue
    ) throws(ShardError) {
        let dialect = submission.dialect
        if let obstacle {
            metrics.refused += 1
            let response = HTTPResponse.unavailable(
                obstacle,
                retryAfterSeconds: obstacle.isRetryable ? 1 : nil,
                dialect
            )
            respond(response, slot: slot, to: conversation, into: &effects)
            return
        }
        var known: KnownTemplate?
        if let name = submission.template, let revision = shard.revisionInForce(of: name),
            let template = templates.template(of: revision)
        {
            known = KnownTemplate(channel: revision.row.channel, variables: template.variables)
        }
        switch Admission.admit(submission, template: known) {
        case .failure(let errors):
            metrics.refused += 1
            respond(
                .invalid(errors.all, dialect),
                slot: slot,
                to: conversation,
                into: &effects
            )
        case .success(let admitted):
            guard admitted.envelope.count <= Limits.envelopeBytesMax else {
                respond(.tooLarge(dialect), slot: slot, to: conversation, into: &effects)
                return
            }
            guard
                let outcome = try unlessFull({ () throws(ShardError) in
                    try self.submit(admitted, at: now)
                })
            else {
                let full = HTTPResponse.unavailable(.diskFull, retryAfterSeconds: 5, dialect)
                respond(full, slot: slot, to: conversation, into: &effects)
                return
            }
            try answer(
                outcome,
                dialect,
                slot: slot,
                of: conversation,
                at: now,
                into: &effects
            )
        }
    }

    /// Nil when what a question is about cannot be read: a damaged or missing entry, found only now. The
    /// question is refused and the broker goes on; only what must be right to go on stops it.
    func unlessUnreadable<T>(
        _ read: () throws(ShardError) -> T
    ) throws(ShardError) -> T? {
        do throws(ShardError) {
            return try read()
        } catch {
            switch error {
            case .log(.damaged), .log(.missing), .log(.noEntry):
                metrics.unreadable += 1
                return nil
            default: throw error
            }
        }
    }

    /// Nil when the disk has no room for another segment: nothing was changed, and the client may try
    /// again later.
    func unlessFull<T>(_ take: () throws(ShardError) -> T) throws(ShardError) -> T? {
        do throws(ShardError) {
            return try take()
        } catch {
            guard case .log(.diskFull) = error else { throw error }
            metrics.refused += 1
            return nil
        }
    }

    /// Hands an admitted notification to the shard.
    private func submit(
        _ admitted: AdmittedNotification,
        at now: Now
    ) throws(ShardError) -> SubmitOutcome {
        let empty: [UInt8] = []
        let result = admitted.user.withUnsafeBytes { user in
            admitted.envelope.withUnsafeBytes { envelope in
                (admitted.idempotencyKey ?? empty).withUnsafeBytes {
                    key -> Result<SubmitOutcome, ShardError> in
                    let new = NewNotification(
                        channel: admitted.channel,
                        lane: admitted.lane,
                        user: user,
                        envelope: envelope,
                        idempotencyKey: admitted.idempotencyKey == nil ? nil : key
                    )
                    do throws(ShardError) {
                        return .success(try shard.submit(new, at: now))
                    } catch { return .failure(error) }
                }
            }
        }
        return try result.get()
    }

    private func answer(
        _ outcome: SubmitOutcome,
        _ dialect: APIDialect,
        slot: UInt32,
        of conversation: HTTPConversation,
        at now: Now,
        into effects: inout EffectQueue
    ) throws(ShardError) {
        let response: HTTPResponse
        switch (outcome.kind, dialect) {
        case (.accepted, _): response = .accepted(outcome.id, dialect)
        // System 000's clients expect the first identifier, whatever the body.
        case (.duplicate, _), (.conflict, .compatible):
            let story = try shard.story(of: outcome.id, withSteps: false)
            response = .duplicate(
                outcome.id,
                story?.state ?? .ready,
                attempts: story?.attempts ?? 0,
                dialect
            )
        case (.conflict, .v1): response = .conflict(dialect)
        }
        wait(
            .http(conversation.id, slot: slot, response),
            durableAt: outcome.durableAt
        )
        if outcome.durableAt <= shard.log.durablePosition {
            try answerDurable(at: now, into: &effects)
        }
    }

    // MARK: - Templates

    private func putTemplate(
        _ name: String,
        _ draft: TemplateDraft,
        slot: UInt32,
        of conversation: HTTPConversation,
        at now: Now,
        into effects: inout EffectQueue
    ) throws(ShardError) {
        if let obstacle {
            let response = HTTPResponse.unavailable(
                obstacle,
                retryAfterSeconds: obstacle.isRetryable ? 1 : nil,
                .v1
            )
            respond(response, slot: slot, to: conversation, into: &effects)
            return
        }
        let row = TemplateRow(
            name: name,
            channel: draft.channel,
            subject: draft.subject ?? "",
            text: draft.text ?? "",
            html: draft.html ?? "",
            savedAt: now.wall
        )
        if let problem = problem(of: row) {
            respond(.invalid([problem], .v1), slot: slot, to: conversation, into: &effects)
            return
        }
        let created = shard.revisionInForce(of: name) == nil
        guard
            let saved = try unlessFull({ () throws(ShardError) in
                try self.shard.put(row, at: now)
            })
        else {
            let full = HTTPResponse.unavailable(.diskFull, retryAfterSeconds: 5, .v1)
            respond(full, slot: slot, to: conversation, into: &effects)
            return
        }
        let response = HTTPResponse.template(view(saved.revision), created: created, .v1)
        wait(.http(conversation.id, slot: slot, response), durableAt: saved.durableAt)
    }

    /// What keeps a template from being saved, or nil.
    func problem(of row: TemplateRow) -> FieldError? {
        let name = row.name.utf8
        guard (1...Limits.templateNameBytesMax).contains(name.count),
            !name.contains(where: { $0 < 0x20 || $0 == 0x7F })
        else {
            return FieldError(
                field: "name",
                code: .validationFailed,
                message: "a name has 1 to \(Limits.templateNameBytesMax) bytes of plain text"
            )
        }
        do {
            _ = try Template(row.source)
            return nil
        } catch {
            return FieldError(
                field: error.field,
                code: .invalidTemplate,
                message: "\(error)"
            )
        }
    }

    /// A template by its name or by its identifier.
    private func findTemplate(_ text: String) -> TemplateRevision? {
        if let found = shard.templates.revision(named: text) { return found }
        guard NotificationID(text) != nil else { return nil }
        let wanted = text.lowercased()
        return shard.templates.newest.first { templateID($0.row.name) == wanted }
    }

    // MARK: - Connections

    /// Makes sure that a timer fires no later than the session's deadline. A timer that is set earlier
    /// stays and is set again when it fires: a request in one piece costs no timer work.
    func setTimer(_ conversation: HTTPConversation) {
        let deadline = conversation.session.deadline
        guard deadline < conversation.timerAt else { return }
        sessionTimers.cancel(conversation.timer)
        conversation.timer = sessionTimers.schedule(conversation.id, at: deadline)
        conversation.timerAt = deadline
    }

    /// Looks at the sessions whose timers fired.
    func checkSessions(at now: Now, into effects: inout EffectQueue) {
        var fired: [ConnectionID] = []
        sessionTimers.advance(to: now.monotonic) { fired.append($0) }
        for id in fired {
            guard let conversation = http[id] else { continue }
            conversation.timerAt = .distantFuture
            if now.monotonic >= conversation.session.deadline {
                effects.send(on: id) {
                    conversation.session.reachedTime(now.monotonic, output: &$0)
                }
                settleFlow(of: conversation, into: &effects)
            }
            if http[id] != nil { setTimer(conversation) }
        }
    }

    /// A connection is gone, or is about to be closed.
    func forget(_ id: ConnectionID) {
        if let conversation = http.removeValue(forKey: id) {
            sessionTimers.cancel(conversation.timer)
        }
        if native.removeValue(forKey: id) != nil { shard.connectionClosed(id) }
    }
}
