// One shard: one log, one state, one thread. The face of the broker; the other files of its name each
// tell one part of a message's life.
//
//     submit ----> append ----.                               Shard+Submit
//     dispatch --> intents ---+--> flush --> sync --> synced   Shard+Dispatch
//     settle ----> outcomes --'                 |              Shard+Settle
//                                               v
//                        fold into the state, make visible, answer    (here)
//
// Nothing is visible, leased or answered before the sync that covers it: state comes from durable
// entries only. The caller ends every turn with ``flush(at:)`` and brings back ``synced(_:at:)``.
//
// Invariants, checked by ``checkInvariants()``: accepted = scheduled + held + ready + leased +
// delivered + dead + cancelled, per channel; a message has at most one lease; the applied position is
// the durable one once a sync was taken in.

package import PulseCore
package import PulseLog

package struct ShardConfiguration: Sendable {
    package var log: LogConfiguration
    package var retry: RetryPolicy
    /// Partitions of each topic in this shard.
    package var partitions: Int
    /// Bytes of log between two checkpoints of the state.
    package var checkpointBytes: Int
    package var heldInMemoryMax: Int
    package var idempotencyWindowMilliseconds: Int64
    /// How long finished notifications can be asked about, at least.
    package var retentionMilliseconds: Int64
    /// Open records above a group's floor at which it stops leasing (and says so).
    package var groupWindowMax: Int
    /// Bytes of sealed segments read and verified in a second; 0 for no scrubbing.
    package var scrubBytesPerSecond: Int64
    /// From the beginning of one pass over all segments to that of the next.
    package var scrubIntervalMilliseconds: Int64
    /// From the newest entry to a start: more is not counted as age until the clock is trusted.
    package var clockGapMilliseconds = Limits.clockGapMilliseconds
    /// Keys that may outlive their records.
    package var rememberedKeysMax = Limits.rememberedKeysMax
    /// How long the clock has to be steady for that.
    package var clockTrustMilliseconds = Limits.clockTrustMilliseconds
    /// How long and how much is kept, for all and by topic.
    package var retention: RetentionPolicy

    package init(
        log: LogConfiguration,
        retry: RetryPolicy,
        partitions: Int = 1,
        checkpointBytes: Int = 32 << 20,
        heldInMemoryMax: Int = Limits.heldInMemoryMax,
        idempotencyWindowMilliseconds: Int64 = Limits.idempotencyWindowMilliseconds,
        retentionMilliseconds: Int64 = Limits.retentionMilliseconds,
        groupWindowMax: Int = Limits.groupWindowMax,
        scrubBytesPerSecond: Int64 = Limits.scrubBytesPerSecond,
        scrubIntervalMilliseconds: Int64 = Limits.scrubIntervalMilliseconds,
        retention: RetentionPolicy = RetentionPolicy()
    ) {
        // A key that is still remembered needs the record it was used for.
        self.retentionMilliseconds = max(retentionMilliseconds, idempotencyWindowMilliseconds)
        self.log = log
        self.retry = retry
        self.partitions = partitions
        self.checkpointBytes = checkpointBytes
        self.heldInMemoryMax = heldInMemoryMax
        self.idempotencyWindowMilliseconds = idempotencyWindowMilliseconds
        self.groupWindowMax = groupWindowMax
        self.scrubBytesPerSecond = scrubBytesPerSecond
        self.scrubIntervalMilliseconds = scrubIntervalMilliseconds
        self.retention = retention
    }
}

package final class Shard {
    package let configuration: ShardConfiguration
    package let log: ShardLog
    package let store: any StateStore
    package internal(set) var state: ShardState
    package internal(set) var templates: TemplateCatalog
    package internal(set) var leases: LeaseTable

    let hash: MessageHash
    var random: SeededGenerator
    /// One for each group of the state, in the same order.
    var queues: [GroupQueue] = []
    var subscriptions = SubscriptionTable()
    /// Whether the last dealing stopped at a bound: another turn is wanted at once.
    package internal(set) var hasMoreToDeal = false
    /// Newest revisions that are in the log but not durable yet.
    var pendingTemplates: [String: TemplateRevision] = [:]
    /// Groups whose creation is in the log but not durable yet.
    var pendingGroups: [(id: GroupID, topic: TopicID, name: String)] = []
    /// Lease deadlines, by lease.
    var leaseTimers: TimingWheel<UInt64>
    /// The next offset of each stream, records that are not durable yet included.
    var nextOffsets: [StreamID: Offset] = [:]
    /// The turn's intents and outcomes: one entry for all of them.
    var turnCommands: [UInt8] = []
    var turnKeys: [UInt64] = []
    /// The disk had no room for the turn's commands: they are kept and tried again with later turns.
    package internal(set) var isWaitingForRoom = false
    /// Where the log ended when the last turn ended with all its commands in it.
    private var commandsReach = LogPosition.zero
    /// Where commands that had waited for room end in the log.
    private var waitedReach = LogPosition.zero
    /// Commands for entries of their own that wait for room, before those of the turn.
    var keptCommands: [KeptCommands] = []
    /// What the shell said of the disk last, and what was made of it.
    package internal(set) var disk: DiskStatus?
    package internal(set) var diskIsFull = false
    /// Leases whose intent, and leases whose outcome, become durable with the entry at a position.
    var announcing = FIFO<(lease: UInt64, position: LogPosition)>()
    var settling = FIFO<(lease: UInt64, position: LogPosition)>()
    var turnAnnounced: [UInt64] = []
    var turnSettled: [UInt64] = []
    /// Messages whose record cannot be read: left where they are.
    package internal(set) var stranded: Set<MessageKey> = []
    /// The state is of an older version, and damage keeps it from being upgraded.
    var isUpgradeHeld = false
    /// Leases of workers that became open and wait to be called; taken by the node.
    var opened: [UInt64] = []
    var workerLeases: [Int] = Array(repeating: 0, count: Channel.allCases.count)
    var workerCritical: [Int] = Array(repeating: 0, count: Channel.allCases.count)
    /// Leases per group whose message came fresh, from a held row and from a scheduled row.
    var leaseOrigins: [LeaseOrigins] = []
    var logJobs: [LogJob] = []
    package internal(set) var scrubbing: Scrubbing
    /// The records of the compressed batch that was read last.
    var lastInflated: (position: LogPosition, records: InflatedRecords)?
    /// Where the state was last saved, and whether a save is on its way to the disk.
    var checkpointed: LogPosition
    var checkpointInFlight: LogPosition?
    /// A checkpoint was written; the store is to be flushed. Cleared by whoever has it done.
    package var wantsStoreFlush = false
    package internal(set) var durableCheckpoint: LogPosition
    var retention: RetentionProgress
    /// What the two clocks said together when the wheels were laid out, to notice that one was set.
    var clockBase: Now
    var clockWatch: ClockWatch
    package internal(set) var statistics = ShardStatistics()
    /// The checkpoint made last by this process.
    package internal(set) var savedState: SavedState?
    package internal(set) var restored: RestoredState?
    /// What opening found; damage that the first folding met is added.
    package internal(set) var recovery: RecoveryReport
    /// The entry that was folded in last settles the counts: before another is.
    var isSettlementDue = false
    /// What a gap made odd in the log of former lives; nothing of this one may be.
    var odditiesAtStart: UInt64 = 0
    /// Until the state has caught up with the log for the first time.
    var isOpening = true

    struct LeaseOrigins: Sendable {
        /// Whether a lease is open or its outcome is not durable yet.
        var isBusy: Bool { fresh + held + scheduled > 0 }
        var fresh = 0
        var held = 0
        var scheduled = 0
    }

    init(
        configuration: ShardConfiguration,
        log: ShardLog,
        store: any StateStore,
        state: ShardState,
        templates: TemplateCatalog,
        seed: UInt64,
        recovery: RecoveryReport,
        at now: Now
    ) {
        self.configuration = configuration
        self.log = log
        self.store = store
        self.state = state
        self.templates = templates
        self.recovery = recovery
        hash = MessageHash(secret: log.identity.key)
        random = SeededGenerator(seed: seed)
        leases = LeaseTable(firstID: (random.next() >> 16) << 12)
        leaseTimers = TimingWheel(at: now.monotonic)
        checkpointed = state.applied
        durableCheckpoint = state.applied
        clockBase = now
        clockWatch = ClockWatch(state.clock, at: now)
        scrubbing = Scrubbing(ScrubProgress(began: now.wall))
        retention = RetentionProgress(state.book, at: now)
    }

    // MARK: - The turn

    /// How far answers may go out. Commands that wait for room hold back every answer of their turn
    /// and after, until they are in the log and durable there: records that still fit carry the durable
    /// position past where theirs were to end.
    package var answerableTo: LogPosition {
        let durable = log.durablePosition
        guard isWaitingForRoom || durable < waitedReach, !Mutant.isOn(.answerPastCommands) else {
            return durable
        }
        return min(commandsReach, durable)
    }

    /// Ends a turn: writes what it appended to the page cache.
    ///
    /// - Returns: The ticket of the sync that makes it durable, or nil when there is nothing to sync.
    package func flush(at now: Now) throws(ShardError) -> SyncTicket? {
        let hasWaited = isWaitingForRoom
        isWaitingForRoom = false
        try appendCommandsUnlessFull(at: now)
        if hasWaited, !isWaitingForRoom { waitedReach = log.appendPosition }
        if !isWaitingForRoom, log.durablePosition >= waitedReach {
            commandsReach = log.appendPosition
        }
        if Mutant.isOn(.callBeforeIntent) { openAnnounced() }
        if Mutant.isOn(.leaseEndsBeforeSync) { closeSettled() }
        let window = configuration.idempotencyWindowMilliseconds
        let oldest = steadyTime(at: now).advanced(byMilliseconds: -window)
        log.noteTime(now, keysSince: clockWatch.steady.wall(notAfter: oldest))
        do throws(LogError) {
            try log.flush(jobs: &logJobs)
        } catch { throw .log(error) }
        return log.beginSync()
    }

    /// Takes in a completed sync: folds what became durable into the state.
    package func synced(_ ticket: SyncTicket, at now: Now) throws(ShardError) {
        log.completeSync(ticket)
        statistics.syncs += 1
        try applyDurable(at: now)
        openAnnounced()
        closeSettled()
        try checkpointIfDue()
    }

    /// Rows that are gathered before they are written: a replay of a long log stays small.
    private static let rowsPerBatch = 4096

    /// Folds every durable entry that was not folded yet.
    func applyDurable(at now: Now) throws(ShardError) {
        var isWhole = isUpgradeHeld
        while !isWhole {
            var rows = StateBatch()
            isWhole = try fold(into: &rows)
            addQueues(at: now)
            if !rows.changes.isEmpty { try write(&rows, at: now) }
            if isSettlementDue { try settle() }
        }
    }

    private func write(_ rows: inout StateBatch, at now: Now) throws(ShardError) {
        // With the rows goes how far they reach: a store can be told from one of another moment.
        if !Mutant.isOn(.rowsWithoutApplied) {
            rows.put(Self.appliedKey, Self.encoded(state.applied))
        }
        do throws(StorageError) {
            try store.write(rows)
            // Before the rows are noted: a lease that is over must not hide its own new row from
            // a queue that is laid out anew.
            closeSettled()
            try noteHeld(rows, at: now)
        } catch { throw .storage(error) }
    }

    /// Folds durable entries until the rows are many; answers whether none is left.
    private func fold(into rows: inout StateBatch) throws(ShardError) -> Bool {
        var gathered = StateBatch()
        var failure: ShardError?
        var isWhole = true
        let isSmall = configuration.log.buggify?.fires(.smallFold) == true
        let rowsMax = isSmall ? 1 : Self.rowsPerBatch
        do throws(LogError) {
            try log.scan(from: state.applied) { header, body throws(LogError) in
                guard
                    header.endPosition <= self.log.durablePosition
                        || Mutant.isOn(.foldBeforeSync)
                            && header.endPosition <= self.log.appendPosition
                else { return false }
                guard gathered.changes.count < rowsMax else {
                    isWhole = false
                    return false
                }
                do throws(StateError) {
                    try self.apply(header, body, rows: &gathered)
                } catch {
                    failure = .state(error)
                    return false
                }
                if self.isSettlementDue { isWhole = false }
                return isWhole
            }
        } catch {
            // What lies before the damage is served, read-only. Recovery told of it, or it lies in a sealed
            // segment, which recovery does not read: stopping would only bring the next start here.
            guard case .damaged(let range) = error, isOpening || !recovery.damaged.isEmpty
            else { throw .log(error) }
            if recovery.damaged.isEmpty {
                recovery.damaged.append(range)
                log.refuseAppends(because: range)
            }
        }
        if let failure { throw failure }
        rows = gathered
        return isWhole
    }

    private func apply(
        _ header: EntryHeader,
        _ body: UnsafeRawBufferPointer,
        rows: inout StateBatch
    ) throws(StateError) {
        statistics.entries += 1
        for command in try state.apply(header, body, rows: &rows) {
            switch command {
            case .templatePut(let row):
                templates.save(TemplateRevision(row: row, position: header.position))
                if pendingTemplates[row.name]?.position == header.position {
                    pendingTemplates[row.name] = nil
                }
            case .cancelled(let step): noteRowGone(step.message, due: step.heldDue)
            case .expired(let expiry):
                for (offset, due) in expiry.waiting {
                    let key = MessageKey(
                        group: expiry.group,
                        stream: expiry.stream,
                        offset: offset
                    )
                    noteRowGone(key, due: due)
                }
                let place = Int(expiry.group.rawValue) - 1
                if queues.indices.contains(place), expiry.from < expiry.to {
                    queues[place].dropFresh(expiry.stream, expiry.from..<expiry.to)
                }
                if !retention.losers.contains(expiry.group) {
                    retention.losers.append(expiry.group)
                }
            case .released:
                // What the book let go: behind a gap that may be less than the command says.
                retention.pending.append((state.book.releasedBelow, header.endPosition))
            case .settled: isSettlementDue = state.isUnsettled
            default: break
            }
        }
    }

    /// A waiting message's row is deleted, not taken by a lease: the wheel may still hold it.
    private func noteRowGone(_ message: MessageKey, due: Int64) {
        let index = Int(message.group.rawValue) - 1
        guard queues.indices.contains(index) else { return }
        queues[index].drop(message)
        queues[index].held.noteGone(HeldRow.key(message, due: WallTimestamp(milliseconds: due)))
    }

    /// Tells the queues of the rows that were just written.
    private func noteHeld(_ rows: StateBatch, at now: Now) throws(StorageError) {
        for case .put(let key, let value) in rows.changes {
            guard let row = HeldRow(StateRow(key: key, value: value)) else { continue }
            let index = Int(row.message.group.rawValue) - 1
            guard queues.indices.contains(index) else { continue }
            let waiting = queues[index].waiting
            try queues[index].held.add(
                row,
                at: now,
                from: store,
                except: { waiting[$0] != nil || self.leases.holds($0) },
                ownEnd: { self.ownEnd(of: $0, at: now) }
            )
        }
    }

    /// A queue for every group of the state.
    func addQueues(at now: Now) {
        while queues.count < state.groups.count {
            queues.append(
                GroupQueue(
                    group: state.groups[queues.count].id,
                    at: now,
                    heldLimit: configuration.heldInMemoryMax
                )
            )
            leaseOrigins.append(LeaseOrigins())
        }
    }

    // MARK: - Time

    /// No later than this, ``reachedTime(_:)`` must be called.
    package var nextDeadline: MonotonicInstant? {
        var earliest = leaseTimers.nextDeadline
        if let due = log.jobsDue { earliest = min(due, earliest ?? due) }
        for queue in queues {
            guard let deadline = queue.held.nextDeadline else { continue }
            earliest = earliest.map { min($0, deadline) } ?? deadline
        }
        return earliest
    }

    /// Whether messages wait for a moment of the wall clock, which somebody may set.
    package var holdsMessages: Bool { queues.contains { $0.held.nextDeadline != nil } }

    /// Lets time pass: waits that are over make their messages due, leases that ran out are ended.
    package func reachedTime(_ now: Now) throws(ShardError) {
        try followClock(now)
        do throws(StorageError) {
            try reloadIfClockWasSet(now)
            for index in queues.indices {
                queues[index].pace.reached(now.monotonic)
                let waiting = queues[index].waiting
                var due: [HeldRow] = []
                try queues[index].held.advance(
                    to: now,
                    from: store,
                    except: { waiting[$0] != nil || self.leases.holds($0) },
                    ownEnd: { self.ownEnd(of: $0, at: now) },
                    release: { due.append($0) }
                )
                for row in due { makeDue(row, in: index) }
            }
        } catch { throw .storage(error) }
        var expired: [UInt64] = []
        leaseTimers.advance(to: now.monotonic) { expired.append($0) }
        for lease in expired { try expire(lease, at: now) }
    }

    private func makeDue(_ row: HeldRow, in index: Int) {
        guard !leases.holds(row.message) || Mutant.isOn(.dueTwice),
            !stranded.contains(row.message)
        else { return }
        var candidate = Candidate(
            message: row.message,
            attempt: row.attempt,
            origin: row.origin,
            heldDue: row.due.milliseconds,
            newest: row.position
        )
        // An intent that a crash cut off counts as an attempt that was made.
        if !Mutant.isOn(.forgetCutOffAttempt), let intent = state.openIntents[row.message] {
            candidate.attempt = max(candidate.attempt, intent.attempt)
            candidate.newest = intent.position
        }
        queues[index].makeDue(candidate)
    }

    /// Work for the background that came up since the last call.
    package func takeLogJobs() -> [LogJob] {
        defer { logJobs.removeAll() }
        return logJobs
    }
}

/// What a shard counts besides its ledger, since this process started.
package struct ShardStatistics: Sendable {
    package var syncs: UInt64 = 0
    package var entries: UInt64 = 0
    package var duplicates: UInt64 = 0
    package var conflicts: UInt64 = 0
    package var lateOutcomes: UInt64 = 0
    package var leasesExpired: UInt64 = 0
    package var clockChanges: UInt64 = 0
    package var checkpoints: UInt64 = 0
    package var releases: UInt64 = 0
    /// Idempotency keys given up before their window was over, because there were too many.
    package var keysForgotten: UInt64 = 0
}
