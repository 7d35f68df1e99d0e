// What index files and generations have in common: one layout, of which each is a kind.
//
//     0        4096
//     +--------+-----------+-------------+--------+------+--------+
//     | header | key pages | other pages | fences | rows | filter |
//     +--------+-----------+-------------+--------+------+--------+
//                                         \_____________/
//                                           the tables, kept in memory
//
//     key page  {key u64, place}, ascending by key, then newest first
//     fences    the first eight bytes of each page's first entry
//     rows      what the kind of file says besides
//
// Source: spec/03-storage.md, "Index file" and "Generations".

import PulseCore

/// What tells one kind of file of sorted keys from another.
struct KeyTableFormat: Hashable, Sendable {
    let magic: UInt64
    let major: UInt16
    /// A key and its place: a slot of four bytes, or a position of eight.
    let entryBytes: Int
    /// Entries in a page; the rest of its 4,092 bytes is padding.
    let pageKeys: Int
    /// Where the header has the checksums of the tables and of the filter, a u32 each.
    let sumsByte: Int
}

/// The counts of a file, from which every place in it follows.
struct KeyTableShape: Hashable, Sendable {
    let format: KeyTableFormat
    /// The first and the last segment that it is about; the same for the index of one.
    let first: UInt64
    let last: UInt64
    let keys: Int
    /// Those of ``KeyClass/merged``, which come first and are in the filter.
    let mergedKeys: Int
    let otherPages: Int
    let rowBytes: Int

    var keyPages: Int { (keys + format.pageKeys - 1) / format.pageKeys }
    var pages: Int { keyPages + otherPages }
    var filterBlocks: Int { KeyFilter.blocks(forKeys: mergedKeys) }
    var tables: Range<Int> {
        let start = PagedFile.start(ofPage: pages)
        return start..<start + 8 * pages + rowBytes
    }
    var filter: Range<Int> {
        let start = tables.upperBound
        return start..<start + filterBlocks * KeyFilter.blockBytes
    }
    var fileBytes: Int { filter.upperBound }
}

/// The header block of a file whose header verifies, not of a newer format.
struct KeyTableHeader {
    static let bytes = 4096
    private static let crcByte = 4092

    let file: any LogFile
    let fileBytes: Int
    let format: KeyTableFormat
    let checksums: LogChecksums
    private let block: RawBuffer

    var fields: UnsafeRawPointer { block.bytesPointer }
    var isOlder: Bool { major < format.major }
    var tablesCRC: UInt32 { fields.little(format.sumsByte) }
    var filterCRC: UInt32 { fields.little(format.sumsByte + 4) }
    private var major: UInt16 { fields.little(8) }

    /// Opens a file and reads its header; nil when it is missing or damaged, or another kind's.
    ///
    /// - Throws: ``LogError/newerFormat(file:byte:major:)``: a newer program's work is not thrown away.
    init?(
        _ name: String,
        in directory: any LogDirectory,
        _ format: KeyTableFormat,
        _ checksums: LogChecksums
    ) throws(LogError) {
        let file: any LogFile
        do throws(StorageError) {
            file = try directory.open(name)
        } catch {
            if error.reason == .notFound { return nil }
            throw .storage(error)
        }
        try self.init(file, format, checksums)
    }

    /// As above, of an open file.
    init?(
        _ file: any LogFile,
        _ format: KeyTableFormat,
        _ checksums: LogChecksums
    ) throws(LogError) {
        self.file = file
        fileBytes = try storage { () throws(StorageError) in try file.size() }
        self.format = format
        self.checksums = checksums
        block = RawBuffer(capacity: Self.bytes)
        guard try readWhole(file, at: 0, Self.bytes, into: block),
            fields.little(0, as: UInt64.self) == format.magic,
            checksums.block(block.bytes(0..<Self.crcByte)) == fields.little(Self.crcByte)
        else { return nil }
        guard major <= format.major else {
            throw .newerFormat(file: file.name, byte: 8, major: major)
        }
    }

    /// Completes a header whose other fields are there.
    static func seal(
        _ block: UnsafeMutableRawPointer,
        _ format: KeyTableFormat,
        tables: UInt32,
        filter: UInt32,
        _ checksums: LogChecksums
    ) {
        block.putLittle(format.magic, 0)
        block.putLittle(format.major, 8)
        block.putLittle(tables, format.sumsByte)
        block.putLittle(filter, format.sumsByte + 4)
        let content = UnsafeRawBufferPointer(start: block, count: crcByte)
        block.putLittle(checksums.block(content), crcByte)
    }

    /// The tables of a file of this shape, of which header and size must be; nil when they do not verify.
    func tables(_ shape: KeyTableShape) throws(LogError) -> RawBuffer? {
        let count = shape.tables.count
        guard !isOlder, shape.fileBytes == fileBytes else { return nil }
        let buffer = RawBuffer(capacity: count)
        guard try readWhole(file, at: shape.tables.lowerBound, count, into: buffer),
            Mutant.isOn(.skipPageCRC) || checksums.block(buffer.bytes(0..<count)) == tablesCRC
        else { return nil }
        return buffer
    }
}
