// Which offsets of which streams went into which hole, as far as it can be told from what lies before and
// after: streams are dense, so a batch that begins behind the end of the one before it tells of a loss.

import PulseCore

struct LossLedger {
    struct Place: Hashable {
        var file: Int
        var gap: Int
    }

    private struct Hole {
        var place: Place
        var position: UInt64
        var room: Int
        var bytes: Int
        var isPartlyUnknown: Bool
    }

    /// A loss that lies in one of the holes `from ..< upTo`.
    private struct Open {
        var loss: Gap.Loss
        var from: Int
        var upTo: Int
    }

    private struct Batch {
        var stream: StreamID
        var base: Offset
        var next: Offset
        var position: UInt64
        /// Set for a batch whose header is all that is left of it: the hole it lies in.
        var hole: Int?
    }

    private var holes: [Hole] = []
    private var batches: [Batch] = []

    /// The smallest entry that holds a record, and what is reserved at the most for a stream of which a
    /// hole at the end of the log may have swallowed the newest records.
    private static let batchBytesMin = 128
    private static let reservedMax = 1 << 20

    mutating func note(_ stream: StreamID, _ base: Offset, count: Int, at position: UInt64) {
        batches.append(
            Batch(stream: stream, base: base, next: base.advanced(by: count), position: position)
        )
    }

    /// What an earlier repair said of a hole is known.
    mutating func note(_ gap: Gap) {
        for loss in gap.losses {
            batches.append(
                Batch(
                    stream: loss.stream,
                    base: loss.first,
                    next: loss.next,
                    position: gap.position.rawValue
                )
            )
        }
    }

    mutating func addHole(
        _ place: Place,
        at position: UInt64,
        bytes: Int,
        known: [EntryHeader],
        isPartlyUnknown: Bool
    ) {
        for header in known where header.kind == .recordBatch && header.recordCount > 0 {
            batches.append(
                Batch(
                    stream: header.stream,
                    base: header.baseOffset,
                    next: header.baseOffset.advanced(by: header.recordCount),
                    position: header.position.rawValue,
                    hole: holes.count
                )
            )
        }
        holes.append(
            Hole(
                place: place,
                position: position,
                room: Gap.lossesMax(over: bytes),
                bytes: bytes,
                isPartlyUnknown: isPartlyUnknown
            )
        )
    }

    /// Every loss in a hole with room for it, in the order of the log.
    ///
    /// Losses were in one of the holes between two batches of their stream, and each took more room than
    /// telling of it does; so taking them in the order of their last possible hole finds a place for all.
    func assigned() -> [(Place, Gap.Loss)] {
        guard !holes.isEmpty else { return [] }
        var fixed: [(hole: Int, loss: Gap.Loss)] = []
        var open: [Open] = []
        var ends: [StreamID: (next: Offset, hole: Int)] = [:]
        var order: [StreamID] = []
        for batch in batches.sorted(by: { $0.position < $1.position }) {
            let upTo = holes.count { $0.position < batch.position }
            if ends[batch.stream] == nil { order.append(batch.stream) }
            let known = ends[batch.stream] ?? (Offset(0), 0)
            if batch.base > known.next, known.hole < upTo {
                let isExact = ends[batch.stream] != nil || holes[0].position <= 4096
                let loss = Gap.Loss(
                    stream: batch.stream,
                    first: known.next,
                    next: batch.base,
                    isExact: isExact
                )
                open.append(Open(loss: loss, from: known.hole, upTo: upTo))
            }
            if let hole = batch.hole {
                let loss = Gap.Loss(
                    stream: batch.stream,
                    first: batch.base,
                    next: batch.next,
                    isExact: true
                )
                fixed.append((hole, loss))
            }
            ends[batch.stream] = (max(batch.next, known.next), batch.hole ?? upTo)
        }
        for stream in order {
            guard let end = ends[stream] else { continue }
            let behind = holes[end.hole...].filter(\.isPartlyUnknown)
            let bytes = behind.reduce(0) { $0 + $1.bytes }
            guard bytes >= Self.batchBytesMin else { continue }
            let reserved = min(
                bytes / Self.batchBytesMin * Limits.batchRecordsMax,
                Self.reservedMax
            )
            let loss = Gap.Loss(
                stream: stream,
                first: end.next,
                next: end.next.advanced(by: reserved),
                isExact: false
            )
            open.append(Open(loss: loss, from: end.hole, upTo: holes.count))
        }
        return place(fixed, open)
    }

    private func place(
        _ fixed: [(hole: Int, loss: Gap.Loss)],
        _ open: [Open]
    ) -> [(Place, Gap.Loss)] {
        var room = holes.map(\.room)
        var found: [[Gap.Loss]] = holes.map { _ in [] }
        for (hole, loss) in fixed where room[hole] > 0 {
            found[hole].append(loss)
            room[hole] -= 1
        }
        // Reserved offsets come last: they may be left out where there is no room.
        let ordered = open.enumerated().sorted {
            let (a, b) = ($0.element, $1.element)
            return (a.loss.isExact ? 0 : 1, a.upTo, $0.offset) < (
                b.loss.isExact ? 0 : 1, b.upTo, $1.offset
            )
        }
        for (_, item) in ordered {
            guard let hole = (item.from..<item.upTo).first(where: { room[$0] > 0 }) else {
                continue
            }
            found[hole].append(item.loss)
            room[hole] -= 1
        }
        return holes.indices.flatMap { hole in
            found[hole].sorted { ($0.stream, $0.first) < ($1.stream, $1.first) }
                .map { (holes[hole].place, $0) }
        }
    }
}
