// What can happen to a directory, as a list of edits that a fuzzer writes.
//
//      operation u8 | file u8 | place u24 | arguments of the operation

import PulseCore

/// A directory's files on their way to ruin.
struct DirectoryEdits {
    var files: [(name: String, bytes: [UInt8])]
    /// Files whose content an edit has touched.
    private(set) var touched: Set<Int> = []
    /// Whether an edit may have made bytes that verify although nobody wrote them there.
    private(set) var mayForge = false

    private static let operations: UInt8 = 11

    init(_ files: [(name: String, bytes: [UInt8])]) { self.files = files }

    mutating func apply(_ draw: inout Draw) {
        var count = 0
        while !draw.isAtEnd, count < 24, !files.isEmpty {
            edit(&draw)
            count += 1
        }
    }

    private mutating func edit(_ draw: inout Draw) {
        let operation = draw.byte() % Self.operations
        let file = Int(draw.byte()) % files.count
        let place = Int(draw.number(bytes: 3)) % max(1, files[file].bytes.count)
        if operation != 4 && operation < 8 { touched.insert(file) }
        switch operation {
        case 0:
            let bit = draw.byte() & 7
            if place < files[file].bytes.count { files[file].bytes[place] ^= 1 << bit }
        case 1: files[file].bytes.removeLast(files[file].bytes.count - place)
        case 2: fill(file, place, [UInt8](repeating: 0, count: draw.below(65536)))
        case 3: files[file].bytes += [UInt8](repeating: draw.byte(), count: draw.below(8192))
        case 4:
            let other = Int(draw.byte()) % files.count
            touched.formUnion([file, other])
            let bytes = files[file].bytes
            files[file].bytes = files[other].bytes
            files[other].bytes = bytes
        case 5:
            // A misdirected write, or stale bytes of a file's earlier life.
            let other = Int(draw.byte()) % files.count
            let from = Int(draw.number(bytes: 3)) % max(1, files[other].bytes.count)
            let count = min(draw.below(65536), files[other].bytes.count - from)
            fill(file, place, Array(files[other].bytes[from..<from + max(0, count)]))
        case 6:
            mayForge = true
            fill(file, place, draw.take(8))
        case 7:
            mayForge = true
            fill(file, place, draw.field())
        case 8:
            mayForge = true
            DiskFormat.seal(&files[file].bytes, at: place)
        case 9:
            mayForge = true
            files[file].name = name(&draw)
            let chosen = files[file].name
            // Two files of one name: the later one wins.
            if let twin = files.indices.first(where: { $0 != file && files[$0].name == chosen }) {
                files.remove(at: twin)
            }
        default:
            mayForge = true
            files.remove(at: file)
        }
    }

    private mutating func fill(_ file: Int, _ place: Int, _ bytes: [UInt8]) {
        let count = min(bytes.count, files[file].bytes.count - place)
        guard count > 0 else { return }
        files[file].bytes.replaceSubrange(place..<place + count, with: bytes[..<count])
    }

    /// A name of one of the kinds there are, with a number near the ones in use or far from them.
    private func name(_ draw: inout Draw) -> String {
        let kind = draw.byte()
        let small = UInt64(draw.byte() & 7) * UInt64(GoldenLog.segmentBytes)
        let number = kind & 0x80 == 0 ? small : draw.number(bytes: 8) >> 1
        let digits = String(number)
        let padded = String(repeating: "0", count: 20 - digits.utf8.count) + digits
        return switch kind & 7 {
        case 0, 1: padded + ".seg"
        case 2: padded + ".idx"
        case 3: "gen-\(number)-\(number + 1).keys"
        case 4: "spare-\(number)"
        case 5: "floor"
        case 6: padded + ".tmp"
        default: "letter-\(number)"
        }
    }
}
