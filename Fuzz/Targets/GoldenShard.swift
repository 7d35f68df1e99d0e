// A shard in memory with something in each place: ready, scheduled, held, dead, delivered, kept, and keys
// that outlived their records. And one that is opened and driven as a node would, whatever its rows say.

import PulseBroker
import PulseCore
import PulseLog
import TestDoubles

/// A shard on a disk and a store in memory, with a clock that is moved by hand.
final class ShardDriver {
    static let minute: Int64 = 60_000
    private static let year = 365 * 24 * 60 * minute

    let directory: MemoryDirectory
    let store: MemoryStore
    let shard: Shard
    private(set) var now: Now

    /// - Throws: ``ShardError`` when the shard does not open.
    init(_ directory: MemoryDirectory, _ store: MemoryStore, at now: Now) throws {
        var configuration = ShardConfiguration(
            log: LogConfiguration(segmentBytes: 32 << 10),
            retry: RetryPolicy(baseMs: 100, capMs: 1000, attemptsMax: 2),
            checkpointBytes: 16 << 10,
            idempotencyWindowMilliseconds: 1000 * Self.minute,
            retentionMilliseconds: 1000 * Self.minute,
            retention: RetentionPolicy(bytes: 96 << 10)
        )
        configuration.rememberedKeysMax = 200
        self.directory = directory
        self.store = store
        self.now = now
        shard = try Shard.open(
            directory: directory,
            store: store,
            configuration: configuration,
            seed: 1,
            at: now
        )
    }

    func pass(minutes: Int64) {
        now.monotonic = now.monotonic.advanced(byMilliseconds: minutes * Self.minute)
        now.wall = now.wall.advanced(byMilliseconds: minutes * Self.minute)
    }

    /// What the node does in a turn, and all that it asks the background for.
    func turn() throws {
        try shard.reachedTime(now)
        try shard.releaseOldSegments(at: now)
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
    }

    /// A piece of a segment, as the background does it.
    func scrub() throws {
        guard let piece = shard.scrubPiece(at: now) else { return }
        try piece.perform()
        _ = shard.scrubbed(piece, failure: nil, at: now)
    }

    func submit(
        _ user: String,
        key: String? = nil,
        text: String = "hello",
        inMinutes delay: Int64? = nil
    ) throws -> NotificationID {
        var writer = EnvelopeWriter()
        writer.append(.user, user)
        writer.append(.address, "\(user)@example.org")
        writer.append(.text, text)
        if let key { writer.append(.idempotencyKey, key) }
        if let delay {
            writer.append(deliverAt: now.wall.advanced(byMilliseconds: delay * Self.minute))
        }
        let keyBytes = Array((key ?? "").utf8)
        return try Array(user.utf8).withUnsafeBytes { user in
            try writer.bytes.withUnsafeBytes { envelope in
                try keyBytes.withUnsafeBytes { keyBytes in
                    try shard.submit(
                        NewNotification(
                            channel: .email,
                            lane: .normal,
                            user: user,
                            envelope: envelope,
                            idempotencyKey: key == nil ? nil : keyBytes
                        ),
                        at: now
                    ).id
                }
            }
        }
    }

    /// Gives out what is due and ends each attempt as `end` says.
    func deliver(_ end: (Lease) -> AttemptOutcome) throws {
        try shard.reachedTime(now)
        for channel in Channel.allCases { try shard.dispatch(channel, slots: 64, at: now) }
        try turn()
        for lease in shard.takeOpened() { try shard.settle(lease.id, end(lease), at: now) }
        try turn()
    }

    static func ok(_: Lease) -> AttemptOutcome { .delivered(code: 250, detail: "ok") }
}

/// What ``ShardDriver`` left: what a start of the broker would find.
struct GoldenShard: Sendable {
    let files: [(name: String, bytes: [UInt8])]
    let rows: [StateRow]
    let now: Now
    /// One in each place.
    let ids: [NotificationID]

    /// Made once: every input starts from a copy.
    static let shared = Result<GoldenShard, any Error> { try GoldenShard() }

    private init() throws {
        let start = Now(
            monotonic: MonotonicInstant(nanoseconds: 5_000_000_000),
            wall: GoldenLog.wall
        )
        let driver = try ShardDriver(MemoryDirectory(), MemoryStore(), at: start)
        var ids: [NotificationID] = []
        try Self.putTemplate(driver)
        ids.append(try driver.submit("bob", key: "first"))
        try driver.deliver(ShardDriver.ok)
        ids.append(try driver.submit("dead", key: "dead"))
        try driver.deliver { _ in .dead(.recipientDead, code: 550, detail: "no such user") }
        ids.append(try driver.submit("later", key: "later", inMinutes: 500_000))
        ids.append(try driver.submit("again", key: "again"))
        try driver.deliver { _ in
            .retry(
                afterMilliseconds: 400_000 * ShardDriver.minute,
                reason: .backoff,
                code: 451,
                detail: "later"
            )
        }
        let text = String(repeating: "x", count: 400)
        for number in 0..<400 {
            _ = try driver.submit("eve", key: number < 120 ? "key-\(number)" : nil, text: text)
            if number % 20 == 19 { try driver.deliver(ShardDriver.ok) }
        }
        for _ in 0..<60 {
            driver.pass(minutes: 1)
            try driver.turn()
            try driver.scrub()
        }
        ids.append(try driver.submit("gone", key: "gone"))
        try driver.deliver { _ in .dead(.payloadBad, code: 1, detail: "") }
        ids.append(try driver.submit("held", key: "held"))
        try driver.deliver { _ in
            .retry(afterMilliseconds: 60_000, reason: .rejected, code: 0, detail: "")
        }
        ids.append(try driver.submit("soon", key: "soon", inMinutes: 3))
        ids.append(try driver.submit("ada", key: "ready"))
        try driver.turn()
        try Self.close(driver)
        let disk = driver.directory
        files = try disk.list().map { ($0, try disk.contents(of: $0) ?? []) }
        rows = driver.store.rows
        now = driver.now
        self.ids = ids
        let kinds = Set(rows.compactMap { StoredRow($0)?.kind })
        // Ends are noted only of records that were kept, and none of those has ended.
        let missing = Set(StoredRow.Kind.allCases).subtracting(kinds.union([.outcome, .ended]))
        try require(missing.isEmpty, "the store to begin with has rows of each kind: \(missing)")
    }

    private static func putTemplate(_ driver: ShardDriver) throws {
        for text in ["Hello {{name}}", "Good day {{name}}"] {
            let template = TemplateRow(
                name: "welcome",
                channel: .email,
                subject: "Hi",
                text: text,
                html: "",
                savedAt: driver.now.wall
            )
            _ = try driver.shard.put(template, at: driver.now)
            try driver.turn()
        }
    }

    private static func close(_ driver: ShardDriver) throws {
        let unsaved = try driver.shard.close()
        try require(unsaved == nil, "the state is saved")
    }

    /// The same disk with other rows.
    func driver(_ rows: [StateRow]) throws -> ShardDriver {
        let store = MemoryStore()
        var batch = StateBatch()
        for row in rows { batch.put(row.key, row.value) }
        try store.write(batch)
        try store.flush()
        return try ShardDriver(try GoldenLog.directory(files), store, at: now)
    }
}
