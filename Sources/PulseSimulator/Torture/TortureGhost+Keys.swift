// Idempotency keys after a recovery: whoever did not hear the answer asks again, with the same key.

import PulseBroker
import PulseCore
import PulseLog

extension TortureGhost {
    /// Hands in again, as far as the lookup, what was acknowledged inside the window: each key must lead
    /// to its notification, with the very same content.
    ///
    /// - Returns: What was broken, and how many were asked for.
    func brokenKeys(
        of shard: Shard,
        at now: Now,
        windowMilliseconds: Int64
    ) throws(ShardError) -> (broken: [String], asked: Int) {
        var broken: [String] = []
        var asked: Set<String> = []
        let oldest = now.wall.advanced(byMilliseconds: -windowMilliseconds)
        // The newest use of a key is the one that counts.
        for record in records.reversed() {
            let request = record.request
            guard request.at > oldest else { break }
            guard asked.insert(request.key).inserted else { continue }
            let found = try Array(request.key.utf8).withUnsafeBytes {
                key -> Result<SubmitOutcome?, ShardError> in
                request.envelope.withUnsafeBytes { envelope in
                    do throws(ShardError) {
                        return .success(
                            try shard.findByKey(
                                key,
                                envelope: envelope,
                                channel: request.channel,
                                at: now
                            )
                        )
                    } catch { return .failure(error) }
                }
            }.get()
            guard let found else {
                broken.append("the key of \(record.id) is forgotten inside its window")
                continue
            }
            if found.id != record.id || found.kind != .duplicate {
                broken.append("the key of \(record.id) leads to \(found.id), \(found.kind)")
            }
        }
        return (broken, asked.count)
    }
}
