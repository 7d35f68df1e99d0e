// Writing a file of sorted keys, front to back: pages, the filter's blocks as keys pass, then the tables,
// the header, and the name.
//
//     entries --> page, page, ... --> NAME.tmp --> NAME
//        \-----> filter blocks ------^
//
// Held in memory: the fences, a piece of the output and a piece of the filter; never all keys.

import PulseCore

/// One file being written. Whoever writes calls ``abandon(in:)`` after an error.
final class KeyTableWriter {
    /// Pages written and synced at once: a large flush would hold up the log's own syncs.
    private static let pagesPerWrite = 256
    private static let filterChunkBlocks = 1024

    private let name: String
    private let shape: KeyTableShape
    private let checksums: LogChecksums
    private let file: any LogFile
    private var fences: [UInt64] = []
    private let output: RawBuffer
    /// Pages that are full, the entries in the one after them, and the first page in `output`.
    private(set) var pages = 0
    private var entries = 0
    private var outputFirst = 0
    private let filter = RawBuffer(capacity: filterChunkBlocks * KeyFilter.blockBytes)
    private var filterFirst = 0
    private var filterCRC: UInt32

    init(
        _ name: String,
        in directory: any LogDirectory,
        _ shape: KeyTableShape,
        _ checksums: LogChecksums
    ) throws(StorageError) {
        self.name = name
        self.shape = shape
        self.checksums = checksums
        file = try directory.create(name + ".tmp", bytes: shape.fileBytes, written: false)
        fences.reserveCapacity(shape.pages)
        filterCRC = checksums.seed
        let held = max(1, min(Self.pagesPerWrite, shape.pages))
        output = RawBuffer(capacity: held * PagedFile.pageBytes)
        filter.zero(0..<filter.capacity)
    }

    /// Removes what was begun: an unfinished file would keep a full disk full.
    static func abandon(_ name: String, in directory: any LogDirectory) {
        do throws(StorageError) { try directory.remove(name + ".tmp") } catch {}
    }

    // MARK: Entries

    /// Adds the next key; its place is a slot or a position, as the format has it. The keys of the
    /// merged class come first, ascending.
    func add(_ key: UInt64, _ place: UInt64) throws(StorageError) {
        let format = shape.format
        let entry = try self.entry(format.entryBytes, perPage: format.pageKeys, fence: key)
        entry.putLittle(key, 0)
        if format.entryBytes == 16 {
            entry.putLittle(place, 8)
        } else {
            entry.putLittle(UInt32(truncatingIfNeeded: place), 8)
        }
        if KeyClass.isMerged(key) { try note(key) }
    }

    /// Where the next entry goes: `bytes` of zeros, valid until the next call.
    func entry(
        _ bytes: Int,
        perPage: Int,
        fence: UInt64
    ) throws(StorageError) -> UnsafeMutableRawPointer {
        if entries == perPage { try endPage() }
        let page = (pages - outputFirst) * PagedFile.pageBytes
        if entries == 0 {
            output.zero(page..<page + PagedFile.pageBytes)
            fences.append(fence)
        }
        entries += 1
        return output.base + page + (entries - 1) * bytes
    }

    /// Ends the page that was begun, if one was.
    func endPage() throws(StorageError) {
        guard entries > 0 else { return }
        let page = output.base + (pages - outputFirst) * PagedFile.pageBytes
        PagedFile.seal(page, pages, segments: shape.first, shape.last, checksums)
        pages += 1
        entries = 0
        guard pages - outputFirst == Self.pagesPerWrite || pages == shape.pages else { return }
        let count = (pages - outputFirst) * PagedFile.pageBytes
        try file.write(output.bytes(0..<count), at: PagedFile.start(ofPage: outputFirst))
        try file.sync()
        outputFirst = pages
    }

    /// Notes a key in the filter, whose blocks are met in ascending order.
    private func note(_ key: UInt64) throws(StorageError) {
        let block = KeyFilter.block(of: key, among: shape.filterBlocks)
        while block >= filterFirst + Self.filterChunkBlocks { try writeFilterChunk() }
        KeyFilter.insert(key, into: filter.base + (block - filterFirst) * KeyFilter.blockBytes)
    }

    private func writeFilterChunk() throws(StorageError) {
        let blocks = min(Self.filterChunkBlocks, shape.filterBlocks - filterFirst)
        let bytes = filter.bytes(0..<blocks * KeyFilter.blockBytes)
        try file.write(bytes, at: shape.filter.lowerBound + filterFirst * KeyFilter.blockBytes)
        filterCRC = CRC32C.of(bytes, seed: filterCRC)
        filter.zero(0..<filter.capacity)
        filterFirst += blocks
    }

    // MARK: The end

    /// Writes the tables and the header, and gives the file its name.
    func finish(
        in directory: any LogDirectory,
        rows: (UnsafeMutableRawPointer) -> Void,
        header: (UnsafeMutableRawPointer) -> Void
    ) throws(StorageError) {
        try endPage()
        while filterFirst < shape.filterBlocks { try writeFilterChunk() }
        let count = shape.tables.count
        let buffer = RawBuffer(capacity: max(count, KeyTableHeader.bytes))
        buffer.zero(0..<buffer.capacity)
        for (page, fence) in fences.enumerated() { buffer.base.putLittle(fence, page * 8) }
        rows(buffer.base + 8 * shape.pages)
        try file.write(buffer.bytes(0..<count), at: shape.tables.lowerBound)
        let tables = checksums.block(buffer.bytes(0..<count))
        buffer.zero(0..<KeyTableHeader.bytes)
        header(buffer.base)
        KeyTableHeader.seal(
            buffer.base,
            shape.format,
            tables: tables,
            filter: filterCRC,
            checksums
        )
        try file.write(buffer.bytes(0..<KeyTableHeader.bytes), at: 0)
        try file.sync()
        try directory.rename(name + ".tmp", to: name)
        try directory.syncDirectory()
    }
}
