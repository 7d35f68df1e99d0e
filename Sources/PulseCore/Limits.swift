// Every limit in one place, with its unit, its reason, and the relations between them. The table in
// spec/08-limits.md is checked against this file.

package enum Limits {
    // Log.

    /// Bytes of one segment file. Large enough that a commit seldom meets a boundary, small enough
    /// that a fresh one is zero-filled in well under a second and an active one is scanned in 50 ms.
    package static let segmentBytes = 64 << 20
    /// Bytes before the first entry of a segment: its header block.
    package static let segmentHeaderBytes = 4096
    /// Bytes of an entry's body. One entry is always written in one piece and must fit in a segment.
    package static let entryBodyBytesMax = 4 << 20
    /// Bytes gathered before a turn's entries are written; past it they are written
    /// early, and synced with the rest.
    package static let turnBytesMax = 8 << 20

    /// Bytes of sealed segments verified in a second: half a percent of a core.
    package static let scrubBytesPerSecond: Int64 = 8 << 20
    /// Bytes verified in one piece, between two pauses.
    package static let scrubPieceBytes = 1 << 20
    /// Milliseconds from the beginning of one pass over all segments to that of the next.
    package static let scrubIntervalMilliseconds: Int64 = 7 * 86_400_000

    // Disk.

    /// Bytes of the file that gives its room to the state store when the disk is full: a store writes
    /// out 8 MiB at a time, and needs twice that while it tidies up.
    package static let ballastBytes = 32 << 20
    /// A twentieth of the disk is kept free: with less, new work is refused, and twice as much lets it
    /// in again. At least this many bytes (but not more than an eighth of the disk) ...
    package static let diskFreeBytesMin = 16 << 20
    /// ... and at most this many: a twentieth of a large disk is more than anything here needs.
    package static let diskFreeBytesMax = 4 << 30
    /// Bytes the least segment has that the size of the disk may ask for: any batch fits twice.
    package static let segmentBytesLeast = 4 << 20
    /// Free bytes without which the state store is not opened: RocksDB ends the process when it cannot
    /// write its new manifest.
    package static let storeOpenBytesMin = 4 << 20
    /// Free bytes without which the state store is not let write out its memory: one write buffer and
    /// its manifest. The broker refuses new work long before.
    package static let storeFlushBytesMin = 8 << 20
    /// Bytes of rows that may wait in memory while the state store cannot write. At a quarter of it new
    /// work is refused, at half of it nothing more is leased; what is leased already fits the other half.
    package static let storeWaitingBytesMax = 64 << 20
    /// Milliseconds a sync may take before the following ones are performed on a thread of their own.
    package static let slowSyncMilliseconds: Int64 = 50
    /// Milliseconds without a slow sync after which the loop performs them itself again.
    package static let slowSyncMemoryMilliseconds: Int64 = 10_000
    /// Milliseconds a sync may be under way before the broker is not ready and takes nothing new.
    package static let stalledSyncMilliseconds: Int64 = 1000
    /// Descriptors without which the broker does not start: the log, the state store and a few clients.
    package static let descriptorsLeast = 256
    /// Milliseconds after which a broker that holds messages looks at the wall clock again: somebody may
    /// have set it, or the machine may have slept.
    package static let clockLookMilliseconds: Int64 = 5000
    /// Milliseconds in which a message of the operator's log that repeats is written once.
    package static let repeatedLogMilliseconds: Int64 = 10_000

    // Records.

    /// Bytes of one notification's envelope: room for a long HTML mail.
    package static let envelopeBytesMax = 512 << 10
    /// Records in one batch of the native protocol.
    package static let batchRecordsMax = 1024
    /// Bytes of one record batch; below the frame limit, so that a legal batch fits a frame.
    package static let batchBytesMax = 1 << 20
    /// Bytes of a batch's records from which compressing them pays: 4 KiB of JSON shrink to a quarter in
    /// 2.4 us, 256 bytes by 8 % in 0.5.
    package static let compressBytesMin = 4 << 10

    // Native protocol.

    /// Bytes of a frame before the handshake: nothing larger than a hello is needed.
    package static let frameBytesMaxBeforeHello = 4 << 10
    /// Bytes of a frame after it: one full batch and its envelope.
    package static let frameBytesMax = (1 << 20) + (64 << 10)
    /// Deliveries a subscriber may hold unacknowledged, whatever credit it gives.
    package static let creditMax = 10_000
    package static let subscriptionsPerConnectionMax = 16
    /// Milliseconds a subscriber has for one delivery unless it asks for another time.
    package static let leaseMilliseconds: Int64 = 30_000

    /// Bytes given out to consumers in one turn; more follows in the next.
    package static let dealBytesPerTurn = 4 << 20
    /// Consumer groups of a shard: each keeps its own standing on every stream of its topic.
    package static let groupsMax = 1024

    // HTTP.

    package static let httpHeaderBytesMax = 16 << 10
    package static let httpHeaderFieldsMax = 100
    package static let httpBodyBytesMax = 1 << 20
    /// Milliseconds for a whole header: what a slow-loris client gets.
    package static let httpHeaderMilliseconds: Int64 = 10_000
    /// Milliseconds for a whole body.
    package static let httpBodyMilliseconds: Int64 = 30_000
    /// Milliseconds an idle keep-alive connection is kept.
    package static let httpIdleMilliseconds: Int64 = 120_000
    /// Requests of one connection that may wait for their answers; more stay unread.
    package static let httpPipelinedMax = 64
    package static let listLimitDefault = 50
    package static let listLimitMax = 500
    package static let jsonDepthMax = 32

    // Fields.

    package static let userBytesMax = 256
    package static let addressBytesMax = 2048
    package static let idempotencyKeyBytesMax = 255
    package static let templateNameBytesMax = 100
    package static let subjectBytesMax = 998
    package static let dataFieldsMax = 100
    package static let dataNameBytesMax = 100
    package static let templateBytesMax = 256 << 10
    /// Bytes a rendered part may have: templates cannot be made into bombs.
    package static let renderedBytesMax = 512 << 10

    // Connections.

    package static let connectionsMax = 10_000
    /// Bytes waiting to be sent on one connection before its requests are left unread.
    package static let outgoingBytesMax = 1 << 20

    // Delivery.

    /// Milliseconds an idempotency key is remembered.
    package static let idempotencyWindowMilliseconds: Int64 = 24 * 3_600_000
    /// Milliseconds a finished notification is kept, at least: a week.
    package static let retentionMilliseconds: Int64 = 7 * 24 * 3_600_000
    /// Milliseconds by which wall and monotonic time may come apart before the wall clock counts as set:
    /// more than any slewing brings about between two looks, less than the shortest window.
    package static let clockStepMilliseconds: Int64 = 1000
    /// Milliseconds from the newest entry to a start that count as age at once: a restart takes less,
    /// a clock read in the wrong time zone is off by more.
    package static let clockGapMilliseconds: Int64 = 600_000
    /// Milliseconds for which the clock must run steadily after a longer gap before that time counts:
    /// time servers need minutes, and a person who reads the warning has a chance.
    package static let clockTrustMilliseconds: Int64 = 3_600_000
    /// Messages of a group that go out in a second, at the least, when a clock that was set forward has
    /// made them due; twice as many as of late, if that is more.
    package static let clockCatchUpPerSecond = 100
    /// Steps of the clock that are told apart; the oldest ones become one.
    package static let clockStepsMax = 64
    /// Milliseconds after a start in which a group's consumers may come back before it counts as one that
    /// nobody reads, whatever it settled last.
    package static let readerGraceMilliseconds: Int64 = 3_600_000
    /// Idempotency keys whose records went by size before the window was over: some 150 MiB of the state
    /// store.
    package static let rememberedKeysMax = 1 << 20
    /// Held messages kept in memory; the rest wait in the state store, in due order.
    package static let heldInMemoryMax = 65_536
    /// Records above a group's floor, done or not, at which the group stops leasing: 512 KiB of bits.
    package static let groupWindowMax = 4 << 20
    /// Notifications the development catcher keeps; older ones fall off.
    package static let outboxEntriesMax = 1000

    /// The relations that other code relies on.
    package static func checkRelations() {
        precondition(envelopeBytesMax < batchBytesMax, "one notification fits a batch")
        precondition(batchBytesMax < frameBytesMax, "one batch fits a frame")
        precondition(frameBytesMax < entryBodyBytesMax, "what a frame brings fits an entry")
        precondition(
            entryBodyBytesMax + segmentHeaderBytes < segmentBytes / 2,
            "an entry fits a segment"
        )
        precondition(templateBytesMax < httpBodyBytesMax, "a template can be posted")
        precondition(batchBytesMax < segmentBytesLeast / 2, "a batch fits the least segment")
        precondition(slowSyncMilliseconds < stalledSyncMilliseconds, "slow comes before stalled")
        precondition(storeOpenBytesMin < ballastBytes, "the ballast is enough to open the store")
        precondition(storeFlushBytesMin < diskFreeBytesMin, "work is refused before the store is")
    }
}
