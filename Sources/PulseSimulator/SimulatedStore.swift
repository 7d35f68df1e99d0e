// A state store that forgets what was not flushed, as RocksDB without its own log would: after a
// crash it holds a prefix of the batches, at least the flushed ones, never a part of one.

package import PulseCore

/// Confined to the simulator's one thread, which is what makes the unchecked conformance safe.
package final class SimulatedStore: StateStore, @unchecked Sendable {
    /// Sorted by key.
    private var rows: [StateRow] = []
    /// What a crash cannot take away, and the batches written since.
    private var durable: [StateRow] = []
    private var unflushed: [StateBatch] = []
    /// Set while the process is dying: every further call fails.
    package var isDead = false
    /// Calls so far, and one that will fail without doing anything.
    package private(set) var callCount = 0
    package var failure: (call: Int, reason: StorageError.Reason)?
    package private(set) var hasFailed = false
    /// What each call was, in order, from the moment this is set to an empty list.
    package var recordedCalls: [StorageError.Operation]?
    /// Keys whose rows fail to be read, as RocksDB answers for a block that does not verify.
    package var unreadable: Set<[UInt8]> = []

    package init() {}

    package var count: Int { rows.count }
    package var unflushedCount: Int { unflushed.count }
    package var allRows: [StateRow] { rows }

    package func get(_ key: [UInt8]) throws(StorageError) -> [UInt8]? {
        try checkAlive(.storeRead)
        if !unreadable.isEmpty { try checkReadable(key) }
        let index = Self.place(of: key, in: rows)
        guard index < rows.count, rows[index].key == key else { return nil }
        return rows[index].value
    }

    package func scan(
        from: [UInt8],
        below: [UInt8],
        limit: Int
    ) throws(StorageError) -> [StateRow] {
        try checkAlive(.storeRead)
        let start = Self.place(of: from, in: rows)
        let end = max(start, Self.place(of: below, in: rows))
        let found = rows[start..<min(end, start + limit)]
        if !unreadable.isEmpty { for row in found { try checkReadable(row.key) } }
        return Array(found)
    }

    package func write(_ batch: StateBatch) throws(StorageError) {
        try checkAlive(.storeWrite)
        Self.apply(batch, to: &rows)
        unflushed.append(batch)
    }

    package func flush() throws(StorageError) {
        try checkAlive(.storeFlush)
        durable = rows
        unflushed.removeAll()
    }

    /// The process is gone, by whatever cause: the memtables with it, but for those that the store
    /// had written out by itself.
    package func crash(_ random: inout SeededGenerator) {
        crash(keeping: random.below(unflushed.count + 1))
    }

    /// The same with as many of the batches that were not flushed.
    package func crash(keeping kept: Int) {
        for batch in unflushed.prefix(kept) { Self.apply(batch, to: &durable) }
        unflushed.removeAll()
        rows = durable
        isDead = false
    }

    /// What a crash cannot take away of a row, without counting as a call.
    package func durableValue(of key: [UInt8]) -> [UInt8]? {
        let index = Self.place(of: key, in: durable)
        guard index < durable.count, durable[index].key == key else { return nil }
        return durable[index].value
    }

    /// Another store in the very same moment: what is not flushed here is not flushed there.
    package func clone() -> SimulatedStore {
        let clone = SimulatedStore()
        clone.rows = rows
        clone.durable = durable
        clone.unflushed = unflushed
        clone.unreadable = unreadable
        return clone
    }

    /// Another store with the same rows, all durable.
    package func copy() -> SimulatedStore {
        let copy = SimulatedStore()
        copy.rows = rows
        copy.durable = rows
        return copy
    }

    private func checkReadable(_ key: [UInt8]) throws(StorageError) {
        guard unreadable.contains(key) else { return }
        throw StorageError(
            .storeRead,
            file: "store",
            reason: .failed(code: 0, text: "block checksum mismatch")
        )
    }

    private func checkAlive(_ operation: StorageError.Operation) throws(StorageError) {
        callCount += 1
        recordedCalls?.append(operation)
        if let failure, callCount >= failure.call {
            self.failure = nil
            hasFailed = true
            throw StorageError(operation, file: "store", reason: failure.reason)
        }
        guard isDead else { return }
        throw StorageError(
            operation,
            file: "store",
            reason: .failed(code: 0, text: "the process is dying")
        )
    }

    private static func apply(_ batch: StateBatch, to rows: inout [StateRow]) {
        for change in batch.changes {
            switch change {
            case .put(let key, let value):
                let index = place(of: key, in: rows)
                if index < rows.count, rows[index].key == key {
                    rows[index].value = value
                } else {
                    rows.insert(StateRow(key: key, value: value), at: index)
                }
            case .delete(let key):
                let index = place(of: key, in: rows)
                if index < rows.count, rows[index].key == key { rows.remove(at: index) }
            }
        }
    }

    /// The first index whose key is not below `key`.
    private static func place(of key: [UInt8], in rows: [StateRow]) -> Int {
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
