// What was promised, kept where no fault reaches: the torture's memory of every answer that was given.
// It knows nothing of files; it is told of answers and asks the shard for what was answered.

import PulseBroker
import PulseCore
import PulseLog

/// A value, so that a question can be asked of a copy: "what if the power went now?"
///
/// A promise is made when a sync was taken in, and when a recovery showed what it found. From then on
/// the entry stays at its position with its content, for as long as retention has not let it go.
package struct TortureGhost: Sendable {
    /// A durable entry, by where it is and a hash of all that it says.
    struct Entry: Sendable {
        var position: UInt64
        var end: UInt64
        var hash: UInt64
    }

    /// An acknowledged notification.
    struct Record: Sendable {
        var id: NotificationID
        var stream: StreamID
        var offset: Offset
        var envelope: UInt64
        /// Its entry's end, which is no later than this.
        var durableAt: UInt64
        /// What it was handed in with, and when.
        var request: Request
    }

    struct Request: Sendable {
        var channel: Channel
        var key: String
        var envelope: [UInt8]
        var at: WallTimestamp
    }

    /// Ascending by position.
    private(set) var entries: [Entry] = []
    private(set) var records: [Record] = []
    /// Final outcomes that were acknowledged, by identifier, and where the log tells of them at the
    /// latest.
    private(set) var outcomes: [NotificationID: (state: NotificationState, at: UInt64)] = [:]
    /// The fold over all promised entries, made on the way and never saved.
    private(set) var state = ShardState(segmentBytes: 1)
    /// Everything below may be gone: retention let it go.
    private(set) var releasedBelow: UInt64 = 0
    /// The furthest position of which a durable entry, or the floor, must say that it was durable: damage
    /// at or behind it is the one case that no log can tell from a torn tail. Told by the driver, which
    /// knows when what was appended; never read from the log under test.
    private(set) var vouched: UInt64 = 0
    /// Entries passed when they could be compared, for the statistics.
    private(set) var comparisons = 0

    /// Between the moment at which retention begins to let go and the moment at which it says so: what
    /// is below may be gone too.
    private var leavingBelow: UInt64 = 0
    var lowest: UInt64 { max(releasedBelow, leavingBelow) }

    package init() {}

    var end: UInt64 { entries.last?.end ?? 0 }
    package var acknowledgedRecords: Int { records.count }
    package var promisedEntries: Int { entries.count }

    mutating func acknowledge(_ record: Record) { records.append(record) }
    mutating func acknowledge(
        _ id: NotificationID,
        _ outcome: NotificationState,
        at position: UInt64
    ) {
        outcomes[id] = (outcome, position)
    }
    mutating func released(below position: LogPosition) {
        releasedBelow = max(releasedBelow, position.rawValue)
        leavingBelow = 0
    }
    mutating func leaving(below position: LogPosition) { leavingBelow = position.rawValue }
    /// Something on the disk now says that everything below was durable.
    mutating func vouch(for position: UInt64) { vouched = max(vouched, position) }

    static func hash(_ header: EntryHeader, _ body: UnsafeRawBufferPointer) -> UInt64 {
        var seed = UInt64(header.stream.rawValue) << 32 | UInt64(header.kind.rawValue)
        seed ^= UInt64(bitPattern: header.baseOffset.rawValue) &* 0x9E37_79B9_7F4A_7C15
        seed ^= UInt64(bitPattern: header.wall.milliseconds) << 8
        return XXH3.hash(body, seed: seed ^ UInt64(header.recordCount))
    }

    /// What a start found to be let go, it lets go.
    mutating func settleRelease(_ shard: Shard) {
        if leavingBelow > 0 { released(below: min(LogPosition(lowest), shard.log.firstPosition)) }
    }

    /// Takes in all durable entries that are not promised yet: they are from now on.
    mutating func promise(_ shard: Shard) throws(ShardError) {
        let durable = shard.log.durablePosition
        if entries.isEmpty { state = ShardState(segmentBytes: shard.log.segmentBytes) }
        var found: [Entry] = []
        var folded = state
        var failure: StateError?
        do throws(LogError) {
            try shard.log.scan(from: LogPosition(end)) { header, body in
                guard header.endPosition <= durable else { return false }
                found.append(
                    Entry(
                        position: header.position.rawValue,
                        end: header.endPosition.rawValue,
                        hash: Self.hash(header, body)
                    )
                )
                var rows = StateBatch()
                do throws(StateError) { try folded.apply(header, body, rows: &rows) } catch {
                    failure = error
                }
                return failure == nil
            }
        } catch { throw .log(error) }
        if let failure { throw .state(failure) }
        entries += found
        state = folded
    }

    // MARK: - After a repair

    /// From now on these entries and this state are what is promised.
    mutating func rebase(_ entries: [Entry], _ state: ShardState) {
        self.entries = entries
        self.state = state
    }
    mutating func keep(_ records: [Record]) { self.records = records }
    mutating func forgetOutcome(of id: NotificationID) { outcomes[id] = nil }

    // MARK: - After a crash

    /// Looks whether a log that only crashed kept every promise; answers with those it broke. Throws when
    /// the disk does not let it look.
    mutating func broken(by shard: Shard) throws(ShardError) -> [String] {
        var broken: [String] = []
        for damage in shard.recovery.damaged { broken.append("a crash is taken for \(damage)") }
        var next = entries.firstIndex { $0.position >= lowest } ?? entries.count
        // Segments that retention let go may have come back: then all of them must be right.
        let first = shard.log.firstPosition.rawValue
        while next > 0, entries[next - 1].position >= first { next -= 1 }
        var folded =
            entries.isEmpty ? ShardState(segmentBytes: shard.log.segmentBytes) : state
        do throws(LogError) {
            try shard.log.scan(from: .zero) { header, body in
                let position = header.position.rawValue
                if next < entries.count {
                    let entry = entries[next]
                    guard entry.position == position, entry.hash == Self.hash(header, body) else {
                        broken.append("entry \(entry.position) is not there, but \(position) is")
                        return false
                    }
                    next += 1
                    comparisons += 1
                } else if position >= end, header.endPosition <= shard.state.applied {
                    var rows = StateBatch()
                    do throws(StateError) {
                        try folded.apply(header, body, rows: &rows)
                    } catch { broken.append("what survived cannot be folded: \(error)") }
                }
                return true
            }
        } catch {
            if case .storage = error { throw .log(error) }
            broken.append("the log cannot be read: \(error)")
        }
        if broken.isEmpty, next < entries.count {
            broken.append("\(entries.count - next) entries from \(entries[next].position) are lost")
        }
        if broken.isEmpty, folded.encoded() != shard.state.encoded() {
            broken.append("the state is not the fold over the log")
        }
        return broken
    }

    /// Asks for notifications one by one, as a client would: content and outcome.
    ///
    /// - Parameter every: 1 for all of them, more for a sample.
    func brokenAnswers(
        of shard: Shard,
        every: Int,
        from start: Int
    ) throws(ShardError) -> [String] {
        var broken: [String] = []
        for index in stride(from: start % every, to: records.count, by: every) {
            switch answer(of: shard, records[index]) {
            case .right, .gone: break
            case .reported(.log(.storage(let error))): throw .log(.storage(error))
            case .reported(.storage(let error)): throw .storage(error)
            case .reported(let error): broken.append("\(records[index].id) answers \(error)")
            case .forgotten(let what, _), .wrong(let what):
                broken.append("\(records[index].id) \(what)")
            case .uncertain: broken.append("\(records[index].id) may have ended, it says")
            case .silentlyLost: broken.append("\(records[index].id) is lost")
            }
        }
        return broken
    }

    enum Answer {
        case right
        /// Retention let it go.
        case gone
        /// An error that says so.
        case reported(ShardError)
        case silentlyLost
        /// Its final outcome is not known any more, and the answer says that it may have one.
        case uncertain
        /// Its final outcome is not known any more.
        case forgotten(String, at: UInt64)
        case wrong(String)
    }

    /// What the shard says of an acknowledged notification.
    func answer(of shard: Shard, _ record: Record) -> Answer {
        do throws(ShardError) {
            guard let story = try shard.story(at: record.stream, record.offset, withSteps: false)
            else { return record.durableAt <= lowest ? .gone : .silentlyLost }
            let hash = story.envelope.withUnsafeBytes { XXH3.hash($0, seed: 0) }
            guard hash == record.envelope else { return .wrong("has another content") }
            if let outcome = outcomes[record.id], story.state != outcome.state {
                if story.isUncertain { return .uncertain }
                let change = "was \(outcome.state.name) and is \(story.state.name)"
                return story.state.isFinal ? .wrong(change) : .forgotten(change, at: outcome.at)
            }
            return .right
        } catch { return .reported(error) }
    }
}
