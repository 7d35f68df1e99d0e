// A consumer with a group of its own: it acknowledges, rejects, dawdles, forgets and hangs up.

import PulseCore
import PulseNode
import PulseWire

final class NativeConsumer: SimulatedClient {
    private struct Held {
        var id: NotificationID
        var token: DeliveryToken
        /// When to say what.
        var at: MonotonicInstant
        var verdict: Verdict
    }

    private enum Verdict {
        case acknowledge
        case reject(delayMilliseconds: UInt64?)
        /// Asks for more time, and acknowledges within it.
        case extend
        /// Says nothing: the lease runs out.
        case forget
    }

    private struct Asked {
        var correlation: UInt32
        var ids: [(id: NotificationID, lease: UInt64)]
        var isAcknowledgement: Bool
    }

    let index: Int
    let kind = ConnectionKind.native
    let group: String
    let channel: Channel
    var connection: ConnectionID?
    private var session = ClientSession()
    private var isSubscribed = false
    private var held: [Held] = []
    private var asked: [Asked] = []
    /// The boot this connection belongs to: leases of another are stale.
    private var boot = 0
    private var connectedAt = MonotonicInstant(nanoseconds: 0)
    private var isDiligent = false
    /// Deliveries on this connection of which nothing was said: their credit does not come back.
    private var forgotten = 0

    private static let leaseMilliseconds: UInt32 = 2000
    private static let subscription: UInt32 = 7

    private let isIdle: Bool

    /// - Parameter isIdle: Whether it takes no part in this run.
    init(index: Int, group: String, channel: Channel, isIdle: Bool) {
        self.index = index
        self.isIdle = isIdle
        self.group = group
        self.channel = channel
    }

    /// Consumers only serve: whether their groups are through is the world's question.
    var isDone: Bool { true }

    func becomeDiligent(in world: World) { isDiligent = true }

    func timerFired(in world: World) {
        guard !isIdle else { return }
        if connection == nil {
            connect(in: world)
        } else if isSubscribed {
            if !isDiligent, world.workload.chance(perThousand: 4) {
                world.hangUp(self)
            } else {
                speak(in: world)
            }
        } else if world.time.milliseconds(since: connectedAt) > 8000 {
            world.hangUp(self)
        }
        world.setTimer(index, afterMilliseconds: 10 + world.workload.below(60))
    }

    private func connect(in world: World) {
        session = ClientSession()
        boot = world.witness.boot
        connectedAt = world.time
        world.connect(self, index)
        var bytes: [UInt8] = []
        session.sayHello(name: group, version: "1", into: &bytes)
        world.send(bytes, from: self)
    }

    /// Says what is due about the messages it holds.
    private func speak(in world: World) {
        var acknowledged: [Held] = []
        var rejected: [Held] = []
        var extended: [Held] = []
        var later: [Held] = []
        var forgotten: UInt32 = 0
        for item in held {
            guard item.at <= world.time else {
                later.append(item)
                continue
            }
            switch item.verdict {
            case .acknowledge: acknowledged.append(item)
            case .reject: rejected.append(item)
            case .extend: extended.append(item)
            case .forget: forgotten += 1
            }
        }
        held = later
        guard session.takesRequests else { return }
        var bytes: [UInt8] = []
        // Who never gives credit back is given nothing more one day, and that is its own doing.
        if forgotten > 0 {
            CreditMessage(subscription: Self.subscription, add: forgotten).encode(into: &bytes)
        }
        if !acknowledged.isEmpty { acknowledge(acknowledged, to: &bytes) }
        for item in rejected { reject(item, to: &bytes) }
        if isDiligent, forgotten > 0 {
            CreditMessage(subscription: Self.subscription, add: UInt32(forgotten))
                .encode(into: &bytes)
            forgotten = 0
        }
        for item in extended { extend(item, at: world.time, to: &bytes) }
        if !bytes.isEmpty { world.send(bytes, from: self) }
    }

    private func acknowledge(_ items: [Held], to bytes: inout [UInt8]) {
        let correlation = session.openRequest(.acknowledge)
        AcknowledgeView.encode(
            subscription: Self.subscription,
            tokens: TokenRuns(items.map(\.token)),
            correlation: correlation,
            into: &bytes
        )
        asked.append(
            Asked(
                correlation: correlation,
                ids: items.map { ($0.id, $0.token.lease) },
                isAcknowledgement: true
            )
        )
        CreditMessage(subscription: Self.subscription, add: UInt32(items.count))
            .encode(into: &bytes)
    }

    private func extend(_ item: Held, at time: MonotonicInstant, to bytes: inout [UInt8]) {
        let correlation = session.openRequest(.extend)
        ExtendView.encode(
            subscription: Self.subscription,
            milliseconds: 2 * Self.leaseMilliseconds,
            tokens: TokenRuns([item.token]),
            correlation: correlation,
            into: &bytes
        )
        var later = item
        later.verdict = .acknowledge
        later.at = time.advanced(byMilliseconds: Int64(Self.leaseMilliseconds) + 500)
        held.append(later)
    }

    private func reject(_ item: Held, to bytes: inout [UInt8]) {
        guard case .reject(let delay) = item.verdict else { return }
        let correlation = session.openRequest(.reject)
        RejectView.encode(
            subscription: Self.subscription,
            delayMilliseconds: delay,
            reason: "not now",
            tokens: TokenRuns([item.token]),
            correlation: correlation,
            into: &bytes
        )
        asked.append(
            Asked(
                correlation: correlation,
                ids: [(item.id, item.token.lease)],
                isAcknowledgement: false
            )
        )
        CreditMessage(subscription: Self.subscription, add: 1).encode(into: &bytes)
    }

    func received(_ bytes: [UInt8], in world: World) {
        bytes.withUnsafeBytes { buffer in
            session.begin(buffer)
            do {
                while connection != nil, let message = try session.next() {
                    take(message, in: world)
                }
            } catch {
                world.witness.note("P6", "consumer \(index) cannot follow the node: \(error)")
            }
        }
    }

    private func take(_ message: ServerMessage, in world: World) {
        switch message {
        case .ready: subscribe(in: world)
        case .subscribed:
            isSubscribed = true
            world.checkTold(group: group, channel)
            world.witness.subscribed(group, channel)
        case .delivered(let view):
            world.trace("consumer \(index) is given \(view.count)")
            view.forEach { take($0, in: world) }
        case .settled(let correlation, let reply):
            guard let place = asked.firstIndex(where: { $0.correlation == correlation }) else {
                return
            }
            let question = asked.remove(at: place)
            guard question.isAcknowledgement else { return }
            for (position, item) in question.ids.enumerated() where !reply.isStale(position) {
                world.checkTold(finished: item.id, by: group, channel)
                world.witness.settled(
                    item.id,
                    by: group,
                    channel,
                    boot: boot,
                    lease: item.lease
                )
            }
        case .refused(let correlation, let error):
            if error.code == ErrorCode.diskFull.rawValue,
                asked.contains(where: { $0.correlation == correlation && $0.isAcknowledgement })
            {
                world.witness.note("P6", "an acknowledgement was refused for want of room")
            }
            if !error.isRetryable {
                world.witness.note("P6", "consumer \(index) was refused: \(error.message)")
            }
            world.hangUp(self)
        case .goodbye: break
        case .produced, .unsubscribed, .status, .fetched, .templateSaved, .templates, .pong:
            world.witness.note("P6", "consumer \(index) got an answer it did not ask for")
        }
    }

    private func subscribe(in world: World) {
        var bytes: [UInt8] = []
        SubscribeRequest(
            subscription: Self.subscription,
            topic: channel.topicName,
            group: group,
            start: .earliest,
            credit: UInt32(5 + world.workload.below(40)),
            leaseMilliseconds: Self.leaseMilliseconds
        ).encode(correlation: session.openRequest(.subscribe), into: &bytes)
        world.send(bytes, from: self)
    }

    private func take(_ delivery: DeliveryView, in world: World) {
        world.witness.given(
            delivery.id,
            marked: Submission.number(markedIn: delivery.value),
            to: group,
            channel,
            boot: boot,
            lease: delivery.token.lease
        )
        let draw = isDiligent ? 999 : world.workload.below(1000)
        let verdict: Verdict
        var delay = world.workload.below(200)
        switch draw {
        case 0..<80: verdict = .reject(delayMilliseconds: UInt64(world.workload.below(1500)))
        case 80..<110: verdict = .reject(delayMilliseconds: nil)
        case 110..<150: verdict = .forget
        case 150..<190:
            // Too late: the lease is over by then.
            verdict = .acknowledge
            delay = Int(Self.leaseMilliseconds) + 500
        case 190..<240:
            verdict = .extend
            delay += 500
        default: verdict = .acknowledge
        }
        held.append(
            Held(
                id: delivery.id,
                token: delivery.token,
                at: world.time.advanced(byMilliseconds: Int64(delay)),
                verdict: verdict
            )
        )
    }

    func disconnected(in world: World) {
        isSubscribed = false
        forgotten = 0
        held.removeAll()
        for question in asked where question.isAcknowledgement {
            for item in question.ids { world.witness.lostReply(item.id, by: group, channel) }
        }
        asked.removeAll()
        world.setTimer(index, afterMilliseconds: 30 + world.workload.below(500))
    }
}
