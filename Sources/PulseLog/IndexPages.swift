// The pages of index files and generations: 4 KiB each, verified when read, a few kept in memory.
//
//     page n of a file lies at byte 4096 * (1 + n), behind the header
//
//     +------------------------------------------------------+----------+
//     |  4,092 bytes of content                              |  CRC32C  |
//     +------------------------------------------------------+----------+
//
// The checksum is seeded with the file's segments and the page's number, so that a right page in a
// wrong place fails.

import PulseCore

/// A file made of pages, and the segments that it is about.
struct PagedFile: Sendable {
    let file: any LogFile
    let checksums: LogChecksums
    /// The first and the last segment; the same for the index of one.
    let first: UInt64
    let last: UInt64

    static let pageBytes = 4096
    static let contentBytes = 4092

    static func start(ofPage number: Int) -> Int { pageBytes * (1 + number) }

    /// Writes the page's checksum behind its content.
    static func seal(
        _ page: UnsafeMutableRawPointer,
        _ number: Int,
        segments first: UInt64,
        _ last: UInt64,
        _ checksums: LogChecksums
    ) {
        let crc = checksums.page(UnsafeRawPointer(page), number, segments: first, last)
        page.putLittle(crc, contentBytes)
    }

    func verifies(_ page: UnsafeRawPointer, _ number: Int) -> Bool {
        Mutant.isOn(.skipPageCRC)
            || checksums.page(page, number, segments: first, last)
                == page.little(Self.contentBytes, as: UInt32.self)
    }
}

extension LogChecksums {
    func page(
        _ page: UnsafeRawPointer,
        _ number: Int,
        segments first: UInt64,
        _ last: UInt64
    ) -> UInt32 {
        let place = (first.littleEndian, last.littleEndian, UInt64(number).littleEndian)
        let seeded = withUnsafeBytes(of: place) { CRC32C.of($0, seed: seed) }
        let content = UnsafeRawBufferPointer(start: page, count: PagedFile.contentBytes)
        return CRC32C.of(content, seed: seeded)
    }
}

/// Pages read lately, so that neighbours cost one read: each place holds the last page that fell on it.
///
/// Forgotten whenever a file is made anew, since the pages of a name may then be others.
final class IndexPages {
    private struct Place: Hashable {
        var first: UInt64
        var last: UInt64
        var page: Int
    }

    /// At most 1 MiB.
    static let places = 256

    private var held: [Place?] = Array(repeating: nil, count: places)
    private var buffers: [RawBuffer?] = Array(repeating: nil, count: places)

    var bytes: Int { buffers.reduce(0) { $0 + ($1?.capacity ?? 0) } }

    func forget() {
        for place in held.indices { held[place] = nil }
    }

    /// The page's bytes, valid until the next call; nil when they do not verify.
    func page(_ number: Int, of paged: PagedFile) throws(LogError) -> UnsafeRawPointer? {
        let place = Place(first: paged.first, last: paged.last, page: number)
        let mixed =
            (paged.first &* 31 &+ paged.last &* 17 &+ UInt64(number)) &* 0x9E37_79B9_7F4A_7C15
        let slot = Int(mixed >> 56)
        if held[slot] == place, let buffer = buffers[slot] { return buffer.bytesPointer }
        held[slot] = nil
        let buffer = buffers[slot] ?? RawBuffer(capacity: PagedFile.pageBytes)
        buffers[slot] = buffer
        guard
            try readWhole(
                paged.file,
                at: PagedFile.start(ofPage: number),
                PagedFile.pageBytes,
                into: buffer
            ), paged.verifies(buffer.bytesPointer, number)
        else { return nil }
        held[slot] = place
        return buffer.bytesPointer
    }
}

/// The first of `count` sorted things that is not before what is looked for.
@inline(__always)
func lowerBound(_ count: Int, _ isBefore: (Int) -> Bool) -> Int {
    var low = 0
    var high = count
    while low < high {
        let middle = (low + high) / 2
        if isBefore(middle) { low = middle + 1 } else { high = middle }
    }
    return low
}
