// One sorted file that is being merged: an index file's keys of the merged class, or a generation.

import PulseCore

/// Reads its entries in order, some pages at a time.
struct MergeSource {
    let paged: PagedFile
    /// Entries in all.
    let keys: Int
    private let format: KeyTableFormat
    /// Added to a slot to make a position.
    private let base: UInt64

    private static let pagesPerRead = 8
    private let buffer: RawBuffer
    private var taken = 0
    /// Entries up to which `buffer` reaches, and the one at its front.
    private var readEnd = 0
    private var readStart = 0

    init(_ table: KeyTable) {
        paged = table.paged
        keys = table.shape.mergedKeys
        format = table.shape.format
        base = table.base
        let pages = min(Self.pagesPerRead, (keys + format.pageKeys - 1) / format.pageKeys)
        buffer = RawBuffer(capacity: pages * PagedFile.pageBytes)
    }

    /// Reads the next pages when all that was read is taken; false when a page does not verify or cannot
    /// be read.
    mutating func readIfEmpty() throws(StorageError) -> Bool {
        guard taken == readEnd, taken < keys else { return true }
        let first = taken / format.pageKeys
        let pages = min(
            Self.pagesPerRead,
            (keys + format.pageKeys - 1) / format.pageKeys - first
        )
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
        readEnd = min(keys, taken + pages * format.pageKeys)
        return true
    }

    /// The next entry, or nil at the end; what was read must not be used up.
    @inline(__always)
    mutating func take() -> (key: UInt64, position: UInt64)? {
        guard taken < readEnd else { return nil }
        let (page, place) = (taken - readStart).quotientAndRemainder(dividingBy: format.pageKeys)
        let entry =
            buffer.bytesPointer + page * PagedFile.pageBytes + place * format.entryBytes
        taken += 1
        return (
            entry.little(0, as: UInt64.self), KeyTable.position(entry, format, base: base)
        )
    }
}
