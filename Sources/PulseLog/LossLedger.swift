// Which offsets of which streams went into which hole, as far as it can be told from what lies before and
// after: streams are dense, so a batch that begins behind the end of the one before it tells of a loss.
//
//     holes     0         1     2            told of in the order of the log; of each stream is kept
//     batches      s s  s    s     s                 where it ended last, and behind which hole

import PulseCore

struct LossLedger {
    struct Place: Hashable {
        var file: Int
        var gap: Int
    }

    private struct Hole {
        var place: Place
        var bytes = 0
        var isPartlyUnknown = false
    }

    /// A loss that lies in one of the holes `from ..< upTo`.
    private struct Open {
        var loss: Gap.Loss
        var from: Int
        var upTo: Int
    }

    /// How far a stream is known.
    private struct End {
        var next: Offset
        /// The first hole that may have swallowed what comes next.
        var hole: Int
        /// Its loss in ``fixed`` that `next` ends, in the hole that was noted last.
        var fixed: Int?
        /// What ``leftOut`` was then.
        var leftOut: Int64
    }

    /// Whether the log goes back to its beginning: then the first offset of every stream is known to be 0.
    private let isWhole: Bool
    private var holes: [Hole] = []
    private var ends: [StreamID: End] = [:]
    /// Offsets that every stream leaves out when it goes on behind the gaps of earlier repairs.
    private var leftOut: Int64 = 0
    private var order: [StreamID] = []
    private var fixed: [(hole: Int, loss: Gap.Loss)] = []
    private var open: [Open] = []

    /// The smallest entry that holds a record, and what is reserved at the most for a stream of which a
    /// hole at the end of the log may have swallowed the newest records.
    private static let batchBytesMin = 128
    private static let reservedMax = 1 << 20

    init(isWhole: Bool) { self.isWhole = isWhole }

    /// Notes a batch that is whole, or what an earlier gap says of one.
    mutating func note(_ stream: StreamID, _ base: Offset, next: Offset) {
        noteJump(of: stream, to: base)
        ends[stream] = End(
            next: max(next, ends[stream]?.next ?? next),
            hole: holes.count,
            leftOut: leftOut
        )
    }

    /// What an earlier repair said of a hole is known.
    mutating func note(_ gap: Gap) {
        for loss in gap.losses {
            if loss.stream == .none {
                leftOut += loss.next.rawValue - loss.first.rawValue
            } else {
                note(loss.stream, loss.first, next: loss.next)
            }
        }
    }

    /// Begins a hole behind all that was noted.
    mutating func beginHole(_ place: Place) { holes.append(Hole(place: place)) }

    /// Notes an entry in the hole that was begun last, of which only the header can be read.
    mutating func noteLost(_ header: EntryHeader) {
        guard header.kind == .recordBatch, header.recordCount > 0 else { return }
        noteJump(of: header.stream, to: header.baseOffset)
        let hole = holes.count - 1
        let next = header.baseOffset.advanced(by: header.recordCount)
        var place = ends[header.stream].flatMap { $0.next == header.baseOffset ? $0.fixed : nil }
        if let known = place, fixed[known].hole == hole {
            fixed[known].loss.next = next
        } else {
            place = fixed.count
            let loss = Gap.Loss(
                stream: header.stream,
                first: header.baseOffset,
                next: next,
                isExact: true
            )
            fixed.append((hole, loss))
        }
        ends[header.stream] = End(next: next, hole: hole, fixed: place, leftOut: leftOut)
    }

    /// Says how large the hole of this place is, once that is known.
    mutating func endHole(_ place: Place, bytes: Int, isPartlyUnknown: Bool) {
        guard let index = holes.lastIndex(where: { $0.place == place }) else { return }
        holes[index].bytes = bytes
        holes[index].isPartlyUnknown = isPartlyUnknown
    }

    /// A batch begins at `base`: what lies between is lost. Of a stream's first batch in a log whose
    /// beginning was released nobody here can tell how much was released and how much is lost. Of what lies
    /// between, the last may have been left out only, for a gap of an earlier repair.
    private mutating func noteJump(of stream: StreamID, to base: Offset) {
        if ends[stream] == nil { order.append(stream) }
        let known = ends[stream] ?? End(next: Offset(0), hole: 0, leftOut: 0)
        guard base > known.next, known.hole < holes.count else { return }
        let given = max(known.next, Offset(base.rawValue - (leftOut - known.leftOut)))
        let isExact = ends[stream] != nil || isWhole
        for (first, next, isExact) in [(known.next, given, isExact), (given, base, false)]
        where first < next {
            let loss = Gap.Loss(stream: stream, first: first, next: next, isExact: isExact)
            open.append(Open(loss: loss, from: known.hole, upTo: holes.count))
        }
    }

    /// Every loss in a hole with room for it, in the order of the log.
    ///
    /// Losses were in one of the holes between two batches of their stream, and each took more room than
    /// telling of it does; so taking them in the order of their last possible hole finds a place for all
    /// that are exact. Offsets that are only reserved may be left out where there is no room.
    func assigned() -> [(Place, Gap.Loss)] {
        guard !holes.isEmpty else { return [] }
        var open = open
        // Streams that no file tells of any more may have gone on in a hole too, or begun there.
        if let last = holes.lastIndex(where: \.isPartlyUnknown),
            let loss = reservation(.none, End(next: Offset(0), hole: 0, leftOut: 0))
        {
            open.append(Open(loss: loss, from: last, upTo: holes.count))
        }
        for stream in order {
            guard let end = ends[stream], let loss = reservation(stream, end) else { continue }
            open.append(Open(loss: loss, from: end.hole, upTo: holes.count))
        }
        return place(open)
    }

    /// Offsets that are not to be given again, because holes may have swallowed them.
    private func reservation(_ stream: StreamID, _ end: End) -> Gap.Loss? {
        let behind = holes[end.hole...].filter(\.isPartlyUnknown)
        let bytes = behind.reduce(0) { $0 + $1.bytes }
        guard bytes >= Self.batchBytesMin else { return nil }
        let reserved = min(bytes / Self.batchBytesMin * Limits.batchRecordsMax, Self.reservedMax)
        return Gap.Loss(
            stream: stream,
            first: end.next,
            next: end.next.advanced(by: reserved),
            isExact: false
        )
    }

    private func place(_ open: [Open]) -> [(Place, Gap.Loss)] {
        var room = holes.map { Gap.lossesMax(over: $0.bytes) }
        var found: [[Gap.Loss]] = holes.map { _ in [] }
        for (hole, loss) in fixed where room[hole] > 0 {
            found[hole].append(loss)
            room[hole] -= 1
        }
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
