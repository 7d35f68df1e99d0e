// Floor files out of scripts, and what such a file says, written from spec/03-storage.md.
//
//     a slot    mode: bits 0 and 1 say what is in it; bit 2 leaves it as it is, instead of sealing it
//               0  fields      1  nothing      2  any bytes      3  a good log's, with some bytes changed
//     a file    two slots, and how many bytes are missing at its end

import PulseCore
import PulseLog

enum FloorScript {
    static let slotBytes = 4096

    struct Slot {
        var sequence: UInt64
        var position: UInt64
        var first: UInt64
        var cut: UInt64?
        var major: UInt8 = 0
        var isForeign = false
    }

    /// A script of two slots; nil for an empty one.
    static func script(_ slots: [Slot?]) -> [UInt8] {
        var script = Script()
        for slot in slots {
            script.add(slot == nil ? 1 : 0, bytes: 1)
            guard let slot else { continue }
            script.add(slot.sequence, bytes: 8)
            script.add(slot.isForeign ? 1 : 0, bytes: 1)
            script.add(slot.position, bytes: 8)
            script.add(7, bytes: 4)
            script.add(1, bytes: 1)
            script.add(UInt64(slot.major), bytes: 1)
            script.add(slot.cut == nil ? 0 : 1, bytes: 2)
            script.add(slot.first, bytes: 8)
            script.add(slot.cut ?? 0, bytes: 8)
            script.add(7, bytes: 4)
        }
        return script.bytes
    }

    static func file(_ draw: inout Draw) throws -> [UInt8] {
        let golden = try GoldenLog.shared.get().files.first { $0.name == "floor" }
        var bytes: [UInt8] = []
        for slot in 0..<2 {
            let mode = draw.byte()
            var content = [UInt8](repeating: 0, count: slotBytes)
            switch mode & 3 {
            case 0: fill(&content, &draw)
            case 1: break
            case 2:
                let raw = draw.field().prefix(slotBytes)
                content.replaceSubrange(0..<raw.count, with: raw)
            default:
                let start = slot * slotBytes
                if let golden, golden.bytes.count >= start + slotBytes {
                    content = Array(golden.bytes[start..<start + slotBytes])
                }
                for _ in 0..<draw.byte() & 7 {
                    content[Int(draw.number(bytes: 2)) % slotBytes] = draw.byte()
                }
            }
            if mode & 7 != 1, mode & 4 == 0 {
                let sum = DiskFormat.crc(content[..<(slotBytes - 4)])
                content.patch(at: slotBytes - 4, littleEndian: sum)
            }
            bytes += content
        }
        return bytes.dropLast(Int(draw.number(bytes: 2)))
    }

    private static func fill(_ slot: inout [UInt8], _ draw: inout Draw) {
        slot.replaceSubrange(0..<8, with: Array("PULSEFLR".utf8))
        slot.patch(at: 8, littleEndian: draw.number(bytes: 8))
        let isForeign = draw.byte() & 1 == 1
        slot.patch(at: 16, littleEndian: isForeign ? 1 : GoldenLog.identity.high)
        slot.patch(at: 24, littleEndian: GoldenLog.identity.low)
        slot.patch(at: 32, littleEndian: draw.number(bytes: 8))
        slot.patch(at: 40, littleEndian: UInt32(draw.number(bytes: 4)))
        slot[44] = draw.byte()
        slot[45] = draw.byte()
        slot.patch(at: 46, littleEndian: UInt16(draw.number(bytes: 2)))
        slot.patch(at: 48, littleEndian: draw.number(bytes: 8))
        slot.patch(at: 56, littleEndian: draw.number(bytes: 8))
        slot.patch(at: 64, littleEndian: UInt32(draw.number(bytes: 4)))
    }
}

/// What the two slots of a file say.
struct FloorSlots {
    struct Slot {
        var number: Int
        var sequence: UInt64
        var position: UInt64
        var chain: UInt32
        var first: UInt64?
        var cut: UInt64?
        var major: UInt8
    }

    /// Those that verify.
    private let good: [Slot]
    let unreadable: [Int]

    init(_ file: [UInt8]) {
        var good: [Slot] = []
        var unreadable: [Int] = []
        let padded = file + [UInt8](repeating: 0, count: 2 * FloorScript.slotBytes - file.count)
        for number in 0..<2 {
            let start = number * FloorScript.slotBytes
            let bytes = Array(padded[start..<start + FloorScript.slotBytes])
            if let slot = Self.read(bytes, number) {
                good.append(slot)
            } else if bytes.contains(where: { $0 != 0 }) {
                unreadable.append(number)
            }
        }
        self.good = good
        self.unreadable = unreadable
    }

    private static func read(_ bytes: [UInt8], _ number: Int) -> Slot? {
        func field(_ at: Int, _ count: Int = 8) -> UInt64 {
            DiskFormat.number(bytes, at, bytes: count)
        }
        // Nobody has written so many.
        guard bytes.starts(with: Array("PULSEFLR".utf8)), field(8) < 1 << 63,
            field(4092, 4) == UInt64(DiskFormat.crc(bytes[..<4092]))
        else { return nil }
        return Slot(
            number: number,
            sequence: field(8),
            position: field(32),
            chain: UInt32(field(40, 4)),
            first: bytes[44] >= 1 ? field(48) : nil,
            cut: field(46, 2) & 1 == 1 ? field(56) : nil,
            major: bytes[45]
        )
    }

    var areNewer: Bool { good.contains { $0.major > 0 } }

    /// Of two with the same number the second.
    var best: Slot? { good.max { ($0.sequence, $0.number) < ($1.sequence, $1.number) } }

    /// The one that is not the best was written just before it, or never.
    var areWhole: Bool {
        guard unreadable.isEmpty, let best else { return false }
        if best.sequence == 1 { return true }
        return best.sequence > 1
            && good.contains { $0.number != best.number && $0.sequence == best.sequence - 1 }
    }
}
