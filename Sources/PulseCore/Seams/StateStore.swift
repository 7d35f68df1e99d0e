// What the broker needs from a store of rows: the state of things that live on. PulseIO implements it
// with RocksDB, the simulator with a sorted map that forgets what was not flushed.

/// Ordered rows of bytes. Written in atomic batches, visible at once, durable after ``flush()``; after
/// a crash the store holds exactly the batches up to some point, never part of one. Its own
/// write-ahead log is off: the shard's log is replayed over it from the position it says it has applied.
package protocol StateStore: AnyObject, Sendable {
    func get(_ key: [UInt8]) throws(StorageError) -> [UInt8]?
    /// Rows with `from <= key < below`, in key order, at most `limit`.
    func scan(from: [UInt8], below: [UInt8], limit: Int) throws(StorageError) -> [StateRow]
    func write(_ batch: StateBatch) throws(StorageError)
    /// Makes everything written so far durable. Slow; called as a background job and before closing.
    func flush() throws(StorageError)
    /// Bytes of its files, as far as it knows.
    var diskBytes: Int { get }
}

extension StateStore {
    package var diskBytes: Int { 0 }
}

package struct StateRow: Hashable, Sendable {
    package var key: [UInt8]
    package var value: [UInt8]

    package init(key: [UInt8], value: [UInt8]) {
        self.key = key
        self.value = value
    }
}

/// Changes that become visible together. A later change of the same key wins.
package struct StateBatch: Sendable {
    package enum Change: Sendable {
        case put(key: [UInt8], value: [UInt8])
        case delete(key: [UInt8])
    }

    package private(set) var changes: [Change] = []

    package init() {}

    /// What it takes in memory, roughly.
    package var bytes: Int {
        changes.reduce(0) { sum, change in
            switch change {
            case .put(let key, let value): sum + key.count + value.count + 64
            case .delete(let key): sum + key.count + 64
            }
        }
    }

    package mutating func put(_ key: [UInt8], _ value: [UInt8]) {
        changes.append(.put(key: key, value: value))
    }

    package mutating func delete(_ key: [UInt8]) { changes.append(.delete(key: key)) }
}
