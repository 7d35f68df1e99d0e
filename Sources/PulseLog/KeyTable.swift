// A file of sorted keys in use: fences in memory, the filter too while somebody asks, keys read a page
// at a time.

import PulseCore

/// A table whose header and fences verified when it was opened. Its pages verify each time they are read.
///
/// Opened by recovery, or by the background job that made the file; from then on the log's own.
/// Handed over whole, used by one thread at a time: that makes the unchecked conformance safe.
final class KeyTable: @unchecked Sendable {
    let paged: PagedFile
    let shape: KeyTableShape
    /// Of key pages, then of other pages.
    let fences: [UInt64]
    /// Added to a slot to make a position.
    let base: UInt64
    let tablesCRC: UInt32
    let filterCRC: UInt32
    private var filter: KeyFilter?

    /// `tables` are those of the header's file, verified.
    init(
        _ header: KeyTableHeader,
        _ shape: KeyTableShape,
        tables: UnsafeRawPointer,
        base: UInt64 = 0
    ) {
        paged = PagedFile(
            file: header.file,
            checksums: header.checksums,
            first: shape.first,
            last: shape.last
        )
        self.shape = shape
        self.base = base
        tablesCRC = header.tablesCRC
        filterCRC = header.filterCRC
        fences = (0..<shape.pages).map { tables.little($0 * 8) }
    }

    /// Bytes kept in memory.
    var memoryBytes: Int { shape.tables.count + (filter?.bytes ?? 0) }

    // MARK: The filter

    /// Reads the filter into memory unless it is there; false when it does not verify.
    func loadFilter() throws(LogError) -> Bool {
        if filter != nil { return true }
        filter = try KeyFilter.read(
            from: paged.file,
            at: shape.filter.lowerBound,
            blocks: shape.filterBlocks,
            crc: filterCRC,
            paged.checksums
        )
        return filter != nil
    }

    func dropFilter() { filter = nil }

    // MARK: Looking up

    /// The position of the entry at `place` of a page.
    @inline(__always)
    static func position(
        _ entry: UnsafeRawPointer,
        _ format: KeyTableFormat,
        base: UInt64
    ) -> UInt64 {
        format.entryBytes == 16
            ? entry.little(8) : base + UInt64(entry.little(8, as: UInt32.self)) << 3
    }

    /// Appends the positions of the entries seen under `key`, newest first. False when something does
    /// not verify; `found` is then of no use, and the file has to be made anew.
    func positions(
        of key: UInt64,
        _ pages: IndexPages,
        into found: inout [UInt64]
    ) throws(LogError) -> Bool {
        if KeyClass.isMerged(key) {
            guard try loadFilter() else { return false }
            guard let filter, filter.mayContain(key) else { return true }
        }
        let format = shape.format
        let keyPages = shape.keyPages
        // The page before the first whose fence is not below the key: equal keys may begin there.
        var number = max(0, lowerBound(keyPages) { fences[$0] < key } - 1)
        while number < keyPages, fences[number] <= key {
            guard let page = try pages.page(number, of: paged) else { return false }
            let count = min(format.pageKeys, shape.keys - number * format.pageKeys)
            var index = lowerBound(count) {
                page.little($0 * format.entryBytes, as: UInt64.self) < key
            }
            while index < count {
                let entry = page + index * format.entryBytes
                guard entry.little(0, as: UInt64.self) == key else { return true }
                found.append(Self.position(entry, format, base: base))
                index += 1
            }
            number += 1
        }
        return true
    }
}
