// Answers on their way out.

import PulseBroker
import PulseCore
import PulseGateway
import PulseLog

extension Node {
    func wait(_ answer: WaitingAnswers.Answer, durableAt: LogPosition) {
        waiting.add(answer, durableAt: durableAt)
    }

    /// Sends every answer whose promise is kept by now.
    func answerDurable(at now: Now, into effects: inout EffectQueue) throws(ShardError) {
        var durable = shard.answerableTo
        if Mutant.isOn(.answerBeforeSync) { durable = shard.log.appendPosition }
        try send(upTo: durable, at: now, into: &effects)
    }

    private func send(
        upTo durable: LogPosition,
        at now: Now,
        into effects: inout EffectQueue
    ) throws(ShardError) {
        while let answer = waiting.next(durable: durable) {
            switch answer {
            case .http(let connection, let slot, let response):
                try deliver(response, slot: slot, to: connection, at: now, into: &effects)
            case .native(let connection, let frame):
                guard native[connection] != nil else { continue }
                effects.send(on: connection) { $0.append(contentsOf: frame) }
            }
        }
    }
}
