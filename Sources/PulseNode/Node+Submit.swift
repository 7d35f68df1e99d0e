// Submissions over HTTP: admitted, handed to the shard, answered when they are durable.

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
        if let obstacle = obstacle(to: .new) {
            metrics.refused += 1
            let response = refusal(obstacle).response(dialect)
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
                metrics.refused += 1
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
            let found = try unlessRefused { () throws(ShardError) in
                try self.shard.story(of: outcome.id, withSteps: false)
            }
            switch found {
            case .success(let story):
                response = .duplicate(
                    outcome.id,
                    story?.state ?? outcome.endState ?? .ready,
                    attempts: story?.attempts ?? 0,
                    dialect
                )
            case .failure(let refusal):
                respond(refusal.response(dialect), slot: slot, to: conversation, into: &effects)
                return
            }
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
