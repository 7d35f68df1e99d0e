// Keys of segments that go by size while the idempotency window is open: put into rows before the segment
// goes, found there, and deleted when their time is over. What is kept of a notification is enough to tell
// a repeat from a conflict and to answer with the first identifier.

import PulseCore
import PulseLog

extension Shard {
    /// Records and bytes of log that are looked at in one turn.
    private static let keysPerTurn = 512
    private static let keyBytesPerTurn = 1 << 20

    /// The oldest steady time of which keys are asked for.
    func oldestKey(at now: Now) -> WallTimestamp {
        steadyTime(at: now).advanced(
            byMilliseconds: -configuration.idempotencyWindowMilliseconds
        )
    }

    /// Whether a segment may go as far as keys are concerned; otherwise some more of them are put into
    /// rows.
    func hasKeysInRows(
        _ segment: SegmentAccount,
        latest: WallTimestamp,
        into commands: inout RetentionCommands,
        at now: Now
    ) throws(ShardError) -> Bool {
        let end = LogPosition((segment.number + 1) * UInt64(log.segmentBytes))
        let oldest = oldestKey(at: now)
        guard latest >= oldest, state.keys.to < end, !Mutant.isOn(.forgetKeysBySize) else {
            return true
        }
        // A key that is used again must not meet the end of its first use.
        if let over = try oldestPiece(), over.steady < oldest {
            retention.hasMore = true
            if !commands.endsKeys { commands.append(.keysOver(over)) }
            return false
        }
        guard state.keys.count < UInt64(configuration.rememberedKeysMax) else {
            // What waits for room would make the log larger than it may be, so its keys go with it.
            statistics.keysForgotten += state.book.records(in: segment.number)
            return true
        }
        retention.hasMore = true
        do throws(LogError) {
            commands.append(.remembered(try keys(until: end, since: oldest)))
        } catch {
            guard case .damaged = error else { throw .log(error) }
            retention.hasMore = false
            retention.obstacle = .damaged(segment: segment.number)
        }
        return false
    }

    private func oldestPiece() throws(ShardError) -> KeysOver? {
        guard state.keys.count > 0 else { return nil }
        return try fromStore { () throws(StorageError) in
            try store.scan(from: [0x6A], below: [0x6B], limit: 1)
        }.first.flatMap(KeysOver.init)
    }

    /// Deletes a piece whose time is over; called now and then.
    func sweepKeys(
        into commands: inout RetentionCommands,
        at now: Now
    ) throws(ShardError) {
        guard let over = try oldestPiece(), over.steady < oldestKey(at: now) else { return }
        commands.append(.keysOver(over))
        retention.due = now.monotonic
    }

    /// The next keys of the log that are not in rows yet, up to a position at most.
    private func keys(
        until end: LogPosition,
        since oldest: WallTimestamp
    ) throws(LogError) -> KeyPiece {
        var piece = KeyPiece(to: end, keys: [])
        let from = max(state.keys.to, log.firstPosition)
        let most = min(Self.keysPerTurn, log.bodyBytesMax / 4 / RememberedKey.bytes)
        try log.scan(from: from) { header, body throws(LogError) in
            guard header.position < end else { return false }
            // A batch is taken whole or not at all.
            let isFull =
                piece.keys.count >= most
                || header.position.rawValue - from.rawValue > UInt64(Self.keyBytesPerTurn)
            guard !isFull else {
                piece.to = header.position
                return false
            }
            let steady = state.clock.steady(header.wall, at: header.position)
            guard header.kind == .recordBatch, steady >= oldest else { return true }
            try self.forEachRecord(in: body, of: header) { record in
                guard let value = record.value, let key = Envelope.idempotencyKey(in: value) else {
                    return
                }
                piece.keys.append(
                    RememberedKey(
                        digest: hash.digest(key),
                        stream: header.stream,
                        offset: header.baseOffset.advanced(by: record.offsetDelta),
                        state: 0,
                        content: hash.content(value, header.stream.topic),
                        steady: steady
                    )
                )
            }
            return true
        }
        for index in piece.keys.indices {
            let key = piece.keys[index]
            piece.keys[index].state = try endState(key.stream, key.offset)?.rawValue ?? 0
        }
        return piece
    }

    private func endState(
        _ stream: StreamID,
        _ offset: Offset
    ) throws(LogError) -> NotificationState? {
        guard let group = state.group(named: GroupState.deliveryName, on: stream.topic) else {
            return nil
        }
        let key = MessageKey(group: group.id, stream: stream, offset: offset)
        return switch try stepsInLog(of: key, all: false).last?.command {
        case .delivered: .delivered
        case .dead: .dead
        case .cancelled: .cancelled
        default: nil
        }
    }

    /// The notification that used a key, when its record went by size.
    func rememberedByKey(
        _ key: UnsafeRawBufferPointer,
        envelope: UnsafeRawBufferPointer,
        topic: TopicID,
        since oldest: WallTimestamp
    ) throws(ShardError) -> SubmitOutcome? {
        guard state.keys.count > 0 else { return nil }
        let digest = hash.digest(key)
        let row = try fromStore { () throws(StorageError) in try store.get(digest.rowKey) }
        guard let found = row.flatMap({ RememberedKey(digest, row: $0) }), found.steady >= oldest
        else { return nil }
        let isSame = found.content == hash.content(envelope, topic)
        return SubmitOutcome(
            kind: isSame ? .duplicate : .conflict,
            id: id(found.stream, found.offset),
            durableAt: log.durablePosition,
            endState: NotificationState(rawValue: found.state)
        )
    }
}
