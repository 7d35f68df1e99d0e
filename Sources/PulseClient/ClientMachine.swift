// What decides in the client: which bytes to send, whose answer has come, when to reconnect. It has
// no socket, clock or thread; the driver brings times and bytes, and carries out the directives.
//
//     down(retry at) --time--> connecting --opened--> up --broken--> down
//          |                       |                  |
//          `-----------------------+--- close() ------+----> closed

internal import PulseCore
internal import PulseWire

/// Who waits for a result. Resumed outside the lock, by way of ``Resumption``.
typealias Promise<T> = CheckedContinuation<Result<T, ClientError>, Never>

/// A result for a waiting task, kept until the lock is released.
enum Resumption: Sendable {
    case receipt(Promise<Receipt>, Result<Receipt, ClientError>)
    case receipts(
        CheckedContinuation<[Result<Receipt, ClientError>], Never>,
        [Result<Receipt, ClientError>]
    )
    case answer(Promise<Answer>, Result<Answer, ClientError>)
    case subscription(Promise<UInt32>, Result<UInt32, ClientError>)
    case delivery(Promise<ReceivedDelivery?>, Result<ReceivedDelivery?, ClientError>)
    case done(Promise<Void>, Result<Void, ClientError>)

    func resume() {
        switch self {
        case .receipt(let promise, let result): promise.resume(returning: result)
        case .receipts(let promise, let results): promise.resume(returning: results)
        case .answer(let promise, let result): promise.resume(returning: result)
        case .subscription(let promise, let result): promise.resume(returning: result)
        case .delivery(let promise, let result): promise.resume(returning: result)
        case .done(let promise, let result): promise.resume(returning: result)
        }
    }
}

/// What a correlation of this connection stands for.
enum Pending {
    case batch(ProduceBatch)
    case question(AskedQuestion)
    case subscribe(UInt32)
    case settle(UInt32, SettleBatch)
    case unsubscribe
    case keepAlive
}

/// What the driver is to do now.
struct Directive: Sendable {
    enum Action: Sendable {
        case none
        case connect
        /// Close the socket; the machine has already decided what comes next.
        case drop
        /// Close everything and end the thread.
        case finish
    }

    var action = Action.none
    var bytes: [UInt8] = []
    /// Milliseconds until the machine wants to be asked again at the latest.
    var waitMilliseconds: Int64
}

/// The client's state. Guarded by the driver's mutex.
///
/// Invariants: a notification is in exactly one place, a queue or a pending batch, until its sender
/// has a result; only an `up` link has pending correlations; nothing leaves `closed`.
struct ClientMachine {
    enum Link: Equatable {
        case down(retryAt: MonotonicInstant)
        case connecting
        case up(since: MonotonicInstant)
        case closed
    }

    let configuration: ClientConfiguration
    var link = Link.down(retryAt: MonotonicInstant(nanoseconds: 0))
    var session = ClientSession()
    /// Counts connections; deliveries of an older one carry no credit any more.
    var generation: UInt64 = 0
    var outgoing: [UInt8] = []
    var resumptions: [Resumption] = []
    var pending: [UInt32: Pending] = [:]
    var questions = Queue<AskedQuestion>()
    var producing: [ProduceKey: ProduceQueue] = [:]
    /// Notifications whose senders wait.
    var unansweredCount = 0
    var consumers: [UInt32: ConsumerState] = [:]
    var lastSubscription: UInt32 = 0

    var openPromise: Promise<Void>?
    var wasOpen = false
    /// Set back by a connection that lasted, so that one which is accepted and then dropped again
    /// and again is not retried at full speed.
    private var failuresInRow = 0
    var lastHeard = MonotonicInstant(nanoseconds: 0)
    var keepAliveAsked = false
    private var jitter: SeededGenerator

    init(configuration: ClientConfiguration, seed: UInt64) {
        self.configuration = configuration
        jitter = SeededGenerator(seed: seed)
    }

    // MARK: The link

    mutating func awaitOpen(_ promise: Promise<Void>) { openPromise = promise }

    /// The socket is connected: say hello.
    mutating func linkOpened(at now: MonotonicInstant) {
        guard link == .connecting else { return }
        link = .up(since: now)
        generation += 1
        session = ClientSession()
        outgoing.removeAll()
        session.sayHello(name: configuration.name, version: "0.1.0", into: &outgoing)
        lastHeard = now
        keepAliveAsked = false
    }

    /// The socket could not be connected, or is gone. Everything unanswered goes back into its
    /// queue.
    mutating func linkFailed(_ error: ClientError, at now: MonotonicInstant) {
        guard link != .closed else { return }
        outgoing.removeAll()
        requeuePending()
        guard wasOpen else { return close(error) }
        if case .up(let since) = link,
            now.milliseconds(since: since) > configuration.backoffMaximum.milliseconds
        {
            failuresInRow = 0
        }
        failuresInRow += 1
        link = .down(retryAt: now.advanced(byMilliseconds: backoffMilliseconds()))
    }

    mutating func close(_ error: ClientError = .closed) {
        guard link != .closed else { return }
        requeuePending()
        link = .closed
        outgoing.removeAll()
        if let promise = openPromise { resumptions.append(.done(promise, .failure(error))) }
        openPromise = nil
        while let question = questions.popFirst() {
            resumptions.append(.answer(question.promise, .failure(error)))
        }
        failProducing(error)
        for id in consumers.keys.sorted() { failConsumer(id, error) }
    }

    /// Exponential, between half and all of the step, so that a fleet does not return in one wave.
    private mutating func backoffMilliseconds() -> Int64 {
        let least = max(1, configuration.backoffMinimum.milliseconds)
        let most = max(least, configuration.backoffMaximum.milliseconds)
        let step = min(most, least << Int64(min(failuresInRow - 1, 20)))
        return step / 2 + Int64(jitter.below(Int(step / 2 + 1)))
    }

    /// In correlation order, so that the order of the calls survives.
    private mutating func requeuePending() {
        let all = pending.sorted { $0.key > $1.key }
        pending.removeAll()
        for (_, item) in all {
            switch item {
            case .batch(let batch): requeue(batch)
            case .question(let question): questions.prepend(question)
            case .settle(let id, let batch): consumers[id]?.requeue(batch)
            case .subscribe, .unsubscribe, .keepAlive: break
            }
        }
        for id in consumers.keys { consumers[id]?.connectionLost() }
    }

    // MARK: One turn

    /// Decides what to do at `now`. `canWrite`: whether the driver has room for more bytes.
    mutating func advance(at now: Now, canWrite: Bool) -> Directive {
        expire(at: now.monotonic)
        switch link {
        case .closed: return Directive(action: .finish, waitMilliseconds: 0)
        case .down(let retryAt):
            let left = retryAt.milliseconds(since: now.monotonic)
            guard left == 0 else { return Directive(waitMilliseconds: min(left, 50)) }
            link = .connecting
            return Directive(action: .connect, waitMilliseconds: 0)
        case .connecting: return Directive(waitMilliseconds: 50)
        case .up(let since):
            if let error = silence(since: since, at: now.monotonic) {
                linkFailed(error, at: now.monotonic)
                return Directive(action: .drop, waitMilliseconds: 0)
            }
        }
        guard canWrite else { return Directive(waitMilliseconds: 50) }
        if session.isReady {
            flushConsumers(at: now.monotonic)
            flushQuestions()
            flushProducing(at: now)
        } else if session.takesRequests {
            flushConsumers(at: now.monotonic)
            if pending.isEmpty, outgoing.isEmpty, consumers.isEmpty {
                // The server is going away and owes us nothing more. With consumers it is left to
                // the server: what they still work on can be settled until it closes.
                linkFailed(
                    ClientError(.connectionClosed, "the server said goodbye", isRetryable: true),
                    at: now.monotonic
                )
                return Directive(action: .drop, waitMilliseconds: 0)
            }
        }
        var directive = Directive(waitMilliseconds: isBusy ? 50 : 1000)
        swap(&directive.bytes, &outgoing)
        return directive
    }

    private var isBusy: Bool {
        !session.isReady || !pending.isEmpty || unansweredCount > 0 || !questions.isEmpty
    }

    /// Why this connection is given up, if it is; asks for a sign of life in time.
    private mutating func silence(
        since: MonotonicInstant,
        at now: MonotonicInstant
    ) -> ClientError? {
        if !session.takesRequests {
            let limit = configuration.connectTimeout.milliseconds
            guard now.milliseconds(since: since) > limit else { return nil }
            return ClientError(
                .timedOut,
                "no handshake within \(limit) ms",
                isRetryable: true
            )
        }
        let silent = now.milliseconds(since: lastHeard)
        let patience = configuration.keepAlive.milliseconds
        if silent > 2 * patience {
            return ClientError(
                .timedOut,
                "the server has said nothing for \(silent) ms",
                isRetryable: true
            )
        }
        if silent > patience, !keepAliveAsked {
            keepAliveAsked = true
            let correlation = session.openRequest(.ping)
            pending[correlation] = .keepAlive
            PingMessage.encode(correlation: correlation, into: &outgoing)
        }
        return nil
    }
}
