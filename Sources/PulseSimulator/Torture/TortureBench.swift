// The rack: one shard on one simulated disk, driven turn by turn as the node would drive it, with small
// segments so that rolls, releases and recycling happen all the time.

package import PulseBroker
package import PulseCore
package import PulseLog

/// One run. Everything that happens is drawn from the seed; faults of the disk are not drawn here.
///
///     step -> submit | flush | sync | settle | job | floor | release | restart ...
///               |                                                      |
///               '--- answers ---> ghost <--- asked after every start ---'
///
/// An operation that throws leaves the shard unusable, as the process that would have ended there;
/// the caller restarts.
package final class TortureBench {
    package enum End: Sendable, CaseIterable {
        case clean, kill, powerLoss
    }

    /// What the end of a process leaves of the store: a drawn prefix of what was not flushed, all of it,
    /// nothing of it, or no store at all, where the log reaches back to its beginning.
    package enum StoreFate: Sendable, CaseIterable {
        case drawn, all, flushed, lost
    }

    package var disk: SimulatedDisk
    package var store: SimulatedStore
    package internal(set) var shard: Shard?
    package internal(set) var ghost = TortureGhost()
    package internal(set) var violations: [String] = []
    package let configuration: ShardConfiguration
    package internal(set) var now: Now
    /// What the workload does.
    var random: SeededGenerator
    /// What a power loss leaves.
    var fate: SeededGenerator
    var serial = 0
    package internal(set) var starts = 0
    /// Submitted in this life and not durable yet.
    var unanswered: [TortureGhost.Record] = []
    /// Final outcomes with the position at which they are durable; nil until the turn is written.
    var unansweredOutcomes: [(id: NotificationID, state: NotificationState, at: UInt64?)] = []
    /// Ends of appends of this life that are not durable yet, with how far the log was when they were
    /// made: that is what they vouch for.
    var vouchers: [(end: UInt64, for: UInt64)] = []
    var leases: [Lease] = []
    var jobs: [LogJob] = []
    package var storeFate = StoreFate.drawn
    /// Idempotency keys that were asked for after starts.
    package private(set) var keysAsked = 0
    /// Whether the workload ends and starts the process.
    package var restarts = true
    /// What happened, for the statistics: a scenario that never rolls proves little.
    package internal(set) var newestSegment: UInt64 = 0
    package internal(set) var releases = 0
    package internal(set) var checkpoints = 0
    var wantsFlush = false
    /// Whether the store's flushes come to an end, or take for ever.
    var flushesStore = true
    var ticket: SyncTicket?
    var syncIsPerformed = false

    static let attemptsMax = 3

    /// - Parameters:
    ///   - retentionMilliseconds: A scenario's steps take about half a second each.
    ///   - checkpointBytes: nil for a drawn number.
    package init(
        seed: UInt64,
        retentionMilliseconds: Int64 = 6000,
        checkpointBytes: Int? = nil
    ) {
        var seeds = SeededGenerator(seed: seed)
        disk = SimulatedDisk()
        store = SimulatedStore()
        random = seeds.fork()
        fate = seeds.fork()
        var dials = seeds.fork()
        let spares = 1 + dials.below(2)
        let drawn = 2048 << dials.below(4)
        configuration = ShardConfiguration(
            log: LogConfiguration(segmentBytes: 32 << 10, spareSegments: spares),
            retry: RetryPolicy(baseMs: 200, capMs: 4000, attemptsMax: Self.attemptsMax),
            checkpointBytes: checkpointBytes ?? drawn,
            heldInMemoryMax: 2 << dials.below(6),
            idempotencyWindowMilliseconds: retentionMilliseconds,
            retentionMilliseconds: retentionMilliseconds
        )
        disk.fate = seeds.fork()
        now = Now(
            monotonic: MonotonicInstant(nanoseconds: 5_000_000_000),
            wall: WallTimestamp(milliseconds: 1_795_000_000_000)
        )
    }

    func pass(milliseconds: Int) {
        now.monotonic = now.monotonic.advanced(byMilliseconds: Int64(milliseconds))
        now.wall = now.wall.advanced(byMilliseconds: Int64(milliseconds))
    }

    // MARK: - Lives

    /// Ends the process and starts another on what is left, then asks the ghost.
    ///
    /// - Throws: What the start threw; the next call tries again.
    package func restart(_ end: End) throws(ShardError) {
        try finish(end)
        try start()
    }

    /// Ends the process one way or another.
    package func finish(_ end: End) throws(ShardError) {
        if end == .clean, let shard {
            if ticket != nil { try completeSync() }
            // A stop waits for the floor that is being written.
            while shard.log.isWritingFloor { try performJob(shard) }
            try shard.close()
            ghost.vouch(for: shard.log.durablePosition.rawValue)
            try answerDurable()
        }
        if let shard { checkpoints += Int(shard.statistics.checkpoints) }
        shard = nil
        unanswered = []
        unansweredOutcomes = []
        vouchers = []
        leases = []
        jobs = []
        wantsFlush = false
        ticket = nil
        let drawn = fate.below(store.unflushedCount + 1)
        switch storeFate {
        case .lost where ghost.lowest == 0: store = SimulatedStore()
        case .drawn, .lost: store.crash(keeping: drawn)
        case .all: store.crash(keeping: store.unflushedCount)
        case .flushed: store.crash(keeping: 0)
        }
        if end == .powerLoss { disk.losePower(&fate) } else { disk.killProcess() }
    }

    /// Starts a process. What it finds is promised from then on.
    package func start() throws(ShardError) {
        starts += 1
        pass(milliseconds: 5)
        let faults = disk.struck.count
        let born = try Self.open(disk, store, configuration, seed: UInt64(starts), at: now)
        if disk.struck.count > faults, let damage = born.recovery.damaged.first {
            // A read that failed: read-only is right, and the operator starts it again.
            throw .log(.damaged(damage))
        }
        violations += try ghost.broken(by: born)
        violations += try ghost.brokenAnswers(of: born, every: 8, from: starts)
        try askForKeys(of: born)
        shard = born
        guard violations.isEmpty else { return }
        ghost.settleRelease(born)
        try ghost.promise(born)
        jobs += born.takeLogJobs()
        check(born)
    }

    static func open(
        _ disk: SimulatedDisk,
        _ store: SimulatedStore,
        _ configuration: ShardConfiguration,
        seed: UInt64,
        at now: Now
    ) throws(ShardError) -> Shard {
        try Shard.open(
            directory: disk,
            store: store,
            configuration: configuration,
            seed: seed,
            at: now
        )
    }

    /// Notes what was appended since the log ended at `start`.
    func note(_ shard: Shard, appendedFrom start: LogPosition) {
        guard shard.log.appendPosition > start else { return }
        let vouched = shard.log.durablePosition.rawValue
        vouchers.append((shard.log.appendPosition.rawValue, vouched))
    }

    /// Whether an entry with this content was promised at this place.
    package func promised(_ header: EntryHeader, _ body: [UInt8]) -> Bool {
        let hash = body.withUnsafeBytes { TortureGhost.hash(header, $0) }
        return ghost.entries.contains {
            $0.position == header.position.rawValue && $0.hash == hash
        }
    }

    /// Asks for every acknowledged notification.
    package func askForAll() throws(ShardError) {
        guard let shard else { return }
        violations += try ghost.brokenAnswers(of: shard, every: 1, from: 0)
    }

    private func askForKeys(of shard: Shard) throws(ShardError) {
        let (broken, asked) = try ghost.brokenKeys(
            of: shard,
            at: now,
            windowMilliseconds: configuration.idempotencyWindowMilliseconds
        )
        violations += broken
        keysAsked += asked
    }

    func check(_ shard: Shard) {
        shard.log.checkInvariants()
        shard.checkInvariants()
    }

    // MARK: - Answers

    /// Gives the answers that the last completed sync allows.
    func answerDurable() throws(ShardError) {
        guard let shard else { return }
        let durable = shard.log.durablePosition.rawValue
        for record in unanswered where record.durableAt <= durable { ghost.acknowledge(record) }
        unanswered.removeAll { $0.durableAt <= durable }
        for outcome in unansweredOutcomes {
            guard let at = outcome.at, at <= durable else { continue }
            ghost.acknowledge(outcome.id, outcome.state, at: at)
        }
        unansweredOutcomes.removeAll { $0.at.map { $0 <= durable } ?? false }
        for voucher in vouchers where voucher.end <= durable { ghost.vouch(for: voucher.for) }
        vouchers.removeAll { $0.end <= durable }
        try ghost.promise(shard)
        leases += shard.takeOpened()
    }

    /// Brings the sync in flight to its end.
    func completeSync() throws(ShardError) {
        guard let shard, let ticket else { return }
        if !syncIsPerformed { try performSync() }
        self.ticket = nil
        try shard.synced(ticket, at: now)
        try answerDurable()
        if shard.wantsStoreFlush {
            shard.wantsStoreFlush = false
            wantsFlush = true
        }
    }

    func performSync() throws(ShardError) {
        guard let shard, ticket != nil, !syncIsPerformed else { return }
        do throws(StorageError) {
            try shard.log.performSync()
            syncIsPerformed = true
        } catch { throw .storage(error) }
    }
}
