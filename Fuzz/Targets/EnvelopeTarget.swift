// Envelopes: what a notification is as bytes, from producers and from the log.

import PulseCore

extension FuzzTarget {
    /// - Any bytes are refused or read.
    /// - What is read and written again is read the same.
    /// - The quick look at one field agrees with the whole reading.
    static let envelope = FuzzTarget(
        name: "envelope",
        inputBytesMax: 2048,
        check: { bytes in
            try bytes.withUnsafeBytes { raw in
                let quickDue = Envelope.deliverAt(in: raw)
                let quickKey = Envelope.idempotencyKey(in: raw)
                guard let envelope = Envelope(raw) else { return }
                try require(quickDue == envelope.deliverAt, "the quick look finds the due time")
                try require(
                    quickKey.map { Array($0) } == envelope.idempotencyKey.map { Array($0) },
                    "the quick look finds the key"
                )
                let again = rewrite(envelope)
                let same = again.withUnsafeBytes { copy in
                    Envelope(copy).map { words($0) == words(envelope) } ?? false
                }
                try require(same, "an envelope written again reads the same")
            }
        },
        seeds: { [seedEnvelope, []] }
    )

    private static func texts(_ it: Envelope) -> [(EnvelopeField, Envelope.Bytes?)] {
        [
            (.user, it.user), (.address, it.address), (.template, it.template),
            (.subject, it.subject), (.text, it.text), (.html, it.html), (.title, it.title),
            (.deviceToken, it.deviceToken), (.idempotencyKey, it.idempotencyKey),
        ]
    }

    private static func rewrite(_ envelope: Envelope) -> [UInt8] {
        var writer = EnvelopeWriter()
        for (field, value) in texts(envelope) {
            if let value { writer.append(field, value.text) }
        }
        for datum in envelope.data { writer.append(datum: datum.name, datum.value) }
        if let due = envelope.deliverAt { writer.append(deliverAt: due) }
        if let lane = envelope.requestedLane { writer.append(.requestedLane, byte: lane.rawValue) }
        if let origin = envelope.origin { writer.append(.origin, byte: origin.rawValue) }
        return writer.bytes
    }

    private static func words(_ envelope: Envelope) -> [String] {
        texts(envelope).map { "\($0.0) \($0.1.map { Array($0) } ?? [])" }
            + envelope.data.map { "\(Array($0.name)) \(Array($0.value))" }
            + [
                "\(envelope.deliverAt?.milliseconds ?? -1)",
                "\(envelope.requestedLane?.rawValue ?? 9)",
                "\(envelope.origin?.rawValue ?? 9)",
            ]
    }
}
