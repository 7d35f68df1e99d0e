// What a shard would know if it were opened now, found by looking only: the saved state, the rows, and
// the entries of the log behind them.

package import PulseCore
package import PulseLog

package struct ShardInspection {
    /// Rows of the store, by what they are, with what the log's tail changes in them.
    package struct RowCounts: Hashable, Sendable {
        package var held = 0
        package var scheduled = 0
        package var dead = 0
        package var templates = 0
        /// Rows of other kinds.
        package var others = 0
    }

    /// The fold of everything the log has.
    package internal(set) var state: ShardState
    /// How far the saved hot state reaches, and its version; nil when none was saved.
    package internal(set) var checkpoint: LogPosition?
    package internal(set) var checkpointVersion: UInt8?
    /// How far the rows reach.
    package internal(set) var applied: LogPosition?
    package internal(set) var rows = RowCounts()
    /// What is wrong, each a sentence.
    package internal(set) var problems: [String] = []
    package internal(set) var notes: [String] = []
    /// What the tail of the log changes in the rows; nil for a row that goes.
    private var changed: [[UInt8]: [UInt8]?] = [:]
    /// The rows that the whole log tells, when it was asked.
    private var expected: [[UInt8]: [UInt8]]?

    private static let identityKey = Array("identity".utf8)
    private static let singleKeys = [identityKey, StoreFormat.key] + Shard.progressKeys

    private init(segmentBytes: Int) { state = ShardState(segmentBytes: segmentBytes) }

    /// Of the encoded state: equal on every machine that folded the same entries.
    package var stateHash: UInt64 { XXH3.hash(state.encoded(), seed: 0) }

    /// Looks at a store and the log it belongs to. A `store` of nil is one that is not there or cannot be
    /// opened: the log alone tells the state then, if it goes back to its beginning.
    ///
    /// - Parameter verify: Also fold a log that goes back to its beginning from there, and compare.
    package static func look(
        at log: LogReader,
        _ store: (any StateStore)?,
        verify: Bool
    ) throws(ShardError) -> ShardInspection {
        var inspection = ShardInspection(segmentBytes: log.segmentBytes)
        if let store {
            do throws(StorageError) {
                try inspection.readStore(store, log)
            } catch { inspection.problems.append("the state store cannot be read: \(error)") }
        }
        let isWhole = log.firstPosition.rawValue <= UInt64(Limits.segmentHeaderBytes)
        guard inspection.checkpoint != nil || isWhole else {
            inspection.problems.append("no state was saved, and the log begins too late to tell it")
            return inspection
        }
        try inspection.foldTail(log)
        inspection.compareEnds()
        let isOld = (inspection.checkpointVersion ?? .max) < ShardState.bookVersion
        if verify, isWhole, !isOld, inspection.problems.isEmpty { try inspection.foldAll(log) }
        do throws(StorageError) {
            if let store { try inspection.countRows(store) }
        } catch { inspection.problems.append("the state store cannot be read: \(error)") }
        inspection.countChanged()
        return inspection
    }

    private mutating func readStore(
        _ store: any StateStore,
        _ log: LogReader
    ) throws(StorageError) {
        var identity: [UInt8] = []
        identity.append(littleEndian: log.identity.high)
        identity.append(littleEndian: log.identity.low)
        guard let owner = try store.get(Self.identityKey) else {
            notes.append("nothing was saved in the state store yet")
            return
        }
        guard owner == identity else {
            problems.append("the state store belongs to another log")
            return
        }
        applied = try store.get(Shard.appliedKey)?.withUnsafeBytes { bytes in
            var reader = ByteReader(bytes)
            return reader.littleEndian().map { LogPosition($0) }
        }
        guard let saved = try store.get(Shard.checkpointKey) else { return }
        checkpointVersion = saved.first
        guard let state = Checkpoint.state(in: saved) else {
            problems.append("the checkpoint cannot be read (version \(saved.first ?? 0))")
            return
        }
        checkpoint = state.applied
        self.state = state
        guard let old = checkpointVersion, old < ShardState.bookVersion else { return }
        // Without a segment book it is folded on as well as one can; its hash means nothing.
        self.state.book = SegmentBook(segmentBytes: log.segmentBytes)
        notes.append("the checkpoint has version \(old): the next start brings it up")
    }

    private mutating func foldTail(_ log: LogReader) throws(ShardError) {
        var changed: [[UInt8]: [UInt8]?] = [:]
        var folded = state
        // A repair may have been below what was folded in: the next start takes that in first.
        do throws(LogError) {
            for gap in try log.gaps(below: state.applied) { folded.fold(gap) }
        } catch { throw .log(error) }
        try fold(log, into: &folded) { key, value in changed.updateValue(value, forKey: key) }
        state = folded
        self.changed = changed
    }

    /// A log that goes back to its beginning tells the state and the rows once more.
    private mutating func foldAll(_ log: LogReader) throws(ShardError) {
        var fresh = ShardState(segmentBytes: state.book.segmentBytes)
        var expected: [[UInt8]: [UInt8]] = [:]
        try fold(log, into: &fresh) { key, value in expected[key] = value }
        // Behind a gap the store may know what the log has lost: the two need not be equal.
        guard fresh.gaps.isEmpty else { return }
        self.expected = expected
        guard fresh.encoded() != state.encoded() else { return }
        problems.append(
            "the checkpoint is not what the log tells; without the state store, a start makes it anew"
        )
    }

    /// Folds the log into `state` from where that ends, telling of every row put or deleted.
    private mutating func fold(
        _ log: LogReader,
        into state: inout ShardState,
        _ change: (_ key: [UInt8], _ value: [UInt8]?) -> Void
    ) throws(ShardError) {
        var folded = state
        var failure: String?
        var isAtDamage = false
        do throws(LogError) {
            try log.forEach(in: state.applied..<LogPosition(.max)) { found throws(LogError) in
                switch found {
                case .unreadable(let file, let byte, _, let reason):
                    // The log's own inspection says what that is: a torn tail, or damage.
                    notes.append("the state ends at \(file), byte \(byte): \(reason)")
                    isAtDamage = true
                case .entry(let header, let body):
                    var rows = StateBatch()
                    do throws(StateError) {
                        try folded.apply(header, body, rows: &rows)
                    } catch { failure = "\(error)" }
                    for one in rows.changes {
                        switch one {
                        case .put(let key, let value): change(key, value)
                        case .delete(let key): change(key, nil)
                        }
                    }
                }
                return failure == nil && !isAtDamage
            }
        } catch { throw .log(error) }
        state = folded
        if let failure { problems.append(failure) }
    }

    private mutating func compareEnds() {
        let end = state.applied
        for (what, position) in [("checkpoint", checkpoint), ("rows", applied)] {
            guard let position, position > end else { continue }
            problems.append(
                "the \(what) of the state store reach to \(position.rawValue), the log ends at"
                    + " \(end.rawValue)"
            )
        }
    }

    // MARK: Rows

    private mutating func countRows(_ store: any StateStore) throws(StorageError) {
        var from: [UInt8] = []
        let below = [UInt8](repeating: 0xFF, count: 64)
        while true {
            let page = try store.scan(from: from, below: below, limit: 1024)
            for row in page where changed[row.key] == nil { count(row) }
            guard page.count == 1024, let last = page.last else { return }
            from = last.key + [0]
        }
    }

    private mutating func countChanged() {
        for (key, value) in changed.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
            if let value { count(StateRow(key: key, value: value)) }
        }
        guard let missing = expected?.count, missing > 0 else { return }
        problems.append("the state store lacks \(missing) rows that the log tells")
    }

    private mutating func count(_ row: StateRow) {
        guard !Self.singleKeys.contains(row.key) else { return }
        guard row.key.first.flatMap(StoredRow.Kind.init(rawValue:)) != nil else {
            rows.others += 1
            return
        }
        guard let stored = StoredRow(row) else { return unreadable(row) }
        switch stored {
        case .held(let held):
            if held.reason == .scheduled { rows.scheduled += 1 } else { rows.held += 1 }
        case .dead: rows.dead += 1
        case .template: rows.templates += 1
        default: rows.others += 1
        }
        guard expected != nil else { return }
        let told = expected?.removeValue(forKey: row.key)
        if told == row.value { return }
        if case .held = stored, let told, HeldRow.isValue(row.value, for: told) { return }
        problems.append("a row is not what the log tells; its key is \(Self.text(row.key))")
    }

    private mutating func unreadable(_ row: StateRow) {
        problems.append("a row cannot be read; its key is \(Self.text(row.key))")
    }

    private static func text(_ key: [UInt8]) -> String {
        key.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: " ")
    }
}
