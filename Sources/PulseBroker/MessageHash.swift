// The keys under which the log's index finds entries: the kind of what is looked for, and its hash,
// seeded with the data directory's secret, since outsiders choose what is hashed.

package import PulseCore
package import PulseLog

extension KeyClass {
    /// Asked for with every submission, hence the class that is merged.
    static let idempotency = merged
    static let message = KeyClass(1)
    static let recipient = KeyClass(2)
}

package struct MessageHash: Sendable {
    private let secret: UInt64

    package init(secret: UInt64) { self.secret = secret }

    package func idempotency(_ key: UnsafeRawBufferPointer) -> UInt64 {
        KeyClass.idempotency.key(hash: XXH3.hash(key, seed: secret &+ 1))
    }

    /// A key's hash that tells it from every other one.
    func digest(_ key: UnsafeRawBufferPointer) -> KeyDigest {
        KeyDigest(
            high: XXH3.hash(key, seed: secret &+ 3),
            low: XXH3.hash(key, seed: secret &+ 4)
        )
    }

    /// Of what a repeat is compared with.
    func content(_ envelope: UnsafeRawBufferPointer, _ topic: TopicID) -> UInt64 {
        XXH3.hash(envelope, seed: secret &+ 5 &+ UInt64(topic.rawValue))
    }

    package func recipient(_ user: UnsafeRawBufferPointer) -> UInt64 {
        KeyClass.recipient.key(hash: XXH3.hash(user, seed: secret &+ 2))
    }

    /// Not a hash: neighbours in a stream are neighbours in the index, so that walking a stream meets
    /// the same few pages of it again and again. Offsets 2^30 apart share a key.
    package func message(_ stream: StreamID, _ offset: Offset) -> UInt64 {
        let offset = UInt64(bitPattern: offset.rawValue) & (1 << 30 - 1)
        return KeyClass.message.key(number: UInt64(stream.rawValue) << 30 | offset)
    }
}

/// Says for any entry what it is found under; used when an index is built anew from its segment.
package struct BrokerIndexer: EntryIndexer {
    package init() {}

    package func keys(
        of header: EntryHeader,
        body: UnsafeRawBufferPointer,
        secret: UInt64,
        into keys: inout [UInt64]
    ) {
        let hash = MessageHash(secret: secret)
        switch header.kind {
        case .recordBatch:
            do throws(RecordBatchError) {
                try RecordBatch.forEachRecord(in: body) { record in
                    if let user = record.key { keys.append(hash.recipient(user)) }
                    if let value = record.value, let key = Envelope.idempotencyKey(in: value) {
                        keys.append(hash.idempotency(key))
                    }
                }
            } catch {
                // Found under nothing: it is told by whoever folds it in or reads it.
            }
        case .command:
            _ = Command.forEach(in: body) { command in
                // Intents are found through the open intents and the outcome that follows them.
                if case .intent = command { return }
                guard let step = command.step else { return }
                keys.append(hash.message(step.message.stream, step.message.offset))
            }
        case .gap: break
        }
    }
}

extension RecordBatch {
    /// Visits the records of an entry's body, whose bytes the log has verified.
    ///
    /// - Throws: ``RecordBatchError`` when the body is no batch after all; nothing was visited then.
    package static func forEachRecord(
        in body: UnsafeRawBufferPointer,
        _ visit: (RecordView) -> Void
    ) throws(RecordBatchError) {
        let batch = try RecordBatch(body, .checksummed)
        batch.forEach { record in
            visit(record)
            return true
        }
    }
}
