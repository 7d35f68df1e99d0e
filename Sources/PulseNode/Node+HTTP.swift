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
    /// Requests that wait until their answers have room.
    var postponed: [IncomingRequest] = []
    /// Bytes of answers in the turn of that number.
    var bytesInTurn = 0
    var turn: UInt64 = 0
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

    func answerRequests(
        of conversation: HTTPConversation,
        at now: Now,
        into effects: inout EffectQueue
    ) throws(ShardError) {
        while !requests.isEmpty {
            var batch: [IncomingRequest] = []
            swap(&batch, &requests)
            for (place, incoming) in batch.enumerated() {
                if isFull(conversation) {
                    postpone(batch[place...], of: conversation)
                    break
                }
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

    // MARK: - Large answers
    //
    // A client may ask for much more than it reads. Requests are answered as long as their answers of one
    // turn, and what waits to be sent, stay below `Limits.outgoingBytesMax`; the others wait, and their
    // connection is not read meanwhile.

    private func isFull(_ conversation: HTTPConversation) -> Bool {
        conversation.isBackedUp || !conversation.postponed.isEmpty
            || conversation.turn == turn && conversation.bytesInTurn >= Limits.outgoingBytesMax
    }

    private func postpone(
        _ requests: ArraySlice<IncomingRequest>,
        of conversation: HTTPConversation
    ) {
        conversation.postponed += requests
        if !conversation.isBackedUp, !postponing.contains(conversation.id) {
            postponing.append(conversation.id)
        }
    }

    /// Goes on with what waited, a new turn's worth for each connection.
    func answerPostponed(at now: Now, into effects: inout EffectQueue) throws(ShardError) {
        turn += 1
        guard !postponing.isEmpty else { return }
        var connections: [ConnectionID] = []
        swap(&connections, &postponing)
        for id in connections {
            guard let conversation = http[id], !conversation.isBackedUp else { continue }
            requests = conversation.postponed
            conversation.postponed = []
            try answerRequests(of: conversation, at: now, into: &effects)
        }
    }

    /// Closes or pauses a connection as its session now wants.
    private func settleFlow(of conversation: HTTPConversation, into effects: inout EffectQueue) {
        if conversation.session.shouldClose {
            forget(conversation.id)
            effects.append(.close(conversation.id, abruptly: false))
            return
        }
        setTimer(conversation)
        let wantsPause =
            !conversation.session.canReceiveMore || conversation.isBackedUp
            || !conversation.postponed.isEmpty
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
        let start = effects.bytes.count
        effects.send(on: conversation.id) {
            conversation.session.respond(to: slot, response, output: &$0)
        }
        if conversation.turn != turn {
            conversation.turn = turn
            conversation.bytesInTurn = 0
        }
        conversation.bytesInTurn += effects.bytes.count - start
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
            if !isFull, !conversation.postponed.isEmpty, !postponing.contains(id) {
                postponing.append(id)
            }
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
        case .cancel(let id):
            try cancel(id, slot: slot, of: conversation, at: now, into: &effects)
            return
        case .status(let id, let dialect):
            response = try self.response(dialect) { () throws(ShardError) in
                try self.shard.story(of: id, withSteps: true)
                    .map { .notification(self.view(of: $0), dialect) }
                    ?? .notFound(.notification, dialect)
            }
        case .list(let query, let dialect):
            response = try self.response(dialect) { () throws(ShardError) in
                try self.list(query, dialect)
            }
        case .templates(_, let dialect) where shard.isStateShort:
            // Some may lie behind the damage.
            response = refusal(.dataCorrupt).response(dialect)
        case .templates(let channel, let dialect):
            let revisions = shard.templates.newest.filter {
                channel == nil || $0.row.channel == channel
            }
            response = .templates(revisions.map(view), dialect)
        case .template(let name, let dialect):
            if let revision = findTemplate(name) {
                response = .template(view(revision), created: false, dialect)
            } else if shard.isStateShort {
                response = refusal(.dataCorrupt).response(dialect)
            } else {
                response = .notFound(.template, dialect)
            }
        case .outbox(let asPage):
            response =
                configuration.development
                ? .outbox(outbox.entries, asPage: asPage) : .notFound(.path, .v1)
        case .metrics: response = .metrics(metricsText(at: now))
        case .live: response = .live()
        case .ready: response = .ready(readiness)
        case .serverStatus: response = .serverStatus(serverStatus())
        case .disk: response = .disk(try disk(at: now))
        case .answered(let decided): response = decided
        }
        respond(response, slot: slot, to: conversation, into: &effects)
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
