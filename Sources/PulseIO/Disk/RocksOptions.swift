// How the state store is tuned: small, quiet, quick to open. Its data is what lives on about users,
// templates and schedules, not the notifications, so it never has to be large in memory.

import CRocksDB

/// Everything RocksDB is told, with the reason; owns what must outlive the database.
final class RocksOptions {
    private(set) var options: OpaquePointer
    private let table: OpaquePointer
    private let cache: OpaquePointer

    /// Bytes gathered in memory before a file is written; two such buffers at most.
    static let writeBufferBytes = 8 << 20
    /// Bytes of decompressed blocks, indexes and filters kept.
    private static let cacheBytes = 8 << 20
    private static let openFilesMax: Int32 = 64
    /// Files of level 0 at which they are merged into level 1.
    static let filesToMerge = 4
    /// Bytes of level 1; it is merged with level 0 as a whole, so it is kept as small as that.
    static let levelOneBytes = 32 << 20
    /// Bytes of a file below level 0.
    private static let fileBytes: UInt64 = 16 << 20
    private static let filterBitsPerKey = 10.0
    /// RocksDB's level for messages that are errors.
    private static let logLevelError: Int32 = 3

    /// `creates` makes the store when there is none; otherwise a store that is not there is an error.
    init?(creates: Bool) {
        guard let options = rocksdb_options_create(),
            let table = rocksdb_block_based_options_create(),
            let cache = rocksdb_cache_create_lru(Self.cacheBytes)
        else { return nil }
        self.options = options
        self.table = table
        self.cache = cache
        rocksdb_options_set_create_if_missing(options, creates ? 1 : 0)
        rocksdb_options_set_paranoid_checks(options, 1)

        // Memory.
        rocksdb_options_set_write_buffer_size(options, Self.writeBufferBytes)
        rocksdb_options_set_max_write_buffer_number(options, 2)
        rocksdb_options_set_level0_file_num_compaction_trigger(options, Int32(Self.filesToMerge))
        rocksdb_options_set_max_bytes_for_level_base(options, UInt64(Self.levelOneBytes))
        rocksdb_options_set_target_file_size_base(options, Self.fileBytes)
        rocksdb_options_set_max_open_files(options, Self.openFilesMax)
        rocksdb_block_based_options_set_block_cache(table, cache)
        rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1)
        rocksdb_block_based_options_set_filter_policy(
            table,
            rocksdb_filterpolicy_create_bloom_full(Self.filterBitsPerKey)
        )
        rocksdb_options_set_block_based_table_factory(options, table)

        // Work beside ours: one thread, and no statistics nobody reads.
        rocksdb_options_set_max_background_jobs(options, 1)
        rocksdb_options_set_stats_dump_period_sec(options, 0)
        rocksdb_options_set_stats_persist_period_sec(options, 0)
        rocksdb_options_set_skip_stats_update_on_db_open(options, 1)

        // Its own log file: errors only, and never many of them.
        rocksdb_options_set_info_log_level(options, Self.logLevelError)
        rocksdb_options_set_keep_log_file_num(options, 2)
        rocksdb_options_set_max_log_file_size(options, 1 << 20)
        rocksdb_options_set_max_manifest_file_size(options, 4 << 20)

        rocksdb_options_set_compression(options, Int32(rocksdb_lz4_compression))
        flushOnlyWhenAsked()
    }

    /// Closing must not write on a disk that may be full: whoever closes has flushed, or need not.
    ///
    /// RocksDB's C interface has no call for this one, but reads all options from text.
    private func flushOnlyWhenAsked() {
        guard let whole = rocksdb_options_create() else { return }
        var message: UnsafeMutablePointer<CChar>?
        rocksdb_get_options_from_string(
            options,
            "avoid_flush_during_shutdown=true",
            whole,
            &message
        )
        if let message {
            preconditionFailure("RocksDB knows its option: \(String(cString: message))")
        }
        rocksdb_options_destroy(options)
        options = whole
    }

    deinit {
        rocksdb_options_destroy(options)
        rocksdb_block_based_options_destroy(table)
        rocksdb_cache_destroy(cache)
    }
}
