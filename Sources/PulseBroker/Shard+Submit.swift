// Taking a notification in: deduplicate, give it its place, append. One append each; durable with the
// turn's sync.

package import PulseCore
import PulseLog

/// A notification that passed all checks and only needs a place.
package struct NewNotification {
    package var channel: Channel
    package var lane: Lane
    /// Whose it is.
    package var user: UnsafeRawBufferPointer
    package var envelope: UnsafeRawBufferPointer
    package var idempotencyKey: UnsafeRawBufferPointer?

    package init(
        channel: Channel,
        lane: Lane,
        user: UnsafeRawBufferPointer,
        envelope: UnsafeRawBufferPointer,
        idempotencyKey: UnsafeRawBufferPointer?
    ) {
        self.channel = channel
        self.lane = lane
        self.user = user
        self.envelope = envelope
        self.idempotencyKey = idempotencyKey
    }
}

/// What became of a submission. The answer may leave once everything below `durableAt` is durable.
package struct SubmitOutcome: Hashable, Sendable {
    package enum Kind: Hashable, Sendable {
        case accepted
        /// The key was used before, for the same notification.
        case duplicate
        /// The key was used before, for another notification.
        case conflict
    }

    package var kind: Kind
    package var id: NotificationID
    package var durableAt: LogPosition
    /// How it ended, when its record is gone.
    package var endState: NotificationState?
}

extension Shard {
    /// Whether new work can be taken in. Outcomes are still written when it cannot.
    package var acceptsWork: ErrorCode? {
        if log.isDamaged { return .dataCorrupt }
        return obstacleOfDisk
    }

    /// Appends one notification, unless its idempotency key was used inside the window.
    package func submit(
        _ submission: NewNotification,
        at now: Now
    ) throws(ShardError) -> SubmitOutcome {
        if !Mutant.isOn(.skipDeduplication), let key = submission.idempotencyKey,
            let earlier = try findByKey(
                key,
                envelope: submission.envelope,
                channel: submission.channel,
                at: now
            )
        {
            return earlier
        }
        let stream = StreamID(
            topic: submission.channel.topic,
            partition: partition(of: submission.user),
            lane: submission.lane
        )
        var batch: [UInt8] = []
        batch.reserveCapacity(submission.envelope.count + submission.user.count + 96)
        var writer = RecordBatchWriter(timestamp: now.wall, in: &batch)
        writer.append(
            key: submission.user,
            value: submission.envelope,
            timestamp: now.wall,
            into: &batch
        )
        writer.close(in: &batch, compressing: true)
        let keys = keyHashes(user: submission.user, idempotencyKey: submission.idempotencyKey)
        let offset = try append(batch, records: 1, to: stream, keys: keys, at: now)
        return SubmitOutcome(
            kind: .accepted,
            id: id(stream, offset),
            durableAt: log.appendPosition
        )
    }

    /// Appends a batch of records that need no change and whose keys are all new. `batch` is a valid
    /// record batch v2; its base offset and epoch are filled in.
    ///
    /// - Returns: The offset of its first record.
    package func append(
        _ batch: consuming [UInt8],
        records: Int,
        to stream: StreamID,
        keys: [UInt64],
        at now: Now
    ) throws(ShardError) -> Offset {
        try followClock(now)
        let base = nextOffset(of: stream)
        batch.withUnsafeMutableBytes {
            RecordBatch.patch($0, baseOffset: base, leaderEpoch: configuration.log.leaderEpoch)
        }
        let result = batch.withUnsafeBytes { body -> Result<LogPosition, LogError> in
            do throws(LogError) {
                return .success(
                    try log.append(
                        .recordBatch,
                        stream: stream,
                        baseOffset: base,
                        recordCount: records,
                        at: now.wall,
                        keys: keys,
                        body: body
                    )
                )
            } catch { return .failure(error) }
        }
        do throws(LogError) { _ = try result.get() } catch { throw .log(error) }
        nextOffsets[stream] = base.advanced(by: records)
        // A turn that takes in much is written in pieces, so that memory stays bounded; the sync at its
        // end covers them all.
        if log.bytesInTurn >= Limits.turnBytesMax
            || configuration.log.buggify?.fires(.flushMidTurn) == true
        {
            try fromLog { () throws(LogError) in try log.flush(jobs: &logJobs) }
        }
        return base
    }

    package func keyHashes(
        user: UnsafeRawBufferPointer,
        idempotencyKey: UnsafeRawBufferPointer?
    ) -> [UInt64] {
        var keys = [hash.recipient(user)]
        if let idempotencyKey { keys.append(hash.idempotency(idempotencyKey)) }
        return keys
    }

    /// The notification that used this key inside the window, if any, durable or not.
    package func findByKey(
        _ key: UnsafeRawBufferPointer,
        envelope: UnsafeRawBufferPointer,
        channel: Channel,
        at now: Now
    ) throws(ShardError) -> SubmitOutcome? {
        try followClock(now)
        let oldest = oldestKey(at: now)
        let clock = clockWatch.steady
        let since = clock.wall(notAfter: oldest)
        var found: SubmitOutcome?
        do throws(LogError) {
            try log.lookup(hash.idempotency(key), since: since) { position throws(LogError) in
                var tooOld = false
                try self.log.read(at: position) { header, body throws(LogError) in
                    tooOld = clock.steady(header.wall, at: header.position) < oldest
                    guard !tooOld, header.kind == .recordBatch else { return }
                    try self.forEachRecord(in: body, of: header) { record in
                        guard let value = record.value,
                            let stored = Envelope.idempotencyKey(in: value),
                            stored.elementsEqual(key)
                        else { return }
                        let offset = header.baseOffset.advanced(by: record.offsetDelta)
                        let isSame =
                            header.stream.topic == channel.topic && value.elementsEqual(envelope)
                        found = SubmitOutcome(
                            kind: isSame ? .duplicate : .conflict,
                            id: id(header.stream, offset),
                            durableAt: header.endPosition
                        )
                    }
                }
                if found != nil { noteSight(ofDuplicateAt: position) }
                return found == nil && !tooOld
            }
        } catch { throw .log(error) }
        if found == nil, let kept = try keptByKey(key, since: oldest) {
            let isSame =
                kept.stream.topic == channel.topic
                && kept.value.withUnsafeBytes { $0.elementsEqual(envelope) }
            found = SubmitOutcome(
                kind: isSame ? .duplicate : .conflict,
                id: id(kept.stream, kept.offset),
                durableAt: log.durablePosition
            )
        }
        if found == nil {
            found = try rememberedByKey(
                key,
                envelope: envelope,
                topic: channel.topic,
                since: oldest
            )
        }
        switch found?.kind {
        case .duplicate: statistics.duplicates += 1
        case .conflict: statistics.conflicts += 1
        case .accepted, nil: break
        }
        return found
    }

    /// For the simulator: where duplicates are found.
    private func noteSight(ofDuplicateAt position: LogPosition) {
        guard let buggify = configuration.log.buggify else { return }
        if position >= log.durablePosition { buggify.saw(.duplicateInTurn) }
        let segment = UInt64(log.segmentBytes)
        if position.rawValue / segment < log.appendPosition.rawValue / segment {
            buggify.saw(.duplicateInSealed)
        }
    }

    /// Saves a template: the revision, and where it is durable. Its entry is appended at once, so that
    /// what comes later in the turn is behind it in the log too.
    package func put(
        _ template: TemplateRow,
        at now: Now
    ) throws(ShardError) -> (revision: TemplateRevision, durableAt: LogPosition) {
        // In an entry of its own, whose position is the revision's.
        try appendTurnCommands(at: now)
        Command.templatePut(template).append(to: &turnCommands)
        let appended: LogPosition?
        do throws(ShardError) {
            appended = try appendTurnCommands(at: now)
        } catch {
            // Refused (a full disk): it must not be saved later with somebody else's turn.
            turnCommands.removeAll(keepingCapacity: true)
            throw error
        }
        guard let position = appended else { preconditionFailure("a command was just added") }
        let revision = TemplateRevision(row: template, position: position)
        pendingTemplates[template.name] = revision
        return (revision, log.appendPosition)
    }

    /// The revision that a record appended now will be rendered with, durable or not.
    package func revisionInForce(of name: String) -> TemplateRevision? {
        pendingTemplates[name] ?? templates.revision(named: name)
    }

    /// A position that is durable only when this turn's commands are.
    package var endOfTurn: LogPosition { LogPosition(log.appendPosition.rawValue + 1) }

    package func id(_ stream: StreamID, _ offset: Offset) -> NotificationID {
        NotificationID(stream: stream, offset: offset, key: log.identity.key)
    }

    package func partition(of user: UnsafeRawBufferPointer) -> PartitionID {
        guard configuration.partitions > 1 else { return PartitionID(0) }
        // Unseeded on purpose: a client may compute the same partition.
        let hash = XXH3.hash(user, seed: 0)
        return PartitionID(UInt16(hash % UInt64(configuration.partitions)))
    }
}
