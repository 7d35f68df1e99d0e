// The producing face: one call per notification, however they are batched underneath.

internal import PulseCore

/// Sends notifications. Cheap to make and to share; all producers of a client share its connection.
///
/// A batch leaves as soon as the one before it is answered, or when it is full: alone, a
/// notification leaves at once; under load, batches grow by themselves.
public struct Producer: Sendable {
    let client: PulseClient
    let topic: String?

    /// Sends one notification and waits until it is on stable storage.
    ///
    /// Safe over reconnects: it is sent again with the same idempotency key. After
    /// ``ClientError/Code/timedOut`` the outcome is unknown; set a key of your own to be able to
    /// repeat it safely.
    @discardableResult
    public func send(_ notification: Notification) async throws(ClientError) -> Receipt {
        let entry = try entry(for: notification)
        let driver = client.driver
        let result: Result<Receipt, ClientError> = await withCheckedContinuation { promise in
            let now = SystemTime.now().monotonic
            driver.change { $0.produce(entry, at: now, .one(promise)) }
        }
        return try result.get()
    }

    /// Sends many at once and waits for all; the results are in the order of the notifications.
    public func send(
        contentsOf notifications: [Notification]
    ) async -> [Result<Receipt, ClientError>] {
        guard !notifications.isEmpty else { return [] }
        let entries = notifications.map { notification in
            Result { () throws(ClientError) in try entry(for: notification) }
        }
        let driver = client.driver
        return await withCheckedContinuation { promise in
            let now = SystemTime.now().monotonic
            driver.change { $0.produce(entries, at: now, promise) }
        }
    }

    private func entry(for notification: Notification) throws(ClientError) -> ProduceEntry {
        guard let topic = topic ?? notification.channel?.topic else {
            throw ClientError(
                .invalidNotification,
                "neither the producer's topic nor a channel says where to"
            )
        }
        try PulseClient.checkName("topic", topic)
        return ProduceEntry(
            topic: topic,
            lane: notification.lane?.value,
            key: Array(notification.user.utf8),
            envelope: try notification.envelope(
                key: notification.idempotencyKey ?? IdempotencyKey.random()
            )
        )
    }
}

enum IdempotencyKey {
    /// 128 random bits as 32 hexadecimal digits.
    static func random() -> String {
        var generator = SystemRandomNumberGenerator()
        var text: [UInt8] = []
        text.reserveCapacity(32)
        for _ in 0..<2 {
            let word = generator.next()
            for shift in stride(from: 60, through: 0, by: -4) {
                let nibble = UInt8(word >> UInt64(shift) & 0xF)
                text.append(nibble < 10 ? 48 + nibble : 87 + nibble)
            }
        }
        return String(decoding: text, as: UTF8.self)
    }
}
