// Merging: sorted keys of many files into one, streaming, in pieces that let other work between them.
//
//     source 0 --page--.
//     source 1 --page---+--> heap --> page, page, ... --> "gen-....keys.tmp" --> final name
//     source n --page--'          \-> filter blocks, front to back
//
// Held in memory: 32 KiB for each source, and what the writer holds; never all keys.

import PulseCore

/// A merge that is under way.
///
/// `@unchecked Sendable`: belongs to the log's thread, lent to a background job while that runs; the two
/// take turns.
package final class GenerationMerge: @unchecked Sendable {
    enum Outcome {
        /// More pieces are to be performed.
        case unfinished
        case made(Generation)
        /// A source does not verify: the file of these segments has to be made anew first.
        case damagedSource(ClosedRange<UInt64>)
    }

    let range: ClosedRange<UInt64>
    private(set) var outcome = Outcome.unfinished
    private let segments: [GenerationSegment]
    private let checksums: LogChecksums
    private let counts: GenerationCounts
    private let pagesPerPiece: Int
    private var sources: [MergeSource]

    private var writer: KeyTableWriter?
    /// Smallest key first, then newest first.
    private var heap: [Head] = []

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
        counts = GenerationCounts(
            range: range,
            keys: sources.reduce(0) { $0 + $1.keys },
            segments: segments.count
        )
    }

    private var name: String { LogFileName.name(ofGeneration: range.lowerBound, range.upperBound) }

    /// Does a piece of the work. After an error the merge is to be begun anew.
    func perform(in directory: any LogDirectory) throws(StorageError) {
        do throws(StorageError) {
            guard let writer = try begun(in: directory) else { return }
            let end = writer.pages + pagesPerPiece
            while let head = heap.first {
                guard writer.pages < end else { return }
                try writer.add(head.key, head.position)
                guard try replaceFirst(head) else { return }
            }
            try finish(writer, in: directory)
        } catch {
            KeyTableWriter.abandon(name, in: directory)
            throw error
        }
    }

    /// The file being written; made, and the first page of every source read, in the first piece.
    private func begun(in directory: any LogDirectory) throws(StorageError) -> KeyTableWriter? {
        if let writer { return writer }
        let made = try KeyTableWriter(name, in: directory, counts.shape, checksums)
        writer = made
        for index in sources.indices {
            guard try refill(index) else { return nil }
            if let head = next(of: index) { heap.append(head) }
        }
        for index in stride(from: heap.count / 2 - 1, through: 0, by: -1) { siftDown(index) }
        return made
    }

    /// Puts the next of the first's source in its place; false when that turned out to be damaged.
    private func replaceFirst(_ head: Head) throws(StorageError) -> Bool {
        guard try refill(head.source) else { return false }
        if let following = next(of: head.source) {
            heap[0] = following
        } else {
            heap[0] = heap[heap.count - 1]
            heap.removeLast()
        }
        if !heap.isEmpty { siftDown(0) }
        return true
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

    /// The segments and the name; then opens what was made, filter and all, so that the log's thread
    /// does not have to.
    private func finish(
        _ writer: KeyTableWriter,
        in directory: any LogDirectory
    ) throws(StorageError) {
        try writer.finish(
            in: directory,
            rows: { rows in
                for (index, segment) in segments.enumerated() {
                    segment.encode(to: rows + index * GenerationSegment.bytes)
                }
            },
            header: counts.encode
        )
        sources = []
        outcome = .made(
            try reopened(name) { () throws(LogError) in
                let made = try Generation.open(
                    in: directory,
                    segments: range,
                    checksums: checksums
                )
                guard let made, try made.table.loadFilter() else { return nil }
                return made
            }
        )
    }
}
