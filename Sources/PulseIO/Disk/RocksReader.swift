// A RocksDB directory for those who only look: nothing is created, locked, compacted or written to it,
// not even a log file. Works beside the process that owns it, which may remove a file meanwhile; looking
// again then helps.

import CRocksDB
package import PulseCore

/// A `StateStore` of which only the reading half works. Every block is checked against its checksum.
package final class RocksReader: StateStore, @unchecked Sendable {
    // Unchecked: the handles are constant, and RocksDB's may be used from any thread.

    package let path: String
    private let options: OpaquePointer
    private let database: OpaquePointer
    private let readOptions: OpaquePointer

    /// - Throws: ``StorageError`` when there is no store, or it cannot be opened.
    package init(path: String) throws(StorageError) {
        guard let options = rocksdb_options_create(), let reading = rocksdb_readoptions_create()
        else { preconditionFailure("RocksDB makes its options or ends the process") }
        rocksdb_options_set_create_if_missing(options, 0)
        rocksdb_options_set_paranoid_checks(options, 1)
        // Where no file can be: RocksDB then writes no log of its own.
        rocksdb_options_set_db_log_dir(options, "/dev/null/none")
        rocksdb_readoptions_set_verify_checksums(reading, 1)
        rocksdb_readoptions_set_fill_cache(reading, 0)
        var message: UnsafeMutablePointer<CChar>?
        guard let database = rocksdb_open_for_read_only(options, path, 0, &message), message == nil
        else {
            rocksdb_options_destroy(options)
            rocksdb_readoptions_destroy(reading)
            throw Self.error(.storeOpen, path, message)
        }
        self.path = path
        self.options = options
        self.database = database
        readOptions = reading
    }

    deinit {
        rocksdb_close(database)
        rocksdb_readoptions_destroy(readOptions)
        rocksdb_options_destroy(options)
    }

    package func get(_ key: [UInt8]) throws(StorageError) -> [UInt8]? {
        let row = try scan(from: key, below: key + [0], limit: 1).first
        return row?.value
    }

    package func scan(
        from: [UInt8],
        below: [UInt8],
        limit: Int
    ) throws(StorageError) -> [StateRow] {
        guard let iterator = rocksdb_create_iterator(database, readOptions) else { return [] }
        defer { rocksdb_iter_destroy(iterator) }
        from.withUnsafeBytes {
            rocksdb_iter_seek(
                iterator,
                $0.baseAddress?.assumingMemoryBound(to: CChar.self),
                $0.count
            )
        }
        var rows: [StateRow] = []
        while rows.count < limit, rocksdb_iter_valid(iterator) != 0 {
            var length = 0
            let key = Self.bytes(rocksdb_iter_key(iterator, &length), length)
            guard key.lexicographicallyPrecedes(below) else { break }
            let value = rocksdb_iter_value(iterator, &length)
            rows.append(StateRow(key: key, value: Self.bytes(value, length)))
            rocksdb_iter_next(iterator)
        }
        var message: UnsafeMutablePointer<CChar>?
        rocksdb_iter_get_error(iterator, &message)
        if message != nil { throw Self.error(.storeRead, path, message) }
        return rows
    }

    package func write(_ batch: StateBatch) throws(StorageError) { throw readOnly(.storeWrite) }

    package func flush() throws(StorageError) { throw readOnly(.storeFlush) }

    private func readOnly(_ operation: StorageError.Operation) -> StorageError {
        StorageError(operation, file: path, reason: .notPermitted)
    }

    private static func bytes(_ start: UnsafePointer<CChar>?, _ length: Int) -> [UInt8] {
        guard let start, length > 0 else { return [] }
        return [UInt8](UnsafeRawBufferPointer(start: start, count: length))
    }

    private static func error(
        _ operation: StorageError.Operation,
        _ path: String,
        _ message: UnsafeMutablePointer<CChar>?
    ) -> StorageError {
        let text = message.map { String(cString: $0) } ?? "no reason given"
        if let message { rocksdb_free(message) }
        return StorageError(operation, file: path, reason: .failed(code: 0, text: text))
    }
}
