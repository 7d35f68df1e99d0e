// A sealed segment's index file in use: a table of keys, whose filter is needed only while no generation
// covers the segment, and streams, whose runs are read a page at a time.

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
final class SealedIndex: Sendable {
    let table: KeyTable
    let streams: [StreamRow]

    /// Opens the index of the segment with this footer and base; nil when the file is missing, damaged,
    /// of an older format, or was made for another content.
    ///
    /// - Throws: ``LogError/newerFormat(file:byte:major:)``: a newer program's work is not thrown away.
    static func open(
        in directory: any LogDirectory,
        base: UInt64,
        footer: SegmentFooter,
        checksums: LogChecksums
    ) throws(LogError) -> SealedIndex? {
        let name = LogFileName.name(ofIndex: base)
        guard let header = try KeyTableHeader(name, in: directory, .index, checksums),
            let counts = IndexCounts(header, of: footer)
        else { return nil }
        let shape = counts.shape(of: footer.number)
        guard let tables = try header.tables(shape) else { return nil }
        let table = KeyTable(header, shape, tables: tables.bytesPointer, base: base)
        return SealedIndex(table, counts, rows: tables.bytesPointer + 8 * shape.pages)
    }

    private init(_ table: KeyTable, _ counts: IndexCounts, rows: UnsafeRawPointer) {
        self.table = table
        var streams: [StreamRow] = []
        streams.reserveCapacity(counts.streams)
        var firstRun = 0
        for index in 0..<counts.streams {
            let row = rows + index * IndexCounts.streamBytes
            // Verified by checksum; the bound only keeps a bug of the writer from reaching further.
            let runs = min(counts.runs - firstRun, Int(row.little(4, as: UInt32.self)))
            streams.append(
                StreamRow(
                    stream: row.little(0),
                    firstRun: firstRun,
                    runs: runs,
                    firstOffset: row.little(8),
                    endOffset: row.little(16)
                )
            )
            firstRun += runs
        }
        self.streams = streams
    }

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
        let first = row.firstRun / IndexCounts.pageRuns
        let last = (row.firstRun + row.runs - 1) / IndexCounts.pageRuns
        let keyPages = table.shape.keyPages
        let page =
            first
            + lowerBound(last - first) {
                Int64(bitPattern: table.fences[keyPages + first + 1 + $0]) <= offset.rawValue
            }
        guard let bytes = try pages.page(keyPages + page, of: table.paged) else {
            return .damaged
        }
        let start = max(row.firstRun, page * IndexCounts.pageRuns) - page * IndexCounts.pageRuns
        let end =
            min(row.firstRun + row.runs, (page + 1) * IndexCounts.pageRuns)
            - page * IndexCounts.pageRuns
        let after =
            start
            + lowerBound(end - start) {
                bytes.little((start + $0) * IndexCounts.runBytes, as: Int64.self) <= offset.rawValue
            }
        guard after > start else { return .absent }
        let run = bytes + (after - 1) * IndexCounts.runBytes
        let base = run.little(0, as: Int64.self)
        guard offset.rawValue < base + Int64(run.little(12, as: UInt32.self)) else {
            return .absent
        }
        return .byte(Int(run.little(8, as: UInt32.self)) << 3)
    }
}

extension RawBuffer {
    var bytesPointer: UnsafeRawPointer { UnsafeRawPointer(base) }
}
