// The `floor` file: how far the log is known to be durable, written when idle and on a clean close.
// It closes the one gap that `syncedUpTo` leaves: damage to the very last synced entries.
//
//     slot 0 at byte 0, slot 1 at byte 4096, written in turn; the best that verifies counts.
//        0  magic "PULSEFLR"      16  log identity, high u64, low u64     40  chain u32
//        8  sequence u64          32  durable position u64                44  zeros
//     4092  CRC32C, not seeded
//
// Source: spec/03-storage.md, "Floor".

import PulseCore

struct Floor: Hashable, Sendable {
    static let magic: UInt64 = 0x524C_4645_534C_5550
    static let slotBytes = 4096
    static let fileBytes = 2 * slotBytes

    var sequence: UInt64
    var identity: LogIdentity
    var position: UInt64
    /// The chain of the entry that begins, or would begin, at `position`.
    var chain: UInt32

    /// The slot this sequence number is written to.
    var slot: Int { Int(sequence & 1) }

    func encode(to target: UnsafeMutableRawPointer) {
        target.initializeMemory(as: UInt8.self, repeating: 0, count: Self.slotBytes)
        target.putLittle(Self.magic, 0)
        target.putLittle(sequence, 8)
        target.putLittle(identity.high, 16)
        target.putLittle(identity.low, 24)
        target.putLittle(position, 32)
        target.putLittle(chain, 40)
        target.putLittle(CRC32C.of(UnsafeRawBufferPointer(start: target, count: 4092)), 4092)
    }

    static func decode(_ bytes: UnsafeRawPointer) -> Floor? {
        guard bytes.little(0, as: UInt64.self) == magic,
            CRC32C.of(UnsafeRawBufferPointer(start: bytes, count: 4092))
                == bytes.little(4092, as: UInt32.self)
        else { return nil }
        return Floor(
            sequence: bytes.little(8),
            identity: LogIdentity(high: bytes.little(16), low: bytes.little(24)),
            position: bytes.little(32),
            chain: bytes.little(40)
        )
    }

    /// What the file's two slots hold.
    struct Slots {
        var best: Floor?
        /// Slots that hold bytes but do not verify: one may be a write that a crash cut short.
        var unreadable: [Int] = []
    }

    static func read(_ file: any LogFile) throws(LogError) -> Slots {
        var slots = Slots()
        let buffer = RawBuffer(capacity: fileBytes)
        buffer.zero(0..<fileBytes)
        _ = try storage { () throws(StorageError) in
            try file.read(into: buffer.mutableBytes(0..<fileBytes), at: 0)
        }
        for slot in 0..<2 {
            let start = slot * slotBytes
            if let floor = decode(buffer.base + start) {
                if floor.sequence >= slots.best?.sequence ?? 0 { slots.best = floor }
            } else if !buffer.bytes(start..<start + slotBytes).isAllZero {
                slots.unreadable.append(slot)
            }
        }
        return slots
    }
}
