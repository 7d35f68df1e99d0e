// What happens to a disk while nobody uses it: bits rot, sectors die, files are cut short, lost,
// exchanged. All of it is on the disk itself, so that no sync and no power loss takes it back.

import PulseCore

/// Damage to a disk at rest, as data.
package enum DiskDamage: Hashable, Sendable, CustomStringConvertible {
    case flipBit(file: String, byte: Int, bit: Int)
    /// Reading the sector fails; writing it heals it.
    case deadSector(file: String, sector: Int)
    case zeros(file: String, Range<Int>)
    case truncate(file: String, bytes: Int)
    case delete(file: String)
    case swap(String, String)
    /// The content of `from`, over that of `to`: a stale copy, a wrong restore.
    case overwrite(from: String, to: String)

    package var description: String {
        switch self {
        case .flipBit(let file, let byte, let bit): "flip bit \(bit) of byte \(byte) of \(file)"
        case .deadSector(let file, let sector): "sector \(sector) of \(file) cannot be read"
        case .zeros(let file, let range): "zeros at \(range) of \(file)"
        case .truncate(let file, let bytes): "cut \(file) to \(bytes) bytes"
        case .delete(let file): "delete \(file)"
        case .swap(let a, let b): "swap \(a) and \(b)"
        case .overwrite(let from, let to): "put \(from) in the place of \(to)"
        }
    }
}

extension SimulatedDisk {
    /// Names in order, without counting as a call.
    package var fileNames: [String] { names.keys.sorted() }

    /// What a file holds, without counting as a call; nil when there is none.
    package func bytes(of name: String) -> [UInt8]? { names[name]?.content }

    /// Damages the disk. A file that is not there is left so.
    package func suffer(_ damage: DiskDamage) {
        switch damage {
        case .flipBit(let file, let byte, let bit):
            names[file]?.alter { if byte < $0.count { $0[byte] ^= 1 << UInt8(bit) } }
        case .deadSector(let file, let sector):
            names[file]?.unreadable.insert(sector)
        case .zeros(let file, let range):
            names[file]?.alter { bytes in
                for at in range.clamped(to: 0..<bytes.count) { bytes[at] = 0 }
            }
        case .truncate(let file, let count):
            names[file]?.alter { if count < $0.count { $0.removeLast($0.count - count) } }
        case .delete(let file):
            names[file] = nil
        case .swap(let a, let b):
            guard let first = names[a], let second = names[b] else { return }
            names[a] = second
            names[b] = first
            first.name = b
            second.name = a
        case .overwrite(let from, let to):
            guard let source = names[from]?.content else { return }
            names[to]?.alter { $0 = source }
        }
        settleNames()
    }
}
