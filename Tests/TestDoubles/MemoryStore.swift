// A sorted map that forgets what was not flushed: the state store of the tests.

package import PulseCore

/// Used by one thread, the test's; hence the unchecked conformance.
package final class MemoryStore: StateStore, @unchecked Sendable {
    package private(set) var rows: [StateRow] = []
    private var flushed: [StateRow] = []
    private var sinceFlush: [StateBatch] = []
    package private(set) var flushes = 0

    package init() {}

    /// What is left after a crash: everything flushed, and of the batches since then the first few.
    package func crash(keepingBatches count: (Int) -> Int) {
        let kept = count(sinceFlush.count)
        rows = flushed
        let batches = sinceFlush.prefix(kept)
        sinceFlush = []
        for batch in batches { apply(batch) }
        sinceFlush = Array(batches)
    }

    package func copy() -> MemoryStore {
        let other = MemoryStore()
        other.rows = rows
        other.flushed = rows
        return other
    }

    package func get(_ key: [UInt8]) throws(StorageError) -> [UInt8]? {
        let index = place(of: key)
        return index < rows.count && rows[index].key == key ? rows[index].value : nil
    }

    package func scan(
        from: [UInt8],
        below: [UInt8],
        limit: Int
    ) throws(StorageError) -> [StateRow] {
        let start = place(of: from)
        let end = max(start, place(of: below))
        return Array(rows[start..<min(end, start + limit)])
    }

    package func write(_ batch: StateBatch) throws(StorageError) {
        apply(batch)
        sinceFlush.append(batch)
    }

    package func flush() throws(StorageError) {
        flushed = rows
        sinceFlush = []
        flushes += 1
    }

    private func apply(_ batch: StateBatch) {
        for change in batch.changes {
            switch change {
            case .put(let key, let value):
                let index = place(of: key)
                let row = StateRow(key: key, value: value)
                if index < rows.count, rows[index].key == key {
                    rows[index] = row
                } else {
                    rows.insert(row, at: index)
                }
            case .delete(let key):
                let index = place(of: key)
                if index < rows.count, rows[index].key == key { rows.remove(at: index) }
            }
        }
    }

    private func place(of key: [UInt8]) -> Int {
        var low = 0
        var high = rows.count
        while low < high {
            let middle = (low + high) / 2
            if rows[middle].key.lexicographicallyPrecedes(key) {
                low = middle + 1
            } else {
                high = middle
            }
        }
        return low
    }
}
