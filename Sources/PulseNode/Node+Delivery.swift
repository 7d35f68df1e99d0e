// Delivering: what is leased is rendered and handed to its provider, and the provider's answer becomes
// an outcome. Intent is durable before the call, the outcome is appended after it.

import PulseBroker
import PulseCore
import PulseDelivery
import PulseLog

extension Node {
    /// A call that was not answered this long after its own deadline is taken for lost.
    private static let answerGraceMilliseconds: Int64 = 5000

    /// Leases messages for every channel that can deliver now.
    func dispatch(at now: Now) throws(ShardError) {
        for channel in Channel.allCases where configuration.providers.delivers(channel) {
            let index = Int(channel.rawValue) - 1
            if let until = pausedUntil[index] {
                guard now.monotonic >= until else { continue }
                pausedUntil[index] = nil
            }
            try shard.dispatch(channel, slots: configuration.concurrency[index], at: now)
        }
    }

    /// Calls the providers of all leases whose intents became durable.
    func callOpened(at now: Now, into effects: inout EffectQueue) throws(ShardError) {
        for lease in shard.takeOpened() {
            guard let channel = Channel(topic: lease.message.stream.topic) else {
                preconditionFailure("workers lease from channel topics only")
            }
            guard let plan = try plan(lease, channel, at: now) else {
                // Damage met on the way out says nothing against the message: it stays where it was.
                strand(lease, into: &effects)
                continue
            }
            switch plan {
            case .catch(let caught):
                outbox.keep(caught)
                metrics.caught += 1
                try shard.settle(lease.id, .delivered(code: 0, detail: "caught"), at: now)
            case .call(let request):
                let call = calls.begin(
                    lease: lease.id,
                    channel: channel,
                    patienceMilliseconds: request.timeoutMilliseconds
                        + Self.answerGraceMilliseconds
                )
                wait(for: call, at: now)
                metrics.calls += 1
                effects.append(.call(call, request))
            case .payloadBad(let reason):
                let ending = AttemptOutcome.dead(.payloadBad, code: 0, detail: reason)
                logFailure(of: lease, ending, "payload_bad", into: &effects)
                try shard.settle(lease.id, ending, at: now)
            case .noProvider:
                try shard.settle(
                    lease.id,
                    .retry(
                        afterMilliseconds: configuration.pauseMilliseconds,
                        reason: .backoff,
                        code: 0,
                        detail: "the channel has no provider",
                        counts: false
                    ),
                    at: now
                )
            }
        }
    }

    /// The lease ends when the call is neither answered nor given up by the shell.
    func wait(for id: CallID, at now: Now) {
        guard let call = calls[id] else { return }
        shard.setDeadline(
            call.lease,
            at: now.monotonic.advanced(byMilliseconds: call.patienceMilliseconds)
        )
    }

    /// Leaves a message whose record cannot be read, and says so.
    func strand(_ lease: Lease, into effects: inout EffectQueue) {
        shard.strand(lease)
        let message = lease.message
        effects.append(
            .log(
                LogEvent(
                    .error,
                    "a stored record cannot be read: its delivery waits for a repair",
                    [
                        .init("notification_id", "\(shard.id(message.stream, message.offset))"),
                        .init("channel", Channel(topic: message.stream.topic)?.name ?? ""),
                    ]
                )
            )
        )
    }

    /// What to do for a leased message; nil when its record cannot be read.
    private func plan(
        _ lease: Lease,
        _ channel: Channel,
        at now: Now
    ) throws(ShardError) -> DeliveryPlan? {
        let stream = lease.message.stream
        let offset = lease.message.offset
        var failure: ShardError?
        let plan = try unlessRefused { () throws(ShardError) in
            try self.shard.withRecord(stream, offset) { header, _, value -> DeliveryPlan in
                guard let envelope = Envelope(value) else {
                    return .payloadBad(reason: "the record's envelope cannot be read")
                }
                var template: Template?
                if let name = envelope.template?.text {
                    do throws(ShardError) {
                        template = try self.template(named: name, before: header.position)
                    } catch { failure = error }
                }
                return DeliveryPlan.make(
                    id: shard.id(stream, offset),
                    channel: channel,
                    envelope: envelope,
                    template: template,
                    settings: configuration.providers,
                    attempt: Int(lease.attempt),
                    createdAt: header.wall,
                    now: now.wall
                )
            }
        }
        if let failure { throw failure }
        return try? plan.get()
    }

    /// The template as it was at a place in the log.
    func template(
        named name: String,
        before position: LogPosition
    ) throws(ShardError) -> Template? {
        do throws(StorageError) {
            return try shard.templates.revision(named: name, before: position, in: shard.store)
                .flatMap { templates.template(of: $0) }
        } catch { throw .storage(error) }
    }

    /// Turns a provider's answer into the lease's outcome.
    func providerAnswered(
        _ id: CallID,
        _ answer: ProviderAnswer,
        at now: Now,
        into effects: inout EffectQueue
    ) throws(ShardError) {
        guard let call = calls.end(id) else { return }
        let (outcome, detail) = Outcome.classify(call.channel, answer)
        metrics.note(outcome)
        let code: Int32 =
            if case .answered(let code, _, _) = answer { Int32(clamping: code) } else { 0 }
        let ending: AttemptOutcome
        switch outcome {
        case .accepted: ending = .delivered(code: code, detail: detail)
        case .recipientDead: ending = .dead(.recipientDead, code: code, detail: detail)
        case .payloadBad: ending = .dead(.payloadBad, code: code, detail: detail)
        case .retryAt(let seconds):
            let wait = configuration.shard.retry.delayMs(
                afterAttempt: 1,
                retryAtSeconds: seconds,
                using: &random
            )
            ending = .retry(
                afterMilliseconds: wait,
                reason: .backoff,
                code: code,
                detail: detail
            )
        case .retryBackoff, .ambiguous:
            ending = .retry(afterMilliseconds: nil, reason: .backoff, code: code, detail: detail)
        case .configBad:
            let rest = configuration.pauseMilliseconds
            pausedUntil[Int(call.channel.rawValue) - 1] =
                now.monotonic.advanced(byMilliseconds: rest)
            effects.append(
                .log(
                    LogEvent(
                        .error,
                        "channel paused: its provider is not configured rightly",
                        [
                            .init("channel", call.channel.name), .init("code", "\(code)"),
                            .init("seconds", "\(rest / 1000)"),
                        ]
                    )
                )
            )
            ending = .retry(
                afterMilliseconds: rest,
                reason: .backoff,
                code: code,
                detail: detail,
                counts: false
            )
        }
        if let lease = shard.leases[call.lease] {
            logFailure(of: lease, ending, outcome.name, into: &effects)
        }
        try shard.settle(call.lease, ending, at: now)
    }

    /// One line for an attempt that did not deliver. What the provider said may hold an address, so the
    /// line has its code only; the whole answer is in the notification's story.
    private func logFailure(
        of lease: Lease,
        _ ending: AttemptOutcome,
        _ outcomeName: String,
        into effects: inout EffectQueue
    ) {
        let isDead: Bool
        let code: Int32
        switch ending {
        case .delivered, .cancelled: return
        case .dead(_, let said, _): (isDead, code) = (true, said)
        case .retry(_, _, let said, _, let counts):
            let isLast = configuration.shard.retry.isLast(attempt: Int(lease.attempt))
            (isDead, code) = (counts && isLast, said)
        }
        let message = lease.message
        effects.append(
            .log(
                LogEvent(
                    isDead ? .warning : .info,
                    isDead ? "notification dead" : "attempt failed",
                    [
                        .init("notification_id", "\(shard.id(message.stream, message.offset))"),
                        .init("channel", Channel(topic: message.stream.topic)?.name ?? ""),
                        .init("attempt", "\(lease.attempt)"), .init("class", outcomeName),
                        .init("code", "\(code)"),
                    ]
                )
            )
        )
    }
}

extension ProviderRequest {
    fileprivate var timeoutMilliseconds: Int64 {
        switch self {
        case .smtp(let request): request.timeoutMilliseconds
        case .http(let request): request.timeoutMilliseconds
        }
    }
}
