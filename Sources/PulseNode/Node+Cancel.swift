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
        let response: HTTPResponse
        // There is room for an outcome on a full disk, until outcomes wait for room themselves.
        if let obstacle, obstacle != .diskFull || shard.isWaitingForRoom {
            response = .unavailable(
                obstacle,
                retryAfterSeconds: obstacle.isRetryable ? 1 : nil,
                .v1
            )
        } else {
            let outcome = try unlessLost { () throws(ShardError) in
                try self.unlessUnreadable { () throws(ShardError) in
                    try self.shard.cancel(id, at: now)
                }
            }
            guard let outcome else {
                let lost = HTTPResponse.unavailable(.dataLost, retryAfterSeconds: nil, .v1)
                respond(lost, slot: slot, to: conversation, into: &effects)
                return
            }
            switch outcome {
            case .cancelled(let durableAt):
                wait(
                    .http(conversation.id, slot: slot, .cancelled(id)),
                    durableAt: durableAt
                )
                return
            case .refused(let state): response = .notCancellable(state)
            case .unknown: response = .notFound(.notification, .v1)
            case nil: response = .unavailable(.dataCorrupt, retryAfterSeconds: nil, .v1)
            }
        }
        respond(response, slot: slot, to: conversation, into: &effects)
    }
}
