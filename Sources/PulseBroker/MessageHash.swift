// The keys under which the log's index finds entries: a hash of what is looked for and of its kind,
// seeded with the data directory's secret, since outsiders choose the keys.

package import PulseCore
package import PulseLog

package struct MessageHash: Sendable {
    private let secret: UInt64

    package init(secret: UInt64) { self.secret = secret }

    package func idempotency(_ key: UnsafeRawBufferPointer) -> UInt64 {
        XXH3.hash(key, seed: secret &+ 1)
    }

    package func recipient(_ user: UnsafeRawBufferPointer) -> UInt64 {
        XXH3.hash(user, seed: secret &+ 2)
    }

    package func message(_ stream: StreamID, _ offset: Offset) -> UInt64 {
        var hasher = SplitMix(secret &+ 3)
        hasher.mix(UInt64(stream.rawValue))
        hasher.mix(UInt64(bitPattern: offset.rawValue))
        return hasher.value
    }

    private struct SplitMix {
        var value: UInt64

        init(_ seed: UInt64) { value = seed }

        mutating func mix(_ word: UInt64) {
            var z = (value ^ word) &+ 0x9E37_79B9_7F4A_7C15
            z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            value = z ^ (z >> 31)
        }
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
            RecordBatch.forEachRecord(in: body) { record in
                if let user = record.key { keys.append(hash.recipient(user)) }
                if let value = record.value, let key = Envelope.idempotencyKey(in: value) {
                    keys.append(hash.idempotency(key))
                }
            }
        case .command:
            _ = Command.forEach(in: body) { command in
                // Intents are found through the open intents and the outcome that follows them.
                if case .intent = command { return }
                guard let step = command.step else { return }
                keys.append(hash.message(step.message.stream, step.message.offset))
            }
        }
    }
}

extension RecordBatch {
    /// Visits the records of an entry's body, whose bytes the log has verified. A body that is no batch
    /// after all has no records.
    package static func forEachRecord(
        in body: UnsafeRawBufferPointer,
        _ visit: (RecordView) -> Void
    ) {
        guard let batch = try? RecordBatch(body, .checksummed) else { return }
        batch.forEach { record in
            visit(record)
            return true
        }
    }
}
