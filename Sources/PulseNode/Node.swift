// The whole deterministic machine: one shard, the conversations of all its connections, and the decisions
// about every delivery. It is driven by a shell, in production or in the simulator:
//
//     for input in what happened { node.step(input, at: now, into: &effects) }
//     node.endTurn(at: now, into: &effects)
//     perform effects, in order; a completed sync is the next input
//
// An answer that depends on something durable waits in `waiting` until the sync that covers it was
// taken in: that is the only way out for it.

package import PulseBroker
package import PulseCore
import PulseDelivery
import PulseGateway
import PulseLog
import PulseWire

package final class Node {
    package let configuration: NodeConfiguration
    package let shard: Shard
    let startedAt: WallTimestamp

    /// Looked up by connection, never iterated but in order of their numbers.
    var http: [ConnectionID: HTTPConversation] = [:]
    var native: [ConnectionID: NativeConversation] = [:]
    /// Session deadlines, by connection.
    var sessionTimers: TimingWheel<ConnectionID>
    var waiting = WaitingAnswers()
    var templates = TemplateCache()
    var outbox = Outbox()
    var calls = ProviderCalls()
    var metrics = NodeMetrics()
    /// Draws the jitter of delays that a provider asked for.
    var random: SeededGenerator
    /// Channels that rest until a time, because their provider is configured wrongly.
    var pausedUntil: [MonotonicInstant?] = Array(repeating: nil, count: Channel.allCases.count)
    private var jobs: [JobID: Job] = [:]
    private var nextJob: UInt64 = 1
    /// When to note the log's durable end, after the last sync.
    private var floorDue: MonotonicInstant?
    /// No later than this, however busy.
    private var floorLatest: MonotonicInstant?
    private(set) var drain = Drain.serving
    /// Damaged ranges of the log that were told of.
    private var damagesTold: Int
    /// Whether the operator was told last that the disk is full.
    var saidDiskIsFull = false
    /// Set when the shard cannot go on; everything after is refused.
    private var failure: ShardError?
    /// Counts turns, and the connections whose requests wait for the next one.
    var turn: UInt64 = 1
    var postponing: [ConnectionID] = []
    /// Parsed requests of one input; a scratch list.
    var requests: [IncomingRequest] = []

    enum Drain: Equatable {
        case serving
        /// New work is refused; until the deadline, deliveries under way may end.
        case draining(until: MonotonicInstant)
        case drained
    }

    /// Opens the shard and begins to serve.
    ///
    /// - Throws: ``ShardError`` when the log or the store cannot be used.
    package init(
        configuration: NodeConfiguration,
        directory: any LogDirectory,
        store: any StateStore,
        seed: UInt64,
        at now: Now
    ) throws(ShardError) {
        precondition(
            configuration.concurrency.count == Channel.allCases.count,
            "one number a channel"
        )
        self.configuration = configuration
        var random = SeededGenerator(seed: seed)
        let shardSeed = random.next()
        self.random = random
        startedAt = now.wall
        shard = try Shard.open(
            directory: directory,
            store: store,
            configuration: configuration.shard,
            seed: shardSeed,
            at: now
        )
        sessionTimers = TimingWheel(at: now.monotonic)
        damagesTold = shard.log.damaged.count
        if configuration.development, obstacle == nil { try loadSampleTemplate(at: now) }
    }

    // MARK: - Steps

    /// Takes in one thing that happened.
    package func step(_ input: Input, at now: Now, into effects: inout EffectQueue) {
        guard failure == nil, drain != .drained else { return }
        do throws(ShardError) {
            try shard.followClock(now)
            try take(input, at: now, into: &effects)
        } catch { fail(error, into: &effects) }
    }

    private func take(
        _ input: Input,
        at now: Now,
        into effects: inout EffectQueue
    ) throws(ShardError) {
        switch input {
        case .opened(let connection, .http): openHTTP(connection, at: now)
        case .opened(let connection, .native): openNative(connection)
        case .received(let connection, let bytes):
            if let conversation = http[connection] {
                try receive(bytes, from: conversation, at: now, into: &effects)
            } else if let conversation = native[connection] {
                try receive(bytes, from: conversation, at: now, into: &effects)
            }
        case .closed(let connection): forget(connection)
        case .backlog(let connection, let bytes):
            try backlogChanged(connection, bytes, at: now, into: &effects)
        case .synced(let ticket):
            try shard.synced(ticket, at: now)
            noteFloorDue(at: now)
            try answerDurable(at: now, into: &effects)
            try callOpened(at: now, into: &effects)
        case .timeReached: break
        case .callLeft(let call): wait(for: call, at: now)
        case .providerAnswered(let call, let answer):
            try providerAnswered(call, answer, at: now, into: &effects)
        case .jobFinished(let job, let failure):
            try jobFinished(job, failure, at: now, into: &effects)
        case .disk(let status): noteDisk(status, into: &effects)
        case .drainRequested: beginDrain(at: now, into: &effects)
        }
    }

    /// Ends a turn: gives messages out, writes what was appended, asks for the sync and the next wake.
    package func endTurn(at now: Now, into effects: inout EffectQueue) {
        guard failure == nil, drain != .drained else { return }
        do throws(ShardError) {
            try shard.reachedTime(now)
            checkSessions(at: now, into: &effects)
            try answerPostponed(at: now, into: &effects)
            // Answers that promise nothing new: refusals, duplicates, a group that exists.
            try answerDurable(at: now, into: &effects)
            if drain == .serving {
                try dispatch(at: now)
                try deal(at: now, into: &effects)
                // Not while it stops: a stop waits for what was appended.
                try shard.releaseOldSegments(at: now)
            }
            if let ticket = try shard.flush(at: now) { effects.append(.sync(ticket)) }
            if Mutant.isOn(.callBeforeIntent) { try callOpened(at: now, into: &effects) }
            noteFloorIfDue(at: now)
            reportLosses(into: &effects)
            reportClock(into: &effects)
            reportForgottenKeys(into: &effects)
            startJobs(at: now, into: &effects)
            try goOnDraining(at: now, into: &effects)
        } catch {
            fail(error, into: &effects)
            return
        }
        tellOfDamage(into: &effects)
        askForWake(at: now, into: &effects)
    }

    /// Says what was found damaged since the last turn.
    private func tellOfDamage(into effects: inout EffectQueue) {
        for range in shard.log.damaged.dropFirst(damagesTold) {
            effects.append(
                .log(
                    LogEvent(.error, "DAMAGED, nothing new is taken", [.init("range", "\(range)")])
                )
            )
        }
        damagesTold = shard.log.damaged.count
        for damage in shard.log.takeIndexDamages() {
            let text =
                damage.isGivenUp
                ? "an index file was made again in vain; done without until the next start"
                : "an index file does not verify and is made again; nothing is lost"
            effects.append(.log(LogEvent(.warning, text, [.init("file", damage.file)])))
        }
    }

    private func fail(_ error: ShardError, into effects: inout EffectQueue) {
        failure = error
        effects.append(.stop(exitCode: error.exitCode, reason: "\(error)"))
    }

    /// Milliseconds without a commit after which the log notes how far it is durable, and milliseconds
    /// after which it does so although commits go on. The note lets recovery tell a torn tail from
    /// damage; nobody waits for it.
    private static let floorIdleMilliseconds: Int64 = 50
    private static let floorBusyMilliseconds: Int64 = 1000

    private func noteFloorDue(at now: Now) {
        let latest =
            floorLatest ?? now.monotonic.advanced(byMilliseconds: Self.floorBusyMilliseconds)
        floorLatest = latest
        floorDue = min(latest, now.monotonic.advanced(byMilliseconds: Self.floorIdleMilliseconds))
    }

    /// Asks for the note in the background.
    private func noteFloorIfDue(at now: Now) {
        guard let due = floorDue,
            now.monotonic >= due || configuration.shard.log.buggify?.fires(.forceFloor) == true
        else { return }
        floorDue = nil
        floorLatest = nil
        // A stop writes its own, at the end.
        guard drain == .serving else { return }
        guard shard.isWritingFloor else { return shard.requestFloor() }
        // The disk is slow: not one after the other without a pause.
        floorDue = now.monotonic.advanced(byMilliseconds: Self.floorBusyMilliseconds)
        floorLatest = floorDue
    }

    /// Milliseconds until a full disk is asked again.
    private static let roomMilliseconds: Int64 = 1000

    private func askForWake(at now: Now, into effects: inout EffectQueue) {
        var next = MonotonicInstant.distantFuture
        func consider(_ time: MonotonicInstant?) { if let time { next = min(next, time) } }
        consider(shard.nextDeadline)
        if shard.holdsMessages {
            consider(now.monotonic.advanced(byMilliseconds: Limits.clockLookMilliseconds))
        }
        consider(sessionTimers.nextDeadline)
        // A draining node leases nothing more and scrubs nothing: the end of a pause means nothing to it,
        // and once past would ask for turn after turn.
        if drain == .serving {
            for paused in pausedUntil { consider(paused) }
            consider(shard.scrubDeadline)
            consider(shard.retentionDue)
        }
        consider(floorDue)
        if case .draining(let until) = drain { consider(until) }
        // Outcomes of what was caught in this turn are in memory only: the next turn writes them.
        let wantsTurn =
            !postponing.isEmpty
            || drain == .serving && (shard.hasMoreToDeal || shard.wantsRetentionTurn)
            || shard.hasUnwrittenCommands && !shard.isWaitingForRoom
        if shard.isWaitingForRoom {
            consider(now.monotonic.advanced(byMilliseconds: Self.roomMilliseconds))
        }
        if wantsTurn || configuration.shard.log.buggify?.fires(.earlyTick) == true {
            next = now.monotonic
        }
        effects.append(.wake(at: next))
    }

    /// A consumer group that lost messages is told of: nothing is dropped silently.
    private func reportLosses(into effects: inout EffectQueue) {
        for group in shard.takeLosers() {
            effects.append(
                .log(
                    LogEvent(
                        .warning,
                        "retention dropped messages of a group that nobody reads",
                        [
                            .init("group", group.name),
                            .init("topic", Channel(topic: group.topic)?.name ?? ""),
                            .init("dropped_in_all", "\(group.expired)"),
                        ]
                    )
                )
            )
        }
    }

    // MARK: - Background jobs

    private func startJobs(at now: Now, into effects: inout EffectQueue) {
        var logJobs = shard.takeLogJobs()
        if configuration.shard.log.buggify?.fires(.reverseJobs) == true { logJobs.reverse() }
        // First, because segments may wait for it to be let go; the others are longer.
        if shard.wantsStoreFlush {
            shard.wantsStoreFlush = false
            start(.flushStore, into: &effects)
        }
        for job in logJobs { start(.log(job), into: &effects) }
        if drain == .serving, let piece = shard.scrubPiece(at: now) {
            start(.scrub(piece), into: &effects)
        }
    }

    private func start(_ job: Job, into effects: inout EffectQueue) {
        let id = JobID(nextJob)
        nextJob += 1
        jobs[id] = job
        effects.append(.run(id, job))
    }

    private func jobFinished(
        _ id: JobID,
        _ failed: StorageError?,
        at now: Now,
        into effects: inout EffectQueue
    ) throws(ShardError) {
        guard let job = jobs.removeValue(forKey: id) else { return }
        if let failed {
            let fields = [LogEvent.Field("error", "\(failed)")]
            // Two sentences, or a full disk, which says so often, would hide what else goes wrong.
            let message =
                failed.reason == .noSpace
                ? "background job has no room" : "background job failed"
            effects.append(.log(LogEvent(.error, message, fields, mayRepeat: true)))
        }
        switch job {
        case .log(let job): try shard.jobFinished(job, failure: failed)
        case .scrub(let piece): scrubbed(piece, failed, at: now, into: &effects)
        case .flushStore:
            switch failed?.reason {
            case nil: shard.storeFlushed()
            case .noSpace, .tooManyFiles: shard.storeFlushFailed()
            default: if let failed { throw .storage(failed) }
            }
        }
    }

    private func scrubbed(
        _ piece: ScrubPiece,
        _ failed: StorageError?,
        at now: Now,
        into effects: inout EffectQueue
    ) {
        for range in shard.scrubbed(piece, failure: failed, at: now) {
            effects.append(
                .log(LogEvent(.error, "scrub found damage", [.init("range", "\(range)")]))
            )
        }
    }

    // MARK: - Drain

    private func beginDrain(at now: Now, into effects: inout EffectQueue) {
        guard drain == .serving else { return }
        drain = .draining(
            until: now.monotonic.advanced(byMilliseconds: configuration.drainMilliseconds)
        )
        effects.append(.log(LogEvent(.info, "draining")))
        for id in native.keys.sorted() {
            // Before the handshake no frame but its reply may come; its answer to hello still will.
            guard let conversation = native[id], conversation.session.isReady else { continue }
            effects.send(on: id) {
                conversation.session.sayGoodbye(.draining, "this broker is stopping", into: &$0)
            }
        }
    }

    var isDraining: Bool { drain != .serving }

    private func goOnDraining(
        at now: Now,
        into effects: inout EffectQueue
    ) throws(ShardError) {
        guard case .draining(let until) = drain else { return }
        let isQuiet =
            !shard.workersAreBusy && waiting.isEmpty && !shard.hasUnwrittenCommands
            && !shard.hasUnsynced
        guard isQuiet || now.monotonic >= until else { return }
        // Closing syncs; a sync that was asked for ends first, it must never be performed twice.
        guard !shard.isSyncing else { return }
        // The last note is not written beside another one, and not at all when that takes too long: the
        // next start then only knows less.
        guard !shard.isWritingFloor || now.monotonic >= until else { return }
        if let unsaved = try shard.close() {
            effects.append(.log(Self.unsaved(unsaved)))
        } else if let saved = shard.savedState {
            effects.append(.log(LogEvent(.info, "state saved", saved.fields)))
        }
        drain = .drained
        effects.append(.drained)
    }

    // MARK: - For whoever watches

    /// What keeps this node from taking work, or nil.
    package var obstacle: ErrorCode? {
        if isDraining { return .draining }
        return shard.acceptsWork
    }

    /// What `/readyz` says: nil when requests are welcome, else why not.
    var readiness: String? {
        guard let obstacle else { return nil }
        guard obstacle == .dataCorrupt, let range = shard.log.damaged.first else {
            return obstacle.name
        }
        return "degraded: \(obstacle.name): \(range)"
    }

    /// Stops with a sentence when something that is always true is not; called by the simulator.
    package func checkInvariants() { shard.checkInvariants() }
}
