// The rows of a shard in RocksDB, through its C interface.

import CRocksDB
import Glibc
package import PulseCore
import Synchronization

/// A `StateStore` over one RocksDB directory.
///
/// Its write-ahead log is off: the shard's own log is replayed over it. RocksDB may write a full
/// buffer out on its own; since batches are atomic and buffers are written in order, a crash still
/// leaves exactly the batches up to some point.
///
/// `@unchecked Sendable`: RocksDB's handles may be used from any thread at once and are constant here
/// from `init` to ``close()``; `isClosed` is atomic.
package final class RocksStateStore: StateStore, @unchecked Sendable {
    package let path: String

    private let options: RocksOptions
    private let database: OpaquePointer
    private let readOptions: OpaquePointer
    private let writeOptions: OpaquePointer
    private let flushOptions: OpaquePointer
    private let isClosed = Atomic(false)

    /// Opens the store, making its directory when it is missing (not those above it).
    package init(path: String) throws(StorageError) {
        self.path = path
        guard let options = RocksOptions(), let readOptions = rocksdb_readoptions_create(),
            let writeOptions = rocksdb_writeoptions_create(),
            let flushOptions = rocksdb_flushoptions_create()
        else { preconditionFailure("RocksDB makes its options or ends the process") }
        rocksdb_writeoptions_disable_WAL(writeOptions, 1)
        rocksdb_flushoptions_set_wait(flushOptions, 1)
        self.options = options
        self.readOptions = readOptions
        self.writeOptions = writeOptions
        self.flushOptions = flushOptions
        var message: UnsafeMutablePointer<CChar>?
        guard let database = rocksdb_open(options.options, path, &message), message == nil else {
            rocksdb_readoptions_destroy(readOptions)
            rocksdb_writeoptions_destroy(writeOptions)
            rocksdb_flushoptions_destroy(flushOptions)
            throw Self.error(.storeOpen, path, taking: message)
        }
        self.database = database
    }

    deinit { close() }

    /// Writes what is in memory and closes.
    ///
    /// Nothing else may be running in the store, and nothing may be asked of it afterwards.
    package func close() {
        guard !isClosed.exchange(true, ordering: .acquiringAndReleasing) else { return }
        rocksdb_close(database)
        rocksdb_readoptions_destroy(readOptions)
        rocksdb_writeoptions_destroy(writeOptions)
        rocksdb_flushoptions_destroy(flushOptions)
    }

    package func get(_ key: [UInt8]) throws(StorageError) -> [UInt8]? {
        checkOpen()
        var message: UnsafeMutablePointer<CChar>?
        let pinned = key.withUnsafeBytes {
            rocksdb_get_pinned(
                database,
                readOptions,
                $0.baseAddress?.assumingMemoryBound(to: CChar.self),
                $0.count,
                &message
            )
        }
        if message != nil { throw Self.error(.storeRead, path, taking: message) }
        guard let pinned else { return nil }
        defer { rocksdb_pinnableslice_destroy(pinned) }
        var length = 0
        return Self.bytes(rocksdb_pinnableslice_value(pinned, &length), length)
    }

    package func scan(
        from: [UInt8],
        below: [UInt8],
        limit: Int
    ) throws(StorageError) -> [StateRow] {
        checkOpen()
        guard limit > 0, from.lexicographicallyPrecedes(below),
            let bounded = rocksdb_readoptions_create()
        else { return [] }
        defer { rocksdb_readoptions_destroy(bounded) }
        let result = below.withUnsafeBytes { bound -> Result<[StateRow], StorageError> in
            // RocksDB keeps a pointer to the bound, so the iterator must not outlive this closure.
            rocksdb_readoptions_set_iterate_upper_bound(
                bounded,
                bound.baseAddress?.assumingMemoryBound(to: CChar.self),
                bound.count
            )
            guard let iterator = rocksdb_create_iterator(database, bounded) else {
                return .success([])
            }
            defer { rocksdb_iter_destroy(iterator) }
            let rows = Self.rows(of: iterator, from: from, limit: limit)
            var message: UnsafeMutablePointer<CChar>?
            rocksdb_iter_get_error(iterator, &message)
            return message == nil
                ? .success(rows) : .failure(Self.error(.storeRead, path, taking: message))
        }
        return try result.get()
    }

    package func write(_ batch: StateBatch) throws(StorageError) {
        checkOpen()
        guard !batch.changes.isEmpty, let changes = rocksdb_writebatch_create() else { return }
        defer { rocksdb_writebatch_destroy(changes) }
        for change in batch.changes { Self.add(change, to: changes) }
        var message: UnsafeMutablePointer<CChar>?
        rocksdb_write(database, writeOptions, changes, &message)
        if message != nil { throw Self.error(.storeWrite, path, taking: message) }
    }

    package func flush() throws(StorageError) {
        checkOpen()
        var message: UnsafeMutablePointer<CChar>?
        rocksdb_flush(database, flushOptions, &message)
        if message != nil { throw Self.error(.storeFlush, path, taking: message) }
    }

    private func checkOpen() {
        precondition(!isClosed.load(ordering: .relaxed), "a closed store is not asked again")
    }

    private static func rows(
        of iterator: OpaquePointer,
        from: [UInt8],
        limit: Int
    ) -> [StateRow] {
        from.withUnsafeBytes {
            rocksdb_iter_seek(
                iterator,
                $0.baseAddress?.assumingMemoryBound(to: CChar.self),
                $0.count
            )
        }
        var rows: [StateRow] = []
        while rows.count < limit, rocksdb_iter_valid(iterator) != 0 {
            var keyLength = 0
            var valueLength = 0
            let key = bytes(rocksdb_iter_key(iterator, &keyLength), keyLength)
            let value = bytes(rocksdb_iter_value(iterator, &valueLength), valueLength)
            rows.append(StateRow(key: key, value: value))
            rocksdb_iter_next(iterator)
        }
        return rows
    }

    private static func add(_ change: StateBatch.Change, to batch: OpaquePointer) {
        switch change {
        case .put(let key, let value):
            key.withUnsafeBytes { key in
                value.withUnsafeBytes { value in
                    rocksdb_writebatch_put(
                        batch,
                        key.baseAddress?.assumingMemoryBound(to: CChar.self),
                        key.count,
                        value.baseAddress?.assumingMemoryBound(to: CChar.self),
                        value.count
                    )
                }
            }
        case .delete(let key):
            key.withUnsafeBytes { key in
                rocksdb_writebatch_delete(
                    batch,
                    key.baseAddress?.assumingMemoryBound(to: CChar.self),
                    key.count
                )
            }
        }
    }

    private static func bytes(_ start: UnsafePointer<CChar>?, _ length: Int) -> [UInt8] {
        guard let start, length > 0 else { return [] }
        return [UInt8](UnsafeRawBufferPointer(start: start, count: length))
    }

    /// Takes over RocksDB's message.
    ///
    /// It has no error numbers, so a full disk is known by its words.
    private static func error(
        _ operation: StorageError.Operation,
        _ path: String,
        taking message: UnsafeMutablePointer<CChar>?
    ) -> StorageError {
        let text = message.map { String(cString: $0) } ?? "no reason given"
        if let message { rocksdb_free(message) }
        let isFull = text.contains("No space left") || text.contains("Disk quota exceeded")
        return StorageError(
            operation,
            file: path,
            reason: isFull ? .noSpace : .failed(code: 0, text: text)
        )
    }
}
