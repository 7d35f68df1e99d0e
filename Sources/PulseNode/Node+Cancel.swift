// Taking a notification back, over HTTP.

import PulseBroker
import PulseCore
import PulseGateway
import PulseLog

extension Node {
    func cancel(
        _ id: NotificationID,
        slot: UInt32,
        of conversation: HTTPConversation,
        at now: Now,
        into effects: inout EffectQueue
    ) throws(ShardError) {
        let outcome: Result<CancelOutcome, Refusal>
        if let obstacle = obstacle(to: .cancellation) {
            outcome = .failure(refusal(obstacle))
        } else {
            outcome = try unlessRefused { () throws(ShardError) in
                try self.shard.cancel(id, at: now)
            }
        }
        let response: HTTPResponse
        switch outcome {
        case .success(.cancelled(let durableAt)):
            wait(
                .http(conversation.id, slot: slot, .cancelled(id)),
                durableAt: Mutant.isOn(.cancelBeforeSync) ? .zero : durableAt
            )
            return
        case .success(.refused(let state)): response = .notCancellable(state)
        case .success(.unknown): response = .notFound(.notification, .v1)
        case .failure(let refusal): response = refusal.response(.v1)
        }
        respond(response, slot: slot, to: conversation, into: &effects)
    }
}
