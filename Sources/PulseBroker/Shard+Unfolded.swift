// What lies in the log and not in the state: a log that is damaged at a start is read-only, and its state
// ends where the damage begins. What is whole behind it is found through the indexes all the same, and told
// with what its own entries say; what may be missing is refused, naming the place.

package import PulseCore
import PulseLog

extension Shard {
    /// Whether the state ends before the log does, because damage lies between. Until the repair.
    package var isStateShort: Bool {
        log.isReadOnly && log.isDamaged
            && (log.damaged.contains { $0.to > state.applied }
                || isUpgradeHeld && state.applied < log.durablePosition)
    }

    /// One past the last offset of a stream that can be asked for: as far as the state knows, and on a
    /// state that ends at damage as far as the log does.
    package func end(of stream: StreamID) -> Offset {
        let known = state.end(of: stream)
        guard isStateShort, stream.lane != .dead else { return known }
        return max(known, log.end(of: stream) ?? known)
    }

    /// The streams there are, with their ends: as ``end(of:)``.
    var streamEnds: [(stream: StreamID, end: Offset)] {
        let known = state.streams.map { (stream: $0.0, end: end(of: $0.0)) }
        guard isStateShort else { return known }
        let more = log.streamNumbers.filter { number in !known.contains { $0.stream == number } }
        return known + more.map { (stream: $0, end: end(of: $0)) }
    }

    /// The group whose steps tell of a stream's notifications. Where even the command that made it lies
    /// behind the damage: the first process makes one for each channel, in their order, before any other.
    func deliveryGroup(of stream: StreamID) -> GroupID? {
        if let group = state.group(named: GroupState.deliveryName, on: stream.topic) {
            return group.id
        }
        guard isStateShort, let channel = Channel(topic: stream.topic) else { return nil }
        return Channel.allCases.firstIndex(of: channel).map { GroupID(UInt16($0 + 1)) }
    }

    /// Where a message stands that the state has not seen, from its own entries alone.
    func standing(
        unfolded newest: Command?,
        _ envelope: [UInt8],
        acceptedAt: WallTimestamp
    ) -> (NotificationState, attempts: Int) {
        let attempts = Int(newest?.step?.attempt ?? 0)
        switch newest {
        case .delivered: return (.delivered, attempts)
        case .dead: return (.dead, attempts)
        case .cancelled: return (.cancelled, attempts)
        case .held: return (.held, attempts)
        default:
            let due = envelope.withUnsafeBytes { Envelope.deliverAt(in: $0) }
            return (due.map { $0 > acceptedAt } == true ? .scheduled : .ready, attempts)
        }
    }

    /// What cannot be read where a record should be that is not found: the hole before the next record of
    /// its stream that is there.
    func hole(at stream: StreamID, _ offset: Offset) -> DamagedRange? {
        guard log.isDamaged else { return nil }
        let next = log.next(of: stream, from: offset)?.position ?? LogPosition(.max)
        return log.unindexed.last { $0.from < next } ?? log.damaged.first
    }

    /// Refuses a list that would pass bytes which no index knows: what is in them would be left out.
    func refuseToPass(from newer: LogPosition, to older: LogPosition) throws(ShardError) {
        guard let range = log.unindexed.last(where: { $0.from < newer && $0.to > older }) else {
            return
        }
        throw .log(.damaged(range))
    }
}
