// Settling: acknowledgements, rejections and extensions wait here for the wire, many to a frame,
// and come back as verdicts. What had no verdict when the link was lost is sent again: it is
// idempotent.

internal import PulseCore
internal import PulseWire

enum SettleKind: Hashable, Sendable {
    case acknowledge
    case reject(delayMilliseconds: UInt64?, reason: String)
    case extend(milliseconds: UInt32)

    var isExtend: Bool {
        switch self {
        case .extend: true
        case .acknowledge, .reject: false
        }
    }
}

/// Tokens settled in the same way, sent in one frame.
struct SettleBatch {
    var kind: SettleKind
    var tokens: [DeliveryToken] = []
    /// Who wants to know about a token.
    var promises: [(index: Int, promise: Promise<Void>)] = []
    var deadline: MonotonicInstant

    static let tokensMax = 1024
}

extension ClientMachine {
    mutating func settle(
        _ id: UInt32,
        _ token: DeliveryToken,
        _ kind: SettleKind,
        generation: UInt64,
        at now: MonotonicInstant,
        _ promise: Promise<Void>?
    ) {
        guard var state = consumers.removeValue(forKey: id), state.failure == nil,
            link != .closed
        else {
            if let promise { resumptions.append(.done(promise, .failure(.closed))) }
            return
        }
        if !kind.isExtend, generation == self.generation { state.creditOwed += 1 }
        if state.settling.last?.kind != kind
            || state.settling.last.map({ $0.tokens.count >= SettleBatch.tokensMax }) == true
        {
            state.settling.append(SettleBatch(kind: kind, deadline: deadline(from: now)))
        }
        let last = state.settling.count - 1
        if let promise {
            state.settling[last].promises.append((state.settling[last].tokens.count, promise))
        }
        state.settling[last].tokens.append(token)
        consumers[id] = state
    }

    mutating func flush(_ id: UInt32, at now: MonotonicInstant, _ promise: Promise<Void>) {
        if let failure = consumers[id]?.failure {
            resumptions.append(.done(promise, .failure(failure)))
        } else if consumers[id]?.isSettled ?? true {
            resumptions.append(.done(promise, .success(())))
        } else {
            consumers[id]?.flushes.append(promise)
        }
    }

    mutating func settled(
        _ id: UInt32,
        _ batch: SettleBatch,
        _ view: SettleReplyView
    ) -> ClientError? {
        guard view.count == batch.tokens.count else {
            consumers[id]?.requeue(batch)
            return ClientError(
                .protocolViolation,
                "\(view.count) verdicts for \(batch.tokens.count) tokens"
            )
        }
        for (index, promise) in batch.promises {
            let result: Result<Void, ClientError> =
                view.isStale(index)
                ? .failure(
                    ClientError(
                        .staleLease,
                        "the lease of offset \(batch.tokens[index].offset.rawValue) had ended"
                    )
                )
                : .success(())
            resumptions.append(.done(promise, result))
        }
        settlingEnded(id)
        return nil
    }

    mutating func refusedSettling(_ id: UInt32, _ batch: SettleBatch, _ error: ClientError) {
        for (_, promise) in batch.promises {
            resumptions.append(.done(promise, .failure(error)))
        }
        settlingEnded(id)
    }

    private mutating func settlingEnded(_ id: UInt32) {
        guard var state = consumers.removeValue(forKey: id) else { return }
        state.settlesInFlight = max(0, state.settlesInFlight - 1)
        if state.isSettled {
            for promise in state.flushes { resumptions.append(.done(promise, .success(()))) }
            state.flushes = []
        }
        consumers[id] = state
    }

    mutating func expireSettling(_ id: UInt32, at now: MonotonicInstant) {
        while let batch = consumers[id]?.settling.first, batch.deadline <= now {
            consumers[id]?.settling.removeFirst()
            consumers[id]?.settlesInFlight += 1
            refusedSettling(id, batch, timeout)
        }
    }

    mutating func sendSettle(_ id: UInt32, _ batch: SettleBatch) {
        let tokens = TokenRuns(batch.tokens)
        let correlation: UInt32
        switch batch.kind {
        case .acknowledge:
            correlation = session.openRequest(.acknowledge)
            AcknowledgeView.encode(
                subscription: id,
                tokens: tokens,
                correlation: correlation,
                into: &outgoing
            )
        case .reject(let delay, let reason):
            correlation = session.openRequest(.reject)
            RejectView.encode(
                subscription: id,
                delayMilliseconds: delay,
                reason: reason,
                tokens: tokens,
                correlation: correlation,
                into: &outgoing
            )
        case .extend(let milliseconds):
            correlation = session.openRequest(.extend)
            ExtendView.encode(
                subscription: id,
                milliseconds: milliseconds,
                tokens: tokens,
                correlation: correlation,
                into: &outgoing
            )
        }
        pending[correlation] = .settle(id, batch)
    }
}
