// The consuming face: deliveries as an asynchronous sequence, each to be settled.

internal import PulseCore
internal import PulseWire
internal import Synchronization

public struct ConsumerOptions: Hashable, Sendable {
    /// Where a group that does not exist yet begins.
    public enum Start: Hashable, Sendable {
        case earliest
        case latest
    }

    public var start = Start.earliest
    /// Deliveries this consumer holds unsettled at one time, 1 to 10,000.
    public var window = 256
    /// How long a delivery may be held; nil for the server's default.
    public var lease: Duration?
    /// Nil for all but the dead letters.
    public var lanes: [Notification.Lane]?

    public init() {}
}

/// A member of a consumer group. Iterate it; when it is let go, or its client closes, what it holds
/// unsettled goes to somebody else at once.
///
/// Deliveries may come again: after a lost connection, or when their lease has ended.
public final class Consumer: AsyncSequence, Sendable {
    public typealias Element = Delivery

    private let client: PulseClient
    private let subscription: UInt32
    private let topic: String

    init(client: PulseClient, subscription: UInt32, topic: String) {
        self.client = client
        self.subscription = subscription
        self.topic = topic
    }

    deinit { close() }

    public struct AsyncIterator: AsyncIteratorProtocol {
        let consumer: Consumer

        /// The next delivery; nil when the task was cancelled or the consumer closed.
        public mutating func next() async throws -> Delivery? { try await consumer.next() }
    }

    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(consumer: self) }

    /// The next delivery; nil when the task was cancelled or the consumer closed.
    public func next() async throws(ClientError) -> Delivery? {
        let driver = client.driver
        let subscription = subscription
        let waiter = driver.nextWaiter()
        let result: Result<ReceivedDelivery?, ClientError> = await withTaskCancellationHandler {
            await withCheckedContinuation { promise in
                driver.change { $0.nextDelivery(subscription, waiter: waiter, promise) }
                // The handler may have run before there was anything to cancel.
                if Task.isCancelled { driver.change { $0.cancelWaiter(subscription, waiter) } }
            }
        } onCancel: {
            driver.change { $0.cancelWaiter(subscription, waiter) }
        }
        guard let received = try result.get() else { return nil }
        return Delivery(
            received,
            lease: DeliveryLease(driver: driver, subscription: subscription, received: received),
            topic: topic
        )
    }

    /// Waits until everything settled so far is answered.
    public func flush() async throws(ClientError) {
        let driver = client.driver
        let subscription = subscription
        let result: Result<Void, ClientError> = await withCheckedContinuation { promise in
            let now = SystemTime.now().monotonic
            driver.change { $0.flush(subscription, at: now, promise) }
        }
        try result.get()
    }

    /// Leaves the group after what was settled so far is sent.
    public func close() {
        let subscription = subscription
        client.driver.change { $0.unsubscribe(subscription) }
    }
}

/// One notification, leased to this consumer until it is settled or the lease ends.
///
/// A delivery that is let go unsettled comes again when its lease ends.
public struct Delivery: Sendable {
    public let id: Notification.ID
    /// The recipient.
    public let user: String
    /// 1 for the first time.
    public let attempt: Int
    public let acceptedAt: Notification.Time
    /// The notification's envelope, as stored.
    public let payload: [UInt8]
    private let topic: String
    private let lease: DeliveryLease

    init(_ received: ReceivedDelivery, lease: DeliveryLease, topic: String) {
        id = Notification.ID(value: received.id)
        user = String(decoding: received.key, as: UTF8.self)
        attempt = Int(received.token.attempt)
        acceptedAt = Notification.Time(received.wall)
        payload = received.value
        self.topic = topic
        self.lease = lease
    }

    /// The payload read; nil when it is no envelope.
    public var notification: Notification? { Notification(envelope: payload, topic: topic) }

    /// Finished: never delivered again. Sent in the background, many together.
    public func acknowledge() { lease.settle(.acknowledge, nil) }

    /// Finished, and waits until the server has it on stable storage.
    ///
    /// - Throws: ``ClientError/Code/staleLease`` when the delivery was no longer this consumer's.
    public func acknowledgeAndConfirm() async throws(ClientError) {
        try await lease.settleAndConfirm(.acknowledge)
    }

    /// Not done: deliver again after a delay, or by the server's retry policy when there is none.
    public func reject(after delay: Duration? = nil, reason: String = "") {
        lease.settle(
            .reject(delayMilliseconds: delay.map { UInt64($0.milliseconds) }, reason: reason),
            nil
        )
    }

    /// Still at work: the lease ends `duration` from now.
    ///
    /// - Throws: ``ClientError/Code/staleLease`` when the delivery was no longer this consumer's.
    public func extend(by duration: Duration) async throws(ClientError) {
        try await lease.settleAndConfirm(
            .extend(milliseconds: UInt32(clamping: duration.milliseconds))
        )
    }
}

/// What a delivery's copies share: that it is settled once, and that its credit goes back once.
final class DeliveryLease: Sendable {
    private let driver: ConnectionDriver
    private let subscription: UInt32
    private let token: DeliveryToken
    private let generation: UInt64
    private let isSettled = Atomic(false)

    init(driver: ConnectionDriver, subscription: UInt32, received: ReceivedDelivery) {
        self.driver = driver
        self.subscription = subscription
        token = received.token
        generation = received.generation
    }

    deinit {
        guard !isSettled.load(ordering: .relaxed) else { return }
        driver.change { $0.returnCredit(subscription, generation: generation) }
    }

    /// A second settling is ignored.
    func settle(_ kind: SettleKind, _ promise: Promise<Void>?) {
        if !kind.isExtend, isSettled.exchange(true, ordering: .relaxed) {
            promise?.resume(returning: .success(()))
            return
        }
        let now = SystemTime.now().monotonic
        driver.change {
            $0.settle(
                subscription,
                token,
                kind,
                generation: generation,
                at: now,
                promise
            )
        }
    }

    func settleAndConfirm(_ kind: SettleKind) async throws(ClientError) {
        let result: Result<Void, ClientError> = await withCheckedContinuation {
            settle(kind, $0)
        }
        try result.get()
    }
}
