// Rows that the state store could not take yet, because the disk has no room or is slow: what a key will
// be, merged over what the store says it is.
//
//      reads   store rows  a b c d e            waiting  b=2, d deleted, f=6
//                                          ->   a, b=2, c, e, f=6
//
// All of it goes into the store as one batch, so that the store always stands at a moment that was.

package import PulseCore

package struct WaitingRows: Sendable {
    /// A nil value is a deletion.
    package typealias Row = (key: [UInt8], value: [UInt8]?)

    /// Sorted by key, in runs none of which is empty: a new row moves those of its run, not all.
    private var runs: [[Row]] = []
    /// Bytes of memory, roughly: what the bound is about.
    package private(set) var bytes = 0

    /// Rows of a run before it is parted.
    private static let runRowsMax = 256
    /// What a row costs beside its bytes: two arrays' headers and the element.
    private static let overheadBytes = 96

    package init() {}

    package var isEmpty: Bool { runs.isEmpty }

    package mutating func add(_ batch: StateBatch) {
        for change in batch.changes {
            switch change {
            case .put(let key, let value): set(key, value)
            case .delete(let key): set(key, nil)
            }
        }
    }

    private mutating func set(_ key: [UInt8], _ value: [UInt8]?) {
        if runs.isEmpty { runs.append([]) }
        let run = run(of: key)
        let index = Self.place(of: key, in: runs[run])
        if index < runs[run].count, runs[run][index].key == key {
            bytes += (value?.count ?? 0) - (runs[run][index].value?.count ?? 0)
            runs[run][index].value = value
            return
        }
        bytes += key.count + (value?.count ?? 0) + Self.overheadBytes
        runs[run].insert((key, value), at: index)
        guard runs[run].count > Self.runRowsMax else { return }
        let half = runs[run].count / 2
        runs.insert(Array(runs[run][half...]), at: run + 1)
        runs[run].removeSubrange(half...)
    }

    /// The outer nil: nothing waits for this key. The inner: it will be deleted.
    package func value(of key: [UInt8]) -> [UInt8]?? {
        guard !runs.isEmpty else { return nil }
        let run = runs[run(of: key)]
        let index = Self.place(of: key, in: run)
        guard index < run.count, run[index].key == key else { return nil }
        return .some(run[index].value)
    }

    /// What waits with `from <= key < below`, in key order.
    package func rows(from: [UInt8], below: [UInt8]) -> [Row] {
        guard !runs.isEmpty, from.lexicographicallyPrecedes(below) else { return [] }
        var found: [Row] = []
        for run in runs[run(of: from)...] {
            let rows = run[Self.place(of: from, in: run)..<Self.place(of: below, in: run)]
            if rows.isEmpty, !found.isEmpty { break }
            found += rows
        }
        return found
    }

    /// `stored` as it will be, at most `limit` rows: it must hold as many rows more as there are in
    /// `waiting`, or all there are.
    package static func merged(
        _ waiting: [Row],
        over stored: [StateRow],
        limit: Int
    ) -> [StateRow] {
        guard !waiting.isEmpty else { return Array(stored.prefix(limit)) }
        var result: [StateRow] = []
        var next = 0
        func takeNext() {
            if let value = waiting[next].value {
                result.append(StateRow(key: waiting[next].key, value: value))
            }
            next += 1
        }
        for row in stored {
            while next < waiting.count, waiting[next].key.lexicographicallyPrecedes(row.key) {
                takeNext()
            }
            if next < waiting.count, waiting[next].key == row.key {
                takeNext()
            } else {
                result.append(row)
            }
            if result.count >= limit { return Array(result.prefix(limit)) }
        }
        while next < waiting.count, result.count < limit { takeNext() }
        return result
    }

    /// Everything that waits, as one batch.
    package var batch: StateBatch {
        var batch = StateBatch()
        for row in runs.joined() {
            if let value = row.value { batch.put(row.key, value) } else { batch.delete(row.key) }
        }
        return batch
    }

    /// The run that has the key, or would.
    private func run(of key: [UInt8]) -> Int {
        let after = Self.first(in: runs) { key.lexicographicallyPrecedes($0.first?.key ?? []) }
        return max(0, after - 1)
    }

    /// The first index whose key is not below `key`.
    private static func place(of key: [UInt8], in run: [Row]) -> Int {
        first(in: run) { !$0.key.lexicographicallyPrecedes(key) }
    }

    /// The first index of which something holds that holds of all after it.
    private static func first<Element>(in array: [Element], where holds: (Element) -> Bool) -> Int {
        var low = 0
        var high = array.count
        while low < high {
            let middle = (low + high) / 2
            if holds(array[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
