// Consuming: subscriptions, deliveries waiting for a task, settlements waiting for the wire,
// credit.
//
//     deliver --> buffer --> task --> settle --> settling queue --> frame --> answer
//        ^                     |         |
//        `------ credit -------+---------'    returned when a delivery is settled or let go

internal import PulseCore
internal import PulseWire

struct ReceivedDelivery: Sendable {
    var token: DeliveryToken
    var id: NotificationID
    var wall: WallTimestamp
    var key: [UInt8]
    var value: [UInt8]
    /// The connection it came on.
    var generation: UInt64
}

struct ConsumerState {
    let topic: String
    let group: String
    let options: ConsumerOptions
    var isSubscribed = false
    var openPromise: Promise<UInt32>?
    var buffer = Queue<ReceivedDelivery>()
    var waiters: [(id: UInt64, promise: Promise<ReceivedDelivery?>)] = []
    var settling: [SettleBatch] = []
    var settlesInFlight = 0
    var creditOwed = 0
    var flushes: [Promise<Void>] = []
    var isClosing = false
    var failure: ClientError?

    var window: Int { min(max(1, options.window), Limits.creditMax) }
    var isSettled: Bool { settling.isEmpty && settlesInFlight == 0 }

    /// What was buffered will be delivered again; what was settled is settled again.
    mutating func connectionLost() {
        isSubscribed = false
        buffer = Queue()
        creditOwed = 0
        settlesInFlight = 0
    }

    mutating func requeue(_ batch: SettleBatch) { settling.insert(batch, at: 0) }
}

extension ClientMachine {
    mutating func subscribe(
        topic: String,
        group: String,
        options: ConsumerOptions,
        _ promise: Promise<UInt32>
    ) {
        guard link != .closed else {
            resumptions.append(.subscription(promise, .failure(.closed)))
            return
        }
        lastSubscription += 1
        var state = ConsumerState(topic: topic, group: group, options: options)
        state.openPromise = promise
        consumers[lastSubscription] = state
    }

    mutating func subscribed(_ id: UInt32) {
        guard let promise = consumers[id]?.openPromise else { return }
        consumers[id]?.openPromise = nil
        resumptions.append(.subscription(promise, .success(id)))
    }

    mutating func unsubscribe(_ id: UInt32) {
        guard var state = consumers[id] else { return }
        for waiter in state.waiters {
            resumptions.append(.delivery(waiter.promise, .success(nil)))
        }
        state.waiters = []
        state.buffer = Queue()
        state.isClosing = true
        consumers[id] = state.failure == nil ? state : nil
    }

    // MARK: Deliveries

    mutating func deliver(_ view: DeliverView) {
        guard var state = consumers.removeValue(forKey: view.subscription) else { return }
        let generation = generation
        view.forEach {
            let delivery = ReceivedDelivery(
                token: $0.token,
                id: $0.id,
                wall: $0.wall,
                key: Array($0.key),
                value: Array($0.value),
                generation: generation
            )
            if state.isClosing { return }
            if state.waiters.isEmpty {
                state.buffer.append(delivery)
            } else {
                let waiter = state.waiters.removeFirst()
                resumptions.append(.delivery(waiter.promise, .success(delivery)))
            }
        }
        consumers[view.subscription] = state
    }

    mutating func nextDelivery(
        _ id: UInt32,
        waiter: UInt64,
        _ promise: Promise<ReceivedDelivery?>
    ) {
        guard var state = consumers[id], !state.isClosing else {
            resumptions.append(.delivery(promise, .success(nil)))
            return
        }
        if let failure = state.failure {
            resumptions.append(.delivery(promise, .failure(failure)))
            return
        }
        if let delivery = state.buffer.popFirst() {
            resumptions.append(.delivery(promise, .success(delivery)))
        } else {
            state.waiters.append((waiter, promise))
        }
        consumers[id] = state
    }

    mutating func cancelWaiter(_ id: UInt32, _ waiter: UInt64) {
        guard let index = consumers[id]?.waiters.firstIndex(where: { $0.id == waiter }),
            let removed = consumers[id]?.waiters.remove(at: index)
        else { return }
        resumptions.append(.delivery(removed.promise, .success(nil)))
    }

    mutating func returnCredit(_ id: UInt32, generation: UInt64) {
        if generation == self.generation { consumers[id]?.creditOwed += 1 }
    }

    // MARK: To the wire

    mutating func flushConsumers(at now: MonotonicInstant) {
        for id in consumers.keys.sorted() {
            guard var state = consumers.removeValue(forKey: id) else { continue }
            if state.failure == nil {
                if !state.isSubscribed, !state.isClosing, session.isReady {
                    sendSubscribe(id, &state)
                }
                // An acknowledge waits for the one before it, and grows meanwhile.
                while let batch = state.settling.first, state.isSubscribed,
                    state.settlesInFlight == 0 || batch.tokens.count >= SettleBatch.tokensMax
                        || state.settling.count > 1
                {
                    state.settling.removeFirst()
                    state.settlesInFlight += 1
                    sendSettle(id, batch)
                }
                sendCredit(id, &state)
            }
            if state.isClosing, state.isSettled || !state.isSubscribed {
                if state.isSubscribed { sendUnsubscribe(id) }
                for promise in state.flushes {
                    resumptions.append(.done(promise, .success(())))
                }
                continue
            }
            consumers[id] = state
        }
    }

    private mutating func sendSubscribe(_ id: UInt32, _ state: inout ConsumerState) {
        let lanes: LaneSet =
            state.options.lanes.map { lanes in
                lanes.reduce(into: LaneSet(rawValue: 0)) { $0.formUnion(LaneSet($1.value)) }
            } ?? .living
        let correlation = session.openRequest(.subscribe)
        SubscribeRequest(
            subscription: id,
            topic: state.topic,
            group: state.group,
            start: state.options.start == .earliest ? .earliest : .latest,
            credit: UInt32(state.window),
            leaseMilliseconds: UInt32(clamping: state.options.lease?.milliseconds ?? 0),
            lanes: lanes.isEmpty ? .living : lanes
        ).encode(correlation: correlation, into: &outgoing)
        pending[correlation] = .subscribe(id)
        state.isSubscribed = true
        state.creditOwed = 0
    }

    /// Credit goes back a quarter of the window at a time, or at once when somebody waits.
    private mutating func sendCredit(_ id: UInt32, _ state: inout ConsumerState) {
        guard state.isSubscribed, !state.isClosing, state.creditOwed > 0,
            state.creditOwed * 4 >= state.window || (!state.waiters.isEmpty && state.buffer.isEmpty)
        else { return }
        CreditMessage(subscription: id, add: UInt32(state.creditOwed)).encode(into: &outgoing)
        state.creditOwed = 0
    }

    private mutating func sendUnsubscribe(_ id: UInt32) {
        let correlation = session.openRequest(.unsubscribe)
        UnsubscribeRequest(subscription: id).encode(correlation: correlation, into: &outgoing)
        pending[correlation] = .unsubscribe
    }

    mutating func failConsumer(_ id: UInt32, _ error: ClientError) {
        guard var state = consumers.removeValue(forKey: id) else { return }
        if let promise = state.openPromise {
            // Nobody has the consumer yet.
            return resumptions.append(.subscription(promise, .failure(error)))
        }
        for waiter in state.waiters {
            resumptions.append(.delivery(waiter.promise, .failure(error)))
        }
        for batch in state.settling {
            for (_, promise) in batch.promises {
                resumptions.append(.done(promise, .failure(error)))
            }
        }
        for promise in state.flushes { resumptions.append(.done(promise, .failure(error))) }
        state.waiters = []
        state.settling = []
        state.flushes = []
        state.failure = error
        consumers[id] = state
    }
}
