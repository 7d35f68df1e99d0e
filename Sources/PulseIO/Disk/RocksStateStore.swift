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
/// memory, is read as if it had been taken, and is given to it by a thread that may wait
/// (spec/03-storage.md, "When the disk says no").
///
/// `@unchecked Sendable`: RocksDB's handles may be used from any thread at once and are constant here
/// from `init` to ``close()``; everything else is atomic or under `late`'s lock, which nobody holds while
/// RocksDB lets him wait.
package final class RocksStateStore: StateStore, @unchecked Sendable {
    package let path: String

    private let options: RocksOptions
    private let database: OpaquePointer
    private let readOptions: OpaquePointer
    /// Refuses while RocksDB is behind; with `patientOptions` it waits, for whoever gives what waits.
    private let writeOptions: OpaquePointer
    private let patientOptions: OpaquePointer
    private let flushOptions: OpaquePointer
    private let isClosed = Atomic(false)
    private let late = Mutex(Late())
    /// Held by the one who gives RocksDB what waits; never by ``write(_:)``.
    private let giving = Mutex(())
    /// The bytes of `late`, for those who must not wait for its lock.
    private let waiting = Atomic(0)
    private let flushFailed = Atomic(false)

    /// What RocksDB did not take.
    private struct Late {
        /// What is on its way into RocksDB, as one batch: so it always stands at a moment that was.
        var going = WaitingRows()
        /// What came later.
        var waiting = WaitingRows()

        var isEmpty: Bool { going.isEmpty && waiting.isEmpty }
        var bytes: Int { going.bytes + waiting.bytes }

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
    /// Descriptors that a flush takes for a moment: the new file twice, and a manifest.
    private static let flushDescriptors = 4

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

    /// Closes without writing: whoever wants what is in memory kept has flushed.
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
    package var waitingBytes: Int { waiting.load(ordering: .relaxed) }

    /// The first damage that was met, in RocksDB's words.
    package var damage: String? { late.withLock { $0.damage } }

    // MARK: - Reading

    package func get(_ key: [UInt8]) throws(StorageError) -> [UInt8]? {
        checkOpen()
        let late = late.withLock { $0.waiting.value(of: key) ?? $0.going.value(of: key) }
        if let late { return late }
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
        // Looked at before the store is read: what goes in meanwhile is then seen twice, not missed.
        let (going, waiting) = late.withLock {
            ($0.going.rows(from: from, below: below), $0.waiting.rows(from: from, below: below))
        }
        let stored = try scanStored(
            from: from,
            below: below,
            limit: limit + going.count + waiting.count
        )
        let soon = WaitingRows.merged(going, over: stored, limit: limit + waiting.count)
        return WaitingRows.merged(waiting, over: soon, limit: limit)
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
    //
    //     write --> RocksDB, while nothing waits and it takes the batch at once
    //       `-----> waiting --> going --> RocksDB         by writeWaiting(), on another thread
    //
    // Once a row waits, all that follow it do: rows come in their order, and only one thread gives them.

    /// Makes the batch visible at once; see ``waitingBytes`` for where it may be. Waits for nobody.
    ///
    /// - Throws: ``StorageError`` with the reason `noSpace` when more waits than may; the batch is
    ///   not taken. Any other is for good.
    package func write(_ batch: StateBatch) throws(StorageError) {
        checkOpen()
        guard !batch.changes.isEmpty else { return }
        do throws(StorageError) {
            try late.withLock { late throws(StorageError) in
                if late.isEmpty, mayTake(batch.bytes, &late),
                    try offer(batch, with: writeOptions)
                {
                    return
                }
                guard late.bytes < Limits.storeWaitingBytesMax else {
                    throw StorageError(.storeWrite, file: path, reason: .noSpace)
                }
                late.waiting.add(batch)
                waiting.store(late.bytes, ordering: .relaxed)
            }
        } catch { throw noting(error) }
    }

    /// Gives RocksDB what waits, and waits for it while it is only slow. Not to be called by whoever
    /// calls ``write(_:)``.
    ///
    /// - Throws: ``StorageError`` with the reason `noSpace` when there is no room; the rows go on waiting.
    package func writeWaiting() throws(StorageError) {
        checkOpen()
        try giving.withLock { _ throws(StorageError) in
            while true {
                let rows = late.withLock { late in
                    if late.going.isEmpty {
                        late.going = late.waiting
                        late.waiting = WaitingRows()
                    }
                    return late.going
                }
                guard !rows.isEmpty else { return }
                do throws(StorageError) {
                    // A store whose last flush failed lets nobody wait: it would be for long.
                    let options =
                        flushFailed.load(ordering: .relaxed) ? writeOptions : patientOptions
                    guard hasRoom(toWrite: rows.bytes), try offer(rows.batch, with: options) else {
                        throw StorageError(.storeWrite, file: path, reason: .noSpace)
                    }
                } catch { throw noting(error) }
                late.withLock { late in
                    late.going = WaitingRows()
                    late.unmeasuredBytes += rows.bytes
                    waiting.store(late.bytes, ordering: .relaxed)
                }
            }
        }
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
        return space.freeBytes >= Limits.storeFlushBytesMin + bytes + mergeBytes
    }

    /// Bytes that a merge may write when one more file comes: it makes level 0 and level 1 anew. None
    /// while that file sets off no merge.
    private var mergeBytes: Int {
        guard number("rocksdb.num-files-at-level0") + 1 >= RocksOptions.filesToMerge,
            let files = rocksdb_livefiles(database)
        else { return 0 }
        defer { rocksdb_livefiles_destroy(files) }
        return (0..<rocksdb_livefiles_count(files)).reduce(RocksOptions.levelOneBytes) {
            rocksdb_livefiles_level(files, $1) == 0 ? $0 + rocksdb_livefiles_size(files, $1) : $0
        }
    }

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

    /// Makes everything written so far durable, rows that wait included.
    ///
    /// - Throws: ``StorageError`` with the reason `noSpace` or `tooManyFiles` when there is no room, or no
    ///   descriptor, yet.
    package func flush() throws(StorageError) {
        checkOpen()
        guard hasRoom(toWrite: waitingBytes) else {
            throw StorageError(.storeFlush, file: path, reason: .noSpace)
        }
        // A file that cannot be opened stops RocksDB for good.
        guard DescriptorLimit.canHave(Self.flushDescriptors) else {
            throw StorageError(.storeFlush, file: path, reason: .tooManyFiles)
        }
        try writeWaiting()
        var message: UnsafeMutablePointer<CChar>?
        rocksdb_flush(database, flushOptions, &message)
        flushFailed.store(message != nil, ordering: .relaxed)
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
