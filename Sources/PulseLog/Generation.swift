// A generation file in use: fences in memory, the filter too while somebody asks, keys read a page at
// a time.

import PulseCore

/// Opened by recovery, or by the background job that made the file; from then on the log's own.
/// Handed over whole, used by one thread at a time: that makes the unchecked conformance safe.
final class Generation: @unchecked Sendable {
    let paged: PagedFile
    let shape: GenerationShape
    let segments: [GenerationSegment]
    private let fences: [UInt64]
    private let filterCRC: UInt32
    private var filter: KeyFilter?

    var name: String { shape.name }
    var range: ClosedRange<UInt64> { shape.first...shape.last }
    var tableBytes: Int { shape.tables.count }
    var filterBytes: Int { filter?.bytes ?? 0 }

    /// Opens the file; nil when it is missing or damaged, or was made for other segments. Whether its
    /// segments are still those of the log is for the caller to see.
    static func open(
        in directory: any LogDirectory,
        segments range: ClosedRange<UInt64>,
        checksums: LogChecksums
    ) throws(LogError) -> Generation? {
        let name = LogFileName.name(ofGeneration: range.lowerBound, range.upperBound)
        let file: any LogFile
        let size: Int
        do throws(StorageError) {
            file = try directory.open(name)
            size = try file.size()
        } catch {
            if error.reason == .notFound { return nil }
            throw .storage(error)
        }
        let buffer = RawBuffer(capacity: PagedFile.pageBytes)
        guard try readWhole(file, at: 0, PagedFile.pageBytes, into: buffer) else { return nil }
        let decoded = GenerationShape.decodeHeader(
            buffer.bytesPointer,
            first: range.lowerBound,
            last: range.upperBound,
            fileBytes: size,
            checksums
        )
        switch decoded {
        case .unusable: return nil
        case .newer(let major): throw .newerFormat(file: name, byte: 8, major: major)
        case .header(let shape, let tables, let filter):
            let count = shape.tables.count
            guard try readWhole(file, at: shape.tables.lowerBound, count, into: buffer),
                checksums.block(buffer.bytes(0..<count)) == tables
            else { return nil }
            let paged = PagedFile(
                file: file,
                checksums: checksums,
                first: shape.first,
                last: shape.last
            )
            return Generation(paged, shape, filterCRC: filter, tables: buffer.bytesPointer)
        }
    }

    private init(
        _ paged: PagedFile,
        _ shape: GenerationShape,
        filterCRC: UInt32,
        tables: UnsafeRawPointer
    ) {
        self.paged = paged
        self.shape = shape
        self.filterCRC = filterCRC
        fences = (0..<shape.pages).map { tables.little($0 * 8) }
        let rows = tables + 8 * shape.pages
        segments = (0..<shape.segments).map {
            GenerationSegment(rows + $0 * GenerationSegment.bytes)
        }
    }

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

    /// Appends the positions of the entries seen under `key`, newest first. False when something does
    /// not verify; `found` is then of no use.
    func positions(
        of key: UInt64,
        _ pages: IndexPages,
        into found: inout [UInt64]
    ) throws(LogError) -> Bool {
        guard try loadFilter() else { return false }
        guard let filter, filter.mayContain(key) else { return true }
        var number = max(0, lowerBound(fences.count) { fences[$0] < key } - 1)
        while number < shape.pages, fences[number] <= key {
            guard let page = try pages.page(number, of: paged) else { return false }
            let count = min(
                GenerationShape.pageKeys,
                shape.keys - number * GenerationShape.pageKeys
            )
            var index = lowerBound(count) {
                page.little($0 * GenerationShape.entryBytes, as: UInt64.self) < key
            }
            while index < count {
                let entry = page + index * GenerationShape.entryBytes
                guard entry.little(0, as: UInt64.self) == key else { return true }
                found.append(entry.little(8))
                index += 1
            }
            number += 1
        }
        return true
    }

    /// Checks every page and the filter; what inspection asks for. The first byte of what fails, or nil.
    func firstDamagedByte() throws(LogError) -> Int? {
        let pages = IndexPages()
        for number in 0..<shape.pages where try pages.page(number, of: paged) == nil {
            return PagedFile.start(ofPage: number)
        }
        return try loadFilter() ? nil : shape.filter.lowerBound
    }
}
