// What those who read a RocksDB directory have in common: rows in order, bytes, and its errors as ours.

import CRocksDB
import PulseCore

/// The rows from a key on and below another, in order; every block is checked against its checksum.
///
/// - Parameter keeping: Whether the blocks that are read stay in the cache.
func rocksRows(
    _ database: OpaquePointer,
    _ path: String,
    from: [UInt8],
    below: [UInt8],
    limit: Int,
    keeping: Bool
) throws(StorageError) -> [StateRow] {
    guard let bounded = rocksdb_readoptions_create() else { return [] }
    defer { rocksdb_readoptions_destroy(bounded) }
    rocksdb_readoptions_set_verify_checksums(bounded, 1)
    rocksdb_readoptions_set_fill_cache(bounded, keeping ? 1 : 0)
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
            let key = rocksBytes(rocksdb_iter_key(iterator, &length), length)
            let value = rocksdb_iter_value(iterator, &length)
            rows.append(StateRow(key: key, value: rocksBytes(value, length)))
            rocksdb_iter_next(iterator)
        }
        var message: UnsafeMutablePointer<CChar>?
        rocksdb_iter_get_error(iterator, &message)
        guard message != nil else { return .success(rows) }
        return .failure(StorageError(.storeRead, path, taking: message))
    }
    return try result.get()
}

func rocksBytes(_ start: UnsafePointer<CChar>?, _ length: Int) -> [UInt8] {
    guard let start, length > 0 else { return [] }
    return [UInt8](UnsafeRawBufferPointer(start: start, count: length))
}

extension StorageError {
    /// Takes over RocksDB's message.
    ///
    /// It has no error numbers, so a full disk and damage are known by its words.
    init(
        _ operation: Operation,
        _ path: String,
        taking message: UnsafeMutablePointer<CChar>?
    ) {
        let text = message.map { String(cString: $0) } ?? "no reason given"
        if let message { rocksdb_free(message) }
        self.init(operation, file: path, reason: Self.reason(ofRocks: text))
    }

    private static func reason(ofRocks text: String) -> Reason {
        if text.contains("No space left") || text.contains("Disk quota exceeded") {
            return .noSpace
        }
        if text.contains("Too many open files") { return .tooManyFiles }
        if text.hasPrefix("Corruption") || text.contains("No such file or directory")
            || text.contains("does not exist (create_if_missing is false)")
        {
            return .damaged(text: text)
        }
        return .failed(code: 0, text: text)
    }
}
