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
    }
}
