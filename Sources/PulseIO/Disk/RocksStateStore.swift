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
/// RocksDB never holds up who writes and a full disk never stops it: what it cannot take now waits in
/// memory, is read as if it had been taken, and goes in as one batch when it can
/// (spec/03-storage.md, "When the disk says no").
///
/// `@unchecked Sendable`: RocksDB's handles may be used from any thread at once and are constant here
/// from `init` to ``close()``; `isClosed` is atomic, everything else is under `late`'s lock.
package final class RocksStateStore: StateStore, @unchecked Sendable {
    package let path: String

    private let options: RocksOptions
    private let database: OpaquePointer
    private let readOptions: OpaquePointer
    /// Refuses rather than wait while RocksDB is behind; `patientOptions` waits.
    private let writeOptions: OpaquePointer
    private let patientOptions: OpaquePointer
    private let flushOptions: OpaquePointer
    private let isClosed = Atomic(false)
    private let late = Mutex(Late())

    /// What RocksDB did not take.
    private struct Late {
        var waiting = WaitingRows()
        /// When it was last offered.
        var offered = MonotonicInstant(nanoseconds: 0)
        /// What was found damaged first.
        var damage: String?
        /// Bytes in RocksDB's write buffer when it was asked last, and written since.
        var bufferBytes = 0
        var unmeasuredBytes = 0
    }

    /// Bytes that RocksDB's write buffer may be given on a full disk: short of where it is written out.
    private static let bufferBytesMax = RocksOptions.writeBufferBytes * 5 / 8
    /// Bytes between two looks at how full the buffer is.
    private static let measureBytes = 512 << 10

    /// Milliseconds between two offers of rows that wait: each offer gathers all of them.
    private static let offerMilliseconds: Int64 = 100
    /// Bytes that may wait because RocksDB is merely slow; then who writes waits.
    private static let slowBytesMax = 4 << 20

    /// Opens the store. `creates` makes it, and its directory but not those above, when there is none.
    ///
    /// - Throws: ``StorageError`` with the reason `damaged` when there is something that is no whole
    ///   store; nothing was changed then.
    package init(path: String, creates: Bool = true) throws(StorageError) {
        self.path = path
        if !creates || !Self.isEmpty(path) { try Self.refuseWithoutCurrent(path) }
        guard let options = RocksOptions(creates: creates),
            let readOptions = rocksdb_readoptions_create(),
            let writeOptions = rocksdb_writeoptions_create(),
            let patientOptions = rocksdb_writeoptions_create(),
            let flushOptions = rocksdb_flushoptions_create()
        else { preconditionFailure("RocksDB makes its options or ends the process") }
        rocksdb_readoptions_set_verify_checksums(readOptions, 1)
        rocksdb_writeoptions_disable_WAL(writeOptions, 1)
        rocksdb_writeoptions_disable_WAL(patientOptions, 1)
        rocksdb_writeoptions_set_no_slowdown(writeOptions, 1)
        rocksdb_flushoptions_set_wait(flushOptions, 1)
        self.options = options
        self.readOptions = readOptions
        self.writeOptions = writeOptions
        self.patientOptions = patientOptions
        self.flushOptions = flushOptions
        var message: UnsafeMutablePointer<CChar>?
        guard let database = rocksdb_open(options.options, path, &message), message == nil else {
            rocksdb_readoptions_destroy(readOptions)
            rocksdb_writeoptions_destroy(writeOptions)
            rocksdb_writeoptions_destroy(patientOptions)
            rocksdb_flushoptions_destroy(flushOptions)
            throw StorageError(.storeOpen, path, taking: message)
        }
        self.database = database
    }

    /// A store without this file is not empty but damaged: RocksDB would begin a new one over the files
    /// of the old.
    private static func refuseWithoutCurrent(_ path: String) throws(StorageError) {
        guard access(path + "/CURRENT", F_OK) != 0 else { return }
        throw StorageError(
            .storeOpen,
            file: path,
            reason: .damaged(text: "its file CURRENT is missing")
        )
    }

    private static func isEmpty(_ path: String) -> Bool {
        ((try? Path.names(in: path)) ?? []).isEmpty
    }

    deinit { close() }

    /// Writes what is in memory, as far as there is room, and closes.
    ///
    /// Nothing else may be running in the store, and nothing may be asked of it afterwards.
    package func close() {
        guard !isClosed.exchange(true, ordering: .acquiringAndReleasing) else { return }
        rocksdb_close(database)
        rocksdb_readoptions_destroy(readOptions)
        rocksdb_writeoptions_destroy(writeOptions)
        rocksdb_writeoptions_destroy(patientOptions)
        rocksdb_flushoptions_destroy(flushOptions)
    }

    /// Bytes of the table files; what is not flushed yet is in memory and small.
    package var diskBytes: Int {
        checkOpen()
        var bytes: UInt64 = 0
        let failed = rocksdb_property_int(database, "rocksdb.total-sst-files-size", &bytes)
        return failed == 0 ? Int(clamping: bytes) : 0
    }

    /// Bytes of rows that RocksDB has not taken: none while all is well.
    package var waitingBytes: Int { late.withLock { $0.waiting.bytes } }

    /// The first damage that was met, in RocksDB's words.
    package var damage: String? { late.withLock { $0.damage } }

    // MARK: - Reading

    package func get(_ key: [UInt8]) throws(StorageError) -> [UInt8]? {
        checkOpen()
        if let waiting = late.withLock({ $0.waiting.value(of: key) }) { return waiting }
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
        if message != nil { throw noting(StorageError(.storeRead, path, taking: message)) }
        guard let pinned else { return nil }
        defer { rocksdb_pinnableslice_destroy(pinned) }
        var length = 0
        return rocksBytes(rocksdb_pinnableslice_value(pinned, &length), length)
    }

    package func scan(
        from: [UInt8],
        below: [UInt8],
        limit: Int
    ) throws(StorageError) -> [StateRow] {
        checkOpen()
        guard limit > 0, from.lexicographicallyPrecedes(below) else { return [] }
        // Copied before the store is read: what goes in meanwhile is then seen twice, not missed.
        let waiting = late.withLock { $0.waiting }
        let more = waiting.isEmpty ? 0 : waiting.count(from: from, below: below)
        let stored = try scanStored(from: from, below: below, limit: limit + more)
        return waiting.isEmpty
            ? stored : waiting.merged(over: stored, from: from, below: below, limit: limit)
    }

    private func scanStored(
        from: [UInt8],
        below: [UInt8],
        limit: Int
    ) throws(StorageError) -> [StateRow] {
        do throws(StorageError) {
            return try rocksRows(
                database,
                path,
                from: from,
                below: below,
                limit: limit,
                keeping: true
            )
        } catch { throw noting(error) }
    }

    // MARK: - Writing

    /// Makes the batch visible at once; see ``waitingBytes`` for where it may be.
    ///
    /// - Throws: ``StorageError`` with the reason `noSpace` when more waits than may; the batch is
    ///   not taken. Any other is for good.
    package func write(_ batch: StateBatch) throws(StorageError) {
        checkOpen()
        guard !batch.changes.isEmpty else { return }
        do throws(StorageError) {
            try late.withLock { late throws(StorageError) in try take(batch, &late) }
        } catch { throw noting(error) }
    }

    private func take(_ batch: StateBatch, _ late: inout Late) throws(StorageError) {
        if late.waiting.isEmpty {
            guard mayTake(batch.bytes, &late), try offer(batch, with: writeOptions) else {
                late.waiting.add(batch)
                late.offered = SystemClocks.monotonic()
                return
            }
            return
        }
        guard late.waiting.bytes < Limits.storeWaitingBytesMax else {
            throw StorageError(.storeWrite, file: path, reason: .noSpace)
        }
        late.waiting.add(batch)
        if late.waiting.bytes > Self.slowBytesMax, mayTake(late.waiting.bytes, &late), !hasErrors {
            // Only slow, not full: who writes waits, and memory stays small.
            try offerWaiting(&late, with: patientOptions)
            return
        }
        let now = SystemClocks.monotonic()
        guard now.milliseconds(since: late.offered) >= Self.offerMilliseconds else { return }
        try offerWaiting(&late, with: writeOptions)
    }

    private func offerWaiting(_ late: inout Late, with options: OpaquePointer) throws(StorageError)
    {
        late.offered = SystemClocks.monotonic()
        guard mayTake(late.waiting.bytes, &late) else { return }
        if try offer(late.waiting.batch, with: options) { late.waiting = WaitingRows() }
    }

    /// Whether RocksDB may be given so many bytes: it writes its buffer out when it is full, and on a disk
    /// without room that ends badly. Debian's RocksDB has its assertions compiled in, and some of what
    /// follows a failed write is one.
    private func mayTake(_ bytes: Int, _ late: inout Late) -> Bool {
        late.unmeasuredBytes += bytes
        if late.unmeasuredBytes >= Self.measureBytes {
            late.bufferBytes = number("rocksdb.cur-size-active-mem-table")
            late.unmeasuredBytes = bytes
        }
        let after = late.bufferBytes + late.unmeasuredBytes
        return after < Self.bufferBytesMax || hasRoom(toWrite: bytes)
    }

    /// Whether the disk has room for the write buffer and `bytes` more, and for the merging of files that
    /// a new file may set off.
    private func hasRoom(toWrite bytes: Int) -> Bool {
        guard let space = DiskSpace(of: path) else { return true }
        var needed = Limits.storeFlushBytesMin + bytes
        if number("rocksdb.num-files-at-level0") >= Self.filesBeforeMerge {
            needed += number("rocksdb.total-sst-files-size")
        }
        return space.freeBytes >= needed
    }

    /// RocksDB merges four files of the first level.
    private static let filesBeforeMerge = 3

    private func number(_ property: String) -> Int {
        guard let text = rocksdb_property_value(database, property) else { return 0 }
        defer { rocksdb_free(text) }
        return Int(String(cString: text)) ?? 0
    }

    /// Hands a batch to RocksDB; false when it cannot take it now.
    private func offer(
        _ batch: StateBatch,
        with options: OpaquePointer
    ) throws(StorageError) -> Bool {
        guard let changes = rocksdb_writebatch_create() else { return false }
        defer { rocksdb_writebatch_destroy(changes) }
        for change in batch.changes { Self.add(change, to: changes) }
        var message: UnsafeMutablePointer<CChar>?
        rocksdb_write(database, options, changes, &message)
        guard let message else { return true }
        // "Write stall": it is behind with its files, and was told not to let anybody wait.
        if String(cString: message).hasPrefix("Result incomplete") {
            rocksdb_free(message)
            return false
        }
        let error = StorageError(.storeWrite, path, taking: message)
        guard error.reason == .noSpace else { throw error }
        return false
    }

    /// Whether RocksDB's background work failed and has not been taken up again.
    private var hasErrors: Bool {
        var count: UInt64 = 0
        return rocksdb_property_int(database, "rocksdb.background-errors", &count) == 0 && count > 0
    }

    /// Makes everything written so far durable, rows that wait included.
    ///
    /// - Throws: ``StorageError`` with the reason `noSpace` when there is no room yet.
    package func flush() throws(StorageError) {
        checkOpen()
        do throws(StorageError) {
            try late.withLock { late throws(StorageError) in
                guard hasRoom(toWrite: late.waiting.bytes) else {
                    throw StorageError(.storeFlush, file: path, reason: .noSpace)
                }
                guard !late.waiting.isEmpty else { return }
                try offerWaiting(&late, with: writeOptions)
                guard late.waiting.isEmpty else {
                    throw StorageError(.storeFlush, file: path, reason: .noSpace)
                }
            }
        } catch { throw noting(error) }
        var message: UnsafeMutablePointer<CChar>?
        rocksdb_flush(database, flushOptions, &message)
        if message != nil { throw noting(StorageError(.storeFlush, path, taking: message)) }
    }

    /// Remembers damage for whoever stops the process.
    private func noting(_ error: StorageError) -> StorageError {
        if case .damaged(let text) = error.reason {
            late.withLock { if $0.damage == nil { $0.damage = text } }
        }
        return error
    }

    private func checkOpen() {
        precondition(!isClosed.load(ordering: .relaxed), "a closed store is not asked again")
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
}
