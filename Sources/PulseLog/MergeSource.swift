// One sorted file that is being merged: an index file's keys of the merged class, or a generation.

import PulseCore

/// Reads its entries in order, some pages at a time.
struct MergeSource {
    let paged: PagedFile
    /// Entries in all.
    let keys: Int
    private let pageKeys: Int
    private let entryBytes: Int
    /// Added to a slot to make a position; nil where the file has positions.
    private let base: UInt64?

    private static let pagesPerRead = 8
    private let buffer: RawBuffer
    private var taken = 0
    /// Entries up to which `buffer` reaches, and the one at its front.
    private var readEnd = 0
    private var readStart = 0

    init(_ index: SealedIndex, base: UInt64) {
        self.init(index.paged, index.shape.mergedKeys, IndexShape.pageKeys, 12, base: base)
    }

    init(_ generation: Generation) {
        self.init(generation.paged, generation.shape.keys, GenerationShape.pageKeys, 16, base: nil)
    }

    private init(
        _ paged: PagedFile,
        _ keys: Int,
        _ pageKeys: Int,
        _ entryBytes: Int,
        base: UInt64?
    ) {
        self.paged = paged
        self.keys = keys
        self.pageKeys = pageKeys
        self.entryBytes = entryBytes
        self.base = base
        let pages = min(Self.pagesPerRead, (keys + pageKeys - 1) / pageKeys)
        buffer = RawBuffer(capacity: pages * PagedFile.pageBytes)
    }

    /// Reads the next pages when all that was read is taken; false when a page does not verify or cannot
    /// be read.
    mutating func readIfEmpty() throws(StorageError) -> Bool {
        guard taken == readEnd, taken < keys else { return true }
        let first = taken / pageKeys
        let pages = min(Self.pagesPerRead, (keys + pageKeys - 1) / pageKeys - first)
        let count = pages * PagedFile.pageBytes
        do throws(StorageError) {
            let got = try paged.file.read(
                into: buffer.mutableBytes(0..<count),
                at: PagedFile.start(ofPage: first)
            )
            guard got == count else { return false }
        } catch {
            guard error.isUnreadable else { throw error }
            return false
        }
        for page in 0..<pages {
            let bytes = buffer.bytesPointer + page * PagedFile.pageBytes
            guard paged.verifies(bytes, first + page) else { return false }
        }
        readStart = taken
        readEnd = min(keys, taken + pages * pageKeys)
        return true
    }

    /// The next entry, or nil at the end; what was read must not be used up.
    @inline(__always)
    mutating func take() -> (key: UInt64, position: UInt64)? {
        guard taken < readEnd else { return nil }
        let (page, place) = (taken - readStart).quotientAndRemainder(dividingBy: pageKeys)
        let entry = buffer.bytesPointer + page * PagedFile.pageBytes + place * entryBytes
        taken += 1
        let key = entry.little(0, as: UInt64.self)
        guard let base else { return (key, entry.little(8)) }
        return (key, base + UInt64(entry.little(8, as: UInt32.self)) << 3)
    }
}
