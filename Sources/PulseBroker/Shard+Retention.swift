// Letting old segments go. Nothing pins the log: what is not finished moves out of the way.
//
//      past policy --> what is open in it?                         (RetentionPolicy, SegmentBook)
//                        nothing                   released
//                        little                    kept: its records become rows  (Shard+Evacuation)
//                        of groups nobody reads    expired, and said
//                        much                      backlog: it stays until as much as it that is
//                                                  finished lies behind it; then it is kept too
//
//      released (a command) --> durable checkpoint past it --> the files go
//
// Every step is a command in the log, and its effect a fold; at most one bundle of them is on its way at
// any time, so that the next decision sees what the last one did.
//
// Source: spec/05-delivery.md, "Retention".

package import PulseCore
import PulseLog

/// Where retention stands; in memory only, nothing of it is needed after a restart.
struct RetentionProgress: Sendable {
    /// When to look again, if nothing else happens.
    var due: MonotonicInstant
    /// The active segment at the last look: growth is looked at sooner.
    var lastNumber: UInt64 = 0
    /// Commands of ours end here; nothing more is decided before they are folded in.
    var inFlightUntil = LogPosition.zero
    /// The last look stopped at a bound.
    var hasMore = false
    /// Segments the state has let go, until a durable checkpoint lets their files go too.
    var pending: [(below: UInt64, at: LogPosition)] = []
    var checkpointNotBefore: MonotonicInstant
    /// What keeps the oldest segment that is past policy.
    var obstacle: RetentionObstacle?
    /// When a group was last seen with a subscriber, by its place.
    var lastSeen: [WallTimestamp] = []
    var startedAt: WallTimestamp
    /// Sweeps over rows, each at its own pace.
    var templates: RowSweep
    var dead: RowSweep
    var ended: RowSweep
    /// Groups that nobody reads: nothing of them waits in rows in these segments and before.
    var emptied: [GroupID: UInt64] = [:]
    /// Groups that lost something since the node asked.
    var losers: [GroupID] = []

    init(_ book: SegmentBook, at now: Now) {
        due = now.monotonic
        checkpointNotBefore = now.monotonic
        templates = RowSweep(tag: 0x74, due: now.monotonic)
        dead = RowSweep(tag: 0x64, due: now.monotonic)
        ended = RowSweep(tag: 0x65, due: now.monotonic)
        startedAt = now.wall
        if book.releasedBelow > 0 { pending = [(book.releasedBelow, book.releasedAt)] }
    }
}

/// A walk over all rows of a kind, a piece at a time, again and again.
struct RowSweep: Sendable {
    private let tag: UInt8
    /// The key to go on with.
    private(set) var from: [UInt8]
    private(set) var due: MonotonicInstant

    init(tag: UInt8, due: MonotonicInstant) {
        self.tag = tag
        self.due = due
        from = [tag]
    }

    /// What the keys of these rows come before.
    var end: [UInt8] { [tag + 1] }

    /// There is more: it goes on at `key` with the next turn.
    mutating func goOn(at key: [UInt8]) { from = key }

    /// The walk is over, and begins again at `due`.
    mutating func rest(until due: MonotonicInstant) {
        from = [tag]
        self.due = due
    }
}

package enum RetentionObstacle: Hashable, Sendable {
    /// More than half of it is not finished, and of what lies behind it too.
    case backlog(segment: UInt64)
    /// Its records are being moved into rows.
    case evacuating(segment: UInt64)
    /// A record in it cannot be read, and is not finished.
    case damaged(segment: UInt64)
}

extension Shard {
    /// Milliseconds between checkpoints that are made only to let files go.
    private static let checkpointPauseMilliseconds: Int64 = 100
    /// Segments behind one that cannot go that are looked at: a look stays short.
    private static let segmentsBehindMax: UInt64 = 4096
    /// Milliseconds until what a full disk refused is decided again.
    private static let fullPauseMilliseconds: Int64 = 1000

    /// Decides what may go, now and then and whenever the log has grown by a segment. Costs next to
    /// nothing most of the time. Called once a turn, before its flush.
    package func releaseOldSegments(at now: Now) throws(ShardError) {
        guard !log.isReadOnly else { return }
        try followClock(now)
        try letFilesGo(at: now)
        guard mayDecide else { return }
        let isTime = now.monotonic >= retention.due
        let hasGrown = log.activeNumber != retention.lastNumber
        guard isTime || hasGrown || retention.hasMore else { return }
        retention.lastNumber = log.activeNumber
        retention.hasMore = false
        var commands = RetentionCommands(bodyBytesMax: log.bodyBytesMax)
        if isTime {
            let pause = min(max(configuration.shortestAge / 16, 1000), 3_600_000)
            retention.due = now.monotonic.advanced(byMilliseconds: pause)
            noteReaders(at: now)
            try sweepRows(into: &commands, pause: pause, at: now)
            try sweepKeys(into: &commands, at: now)
        }
        try look(into: &commands, at: now)
        try append(commands, at: now)
    }

    /// Whether anything can be decided now. Not before what was decided last is folded in, nor while a
    /// group is being made, which may start at the oldest record there is; and a damaged log keeps all
    /// that it has until somebody has looked.
    private var mayDecide: Bool {
        !log.isReadOnly && !log.isDamaged && state.applied >= retention.inFlightUntil
            && !pendingGroups.contains { Int($0.id.rawValue) > state.groups.count }
    }

    /// Whether another look is wanted as soon as there is a turn.
    package var wantsRetentionTurn: Bool { retention.hasMore && mayDecide }

    /// When to look again; nil while nothing can be decided: what changes that is an input of its own.
    package var retentionDue: MonotonicInstant? { mayDecide ? retention.due : nil }

    /// Looks at the segments, oldest first, up to the first one that cannot go; and behind that as far as
    /// it takes to see that emptying it is worth the copying.
    private func look(
        into commands: inout RetentionCommands,
        at now: Now
    ) throws(ShardError) {
        retention.obstacle = nil
        var verdicts = RetentionVerdicts(
            configuration,
            state.book,
            excessBytes: excessBytes,
            at: steadyTime(at: now)
        )
        var below = state.book.segments.first?.number ?? 0
        let first = below
        var room: SegmentRoom?
        // The last one may still grow, or have entries that are not folded in.
        for segment in state.book.segments.dropLast() {
            guard let latest = latestSteady(of: segment.number),
                let reason = verdicts.next(segment, latest: latest)
            else { break }
            let open = state.book.openBytes(in: segment.number)
            if room != nil || !open.isEmpty {
                var wider = room ?? SegmentRoom(number: segment.number)
                wider.add(segment, open, reason)
                room = wider
                let behind = segment.number - wider.number
                guard !wider.isWorthMoving, behind < Self.segmentsBehindMax else { break }
                continue
            }
            guard try hasKeysInRows(segment, latest: latest, into: &commands, at: now) else {
                break
            }
            below = segment.number + 1
        }
        if let room { try makeRoom(room, into: &commands, at: now) }
        if below > first { commands.append(.released(below: below)) }
    }

    /// When the newest entry of a segment was written, by the clock of ages.
    func latestSteady(of segment: UInt64) -> WallTimestamp? {
        guard let wall = log.latestWall(ofSegment: segment) else { return nil }
        let begin = LogPosition(segment * UInt64(log.segmentBytes))
        let end = LogPosition((segment + 1) * UInt64(log.segmentBytes))
        return state.clock.latest(wall, of: begin..<end)
    }

    /// Bytes by which log and rows are larger than they may be, once all that was let go is gone. Rows do
    /// not go with segments, so half of the limit is the log's, however many rows there are.
    private var excessBytes: Int64 {
        guard configuration.retention.bytes > 0 else { return 0 }
        let usage = log.usage
        var bytes = usage.total - usage.releasing
        if state.book.releasedBelow > log.firstNumber {
            bytes -= Int(state.book.releasedBelow - log.firstNumber) * log.segmentBytes
        }
        // Early by some: what is let go stays on the disk until a checkpoint is durable, and that waits
        // for the background's other work.
        let limit = configuration.retention.bytes
        bytes += min(store.diskBytes, Int(limit / 2))
        let early = max(3 * Int64(log.segmentBytes), limit / 8)
        return Int64(bytes) + early - limit
    }

    // MARK: - Files

    /// Releases the files of what the state has let go, once that can be told after a crash too.
    private func letFilesGo(at now: Now) throws(ShardError) {
        while let first = retention.pending.first {
            if durableCheckpoint >= first.at {
                let before = log.firstNumber
                let below = LogPosition(first.below * UInt64(log.segmentBytes))
                log.releaseSegments(below: below, jobs: &logJobs)
                if log.firstNumber > before { statistics.releases += 1 }
                // An index that is being written keeps its segment a moment longer.
                guard log.firstNumber >= first.below else { return }
                retention.pending.removeFirst()
                continue
            }
            guard state.applied >= first.at, checkpointInFlight == nil,
                now.monotonic >= retention.checkpointNotBefore
            else { return }
            retention.checkpointNotBefore = now.monotonic.advanced(
                byMilliseconds: Self.checkpointPauseMilliseconds
            )
            try checkpoint()
            return
        }
    }

    // MARK: - Groups that nobody reads

    private func noteReaders(at now: Now) {
        while retention.lastSeen.count < state.groups.count {
            // A start is no reader: it leaves time to come back, and does not begin the whole time anew.
            let age = configuration.age(of: state.groups[retention.lastSeen.count].topic)
            let grace = min(age, Limits.readerGraceMilliseconds)
            retention.lastSeen.append(retention.startedAt.advanced(byMilliseconds: grace - age))
        }
        for group in subscriptions.groups() where Int(group.rawValue) <= retention.lastSeen.count {
            retention.lastSeen[Int(group.rawValue) - 1] = steadyTime(at: now)
            retention.emptied[group] = nil
        }
    }

    /// Whether a consumer group had no subscriber, and settled nothing, for longer than its topic is kept.
    package func isAbandoned(_ group: GroupState, at now: Now) -> Bool {
        let place = Int(group.id.rawValue) - 1
        guard !group.isDelivery, retention.lastSeen.indices.contains(place) else { return false }
        let seen = max(group.lastActive, retention.lastSeen[place])
        let oldest = steadyTime(at: now).advanced(
            byMilliseconds: -configuration.age(of: group.topic)
        )
        // Last, because it looks through all of them.
        return seen < oldest && !leaseOrigins[place].isBusy && !subscriptions.has(group.id)
    }

    /// Groups that lost messages since this was asked last.
    package func takeLosers() -> [GroupState] {
        defer { retention.losers.removeAll() }
        return retention.losers.compactMap { state.group($0) }
    }

    // MARK: - Commands

    /// Appends what was decided; on a full disk it is decided again later.
    private func append(_ commands: RetentionCommands, at now: Now) throws(ShardError) {
        for body in commands.bodies {
            do throws(ShardError) { _ = try append(commands: body, at: now) } catch {
                guard case .log(.diskFull) = error else { throw error }
                retention.hasMore = false
                // Asking turn after turn makes no room.
                let later = now.monotonic.advanced(byMilliseconds: Self.fullPauseMilliseconds)
                retention.due = max(retention.due, later)
                return
            }
            retention.inFlightUntil = log.appendPosition
        }
    }
}

/// Commands gathered into bodies of entries.
struct RetentionCommands {
    private(set) var bodies: [[UInt8]] = []
    private(set) var bytes = 0
    /// A piece of keys is given up: the rows still have it until that is folded in.
    private(set) var endsKeys = false
    private let bodyBytesMax: Int

    init(bodyBytesMax: Int) { self.bodyBytesMax = bodyBytesMax }

    /// Adds a command; false when it is too large for any entry.
    @discardableResult
    mutating func append(_ command: Command) -> Bool {
        var framed: [UInt8] = []
        command.append(to: &framed)
        guard framed.count <= bodyBytesMax else { return false }
        if case .keysOver = command { endsKeys = true }
        bytes += framed.count
        if let last = bodies.last, last.count + framed.count <= bodyBytesMax {
            bodies[bodies.count - 1] += framed
        } else {
            bodies.append(framed)
        }
        return true
    }
}
