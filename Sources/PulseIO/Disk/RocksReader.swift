// A RocksDB directory for those who only look: nothing is created, locked, compacted or written to it,
// not even a log file. Works beside the process that owns it, which may remove a file meanwhile; looking
// again then helps.

import CRocksDB
package import PulseCore

/// A `StateStore` of which only the reading half works. Every block is checked against its checksum.
///
/// `@unchecked Sendable`: the handles are constant, and RocksDB's may be used from any thread.
package final class RocksReader: StateStore, @unchecked Sendable {
    package let path: String
    private let options: OpaquePointer
    private let database: OpaquePointer

    /// - Throws: ``StorageError`` when there is no store, or it cannot be opened.
    package init(path: String) throws(StorageError) {
        guard let options = rocksdb_options_create() else {
            preconditionFailure("RocksDB makes its options or ends the process")
        }
        rocksdb_options_set_create_if_missing(options, 0)
        rocksdb_options_set_paranoid_checks(options, 1)
        // Where no file can be: RocksDB then writes no log of its own.
        rocksdb_options_set_db_log_dir(options, "/dev/null/none")
        var message: UnsafeMutablePointer<CChar>?
        guard let database = rocksdb_open_for_read_only(options, path, 0, &message), message == nil
        else {
            rocksdb_options_destroy(options)
            throw StorageError(.storeOpen, path, taking: message)
        }
        self.path = path
        self.options = options
        self.database = database
    }

    deinit {
        rocksdb_close(database)
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
        try rocksRows(database, path, from: from, below: below, limit: limit, keeping: false)
    }

    package func write(_ batch: StateBatch) throws(StorageError) { throw readOnly(.storeWrite) }

    package func flush() throws(StorageError) { throw readOnly(.storeFlush) }

    private func readOnly(_ operation: StorageError.Operation) -> StorageError {
        StorageError(operation, file: path, reason: .notPermitted)
    }
}
