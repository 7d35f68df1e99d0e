// What the rack's workload does, one operation a step.

package import PulseBroker
import PulseCore
import PulseLog

extension TortureBench {
    /// One operation, drawn by the workload's generator. A full disk is an answer, anything else that
    /// is thrown ends the process.
    package func step() throws(ShardError) {
        pass(milliseconds: random.below(400))
        guard let shard else { return try start() }
        do throws(ShardError) {
            switch random.below(1000) {
            case 0..<240:
                for _ in 0...random.below(4) { try submit(shard) }
                if random.below(2) == 0 { try commit(shard) }
            case 240..<560: try commit(shard)
            case 560..<660:
                try shard.dispatch(channel(), slots: 1 + random.below(12), at: now)
                try commit(shard)
            case 660..<700: try deliverAll(shard)
            case 700..<800:
                for _ in 0...random.below(4) { try settle(shard) }
                if random.below(2) == 0 { try commit(shard) }
            case 800..<860: try performJob(shard)
            case 860..<885: requestFloor(shard)
            case 885..<945: try release(shard)
            case 945..<955: try saveTemplate(shard)
            case 955..<975: try performSync()
            case 975..<980: if restarts { try restart(.clean) }
            case 980..<985: if restarts { try restart(.kill) }
            case 985..<990: if restarts { try restart(.powerLoss) }
            default: pass(milliseconds: random.below(8000))
            }
        } catch {
            guard case .log(.diskFull) = error else { throw error }
        }
        if let shard = self.shard {
            check(shard)
            newestSegment = max(newestSegment, shard.log.segments.last?.number ?? 0)
        }
    }

    /// Commits until everything said so far is answered, and does all jobs.
    package func settleDown() throws(ShardError) {
        guard let shard else { return }
        for _ in 0..<3 { try commit(shard, whole: true) }
        while !jobs.isEmpty { try performJob(shard) }
    }

    private func channel() -> Channel { Channel.allCases[random.below(2)] }

    func submit(_ shard: Shard) throws(ShardError) {
        serial += 1
        // A key that was used before, now and then: it must find the record that it was used for.
        let key = random.below(12) == 0 && serial > 1 ? "key-\(serial - 1)" : "key-\(serial)"
        let user = "user-\(random.below(7))"
        var writer = EnvelopeWriter()
        writer.append(.user, user)
        writer.append(.address, "\(user)@example.org")
        writer.append(.text, String(repeating: "x", count: random.below(900)) + "\(serial)")
        writer.append(.idempotencyKey, key)
        if random.below(5) == 0 {
            writer.append(deliverAt: now.wall.advanced(byMilliseconds: Int64(random.below(9000))))
        }
        let submission = (
            channel: channel(), lane: Lane.allCases[random.below(4)], envelope: writer.bytes
        )
        let now = self.now
        let start = shard.log.appendPosition
        defer { note(shard, appendedFrom: start) }
        let result = Array(user.utf8).withUnsafeBytes { user in
            submission.envelope.withUnsafeBytes { envelope in
                Array(key.utf8).withUnsafeBytes { key -> Result<SubmitOutcome, ShardError> in
                    do throws(ShardError) {
                        return .success(
                            try shard.submit(
                                NewNotification(
                                    channel: submission.channel,
                                    lane: submission.lane,
                                    user: user,
                                    envelope: envelope,
                                    idempotencyKey: key
                                ),
                                at: now
                            )
                        )
                    } catch { return .failure(error) }
                }
            }
        }
        let outcome = try result.get()
        guard outcome.kind == .accepted,
            let place = outcome.id.place(key: shard.log.identity.key)
        else { return }
        unanswered.append(
            TortureGhost.Record(
                id: outcome.id,
                stream: place.stream,
                offset: place.offset,
                envelope: submission.envelope.withUnsafeBytes { XXH3.hash($0, seed: 0) },
                durableAt: outcome.durableAt.rawValue,
                request: TortureGhost.Request(
                    channel: submission.channel,
                    key: key,
                    envelope: submission.envelope,
                    at: now.wall
                )
            )
        )
    }

    /// Ends the turn. A sync in flight may stay so: then the turn is written and waits for the next.
    func commit(_ shard: Shard, whole: Bool = false) throws(ShardError) {
        if ticket != nil, whole || random.below(4) > 0 { try completeSync() }
        try shard.reachedTime(now)
        let start = shard.log.appendPosition
        let fresh = try shard.flush(at: now)
        note(shard, appendedFrom: start)
        if !shard.isWaitingForRoom {
            let written = shard.log.appendPosition.rawValue
            for index in unansweredOutcomes.indices where unansweredOutcomes[index].at == nil {
                unansweredOutcomes[index].at = written
            }
        }
        jobs += shard.takeLogJobs()
        if let fresh {
            ticket = fresh
            syncIsPerformed = false
        }
        if whole || random.below(3) > 0 { try completeSync() }
        // The store's flush is a job as well: much may happen before it is done.
        if wantsFlush, flushesStore, random.below(4) == 0 { try flushStore(shard) }
    }

    /// A good hour of the providers: what waits is delivered, so that old segments can go.
    func deliverAll(_ shard: Shard) throws(ShardError) {
        pass(milliseconds: 3000)
        for _ in 0..<2 {
            for channel in Channel.allCases.prefix(2) {
                try shard.dispatch(channel, slots: 200, at: now)
            }
            try commit(shard, whole: true)
            while !leases.isEmpty { try settle(shard, delivers: true) }
        }
    }

    private func settle(_ shard: Shard, delivers: Bool = false) throws(ShardError) {
        guard !leases.isEmpty else { return }
        let lease = leases.remove(at: random.below(leases.count))
        let outcome: AttemptOutcome
        var final: NotificationState?
        switch delivers ? 0 : random.below(8) {
        case 0..<5:
            outcome = .delivered(code: 250, detail: "ok")
            final = .delivered
        case 5:
            outcome = .dead(.recipientDead, code: 550, detail: "unknown user")
            final = .dead
        default:
            outcome = .retry(afterMilliseconds: nil, reason: .backoff, code: 451, detail: "")
            if lease.attempt >= Self.attemptsMax { final = .dead }
        }
        guard try shard.settle(lease.id, outcome, at: now), let final else { return }
        let id = shard.id(lease.message.stream, lease.message.offset)
        unansweredOutcomes.append((id, final, nil))
    }

    /// Performs a background job, and tells of it as the node would: a failure is tried again.
    func performJob(_ shard: Shard) throws(ShardError) {
        guard !jobs.isEmpty else {
            if wantsFlush, flushesStore { try flushStore(shard) }
            return
        }
        let job = jobs.removeFirst()
        var failure: StorageError?
        do throws(StorageError) { try job.perform(in: disk) } catch { failure = error }
        try shard.jobFinished(job, failure: failure)
        ghost.vouch(for: shard.log.notedPosition.rawValue)
    }

    func flushStore(_ shard: Shard) throws(ShardError) {
        wantsFlush = false
        do throws(StorageError) {
            try store.flush()
            shard.storeFlushed()
        } catch {
            guard error.reason == .noSpace else { throw .storage(error) }
            shard.storeFlushFailed()
        }
    }

    private func requestFloor(_ shard: Shard) {
        shard.requestFloor()
        jobs += shard.takeLogJobs()
    }

    func release(_ shard: Shard) throws(ShardError) {
        try shard.reachedTime(now)
        // What will be let go may be gone from the first moment of the letting go.
        let before = shard.log.firstPosition
        let saved = savedTo
        let oldest = now.wall.advanced(
            byMilliseconds: -configuration.retentionMilliseconds
        )
        let leaving = shard.log.segments.prefix {
            $0.isSealed && $0.latestWall < oldest && $0.end <= saved
        }
        let ends = shard.log.segments.map(\.end)
        ghost.leaving(below: leaving.last?.end ?? before)
        try shard.releaseOldSegments(at: now)
        ghost.leaving(below: .zero)
        if shard.log.firstPosition > before {
            releases += 1
            let end = ends.last { $0 <= shard.log.firstPosition } ?? before
            if end > saved {
                violations.append(
                    "segments below \(end.rawValue) are let go, and the state that replaces them is "
                        + "durable to \(saved.rawValue) only"
                )
            }
            ghost.released(below: shard.log.firstPosition)
        }
        jobs += shard.takeLogJobs()
    }

    /// How far a crash leaves the saved state, asked of the store itself.
    private var savedTo: LogPosition {
        guard let saved = store.durableValue(of: Shard.checkpointKey),
            let state = Checkpoint.state(in: saved)
        else { return .zero }
        return state.applied
    }

    private func saveTemplate(_ shard: Shard) throws(ShardError) {
        let row = TemplateRow(
            name: "template-\(random.below(3))",
            channel: .email,
            subject: "subject \(serial)",
            text: "text",
            html: "",
            savedAt: now.wall
        )
        _ = try shard.put(row, at: now)
    }
}
