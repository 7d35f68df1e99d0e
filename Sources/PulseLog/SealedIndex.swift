// A sealed segment's index file in use: fences and streams in memory, keys and runs read a page at a
// time, the filter only while no generation covers the segment.

import PulseCore

/// One stream of a segment: where its runs lie, and which offsets they span.
struct StreamRow: Hashable, Sendable, BitwiseCopyable {
    var stream: UInt32
    var firstRun: Int
    var runs: Int
    var firstOffset: Int64
    var endOffset: Int64
}

/// An index file that verified when it was opened. Its pages verify each time they are read.
final class SealedIndex {
    let paged: PagedFile
    let shape: IndexShape
    let streams: [StreamRow]
    private let fences: [UInt64]
    private let runFences: [Int64]
    private let filterCRC: UInt32
    private var filter: KeyFilter?

    /// Opens the index of the segment with this footer; nil when the file is missing, damaged, of an
    /// older format, or was made for another content.
    ///
    /// - Throws: ``LogError/newerFormat(file:byte:major:)``: a newer program's work is not thrown away.
    static func open(
        in directory: any LogDirectory,
        name: String,
        footer: SegmentFooter,
        checksums: LogChecksums
    ) throws(LogError) -> SealedIndex? {
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
        let decoded = IndexShape.decodeHeader(
            buffer.bytesPointer,
            footer: footer,
            fileBytes: size,
            checksums
        )
        switch decoded {
        case .unusable: return nil
        case .newer(let major): throw .newerFormat(file: name, byte: 8, major: major)
        case .header(let shape, let tables, let filter):
            let count = shape.tables.count
            guard try readWhole(file, at: shape.tables.lowerBound, count, into: buffer),
                Mutant.isOn(.skipPageCRC) || checksums.block(buffer.bytes(0..<count)) == tables
            else { return nil }
            let paged = PagedFile(
                file: file,
                checksums: checksums,
                first: footer.number,
                last: footer.number
            )
            return SealedIndex(paged, shape, filterCRC: filter, tables: buffer.bytesPointer)
        }
    }

    private init(
        _ paged: PagedFile,
        _ shape: IndexShape,
        filterCRC: UInt32,
        tables: UnsafeRawPointer
    ) {
        self.paged = paged
        self.shape = shape
        self.filterCRC = filterCRC
        fences = (0..<shape.pages).map { tables.little($0 * 8) }
        let runTable = tables + 8 * shape.pages
        runFences = (0..<shape.runPages).map { runTable.little($0 * 8) }
        var row = runTable + 8 * shape.runPages
        var rows: [StreamRow] = []
        rows.reserveCapacity(shape.streams)
        var firstRun = 0
        for _ in 0..<shape.streams {
            // Verified by checksum; the bound only keeps a bug of the writer from reaching further.
            let runs = min(shape.runs - firstRun, Int(row.little(4, as: UInt32.self)))
            rows.append(
                StreamRow(
                    stream: row.little(0),
                    firstRun: firstRun,
                    runs: runs,
                    firstOffset: row.little(8),
                    endOffset: row.little(16)
                )
            )
            firstRun += runs
            row += IndexShape.streamBytes
        }
        streams = rows
    }

    /// Bytes kept in memory, without the filter and with it.
    var tableBytes: Int { shape.tables.count }
    var filterBytes: Int { filter?.bytes ?? 0 }

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

    /// What a question to the file came to.
    enum Answer {
        case byte(Int)
        case absent
        /// A page does not verify: the index has to be made anew.
        case damaged
    }

    /// The byte of the entry that holds `offset`: one page read.
    func locate(
        _ stream: StreamID,
        _ offset: Offset,
        _ pages: IndexPages
    ) throws(LogError) -> Answer {
        let raw = stream.rawValue
        let place = lowerBound(streams.count) { streams[$0].stream < raw }
        guard place < streams.count, streams[place].stream == raw else { return .absent }
        let row = streams[place]
        guard row.runs > 0, row.firstOffset <= offset.rawValue, offset.rawValue < row.endOffset
        else { return .absent }
        // The page where the stream begins may begin with another stream; all others are its own.
        let first = row.firstRun / IndexShape.pageRuns
        let last = (row.firstRun + row.runs - 1) / IndexShape.pageRuns
        let page =
            first + lowerBound(last - first) { runFences[first + 1 + $0] <= offset.rawValue }
        guard let bytes = try pages.page(shape.pages + page, of: paged) else { return .damaged }
        let start = max(row.firstRun, page * IndexShape.pageRuns) - page * IndexShape.pageRuns
        let end =
            min(row.firstRun + row.runs, (page + 1) * IndexShape.pageRuns)
            - page * IndexShape.pageRuns
        let after =
            start
            + lowerBound(end - start) {
                bytes.little((start + $0) * IndexShape.runBytes, as: Int64.self) <= offset.rawValue
            }
        guard after > start else { return .absent }
        let run = bytes + (after - 1) * IndexShape.runBytes
        let base = run.little(0, as: Int64.self)
        guard offset.rawValue < base + Int64(run.little(12, as: UInt32.self)) else {
            return .absent
        }
        return .byte(Int(run.little(8, as: UInt32.self)) << 3)
    }

    /// Appends the positions of the entries seen under `key`, newest first; `base` is the segment's.
    /// False when something does not verify: the index must then be rebuilt.
    func positions(
        of key: UInt64,
        base: UInt64,
        _ pages: IndexPages,
        into found: inout [UInt64]
    ) throws(LogError) -> Bool {
        if KeyClass.isMerged(key) {
            guard try loadFilter() else { return false }
            guard let filter, filter.mayContain(key) else { return true }
        }
        // The page before the first whose fence is not below the key: equal keys may begin there.
        var number = max(0, lowerBound(fences.count) { fences[$0] < key } - 1)
        while number < shape.pages, fences[number] <= key {
            guard let page = try pages.page(number, of: paged) else { return false }
            let count = min(IndexShape.pageKeys, shape.keys - number * IndexShape.pageKeys)
            var index = lowerBound(count) {
                page.little($0 * IndexShape.entryBytes, as: UInt64.self) < key
            }
            while index < count {
                let entry = page + index * IndexShape.entryBytes
                guard entry.little(0, as: UInt64.self) == key else { return true }
                found.append(base + UInt64(entry.little(8, as: UInt32.self)) << 3)
                index += 1
            }
            number += 1
        }
        return true
    }

    /// Checks every page and the filter; what inspection asks for. The first byte of what fails, or nil.
    func firstDamagedByte() throws(LogError) -> Int? {
        let pages = IndexPages()
        for number in 0..<shape.pages + shape.runPages
        where try pages.page(number, of: paged) == nil {
            return PagedFile.start(ofPage: number)
        }
        return try loadFilter() ? nil : shape.filter.lowerBound
    }
}

extension RawBuffer {
    var bytesPointer: UnsafeRawPointer { UnsafeRawPointer(base) }
}
