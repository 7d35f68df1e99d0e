// Opening a shard: recover the log, load the checkpoint, replay the tail, say that a process began.

package import PulseCore
package import PulseLog

extension Shard {
    package static let checkpointKey: [UInt8] = Array("checkpoint".utf8)
    private static let identityKey: [UInt8] = Array("identity".utf8)
    static let appliedKey: [UInt8] = Array("applied".utf8)

    /// Rows that say how far the store has come; all others are a function of the log alone.
    package static let progressKeys = [checkpointKey, appliedKey, scrubKey]

    static func encoded(_ position: LogPosition) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(littleEndian: position.rawValue)
        return bytes
    }

    /// Opens the shard in `directory` and `store`, making it when both are empty.
    ///
    /// - Throws: ``ShardError`` when either is damaged or they do not belong together; nothing was
    ///   changed then but for what recovery of the log itself cut and reported, and rows of an older
    ///   version that nothing reads any more.
    package static func open(
        directory: any LogDirectory,
        store: any StateStore,
        configuration: ShardConfiguration,
        seed: UInt64,
        at now: Now
    ) throws(ShardError) -> Shard {
        var random = SeededGenerator(seed: seed)
        let fresh = LogIdentity(high: random.next(), low: random.next())
        var logConfiguration = configuration.log
        logConfiguration.mergedKeysMilliseconds = configuration.idempotencyWindowMilliseconds
        let log: ShardLog
        let report: RecoveryReport
        do throws(LogError) {
            (log, report) = try ShardLog.open(
                directory: directory,
                configuration: logConfiguration,
                identityIfNew: fresh,
                indexer: BrokerIndexer(),
                at: now.wall
            )
        } catch { throw .log(error) }
        try StoreFormat.check(store)
        let loaded: LoadedState
        do throws(ShardError) {
            loaded = try loadState(of: log, from: store)
        } catch {
            // The log's end is missing because it is damaged: that is what to tell.
            guard case .storeAhead = error, let damage = report.damaged.first else { throw error }
            throw .log(.damaged(damage))
        }
        try StoreFormat.stamp(store)
        let templates: TemplateCatalog
        do throws(StorageError) {
            templates = try TemplateCatalog.load(from: store)
        } catch { throw .storage(error) }
        let shard = Shard(
            configuration: configuration,
            log: log,
            store: store,
            state: loaded.state,
            templates: templates,
            seed: random.next(),
            recovery: report,
            at: now
        )
        shard.scrubbing = Scrubbing(try scrubProgress(in: store, at: now))
        if let range = loaded.unread { shard.holdUpgrade(because: range) }
        shard.foldLateGaps()
        try shard.applyDurable(at: now)
        shard.restored = RestoredState(
            state: SavedState(shard.state),
            replayedFrom: loaded.state.applied,
            storeWasEmpty: loaded.storeWasEmpty
        )
        shard.isOpening = false
        shard.odditiesAtStart = shard.state.oddities
        shard.clockWatch = ClockWatch(shard.state.clock, at: now)
        if shard.recovery.damaged.isEmpty { try shard.begin(at: now) }
        do throws(StorageError) {
            shard.addQueues(at: now)
            for index in shard.queues.indices {
                try shard.reloadQueue(index, at: now)
            }
        } catch { throw .storage(error) }
        return shard
    }

    /// What the store had.
    private struct LoadedState {
        var state: ShardState
        var storeWasEmpty = false
        /// Damage in the log that keeps an old state from being upgraded.
        var unread: DamagedRange?
    }

    /// An old state whose segment book cannot be made: what it knows is served, read-only, as with other
    /// damage. Nothing is folded into it and it is not saved, so that a start after the repair upgrades it.
    private func holdUpgrade(because range: DamagedRange) {
        isUpgradeHeld = true
        if recovery.damaged.isEmpty { recovery.damaged.append(range) }
        log.refuseAppends(because: range)
    }

    private static func loadState(
        of log: ShardLog,
        from store: any StateStore
    ) throws(ShardError) -> LoadedState {
        var identity: [UInt8] = []
        identity.append(littleEndian: log.identity.high)
        identity.append(littleEndian: log.identity.low)
        let isWhole =
            log.firstPosition.rawValue <= UInt64(Limits.segmentHeaderBytes)
        guard let owner = try fromStore({ () throws(StorageError) in try store.get(identityKey) })
        else {
            // A store that was never saved to: everything comes from the log.
            guard isWhole else { throw .storeLost(first: log.firstPosition) }
            var batch = StateBatch()
            batch.put(identityKey, identity)
            let changes = batch
            try fromStore { () throws(StorageError) in try store.write(changes) }
            return LoadedState(
                state: ShardState(segmentBytes: log.segmentBytes),
                storeWasEmpty: true
            )
        }
        guard owner == identity || Mutant.isOn(.takeForeignStore) else { throw .foreignStore }
        try refuseRowsFromTheFuture(log, store)
        guard let saved = try fromStore({ () throws(StorageError) in try store.get(checkpointKey) })
        else {
            guard isWhole else { throw .storeLost(first: log.firstPosition) }
            return LoadedState(state: ShardState(segmentBytes: log.segmentBytes))
        }
        guard let encoded = Checkpoint.encoded(in: saved),
            var state = ShardState(encoded: encoded)
        else {
            if Mutant.isOn(.emptyForBadCheckpoint) {
                var empty = ShardState(segmentBytes: log.segmentBytes)
                empty.applied = log.appendPosition
                return LoadedState(state: empty)
            }
            throw .unreadableCheckpoint
        }
        var unread: DamagedRange?
        if let version = encoded.first, version < ShardState.bookVersion {
            try ShardState.forgetLateEnds(store)
            if isWhole { return LoadedState(state: ShardState(segmentBytes: log.segmentBytes)) }
            do throws(ShardError) {
                try state.upgrade(from: log, store)
            } catch {
                guard case .log(.damaged(let range)) = error else { throw error }
                state.book = SegmentBook(segmentBytes: log.segmentBytes)
                unread = range
            }
        }
        if Mutant.isOn(.replayFromRows), let rows = try appliedRow(store) {
            state.applied = max(state.applied, LogPosition(rows))
        }
        guard state.applied <= log.appendPosition else {
            throw .storeAhead(applied: state.applied, end: log.appendPosition)
        }
        // A checkpoint may stand exactly where the newest released segment ended.
        guard isWhole || state.applied >= log.precedingEnd else {
            throw .storeBehind(applied: state.applied, first: log.firstPosition)
        }
        return LoadedState(state: state, unread: unread)
    }

    /// How far a store has taken its log in, for the repair of that log; nil when it never was saved to.
    package static func reach(of store: any StateStore) throws(ShardError) -> StoreReach? {
        let row = try fromStore { () throws(StorageError) in try store.get(identityKey) }
        let owner = row?.withUnsafeBytes { bytes -> LogIdentity? in
            var reader = ByteReader(bytes)
            guard let high: UInt64 = reader.littleEndian(), let low: UInt64 = reader.littleEndian()
            else { return nil }
            return LogIdentity(high: high, low: low)
        }
        guard let owner = owner ?? nil else { return nil }
        let saved = try fromStore { () throws(StorageError) in try store.get(checkpointKey) }
        let checkpoint = saved.flatMap { ShardState(encoded: $0)?.applied.rawValue } ?? 0
        let rows = try appliedRow(store) ?? 0
        return StoreReach(identity: owner, position: LogPosition(max(rows, checkpoint)))
    }

    /// How far the rows reach, nil when none was written.
    private static func appliedRow(_ store: any StateStore) throws(ShardError) -> UInt64? {
        let row = try fromStore { () throws(StorageError) in try store.get(appliedKey) }
        let applied = row?.withUnsafeBytes { bytes -> UInt64? in
            var reader = ByteReader(bytes)
            return reader.littleEndian()
        }
        return applied ?? nil
    }

    /// Rows may reach further than the checkpoint, but never further than the log.
    private static func refuseRowsFromTheFuture(
        _ log: ShardLog,
        _ store: any StateStore
    ) throws(ShardError) {
        guard let applied = try appliedRow(store), applied > log.appendPosition.rawValue,
            !Mutant.isOn(.takeRowsFromTheFuture)
        else { return }
        throw .storeAhead(applied: LogPosition(applied), end: log.appendPosition)
    }

    /// Writes the command that a process began, and the delivery groups when they do not exist yet.
    private func begin(at now: Now) throws(ShardError) {
        try findClock(at: now)
        if let reckoning = try reckoningIfDue() {
            Command.settled(reckoning).append(to: &turnCommands)
        }
        Command.started(at: now.wall).append(to: &turnCommands)
        var next = UInt16(state.groups.count + 1)
        for channel in Channel.allCases
        where state.group(named: GroupState.deliveryName, on: channel.topic) == nil {
            Command.groupCreated(
                GroupID(next),
                topic: channel.topic,
                name: GroupState.deliveryName,
                starts: []
            ).append(to: &turnCommands)
            next += 1
        }
        guard let ticket = try flush(at: now) else {
            // A full disk: what there is is served, and this is written when there is room. A log that
            // was never begun cannot be.
            guard state.groups.count >= Channel.allCases.count, !state.isUnsettled else {
                throw .log(.diskFull(file: "of the first entries"))
            }
            return
        }
        do throws(StorageError) {
            try log.performSync()
        } catch { throw .storage(error) }
        try synced(ticket, at: now)
    }

    // MARK: - Checkpoints

    /// Saves the state when enough of the log has gone by since the last time.
    func checkpointIfDue() throws(ShardError) {
        let bytes = state.applied.rawValue - checkpointed.rawValue
        guard checkpointInFlight == nil,
            bytes >= UInt64(configuration.checkpointBytes)
                || bytes > 0 && configuration.log.buggify?.fires(.forceCheckpoint) == true
        else { return }
        try checkpoint()
    }

    /// Saves the state; durable when the store's next flush is. The caller has that done in the
    /// background when ``wantsStoreFlush`` says so.
    package func checkpoint() throws(ShardError) {
        guard !isUpgradeHeld else { return }
        var batch = StateBatch()
        let encoded = state.encoded()
        batch.put(Self.checkpointKey, Checkpoint.row(encoded))
        do throws(StorageError) {
            try store.write(batch)
        } catch { throw .storage(error) }
        savedState = SavedState(state.applied, encoded: encoded)
        checkpointed = state.applied
        if Mutant.isOn(.releaseBeforeFlush) { durableCheckpoint = state.applied }
        checkpointInFlight = state.applied
        wantsStoreFlush = true
        statistics.checkpoints += 1
    }

    /// The store's flush found the disk full. All it would have saved can be had from the log again.
    package func storeFlushFailed() { checkpointInFlight = nil }

    /// The store's flush ended well: what was saved before it began is durable.
    package func storeFlushed() {
        if let position = checkpointInFlight { durableCheckpoint = position }
        checkpointInFlight = nil
    }

    /// Asks for a job that notes on disk how far the log is durable.
    package func requestFloor() { log.requestFloor(into: &logJobs) }

    /// Notes it here and now; syncs a small file.
    package func writeFloor() throws(ShardError) {
        try fromLog { () throws(LogError) in try log.writeFloor() }
    }

    /// Saves everything and closes the log: what a clean stop does last.
    ///
    /// - Returns: Why the state could not be saved, or nil. It is no reason to fail: all of it is in the
    ///   log, and the next start folds it again.
    @discardableResult
    package func close() throws(ShardError) -> StorageError? {
        var unsaved: StorageError?
        do throws(ShardError) {
            try checkpoint()
            try fromStore { () throws(StorageError) in try store.flush() }
            storeFlushed()
        } catch {
            guard case .storage(let failure) = error else { throw error }
            unsaved = failure
        }
        try fromLog { () throws(LogError) in try log.close() }
        return unsaved
    }
}
