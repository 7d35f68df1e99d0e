// A service that submits over the native protocol: record batches, pipelined, repeated after a
// reconnect as long as their records have idempotency keys.

import PulseCore
import PulseNode
import PulseWire

final class NativeProducer: SimulatedClient {
    private struct Batch {
        var numbers: [Int]
        var channel: Channel
    }

    let index: Int
    let kind = ConnectionKind.native
    var connection: ConnectionID?
    private var session = ClientSession()
    private var plan: [Batch] = []
    private var inFlight: [(correlation: UInt32, batch: Batch)] = []
    private var badRequests: Int
    private var badInFlight: [UInt32] = []
    private var sentAt = MonotonicInstant(nanoseconds: 0)
    private let gapMilliseconds: Int
    private var isDiligent = false

    private static let patienceMilliseconds: Int64 = 8000

    /// `batches` are lists of submissions of one channel each.
    init(index: Int, batches: [[Submission]], badRequests: Int, gapMilliseconds: Int) {
        self.index = index
        self.badRequests = badRequests
        self.gapMilliseconds = max(1, gapMilliseconds)
        for batch in batches.reversed() {
            guard let first = batch.first else { continue }
            plan.append(Batch(numbers: batch.map(\.number), channel: first.channel))
        }
    }

    var isDone: Bool { plan.isEmpty && inFlight.isEmpty }

    func becomeDiligent(in world: World) {
        isDiligent = true
        badRequests = 0
    }

    func timerFired(in world: World) {
        let waits = !inFlight.isEmpty || !badInFlight.isEmpty
        if waits, world.time.milliseconds(since: sentAt) > Self.patienceMilliseconds {
            world.hangUp(self)
        }
        if connection == nil {
            if !isDone { connect(in: world) }
        } else if session.isReady {
            sendSome(in: world)
        } else if world.time.milliseconds(since: sentAt) > Self.patienceMilliseconds {
            world.hangUp(self)
        }
        guard !isDone else { return }
        let gap = isDiligent ? 5 : 1 + world.workload.below(2 * gapMilliseconds)
        world.setTimer(index, afterMilliseconds: gap)
    }

    private func connect(in world: World) {
        session = ClientSession()
        world.connect(self, index)
        sentAt = world.time
        var bytes: [UInt8] = []
        session.sayHello(name: "simulated", version: "1", into: &bytes)
        world.send(bytes, from: self)
    }

    private func sendSome(in world: World) {
        var bytes: [UInt8] = []
        while inFlight.count < 3, let batch = plan.popLast() {
            let correlation = session.openRequest(.produce)
            write(batch, correlation, in: world, to: &bytes)
            inFlight.append((correlation, batch))
            if world.workload.chance(perThousand: 500) { break }
        }
        if badRequests > 0, world.workload.chance(perThousand: 100) {
            badRequests -= 1
            writeBad(to: &bytes)
        }
        guard !bytes.isEmpty else { return }
        sentAt = world.time
        world.send(bytes, from: self)
    }

    private func write(
        _ batch: Batch,
        _ correlation: UInt32,
        in world: World,
        to bytes: inout [UInt8]
    ) {
        var records: [UInt8] = []
        let wall = WallTimestamp(milliseconds: 1_000_000)
        var writer = RecordBatchWriter(timestamp: wall, in: &records)
        for number in batch.numbers {
            let submission = world.witness.submissions[number]
            world.witness.sent(number)
            let envelope = submission.envelope
            Array(submission.user.utf8).withUnsafeBytes { key in
                envelope.withUnsafeBytes { value in
                    writer.append(key: key, value: value, timestamp: wall, into: &records)
                }
            }
        }
        writer.close(in: &records)
        records.withUnsafeBytes {
            ProduceRequestView.encode(
                topic: batch.channel.topicName,
                lane: nil,
                batch: $0,
                correlation: correlation,
                into: &bytes
            )
        }
    }

    /// A batch whose checksum does not match: must be refused whole.
    private func writeBad(to bytes: inout [UInt8]) {
        let correlation = session.openRequest(.produce)
        let junk = [UInt8](repeating: 0x5A, count: 200)
        junk.withUnsafeBytes {
            ProduceRequestView.encode(
                topic: Channel.email.topicName,
                lane: nil,
                batch: $0,
                correlation: correlation,
                into: &bytes
            )
        }
        badInFlight.append(correlation)
    }

    func received(_ bytes: [UInt8], in world: World) {
        bytes.withUnsafeBytes { buffer in
            session.begin(buffer)
            do {
                while let message = try session.next() { take(message, in: world) }
            } catch {
                world.witness.note("P6", "client \(index) cannot follow the node: \(error)")
            }
        }
    }

    private func take(_ message: ServerMessage, in world: World) {
        switch message {
        case .ready: timerFired(in: world)
        case .produced(let correlation, let reply):
            guard let place = inFlight.firstIndex(where: { $0.correlation == correlation }) else {
                world.witness.note("P6", "a batch that must be refused was answered")
                return
            }
            take(reply, of: inFlight.remove(at: place).batch, in: world)
        case .refused(let correlation, let error):
            if let place = badInFlight.firstIndex(of: correlation) {
                badInFlight.remove(at: place)
            } else if let place = inFlight.firstIndex(where: { $0.correlation == correlation }) {
                let batch = inFlight.remove(at: place).batch
                if error.isRetryable {
                    if world.diskIsFull { world.coverage.saw(.fullDiskRefused) }
                    repeatLater(batch, in: world)
                } else {
                    world.witness.refused(batch.numbers[0], error.message)
                }
            }
        case .goodbye: break  // What is under way is still answered; the node closes when drained.
        case .subscribed, .unsubscribed, .delivered, .settled, .status, .fetched, .templateSaved,
            .templates, .pong:
            world.witness.note("P6", "client \(index) got an answer it did not ask for")
        }
    }

    private func take(_ reply: ProduceReplyView, of batch: Batch, in world: World) {
        guard reply.count == batch.numbers.count else {
            world.witness.note(
                "P1",
                "a batch of \(batch.numbers.count) got \(reply.count) verdicts"
            )
            return
        }
        world.trace("client \(index) is told of \(reply.count) records")
        var again = batch
        again.numbers = []
        reply.forEach { place, outcome in
            let number = batch.numbers[place]
            switch outcome.status {
            case .accepted, .duplicate:
                world.checkTold(outcome.id)
                world.witness.accepted(
                    number,
                    as: outcome.id,
                    isRepeat: outcome.status == .duplicate,
                    at: world.time
                )
            case .refused where outcome.errorCode == ErrorCode.idempotencyConflict.rawValue:
                world.witness.conflicted(number)
            case .refused where outcome.errorCode == ErrorCode.diskFull.rawValue:
                // A disk that becomes full in the middle of a batch leaves its beginning in.
                again.numbers.append(number)
            case .refused:
                world.witness.refused(number, String(decoding: outcome.message, as: UTF8.self))
            }
        }
        guard !again.numbers.isEmpty else { return }
        if world.diskIsFull { world.coverage.saw(.fullDiskRefused) }
        repeatLater(again, in: world)
    }

    /// What has no key is not repeated: nobody can know whether it is in.
    private func repeatLater(_ batch: Batch, in world: World) {
        var kept = batch
        kept.numbers = batch.numbers.filter { world.witness.submissions[$0].key != nil }
        if !kept.numbers.isEmpty { plan.append(kept) }
    }

    func disconnected(in world: World) {
        badInFlight.removeAll()
        for (_, batch) in inFlight.reversed() { repeatLater(batch, in: world) }
        inFlight.removeAll()
        guard !isDone else { return }
        world.setTimer(index, afterMilliseconds: 20 + world.workload.below(300))
    }
}
