// Giving messages out: to the delivery workers of this process, by announcing an intent, and to
// subscribers, by credit.

package import PulseCore
package import PulseLog

/// A message given to a subscriber.
package struct Handout: Sendable {
    package var subscription: SubscriptionID
    package var lease: Lease
}

extension Shard {
    /// Leases up to `slots` messages of a channel to its workers and announces the attempts. They are
    /// ready to be called once ``takeOpened()`` returns them, after the sync.
    package func dispatch(_ channel: Channel, slots: Int, at now: Now) throws(ShardError) {
        guard let group = state.group(named: GroupState.deliveryName, on: channel.topic),
            mayLease
        else { return }
        let index = Int(group.id.rawValue) - 1
        let worker = Int(channel.rawValue) - 1
        while workerLeases[worker] < slots {
            let strict = workerCritical[worker] * 10 < slots * 6
            guard
                let candidate = try nextCandidate(
                    index,
                    lanes: 0xF,
                    criticalMayBeStrict: strict,
                    at: now
                )
            else { return }
            try makeRoomForCommand(at: now)
            let lease = leases.grant(candidate, to: .worker, state: .announcing)
            count(lease, in: index, 1)
            turnAnnounced.append(lease.id)
            Command.intent(step(of: lease)).append(to: &turnCommands)
            if configuration.log.buggify?.fires(.oneAtATime) == true { return }
        }
    }

    /// Leases messages to subscribers as far as their credit goes.
    /// Bounded in number and bytes; ``hasMoreToDeal`` says that a bound was met.
    package func deal(at now: Now) throws(ShardError) -> [Handout] {
        var handouts: [Handout] = []
        var bytes = 0
        hasMoreToDeal = false
        guard mayLease else { return [] }
        // What retention decided and is not folded in yet may be that a group loses what it would be given.
        guard state.applied >= retention.inFlightUntil else { return [] }
        for group in subscriptions.groups() {
            let index = Int(group.rawValue) - 1
            guard queues.indices.contains(index), state.group(group) != nil else { continue }
            // Members that had their turn and found nothing in their lanes since the last handout.
            var idle: Set<SubscriptionID> = []
            while let subscription = subscriptions.next(of: group),
                idle.count < subscriptions.all.count
            {
                guard
                    let candidate = try nextCandidate(
                        index,
                        lanes: subscription.lanes,
                        criticalMayBeStrict: false,
                        at: now
                    )
                else {
                    guard idle.insert(subscription.id).inserted else { break }
                    continue
                }
                idle.removeAll(keepingCapacity: true)
                bytes += try entryBytes(of: candidate.message)
                let lease = leases.grant(
                    candidate,
                    to: .subscription(subscription.id),
                    state: .open
                )
                count(lease, in: index, 1)
                let deadline = now.monotonic.advanced(
                    byMilliseconds: subscription.leaseMilliseconds
                )
                setDeadline(lease.id, at: deadline)
                subscriptions.change(subscription.id) {
                    $0.credit -= 1
                    $0.unsettled += 1
                }
                handouts.append(Handout(subscription: subscription.id, lease: lease))
                if bytes >= Limits.dealBytesPerTurn || handouts.count >= Limits.creditMax
                    || configuration.log.buggify?.fires(.oneAtATime) == true
                {
                    hasMoreToDeal = true
                    return handouts
                }
            }
        }
        return handouts
    }

    /// Bytes of the entry that holds a message: what giving it out costs at the most.
    /// What cannot be read counts nothing: whoever reads the record to give it out meets it again.
    private func entryBytes(of message: MessageKey) throws(ShardError) -> Int {
        do throws(ShardError) {
            return try readEntryBytes(of: message)
        } catch {
            guard error.isUnreadable else { throw error }
            return 0
        }
    }

    private func readEntryBytes(of message: MessageKey) throws(ShardError) -> Int {
        let found = try fromLog { () throws(LogError) in
            try log.locate(message.stream, message.offset)
        }
        if found == nil, let kept = try kept(message.stream, message.offset) {
            return kept.rowBytes
        }
        return try fromLog { () throws(LogError) in
            guard let position = found else {
                throw LogError.missing(message.stream, message.offset)
            }
            return try log.read(at: position) { header, _ in
                header.bodyLength / max(1, header.recordCount)
            }
        }
    }

    /// Leases whose intents became durable: their providers may be called now.
    package func takeOpened() -> [Lease] {
        defer { opened.removeAll(keepingCapacity: true) }
        return opened.compactMap { leases[$0] }
    }

    /// Gives a lease its deadline, replacing the one it had.
    package func setDeadline(_ lease: UInt64, at deadline: MonotonicInstant) {
        guard let old = leases[lease] else { return }
        leaseTimers.cancel(old.timer)
        let timer = leaseTimers.schedule(lease, at: deadline)
        leases.update(lease) { $0.timer = timer }
    }

    /// Whether the group may lease on: the bits above its floor are bounded.
    private func hasWindow(_ group: GroupState) -> Bool {
        for (index, part) in group.streams.enumerated() {
            let cursor = queues[Int(group.id.rawValue) - 1].cursor(of: index)
            if cursor.rawValue - part.progress.floor.rawValue >= configuration.groupWindowMax {
                return false
            }
        }
        return true
    }

    /// The next message a group may lease; ones whose attempts are used up are ended on the way.
    private func nextCandidate(
        _ index: Int,
        lanes: UInt8,
        criticalMayBeStrict: Bool,
        at now: Now
    ) throws(ShardError) -> Candidate? {
        let group = state.groups[index]
        while true {
            let freshToo = hasWindow(group)
            let ready = queues[index].readyLanes(group, among: lanes, freshToo: freshToo)
            guard
                let lane = queues[index].lanes.next(
                    ready: ready,
                    criticalMayBeStrict: criticalMayBeStrict
                )
            else { return nil }
            guard let (found, isFresh) = queues[index].take(lane, group, freshToo: freshToo) else {
                preconditionFailure("a ready lane has a message")
            }
            var candidate = found
            if isFresh {
                // Given back or leased messages lie behind the cursor only at start, before they
                // were found again.
                if leases.holds(candidate.message)
                    || queues[index].waiting[candidate.message] != nil
                {
                    continue
                }
                guard
                    try canRead(
                        candidate.message,
                        { () throws(ShardError) in try complete(&candidate) }
                    )
                else { continue }
            }
            if Int(candidate.attempt) >= configuration.retry.attemptsMax, group.isDelivery {
                // A record that cannot be read was never tried: it waits for its repair.
                let message = candidate.message
                guard
                    try canRead(
                        message,
                        { () throws(ShardError) in
                            try withRecord(message.stream, message.offset) { _, _, _ in }
                        }
                    )
                else { continue }
                configuration.log.buggify?.saw(.candidateUsedUp)
                try endUsedUp(candidate, at: now)
                continue
            }
            return candidate
        }
    }

    /// Whether what is needed of a message can be read. Otherwise it stays where it is: its story goes on
    /// after the repair, or with the next start.
    private func canRead(
        _ message: MessageKey,
        _ read: () throws(ShardError) -> Void
    ) throws(ShardError) -> Bool {
        do throws(ShardError) {
            try read()
            return true
        } catch {
            guard error.refusal == .dataCorrupt else { throw error }
            stranded.insert(message)
            return false
        }
    }

    /// Takes a lease back whose record cannot be read. The message stays where it was and is not leased
    /// again by this process: its story goes on after the repair, or with the next start.
    package func strand(_ lease: Lease) {
        leaseTimers.cancel(lease.timer)
        leases.remove(lease.id)
        count(lease, in: Int(lease.message.group.rawValue) - 1, -1)
        if case .subscription(let id) = lease.owner {
            subscriptions.change(id) {
                $0.unsettled -= 1
                $0.credit += 1
            }
        }
        stranded.insert(lease.message)
    }

    /// Fills in where a fresh message's story stands.
    func complete(_ candidate: inout Candidate) throws(ShardError) {
        let message = candidate.message
        if !state.openIntents.isEmpty, !Mutant.isOn(.forgetCutOffAttempt),
            let intent = state.openIntents[message]
        {
            // An attempt that a crash cut off: it counts, and its outcome is unknown.
            candidate.attempt = intent.attempt
            candidate.newest = intent.position
            return
        }
        let position = try fromLog { () throws(LogError) in
            try log.locate(message.stream, message.offset)
        }
        if let position {
            candidate.newest = position
        } else if let kept = try kept(message.stream, message.offset) {
            candidate.newest = kept.position
        } else {
            throw .log(.missing(message.stream, message.offset))
        }
    }

    func step(of lease: Lease) -> Command.Step {
        Command.Step(
            message: lease.message,
            attempt: lease.attempt,
            previous: lease.newest,
            origin: lease.origin,
            heldDue: lease.heldDue
        )
    }

    /// Counts a lease in or out.
    func count(_ lease: Lease, in index: Int, _ change: Int) {
        switch lease.origin {
        case .fresh: leaseOrigins[index].fresh += change
        case .scheduled: leaseOrigins[index].scheduled += change
        case .held: leaseOrigins[index].held += change
        }
        guard lease.owner == .worker, let channel = Channel(topic: lease.message.stream.topic)
        else { return }
        workerLeases[Int(channel.rawValue) - 1] += change
        if lease.message.stream.lane == .critical {
            workerCritical[Int(channel.rawValue) - 1] += change
        }
    }

    // MARK: - Commands of the turn

    /// Whether a turn is needed to write what this one decided.
    package var hasUnwrittenCommands: Bool { !turnCommands.isEmpty || !keptCommands.isEmpty }

    /// Whether a sync was asked for and has not been taken in yet.
    package var isSyncing: Bool { log.pendingSync != nil }
    /// Whether a job writes how far the log is durable.
    package var isWritingFloor: Bool { log.isWritingFloor }

    package var hasUnsynced: Bool { log.durablePosition < log.appendPosition }

    /// Where this turn's commands will end, or what is durable already when there are none.
    package var endOfTurnIfPending: LogPosition {
        hasUnwrittenCommands ? endOfTurn : log.appendPosition
    }

    /// A background job of the log ended; one that failed is asked for again.
    ///
    /// - Throws: When what failed was a sync: nothing is known of what it covered, and asking the kernel
    ///   again would be told of a success that is none. The process stops, as when the floor cannot be
    ///   written. A file that found no room is thrown away and made anew.
    package func jobFinished(_ job: LogJob, failure: StorageError?) throws(ShardError) {
        if let failure {
            switch failure.operation {
            case .syncDirectory: throw .storage(failure)
            // The log can do without a note for want of room, or of descriptors; not on such a medium.
            case _ where job.subject == .floor:
                guard [.noSpace, .tooManyFiles].contains(failure.reason) else {
                    throw .storage(failure)
                }
            case .sync where failure.reason != .noSpace: throw .storage(failure)
            default: break
            }
        }
        log.jobFinished(job.subject, failure: failure)
    }

    func openAnnounced() {
        while let first = announcing.first,
            first.position < log.durablePosition || Mutant.isOn(.callBeforeIntent)
        {
            _ = announcing.popFirst()
            leases.update(first.lease) {
                $0.state = .open
                $0.newest = first.position
            }
            opened.append(first.lease)
        }
    }
}
