// Where the bytes are, and what keeps them: for `pulse disk` and for metrics.

package import PulseCore
import PulseLog

/// Bytes on the disk by what they are there for.
package struct DiskUse: Hashable, Sendable {
    package enum Reason: String, CaseIterable, Sendable {
        /// The segment that is written now.
        case active
        /// Segments with something that is not finished.
        case open
        /// Segments that policy wants.
        case retained
        /// Segments that could go, but for an older one: the log goes from its front.
        case behind
        case waitingForCheckpoint = "waiting_for_checkpoint"
        case waitingForRelease = "waiting_for_release"
        case spares
        case indexes
        case stateStore = "state_store"
    }

    /// In the order of the reasons.
    package var bytes: [Int]
    package var pin: DiskPin?

    package subscript(reason: Reason) -> Int {
        get { bytes[Reason.allCases.firstIndex(of: reason) ?? 0] }
        set { bytes[Reason.allCases.firstIndex(of: reason) ?? 0] = newValue }
    }

    package var total: Int { bytes.reduce(0, +) }

    init() { bytes = Reason.allCases.map { _ in 0 } }
}

/// One of the messages that keep the oldest segment in which something is not finished.
package struct DiskPin: Hashable, Sendable {
    package enum Reason: String, Sendable {
        /// Too much of the segment is not finished to be moved.
        case backlog
        case evacuating
        case damaged
        /// Policy wants the segment anyway.
        case policy
    }

    package var segment: UInt64
    /// When the segment's latest entry was written.
    package var since: WallTimestamp
    package var group: String
    package var topic: TopicID
    package var id: NotificationID
    /// Whether it waits in a row; it is ready or leased otherwise.
    package var isWaiting: Bool
    package var reason: Reason
}

extension Shard {
    /// Looks at every segment's account, not at what is in it.
    package func diskUse(at now: Now) throws(ShardError) -> DiskUse {
        var use = DiskUse()
        let usage = log.usage
        use[.spares] = usage.spares
        use[.indexes] = usage.indexes
        use[.stateStore] = store.diskBytes
        use[.waitingForRelease] = usage.releasing
        use[.active] = log.segmentBytes
        let releasable = retention.pending.last { $0.at <= durableCheckpoint }?.below ?? 0
        if state.book.releasedBelow > log.firstNumber {
            let files = Int(state.book.releasedBelow - log.firstNumber)
            let released = min(files, Int(max(releasable, log.firstNumber) - log.firstNumber))
            use[.waitingForRelease] += released * log.segmentBytes
            use[.waitingForCheckpoint] = (files - released) * log.segmentBytes
        }
        var verdicts = RetentionVerdicts(
            configuration,
            state.book,
            excessBytes: 0,
            at: steadyTime(at: now)
        )
        let open = state.book.openSegments
        for segment in state.book.segments where segment.number < log.activeNumber {
            guard let latestWall = log.latestWall(ofSegment: segment.number),
                let latest = latestSteady(of: segment.number)
            else { continue }
            let verdict = verdicts.next(segment, latest: latest)
            let reason: DiskUse.Reason =
                if open.contains(segment.number) { .open } else {
                    verdict == nil ? .retained : .behind
                }
            use[reason] += log.segmentBytes
            if reason == .open, use.pin == nil {
                use.pin = try pin(of: segment, since: latestWall)
            }
        }
        return use
    }

    private func pin(
        of segment: SegmentAccount,
        since: WallTimestamp
    ) throws(ShardError) -> DiskPin? {
        let open = try fromStore { () throws(StorageError) in
            try state.oldestOpen(in: segment.number, store)
        }
        var oldest: ShardState.OpenMessage?
        var place = LogPosition(.max)
        for one in open {
            let found = try fromLog { () throws(LogError) in
                try log.locate(one.message.stream, one.message.offset)
            }
            guard let found, found < place || oldest == nil else { continue }
            (oldest, place) = (one, found)
        }
        guard let oldest, let group = state.group(oldest.message.group) else { return nil }
        let reason: DiskPin.Reason =
            switch retention.obstacle {
            case .backlog(segment.number): .backlog
            case .evacuating(segment.number): .evacuating
            case .damaged(segment.number): .damaged
            default: .policy
            }
        return DiskPin(
            segment: segment.number,
            since: since,
            group: group.name,
            topic: group.topic,
            id: id(oldest.message.stream, oldest.message.offset),
            isWaiting: oldest.isWaiting,
            reason: reason
        )
    }
}

extension ShardState {
    /// A message that somebody has not finished.
    struct OpenMessage {
        var message: MessageKey
        var isWaiting: Bool
    }

    /// Of each stream the oldest message in a segment that is not finished.
    ///
    /// Those that wait are found by their rows, and only where there is a `store`.
    func oldestOpen(
        in segment: UInt64,
        _ store: (any StateStore)?
    ) throws(StorageError) -> [OpenMessage] {
        var found: [OpenMessage] = []
        for stream in book.streams {
            guard let extent = stream.extent(in: segment), extent.open > 0 else { continue }
            let from = max(extent.first, stream.keptBelow)
            var oldest: OpenMessage?
            if extent.waiting > 0, let store {
                let start = WaitingRow.key(stream.stream, from)
                let limit = WaitingRow.key(stream.stream, extent.end)
                let row = try store.scan(from: start, below: limit, limit: 1).first
                if let message = row.flatMap({ WaitingRow.message(of: $0.key) }) {
                    oldest = OpenMessage(message: message, isWaiting: true)
                }
            }
            for group in groups where group.topic == stream.stream.topic {
                guard let index = group.index(of: stream.stream),
                    let open = group.streams[index].progress.nextOpen(from: from),
                    open < oldest?.message.offset ?? extent.end
                else { continue }
                let message = MessageKey(group: group.id, stream: stream.stream, offset: open)
                oldest = OpenMessage(message: message, isWaiting: false)
            }
            if let oldest { found.append(oldest) }
        }
        return found
    }
}
