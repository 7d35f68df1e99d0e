// A service that submits over HTTP: real bytes out, answers parsed, unanswered requests repeated
// with the same idempotency key after a reconnect.

import PulseCore
import PulseNode

/// One request of a client, with what it means.
struct HTTPExchange {
    enum Purpose {
        case submit(Int)
        case template(Channel)
        /// Saved once more, under a name of its own.
        case extraTemplate(String)
        case status(NotificationID)
        /// Taken back, if it is not too late.
        case cancel(NotificationID)
        /// Must be refused, with a status of the 400s.
        case bad
        /// Any answer will do.
        case look
    }

    var purpose: Purpose
    var bytes: [UInt8]
    var tries = 0

    static func post(_ path: String, _ json: String) -> [UInt8] {
        request("POST", path, json)
    }

    static func get(_ path: String) -> [UInt8] {
        Array("GET \(path) HTTP/1.1\r\nHost: pulse\r\n\r\n".utf8)
    }

    static func request(_ method: String, _ path: String, _ json: String) -> [UInt8] {
        let header =
            "\(method) \(path) HTTP/1.1\r\nHost: pulse\r\nContent-Type: application/json\r\n"
            + "Content-Length: \(json.utf8.count)\r\n\r\n"
        return Array((header + json).utf8)
    }

    static func submitting(_ submission: Submission) -> HTTPExchange {
        let path =
            submission.door == .compatible ? "/api/notifications/send/" : "/v1/notifications"
        return HTTPExchange(
            purpose: .submit(submission.number),
            bytes: post(path, submission.json)
        )
    }
}

final class HTTPProducer: SimulatedClient {
    let index: Int
    let kind = ConnectionKind.http
    var connection: ConnectionID?
    /// Still to be sent, the next one last.
    private var plan: [HTTPExchange]
    private var inFlight: [HTTPExchange] = []
    private var reader = HTTPAnswerReader()
    private var sentAt = MonotonicInstant(nanoseconds: 0)
    private let gapMilliseconds: Int
    private var isDiligent = false

    /// Milliseconds without an answer after which a client gives a connection up.
    private static let patienceMilliseconds: Int64 = 8000

    init(index: Int, plan: [HTTPExchange], gapMilliseconds: Int) {
        self.index = index
        self.plan = plan.reversed()
        self.gapMilliseconds = max(1, gapMilliseconds)
    }

    var isDone: Bool { plan.isEmpty && inFlight.isEmpty }

    func becomeDiligent(in world: World) { isDiligent = true }

    func timerFired(in world: World) {
        if !inFlight.isEmpty,
            world.time.milliseconds(since: sentAt) > Self.patienceMilliseconds
        {
            world.hangUp(self)
        }
        if inFlight.isEmpty, !plan.isEmpty { sendSome(in: world) }
        guard !isDone else { return }
        let gap = isDiligent ? 5 : 1 + world.workload.below(2 * gapMilliseconds)
        world.setTimer(index, afterMilliseconds: gap)
    }

    private func sendSome(in world: World) {
        if connection == nil { world.connect(self, index) }
        let count = world.workload.chance(perThousand: 400) ? 1 + world.workload.below(6) : 1
        var bytes: [UInt8] = []
        for _ in 0..<min(count, plan.count) {
            var exchange = plan.removeLast()
            exchange.tries += 1
            if case .submit(let number) = exchange.purpose { world.witness.sent(number) }
            if case .cancel(let id) = exchange.purpose { world.witness.askedToCancel(id) }
            bytes += exchange.bytes
            inFlight.append(exchange)
        }
        sentAt = world.time
        world.send(bytes, from: self)
    }

    func received(_ bytes: [UInt8], in world: World) {
        reader.append(bytes)
        while let answer = reader.next() {
            guard !inFlight.isEmpty else {
                world.witness.note("P1", "client \(index) got an answer it did not ask for")
                return
            }
            take(answer, to: inFlight.removeFirst(), in: world)
        }
    }

    func disconnected(in world: World) {
        reader = HTTPAnswerReader()
        let unanswered = inFlight
        inFlight.removeAll()
        for exchange in unanswered.reversed() { tryAgain(exchange, in: world) }
        guard !isDone else { return }
        world.setTimer(index, afterMilliseconds: 20 + world.workload.below(300))
    }

    /// A request without an answer: with a key it is repeated as it was; without one nobody can
    /// know.
    private func tryAgain(_ exchange: HTTPExchange, in world: World) {
        if case .submit(let number) = exchange.purpose, world.witness.submissions[number].key == nil
        {
            return
        }
        if case .bad = exchange.purpose, exchange.tries > 3 { return }
        plan.append(exchange)
    }

    private func take(_ answer: HTTPAnswer, to exchange: HTTPExchange, in world: World) {
        world.trace("client \(index) is answered \(answer.status)")
        if answer.status == 503 {
            takeRefusal(answer, to: exchange, in: world)
            plan.append(exchange)
            return
        }
        switch exchange.purpose {
        case .submit(let number): take(answer, submitting: number, in: world)
        case .template(let channel):
            if answer.status == 200 || answer.status == 201 {
                world.templatesSaved.insert(channel.rawValue)
            } else {
                world.witness.note("P1", "a template was refused with \(answer.status)")
            }
        case .extraTemplate(let name):
            if answer.status == 200 || answer.status == 201 {
                world.checkTold(template: name)
                world.extraTemplates.insert(name)
            } else {
                world.witness.note("P1", "template \(name) was refused with \(answer.status)")
            }
        case .status(let id):
            let isGone =
                answer.status == 404 && world.mayNotExist(id)
                || answer.status == 410 && world.witness.mayBeLost(id)
            if answer.status != 200, !isGone {
                world.witness.note("P1", "\(id) was acknowledged; asked for it: \(answer.status)")
            }
        case .cancel(let id): take(answer, cancelling: id, in: world)
        case .bad:
            if !(400..<500).contains(answer.status) {
                world.witness.note("P6", "a bad request was answered \(answer.status)")
            }
        case .look:
            if answer.status >= 500 {
                world.witness.note("P8", "a look was answered \(answer.status)")
            }
        }
    }

    private func take(_ answer: HTTPAnswer, submitting number: Int, in world: World) {
        switch answer.status {
        case 200, 202:
            guard let text = answer.string(["id", "notification_id"]), let id = NotificationID(text)
            else {
                world.witness.note("P1", "submission \(number) was accepted without an identifier")
                return
            }
            world.checkTold(id)
            world.witness.accepted(
                number,
                as: id,
                isRepeat: answer.status == 200,
                at: world.time
            )
            if world.workload.chance(perThousand: 100) { plan.insert(look(at: id), at: 0) }
            considerCancelling(id, number, in: world)
        case 409: world.witness.conflicted(number)
        default:
            world.witness.refused(
                number,
                "\(answer.status) \(String(decoding: answer.body, as: UTF8.self))"
            )
        }
    }

    /// Not now, says the node: why, and when again?
    private func takeRefusal(
        _ answer: HTTPAnswer,
        to exchange: HTTPExchange,
        in world: World
    ) {
        if world.diskIsFull { world.coverage.saw(.fullDiskRefused) }
        if answer.isForStall { world.checkRefusedForStall(sentAt: sentAt) }
        guard answer.isForRoom else { return }
        world.checkRefusedForRoom(sentAt: sentAt)
        if !answer.hasRetryAfter {
            world.witness.note("P6", "a refusal for want of room does not say when to come again")
        }
        if case .cancel = exchange.purpose { world.coverage.saw(.cancelRefusedForRoom) }
    }

    // MARK: - Taking back

    /// What was accepted just now, or anything that is known, is taken back at once or later.
    private func considerCancelling(_ id: NotificationID, _ number: Int, in world: World) {
        guard world.knobs.cancelPerThousand > 0 else { return }
        let isLater = world.witness.submissions[number].deliverAt != nil
        let rate = world.knobs.cancelPerThousand * (isLater ? 3 : 1)
        guard world.cancelling.chance(perThousand: min(1000, rate)) else { return }
        let known = world.witness.known
        let isOwn = world.cancelling.chance(perThousand: 700) || known.isEmpty
        let target = isOwn ? id : known[world.cancelling.below(known.count)]
        let exchange = HTTPExchange(
            purpose: .cancel(target),
            bytes: HTTPExchange.post("/v1/notifications/\(target)/cancel", "")
        )
        if world.cancelling.chance(perThousand: 600) {
            plan.append(exchange)
        } else {
            plan.insert(exchange, at: world.cancelling.below(plan.count + 1))
        }
    }

    private func take(_ answer: HTTPAnswer, cancelling id: NotificationID, in world: World) {
        switch answer.status {
        case 200:
            world.coverage.saw(.cancelled)
            if world.diskIsFull { world.coverage.saw(.cancelledOnFullDisk) }
            world.checkTold(cancelled: id)
            world.witness.cancelled(id, at: world.time)
        case 409:
            world.coverage.saw(.tooLateToCancel)
            world.witness.notCancellable(id, sentAt: sentAt)
        case 404 where world.mayNotExist(id): break
        case 410 where world.witness.mayBeLost(id): break
        default:
            world.witness.note("P1", "\(id) is known; taking it back is \(answer.status)")
        }
    }

    private func look(at id: NotificationID) -> HTTPExchange {
        HTTPExchange(purpose: .status(id), bytes: HTTPExchange.get("/v1/notifications/\(id)"))
    }
}
