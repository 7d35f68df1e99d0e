// The `floor` file: where the log must begin, how far it is known to be durable, and what is about to be
// cut off. Written when idle, on a clean close, before segments are released and before a torn tail is
// cut. It closes two gaps that the segments leave: damage to the very last synced entries, and the loss
// of the oldest files.
//
//     slot 0 at byte 0, slot 1 at byte 4096, written in turn; the best that verifies counts.
//        0  magic "PULSEFLR"      16  log identity, high u64, low u64     40  chain u32
//        8  sequence u64          32  durable position u64                44  minor, major - 1, flags u16
//       48  first position u64    56  cut position u64                    64  cut chain u32
//     4092  CRC32C, not seeded
//
// Source: spec/03-storage.md, "Floor".

package import PulseCore

package struct Floor: Hashable, Sendable {
    static let magic: UInt64 = 0x524C_4645_534C_5550
    static let slotBytes = 4096
    static let fileBytes = 2 * slotBytes

    package var sequence: UInt64
    package var identity: LogIdentity
    package var position: UInt64
    /// The chain of the entry that begins, or would begin, at `position`.
    package var chain: UInt32
    /// Where the oldest segment begins that must still exist; nil in a slot of format minor 0.
    package var first: UInt64?
    /// A torn tail that is being cut; nil when none is.
    package var cut: Cut?

    /// Everything from `position` on goes; `chain` is the next entry's there.
    package struct Cut: Hashable, Sendable {
        package var position: UInt64
        package var chain: UInt32
    }

    private static let formatMinor: UInt16 = 1
    /// Byte 45 has the major number less one, so that slots of the first programs have 1.
    static let formatMajor: UInt16 = 1
    package static let sequenceMax = UInt64(Int64.max)
    private static let cutFlag: UInt16 = 1

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
        if let first {
            target.putLittle(Self.formatMinor, 44)
            target.putLittle(first, 48)
        }
        if let cut {
            target.putLittle(Self.cutFlag, 46)
            target.putLittle(cut.position, 56)
            target.putLittle(cut.chain, 64)
        }
        target.putLittle(CRC32C.of(UnsafeRawBufferPointer(start: target, count: 4092)), 4092)
    }

    static func decode(_ bytes: UnsafeRawPointer) -> Floor? {
        guard bytes.little(0, as: UInt64.self) == magic,
            CRC32C.of(UnsafeRawBufferPointer(start: bytes, count: 4092))
                == bytes.little(4092, as: UInt32.self)
        else { return nil }
        // Nobody has written so many: one more would not be the next.
        guard bytes.little(8, as: UInt64.self) <= sequenceMax else { return nil }
        let minor: UInt8 = bytes.little(44)
        let flags: UInt16 = bytes.little(46)
        return Floor(
            sequence: bytes.little(8),
            identity: LogIdentity(high: bytes.little(16), low: bytes.little(24)),
            position: bytes.little(32),
            chain: bytes.little(40),
            first: minor >= 1 ? bytes.little(48) : nil,
            cut: flags & cutFlag != 0
                ? Cut(position: bytes.little(56), chain: bytes.little(64)) : nil
        )
    }

    /// Writes this slot and syncs it, making the file when there is none to write into.
    package func write(in directory: any LogDirectory, makesFile: Bool) throws(StorageError) {
        let buffer = RawBuffer(capacity: Self.fileBytes)
        buffer.zero(0..<Self.fileBytes)
        let start = slot * Self.slotBytes
        encode(to: buffer.base + start)
        guard !makesFile else {
            let bytes = [UInt8](buffer.bytes(0..<Self.fileBytes))
            return try directory.replace(LogFileName.floorName, with: bytes)
        }
        let file = try directory.open(LogFileName.floorName)
        try file.write(buffer.bytes(start..<start + Self.slotBytes), at: start)
        try file.sync()
    }

    /// Says the same once more, in the other slot and without an announced cut: then either slot alone
    /// tells of it, and nothing older is left that a damaged slot could bring back.
    package func restated(in directory: any LogDirectory) throws(LogError) -> Floor {
        var next = self
        next.sequence += 1
        next.cut = nil
        let floor = next
        try storage { () throws(StorageError) in try floor.write(in: directory, makesFile: false) }
        return floor
    }

    /// What the file's two slots hold.
    package struct Slots {
        package var best: Floor?
        /// The other slot, where it verifies.
        package var other: Floor?
        /// Slots that hold bytes but do not verify: one may be a write that a crash cut short.
        package var unreadable: [Int] = []
        /// The medium could not read one of them: what it says is not known.
        var isUnread = false
        /// Nothing newer than `best` can have been there: the other slot holds what was written just
        /// before it, or was never written.
        package var isWhole = false
    }

    package static func read(_ file: any LogFile) throws(LogError) -> Slots {
        var slots = Slots()
        let buffer = RawBuffer(capacity: fileBytes)
        buffer.zero(0..<fileBytes)
        for slot in 0..<2 {
            let start = slot * slotBytes
            do throws(StorageError) {
                _ = try file.read(into: buffer.mutableBytes(start..<start + slotBytes), at: start)
            } catch {
                guard error.isUnreadable else { throw .storage(error) }
                buffer.zero(start..<start + slotBytes)
                slots.unreadable.append(slot)
                slots.isUnread = true
                continue
            }
            let major = 1 + UInt16(UnsafeRawPointer(buffer.base + start).little(45, as: UInt8.self))
            if let floor = decode(buffer.base + start) {
                guard major <= formatMajor else {
                    throw .newerFormat(file: LogFileName.floorName, byte: start + 45, major: major)
                }
                if floor.sequence >= slots.best?.sequence ?? 0 {
                    (slots.best, slots.other) = (floor, slots.best)
                } else {
                    slots.other = floor
                }
            } else if !buffer.bytes(start..<start + slotBytes).isAllZero {
                slots.unreadable.append(slot)
            }
        }
        let newest = slots.best?.sequence ?? 0
        slots.isWhole =
            slots.unreadable.isEmpty
            && (newest == 1 || newest > 1 && slots.other?.sequence == newest - 1)
        return slots
    }
}

extension Floor.Slots {
    /// Where the log must begin. Only two whole slots say so: a damaged one may have said more.
    package var first: UInt64? { isWhole ? best?.first : nil }

    /// - Throws: ``LogError/foreign(file:byte:expected:found:)`` when it is another log's.
    package func owned(by identity: LogIdentity) throws(LogError) -> Floor.Slots {
        guard let floor = best, floor.identity != identity else { return self }
        throw .foreign(
            file: LogFileName.floorName,
            byte: floor.slot * Floor.slotBytes + 16,
            expected: identity,
            found: floor.identity
        )
    }
}

extension DirectorySurvey {
    /// What the disk holds of the floor file; nil when there is none.
    func floor(in directory: any LogDirectory) throws(LogError) -> Floor.Slots? {
        guard hasFloor else { return nil }
        let file = try storage { () throws(StorageError) in
            try directory.open(LogFileName.floorName)
        }
        file.dropCache()
        return try Floor.read(file)
    }
}
