// A generation file in use: a table of keys, and the segments whose keys they are.

import PulseCore

final class Generation: Sendable {
    let table: KeyTable
    let segments: [GenerationSegment]

    var range: ClosedRange<UInt64> { table.shape.first...table.shape.last }
    var name: String { LogFileName.name(ofGeneration: table.shape.first, table.shape.last) }

    /// Opens the file; nil when it is missing or damaged, or was made for other segments. Whether its
    /// segments are still those of the log is for the caller to see.
    static func open(
        in directory: any LogDirectory,
        segments range: ClosedRange<UInt64>,
        checksums: LogChecksums
    ) throws(LogError) -> Generation? {
        let name = LogFileName.name(ofGeneration: range.lowerBound, range.upperBound)
        guard let header = try KeyTableHeader(name, in: directory, .generation, checksums),
            let counts = GenerationCounts(header, of: range),
            let tables = try header.tables(counts.shape)
        else { return nil }
        let table = KeyTable(header, counts.shape, tables: tables.bytesPointer)
        let rows = tables.bytesPointer + 8 * table.shape.pages
        let segments = (0..<counts.segments).map {
            GenerationSegment(rows + $0 * GenerationSegment.bytes)
        }
        return Generation(table, segments)
    }

    private init(_ table: KeyTable, _ segments: [GenerationSegment]) {
        self.table = table
        self.segments = segments
    }
}
