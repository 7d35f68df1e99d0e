// Merging: sorted keys of many files into one, streaming, in pieces that let other work between them.
//
//     source 0 --page--.
//     source 1 --page---+--> heap --> page, page, ... --> "gen-....keys.tmp" --> final name
//     source n --page--'          \-> filter blocks, front to back
//
// Held in memory: 32 KiB for each source, the fences, a piece of the filter and a piece of the output;
// never all keys.

import PulseCore

/// A merge that is under way. Belongs to the log's thread, lent to a background job while that runs:
/// the two take turns, which makes the unchecked conformance safe.
package final class GenerationMerge: @unchecked Sendable {
    enum Outcome {
        /// More pieces are to be performed.
        case unfinished
        case made(Generation)
        /// A source does not verify: the file of these segments has to be made anew first.
        case damagedSource(ClosedRange<UInt64>)
    }

    /// Output pages written and synced at once: a large flush would hold up the log's own syncs.
    private static let pagesPerWrite = 256
    private static let filterChunkBlocks = 1024

    let range: ClosedRange<UInt64>
    private(set) var outcome = Outcome.unfinished
    private let segments: [GenerationSegment]
    private let checksums: LogChecksums
    private let shape: GenerationShape
    private let pagesPerPiece: Int
    private var sources: [MergeSource]

    private var file: (any LogFile)?
    /// Smallest key first, then newest first.
    private var heap: [Head] = []
    private var fences: [UInt64] = []
    private let output: RawBuffer
    /// The page being filled, the entries in it, and the first page in `output`.
    private var page = 0
    private var entries = 0
    private var outputFirst = 0
    private let filter = RawBuffer(capacity: filterChunkBlocks * KeyFilter.blockBytes)
    private var filterFirst = 0
    private var filterCRC: UInt32

    private struct Head {
        var key: UInt64
        var position: UInt64
        var source: Int

        @inline(__always)
        func isBefore(_ other: Head) -> Bool {
            key != other.key ? key < other.key : position > other.position
        }
    }

    init(
        range: ClosedRange<UInt64>,
        segments: [GenerationSegment],
        sources: [MergeSource],
        pagesPerPiece: Int,
        checksums: LogChecksums
    ) {
        self.range = range
        self.pagesPerPiece = pagesPerPiece
        self.segments = segments
        self.sources = sources
        self.checksums = checksums
        shape = GenerationShape(
            first: range.lowerBound,
            last: range.upperBound,
            keys: sources.reduce(0) { $0 + $1.keys },
            segments: segments.count
        )
        filterCRC = checksums.seed
        let pages = min(Self.pagesPerWrite, shape.pages)
        output = RawBuffer(capacity: max(1, pages) * PagedFile.pageBytes)
        fences.reserveCapacity(shape.pages)
    }

    var name: String { shape.name }
    private var temporary: String { name + ".tmp" }

    /// Does a piece of the work. After an error the merge is to be begun anew.
    func perform(in directory: any LogDirectory) throws(StorageError) {
        do throws(StorageError) {
            guard let file = try begun(in: directory) else { return }
            let end = min(shape.pages, page + pagesPerPiece)
            while page < end {
                guard try fillPage(into: file) else { return }
            }
            if page == shape.pages { try finish(file, in: directory) }
        } catch {
            // An unfinished file would keep a full disk full.
            do throws(StorageError) { try directory.remove(temporary) } catch {}
            throw error
        }
    }

    /// The file being written; made, and the first page of every source read, in the first piece.
    private func begun(in directory: any LogDirectory) throws(StorageError) -> (any LogFile)? {
        if let file { return file }
        let made = try directory.create(temporary, bytes: shape.fileBytes, written: false)
        file = made
        filter.zero(0..<filter.capacity)
        for index in sources.indices {
            guard try refill(index) else { return nil }
            if let head = next(of: index) { heap.append(head) }
        }
        for index in stride(from: heap.count / 2 - 1, through: 0, by: -1) { siftDown(index) }
        return made
    }

    private func refill(_ index: Int) throws(StorageError) -> Bool {
        guard try sources[index].readIfEmpty() else {
            outcome = .damagedSource(sources[index].paged.first...sources[index].paged.last)
            return false
        }
        return true
    }

    private func next(of index: Int) -> Head? {
        guard let (key, position) = sources[index].take() else { return nil }
        return Head(key: key, position: position, source: index)
    }

    private func siftDown(_ start: Int) {
        var index = start
        let head = heap[index]
        while true {
            var child = 2 * index + 1
            guard child < heap.count else { break }
            if child + 1 < heap.count, heap[child + 1].isBefore(heap[child]) { child += 1 }
            guard heap[child].isBefore(head) else { break }
            heap[index] = heap[child]
            index = child
        }
        heap[index] = head
    }

    /// Fills one page of the output; false when a source turned out to be damaged.
    private func fillPage(into file: any LogFile) throws(StorageError) -> Bool {
        let target = output.base + (page - outputFirst) * PagedFile.pageBytes
        if entries == 0 {
            target.initializeMemory(as: UInt8.self, repeating: 0, count: PagedFile.pageBytes)
        }
        while entries < GenerationShape.pageKeys, let head = heap.first {
            let entry = target + entries * GenerationShape.entryBytes
            entry.putLittle(head.key, 0)
            entry.putLittle(head.position, 8)
            if entries == 0 { fences.append(head.key) }
            entries += 1
            try note(head.key, in: file)
            guard try refill(head.source) else { return false }
            if let following = next(of: head.source) {
                heap[0] = following
            } else {
                heap[0] = heap[heap.count - 1]
                heap.removeLast()
            }
            if !heap.isEmpty { siftDown(0) }
        }
        PagedFile.seal(target, page, segments: shape.first, shape.last, checksums)
        page += 1
        entries = 0
        if page - outputFirst == Self.pagesPerWrite || page == shape.pages {
            let count = (page - outputFirst) * PagedFile.pageBytes
            try file.write(output.bytes(0..<count), at: PagedFile.start(ofPage: outputFirst))
            try file.sync()
            outputFirst = page
        }
        return true
    }

    /// Notes a key in the filter, whose blocks are met in ascending order.
    private func note(_ key: UInt64, in file: any LogFile) throws(StorageError) {
        let block = KeyFilter.block(of: key, among: shape.filterBlocks)
        while block >= filterFirst + Self.filterChunkBlocks { try writeFilterChunk(to: file) }
        KeyFilter.insert(key, into: filter.base + (block - filterFirst) * KeyFilter.blockBytes)
    }

    private func writeFilterChunk(to file: any LogFile) throws(StorageError) {
        let blocks = min(Self.filterChunkBlocks, shape.filterBlocks - filterFirst)
        let bytes = filter.bytes(0..<blocks * KeyFilter.blockBytes)
        try file.write(
            bytes,
            at: shape.filter.lowerBound + filterFirst * KeyFilter.blockBytes
        )
        filterCRC = CRC32C.of(bytes, seed: filterCRC)
        filter.zero(0..<filter.capacity)
        filterFirst += blocks
    }

    /// The tables and the header, and the name; then opens what was made, filter and all, so that the
    /// log's thread does not have to.
    private func finish(
        _ file: any LogFile,
        in directory: any LogDirectory
    ) throws(StorageError) {
        while filterFirst < shape.filterBlocks { try writeFilterChunk(to: file) }
        let tables = RawBuffer(capacity: max(shape.tables.count, PagedFile.pageBytes))
        for (index, fence) in fences.enumerated() { tables.base.putLittle(fence, index * 8) }
        for (index, segment) in segments.enumerated() {
            segment.encode(to: tables.base + 8 * shape.pages + index * GenerationSegment.bytes)
        }
        let bytes = tables.bytes(0..<shape.tables.count)
        try file.write(bytes, at: shape.tables.lowerBound)
        let tablesCRC = checksums.block(bytes)
        tables.zero(0..<PagedFile.pageBytes)
        shape.encodeHeader(to: tables.base, tables: tablesCRC, filter: filterCRC, checksums)
        try file.write(tables.bytes(0..<PagedFile.pageBytes), at: 0)
        try file.sync()
        try directory.rename(temporary, to: name)
        try directory.syncDirectory()
        sources = []
        do throws(LogError) {
            let made = try Generation.open(in: directory, segments: range, checksums: checksums)
            if let made, try made.loadFilter() {
                outcome = .made(made)
                return
            }
        } catch {
            if case .storage(let failure) = error { throw failure }
        }
        let text = "what was just written does not verify"
        throw StorageError(.read, file: name, reason: .failed(code: 0, text: text))
    }
}
