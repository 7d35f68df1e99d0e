// Producing: one queue a topic and lane, batches under way, and what becomes of them.
//
//     send -> queue -> batch, pending -> receipt
//               ^            |
//               `- link lost-'    sent again, same idempotency keys

internal import PulseCore
internal import PulseWire

struct ProduceKey: Hashable, Sendable {
    var topic: String
    var lane: Lane?
}

/// A notification as bytes, before anybody waits for it.
struct ProduceEntry: Sendable {
    var topic: String
    var lane: Lane?
    var key: [UInt8]
    var envelope: [UInt8]

    var bytesMax: Int {
        RecordBatchWriter.recordBytesMax(keyBytes: key.count, valueBytes: envelope.count)
    }
}

/// Who gets the receipt.
enum ProduceSink {
    case one(Promise<Receipt>)
    case many(ProduceGroup, index: Int)
}

/// Notifications sent in one call, answered together. Only touched under the machine's lock.
final class ProduceGroup {
    private var results: [Result<Receipt, ClientError>]
    private var left: Int
    private let promise: CheckedContinuation<[Result<Receipt, ClientError>], Never>

    init(
        count: Int,
        _ promise: CheckedContinuation<[Result<Receipt, ClientError>], Never>
    ) {
        results = Array(repeating: .failure(.closed), count: count)
        left = count
        self.promise = promise
    }

    func finish(_ index: Int, _ result: Result<Receipt, ClientError>) -> Resumption? {
        results[index] = result
        left -= 1
        return left == 0 ? .receipts(promise, results) : nil
    }
}

struct QueuedNotification {
    var entry: ProduceEntry
    var deadline: MonotonicInstant
    var sink: ProduceSink
}

struct ProduceBatch {
    var key: ProduceKey
    var notifications: [QueuedNotification]
    /// The latest of its notifications'.
    var deadline: MonotonicInstant
}

struct ProduceQueue {
    var queued = Queue<QueuedNotification>()
    var queuedBytes = 0
    var batchesInFlight = 0
}

extension ClientMachine {
    mutating func produce(
        _ entry: ProduceEntry,
        at now: MonotonicInstant,
        _ sink: ProduceSink
    ) {
        unansweredCount += 1
        let notification = QueuedNotification(
            entry: entry,
            deadline: deadline(from: now),
            sink: sink
        )
        guard link != .closed else { return finish(notification, .failure(.closed)) }
        guard unansweredCount <= configuration.queuedMax else {
            return finish(
                notification,
                .failure(
                    ClientError(
                        .queueFull,
                        "\(configuration.queuedMax) notifications wait already; send slower",
                        isRetryable: true
                    )
                )
            )
        }
        let key = ProduceKey(topic: entry.topic, lane: entry.lane)
        producing[key, default: ProduceQueue()].queued.append(notification)
        producing[key]?.queuedBytes += entry.bytesMax
    }

    mutating func produce(
        _ entries: [Result<ProduceEntry, ClientError>],
        at now: MonotonicInstant,
        _ promise: CheckedContinuation<[Result<Receipt, ClientError>], Never>
    ) {
        let group = ProduceGroup(count: entries.count, promise)
        for (index, entry) in entries.enumerated() {
            switch entry {
            case .success(let entry): produce(entry, at: now, .many(group, index: index))
            case .failure(let error):
                if let resumption = group.finish(index, .failure(error)) {
                    resumptions.append(resumption)
                }
            }
        }
    }

    /// Sends what may leave: a partial batch when nothing is under way, full ones up to the limit.
    mutating func flushProducing(at now: Now) {
        for key in producing.keys {
            while let queue = producing[key], !queue.queued.isEmpty,
                outgoing.count < Limits.outgoingBytesMax
            {
                let isFull =
                    queue.queued.count >= Limits.batchRecordsMax
                    || queue.queuedBytes >= Limits.batchBytesMax / 2
                guard
                    queue.batchesInFlight == 0
                        || isFull && queue.batchesInFlight < configuration.batchesInFlightMax
                else { break }
                sendBatch(key, at: now)
            }
        }
    }

    private mutating func sendBatch(_ key: ProduceKey, at now: Now) {
        guard var queue = producing.removeValue(forKey: key) else { return }
        let correlation = session.openRequest(.produce)
        var batch = ProduceBatch(key: key, notifications: [], deadline: now.monotonic)
        let frame = OpenFrame(.produce, correlation: correlation, in: &outgoing)
        outgoing.append(string16: key.topic)
        outgoing.append(key.lane?.rawValue ?? ProduceRequestView.brokerChooses)
        let start = outgoing.count
        var writer = RecordBatchWriter(timestamp: now.wall, in: &outgoing)
        while batch.notifications.count < Limits.batchRecordsMax,
            let next = queue.queued.first,
            outgoing.count - start + next.entry.bytesMax <= Limits.batchBytesMax
        {
            _ = queue.queued.popFirst()
            queue.queuedBytes -= next.entry.bytesMax
            next.entry.key.withUnsafeBytes { key in
                next.entry.envelope.withUnsafeBytes { envelope in
                    writer.append(
                        key: key,
                        value: envelope,
                        timestamp: now.wall,
                        into: &outgoing
                    )
                }
            }
            batch.deadline = max(batch.deadline, next.deadline)
            batch.notifications.append(next)
        }
        writer.close(in: &outgoing, compressing: configuration.compression)
        frame.close(in: &outgoing)
        queue.batchesInFlight += 1
        producing[key] = queue
        pending[correlation] = .batch(batch)
    }

    /// One verdict for each notification of a batch.
    mutating func produced(_ batch: ProduceBatch, _ view: ProduceReplyView) -> ClientError? {
        guard view.count == batch.notifications.count else {
            requeue(batch)
            return ClientError(
                .protocolViolation,
                "\(view.count) verdicts for \(batch.notifications.count) notifications"
            )
        }
        producing[batch.key]?.batchesInFlight -= 1
        view.forEach { index, outcome in
            let id = Notification.ID(value: outcome.id)
            let result: Result<Receipt, ClientError> =
                switch outcome.status {
                case .accepted: .success(Receipt(id: id, isDuplicate: false))
                case .duplicate: .success(Receipt(id: id, isDuplicate: true))
                case .refused:
                    .failure(ClientError(refusal: outcome.errorCode, outcome.message.text))
                }
            finish(batch.notifications[index], result)
        }
        return nil
    }

    /// The same result for all of a batch that is under way.
    mutating func finish(_ batch: ProduceBatch, _ result: Result<Receipt, ClientError>) {
        producing[batch.key]?.batchesInFlight -= 1
        for notification in batch.notifications { finish(notification, result) }
    }

    private mutating func finish(
        _ notification: QueuedNotification,
        _ result: Result<Receipt, ClientError>
    ) {
        unansweredCount -= 1
        switch notification.sink {
        case .one(let promise): resumptions.append(.receipt(promise, result))
        case .many(let group, let index):
            if let resumption = group.finish(index, result) { resumptions.append(resumption) }
        }
    }

    /// Puts a batch under way back to the front of its queue.
    mutating func requeue(_ batch: ProduceBatch) {
        var queue = producing.removeValue(forKey: batch.key) ?? ProduceQueue()
        queue.batchesInFlight -= 1
        queue.queued.prepend(contentsOf: batch.notifications)
        for notification in batch.notifications { queue.queuedBytes += notification.entry.bytesMax }
        producing[batch.key] = queue
    }

    mutating func expireQueued(at now: MonotonicInstant) {
        for key in producing.keys {
            while let next = producing[key]?.queued.first, next.deadline <= now {
                _ = producing[key]?.queued.popFirst()
                producing[key]?.queuedBytes -= next.entry.bytesMax
                finish(next, .failure(timeout))
            }
            if let queue = producing[key], queue.queued.isEmpty, queue.batchesInFlight == 0 {
                producing[key] = nil
            }
        }
    }

    mutating func failProducing(_ error: ClientError) {
        for key in producing.keys.sorted(by: { $0.topic < $1.topic }) {
            while let next = producing[key]?.queued.popFirst() { finish(next, .failure(error)) }
        }
        producing.removeAll()
    }
}
