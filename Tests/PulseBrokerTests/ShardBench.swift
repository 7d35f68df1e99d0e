// A shard on a bench: a disk and a store in memory, a clock that is moved by hand, and a turn of the loop
// as the node would drive it.

import PulseBroker
import PulseCore
import PulseLog
import TestDoubles
import Testing

final class ShardBench {
    var directory = MemoryDirectory()
    var store = MemoryStore()
    var configuration: ShardConfiguration
    private(set) var shard: Shard
    private(set) var now: Now
    private var seed: UInt64

    init(
        seed: UInt64 = 1,
        retry: RetryPolicy = RetryPolicy(attemptsMax: 3),
        segmentBytes: Int = 256 << 10,
        checkpointBytes: Int = 4096,
        heldInMemoryMax: Int = Limits.heldInMemoryMax,
        partitions: Int = 1,
        groupWindowMax: Int = Limits.groupWindowMax,
        window: Int64 = Limits.idempotencyWindowMilliseconds,
        retention: Int64 = Limits.retentionMilliseconds,
        policy: RetentionPolicy = RetentionPolicy()
    ) throws {
        self.seed = seed
        configuration = ShardConfiguration(
            log: LogConfiguration(segmentBytes: segmentBytes),
            retry: retry,
            partitions: partitions,
            checkpointBytes: checkpointBytes,
            heldInMemoryMax: heldInMemoryMax,
            idempotencyWindowMilliseconds: window,
            retentionMilliseconds: retention,
            groupWindowMax: groupWindowMax,
            retention: policy
        )
        now = Now(
            monotonic: MonotonicInstant(nanoseconds: 5_000_000_000),
            wall: WallTimestamp(milliseconds: 1_795_000_000_000)
        )
        shard = try Shard.open(
            directory: directory,
            store: store,
            configuration: configuration,
            seed: seed,
            at: now
        )
    }

    // MARK: - Time and turns

    func pass(milliseconds: Int64) {
        now.monotonic = now.monotonic.advanced(byMilliseconds: milliseconds)
        now.wall = now.wall.advanced(byMilliseconds: milliseconds)
    }

    /// Somebody sets the wall clock; the monotonic one does not notice.
    func setClock(byMilliseconds milliseconds: Int64) {
        now.wall = now.wall.advanced(byMilliseconds: milliseconds)
    }

    /// Writes and syncs what the turn appended; the shard is consistent before and after.
    func sync() throws {
        if let ticket = try shard.flush(at: now) {
            try shard.log.performSync()
            try shard.synced(ticket, at: now)
        }
        for job in shard.takeLogJobs() {
            try job.perform(in: directory)
            try shard.jobFinished(job, failure: nil)
        }
        if shard.wantsStoreFlush {
            shard.wantsStoreFlush = false
            try store.flush()
            shard.storeFlushed()
        }
        shard.checkInvariants()
    }

    /// A turn that also lets time have its say and leases to workers; returns what they may call now.
    func dispatch(_ channel: Channel = .email, slots: Int = 8) throws -> [Lease] {
        try shard.reachedTime(now)
        try shard.dispatch(channel, slots: slots, at: now)
        try sync()
        return shard.takeOpened()
    }

    // MARK: - Ends

    enum Stop {
        /// kill -9: what was written to the page cache survives.
        case kill
        case powerCut
        case tornPowerCut
        case clean
    }

    func restart(_ stop: Stop = .kill) throws {
        seed += 1
        var random = SeededGenerator(seed: seed)
        switch stop {
        case .clean: #expect(try shard.close() == nil)
        case .kill: store.crash { random.below($0 + 1) }
        case .powerCut:
            directory.crash(.unsynced)
            store.crash { _ in 0 }
        case .tornPowerCut:
            directory.crash(.someOfUnsynced(random))
            store.crash { random.below($0 + 1) }
        }
        shard = try Shard.open(
            directory: directory,
            store: store,
            configuration: configuration,
            seed: seed,
            at: now
        )
        #expect(shard.recovery.damaged.isEmpty)
        shard.checkInvariants()
        #expect(try shard.bookFault() == nil)
    }

    // MARK: - Submitting

    func envelope(
        user: String,
        text: String = "hello",
        key: String? = nil,
        deliverAt: WallTimestamp? = nil
    ) -> [UInt8] {
        var writer = EnvelopeWriter()
        writer.append(.user, user)
        writer.append(.address, "\(user)@example.org")
        writer.append(.text, text)
        if let key { writer.append(.idempotencyKey, key) }
        if let deliverAt { writer.append(deliverAt: deliverAt) }
        return writer.bytes
    }

    func submit(
        user: String = "ada",
        text: String = "hello",
        key: String? = nil,
        lane: Lane = .normal,
        channel: Channel = .email,
        deliverAt: WallTimestamp? = nil
    ) throws -> SubmitOutcome {
        let envelope = envelope(user: user, text: text, key: key, deliverAt: deliverAt)
        let keyBytes = Array((key ?? "").utf8)
        return try Array(user.utf8).withUnsafeBytes { user in
            try envelope.withUnsafeBytes { envelope in
                try keyBytes.withUnsafeBytes { keyBytes in
                    try shard.submit(
                        NewNotification(
                            channel: channel,
                            lane: lane,
                            user: user,
                            envelope: envelope,
                            idempotencyKey: key == nil ? nil : keyBytes
                        ),
                        at: now
                    )
                }
            }
        }
    }

    func accept(
        user: String = "ada",
        text: String = "hello",
        key: String? = nil,
        lane: Lane = .normal,
        channel: Channel = .email,
        deliverAt: WallTimestamp? = nil
    ) throws -> NotificationID {
        let outcome = try submit(
            user: user,
            text: text,
            key: key,
            lane: lane,
            channel: channel,
            deliverAt: deliverAt
        )
        #expect(outcome.kind == .accepted)
        try sync()
        return outcome.id
    }

    func state(of id: NotificationID) throws -> NotificationState? {
        try shard.story(of: id, withSteps: false)?.state
    }

    func story(_ id: NotificationID) throws -> NotificationStory {
        try #require(try shard.story(of: id, withSteps: true))
    }

    var balance: Balance { shard.balance(of: .email) }

    // MARK: - Consumers

    func subscribe(
        connection: UInt64 = 1,
        number: UInt32 = 1,
        group: String = "audit",
        fromEnd: Bool = false,
        credit: Int = 100,
        lease: Int64 = 30_000,
        lanes: UInt8 = 0xF
    ) throws -> SubscriptionID {
        let id = SubscriptionID(connection: ConnectionID(connection), number: number)
        _ = try shard.subscribe(
            id,
            topic: Channel.email.topic,
            group: group,
            fromEnd: fromEnd,
            credit: credit,
            leaseMilliseconds: lease,
            lanes: lanes,
            at: now
        )
        return id
    }

    func deal() throws -> [Handout] {
        try shard.reachedTime(now)
        let handouts = try shard.deal(at: now)
        try sync()
        return handouts
    }

    // MARK: - P7

    /// Folds the whole log anew and compares with what the shard arrived at on its way: into rows of its
    /// own, and once more over the rows there are, which changes nothing in them.
    func expectReplayGivesTheSame(_ comment: Comment? = nil) throws {
        #expect(try shard.bookFault() == nil)
        let rows = MemoryStore()
        let state = try fold(into: rows)
        #expect(state.encoded() == shard.state.encoded(), comment)
        #expect(rows.rows == foldedRows(of: store), comment)
        let again = store.copy()
        #expect(try fold(into: again).encoded() == state.encoded(), comment)
        #expect(foldedRows(of: again) == rows.rows, comment)
        let decoded = try #require(ShardState(encoded: state.encoded()))
        #expect(decoded.encoded() == state.encoded(), comment)
    }

    private func foldedRows(of store: MemoryStore) -> [StateRow] {
        store.rows.filter {
            [0x68, 0x64, 0x74, 0x77, 0x6B, 0x78, 0x65, 0x79, 0x71].contains($0.key[0])
                && $0.key.count > 9 || $0.key[0] == 0x6A
        }
    }

    private func fold(into rows: MemoryStore) throws -> ShardState {
        var state = ShardState(segmentBytes: shard.log.segmentBytes)
        var failure: (any Error)?
        try shard.log.scan(from: .zero) { header, body in
            guard header.endPosition <= shard.state.applied else { return false }
            var batch = StateBatch()
            do {
                try state.apply(header, body, rows: &batch)
                try rows.write(batch)
            } catch {
                failure = error
                return false
            }
            return true
        }
        if let failure { throw failure }
        return state
    }
}
