// Verifying all of a table, piece by piece: header, pages, tables, filter.

import PulseCore

/// Goes through a table's file once; for scrubbing and for inspection. May run on another thread than the
/// table's: it touches only what never changes in it.
struct KeyTableCheck {
    let table: KeyTable
    /// Up to where the file was read.
    private(set) var byte = 0
    /// The first byte of what does not verify; nothing behind it is looked at.
    private(set) var damagedByte: Int?
    private var filterCRC: UInt32

    init(_ table: KeyTable) {
        self.table = table
        filterCRC = table.paged.checksums.seed
    }

    var isOver: Bool { damagedByte != nil || byte >= table.shape.fileBytes }

    /// Reads and verifies about `bytesMax` more.
    mutating func perform(bytesMax: Int) throws(LogError) {
        let end = byte + bytesMax
        let buffer = RawBuffer(capacity: PagedFile.pageBytes)
        while !isOver, byte < end {
            let shape = table.shape
            let next =
                if byte < shape.tables.lowerBound {
                    byte + PagedFile.pageBytes
                } else if byte < shape.filter.lowerBound {
                    shape.filter.lowerBound
                } else {
                    min(shape.fileBytes, max(byte + PagedFile.pageBytes, end))
                }
            if try verifies(byte..<next, buffer) { byte = next } else { damagedByte = byte }
        }
    }

    private mutating func verifies(
        _ part: Range<Int>,
        _ buffer: RawBuffer
    ) throws(LogError) -> Bool {
        let paged = table.paged
        let shape = table.shape
        if byte == 0 {
            // What the disk holds is of interest, not what memory remembers.
            paged.file.dropCache()
            do throws(LogError) {
                let header = try KeyTableHeader(paged.file, shape.format, paged.checksums)
                return header.map { $0.fileBytes == shape.fileBytes } ?? false
            } catch {
                guard case .storage = error else { return false }
                throw error
            }
        }
        guard try readWhole(paged.file, at: part.lowerBound, part.count, into: buffer) else {
            return false
        }
        if byte < shape.tables.lowerBound {
            return paged.verifies(buffer.bytesPointer, byte / PagedFile.pageBytes - 1)
        }
        let bytes = buffer.bytes(0..<part.count)
        if byte < shape.filter.lowerBound {
            return paged.checksums.block(bytes) == table.tablesCRC
        }
        filterCRC = CRC32C.of(bytes, seed: filterCRC)
        return part.upperBound < shape.fileBytes || filterCRC == table.filterCRC
    }
}

extension KeyTable {
    /// The first byte of what does not verify in the file, or nil.
    func firstDamagedByte() throws(LogError) -> Int? {
        var check = KeyTableCheck(self)
        while !check.isOver { try check.perform(bytesMax: 1 << 20) }
        return check.damagedByte
    }
}
