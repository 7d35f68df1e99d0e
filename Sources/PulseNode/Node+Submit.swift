// Submissions over HTTP: admitted, handed to the shard, answered when they are durable; and what becomes
// of a request that meets a full disk or damaged data.

import PulseBroker
import PulseCore
import PulseDelivery
import PulseGateway
import PulseLog

extension Node {
    func submit(
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
            let taken = try unlessRefused { () throws(ShardError) in
                try self.submit(admitted, at: now)
            }
            switch taken {
            case .failure(let refusal):
                respond(refusal.response(dialect), slot: slot, to: conversation, into: &effects)
            case .success(let outcome):
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
    }

    /// Nil when what a question is about cannot be read: a damaged or missing entry, found only now. The
    /// question is refused and the broker goes on; only what must be right to go on stops it.
    func unlessUnreadable<T>(
        _ read: () throws(ShardError) -> T
    ) throws(ShardError) -> T? {
        do throws(ShardError) {
            return try read()
        } catch {
            guard error.isUnreadable else { throw error }
            metrics.unreadable += 1
            return nil
        }
    }

    /// Nil when what a question is about was given up by a repair.
    func unlessLost<T>(_ read: () throws(ShardError) -> T) throws(ShardError) -> T? {
        do throws(ShardError) {
            return try read()
        } catch {
            guard case .lost = error else { throw error }
            return nil
        }
    }

    /// What keeps one piece of work from being taken in, with nothing changed: no room for another
    /// segment, or damage where it had to be looked up whether the work is new.
    struct RefusedWork: Error {
        var code: ErrorCode

        func response(_ dialect: APIDialect) -> HTTPResponse {
            .unavailable(code, retryAfterSeconds: code == .diskFull ? 5 : nil, dialect)
        }
    }

    func unlessRefused<T>(
        _ take: () throws(ShardError) -> T
    ) throws(ShardError) -> Result<T, RefusedWork> {
        do throws(ShardError) {
            return .success(try take())
        } catch {
            switch error {
            case .log(.diskFull):
                metrics.refused += 1
                return .failure(RefusedWork(code: .diskFull))
            case .log(.damaged):
                metrics.refused += 1
                return .failure(RefusedWork(code: .dataCorrupt))
            default: throw error
            }
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
            let found = try unlessLost { () throws(ShardError) in
                try self.unlessUnreadable { () throws(ShardError) in
                    try self.shard.story(of: outcome.id, withSteps: false)
                }
            }
            guard let story = found ?? nil else {
                let code: ErrorCode = found == nil ? .dataLost : .dataCorrupt
                let refusal = RefusedWork(code: code).response(dialect)
                respond(refusal, slot: slot, to: conversation, into: &effects)
                return
            }
            response = .duplicate(
                outcome.id,
                story?.state ?? outcome.endState ?? .ready,
                attempts: story?.attempts ?? 0,
                dialect
            )
        case (.conflict, .v1): response = .conflict(dialect)
        }
        wait(
            .http(conversation.id, slot: slot, response),
            durableAt: Mutant.isOn(.httpBeforeSync) ? .zero : outcome.durableAt
        )
        if outcome.durableAt <= shard.log.durablePosition {
            try answerDurable(at: now, into: &effects)
        }
    }
}
