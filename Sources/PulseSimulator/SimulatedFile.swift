// One file of the simulated disk: what the page cache shows, what the disk holds, and the sector
// writes on their way from one to the other.
//
//     write ---> cache view                          read sees this
//          '---> pending sector writes, in order     power loss: each applied, dropped or torn
//                     | sync
//                     v
//                durable bytes                       power loss leaves these

package import PulseCore

/// How a power loss treats what was not synced.
///
/// Parts of a thousand, one draw a sector.
package struct DiskFaults: Sendable {
    /// The sector holds the newest of its pending writes, as if it had just been written back.
    package var applied = 400
    /// The sector holds what was durable.
    package var dropped = 400
    // The rest: it holds an older pending write, or the beginning of one over the one before.
    // Bit rot, misdirected writes, a sync that lies and a full disk come with "The log you can
    // trust".

    package init() {}
}

/// Confined to the simulator's one thread, which is what makes the unchecked conformance safe.
package final class SimulatedFile: LogFile, @unchecked Sendable {
    package internal(set) var name: String
    private var cache: [UInt8]
    private var durable: [UInt8]
    private var pending: [(sector: Int, bytes: [UInt8])] = []
    /// The size a power loss may fall back to: 0 until the first sync.
    private var durableSize = 0
    private unowned let disk: SimulatedDisk

    static let sectorBytes = 512

    init(name: String, bytes: Int, on disk: SimulatedDisk) {
        self.name = name
        self.disk = disk
        cache = [UInt8](repeating: 0, count: bytes)
        durable = cache
    }

    package var pendingSectors: Int { pending.count }

    package func size() throws(StorageError) -> Int { cache.count }

    package func write(
        _ bytes: UnsafeRawBufferPointer,
        at position: Int
    ) throws(StorageError) {
        try disk.operate(.write, on: name)
        guard !bytes.isEmpty else { return }
        let end = position + bytes.count
        if end > cache.count { grow(to: end) }
        cache.withUnsafeMutableBytes {
            UnsafeMutableRawBufferPointer(rebasing: $0[position..<end]).copyMemory(from: bytes)
        }
        for sector in position / Self.sectorBytes...(end - 1) / Self.sectorBytes {
            pending.append((sector, Array(cache[range(of: sector)])))
        }
    }

    package func read(
        into buffer: UnsafeMutableRawBufferPointer,
        at position: Int
    ) throws(StorageError) -> Int {
        let count = max(0, min(buffer.count, cache.count - position))
        guard count > 0 else { return 0 }
        cache.withUnsafeBytes {
            UnsafeMutableRawBufferPointer(rebasing: buffer[0..<count])
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[position..<position + count]))
        }
        return count
    }

    package func sync() throws(StorageError) {
        try disk.operate(.sync, on: name)
        if durable.count != cache.count {
            durable = cache
        } else {
            for (sector, _) in pending {
                let range = range(of: sector)
                durable.withUnsafeMutableBytes { target in
                    cache.withUnsafeBytes { source in
                        UnsafeMutableRawBufferPointer(rebasing: target[range])
                            .copyMemory(from: UnsafeRawBufferPointer(rebasing: source[range]))
                    }
                }
            }
        }
        pending.removeAll(keepingCapacity: true)
        durableSize = durable.count
    }

    package func dropCache() {}

    private func grow(to size: Int) {
        cache.append(contentsOf: repeatElement(0, count: size - cache.count))
    }

    private func range(of sector: Int) -> Range<Int> {
        sector * Self.sectorBytes..<min((sector + 1) * Self.sectorBytes, cache.count)
    }

    /// The power is gone: every pending sector goes its own way, the page cache is no more.
    func losePower(_ random: inout SeededGenerator, _ faults: DiskFaults) {
        if durableSize != cache.count {
            let size = random.chance(perThousand: 500) ? cache.count : durableSize
            if durable.count > size { durable.removeLast(durable.count - size) }
            while durable.count < size { durable.append(0) }
        }
        var index = 0
        let ordered = pending.enumerated().sorted {
            ($0.element.sector, $0.offset) < ($1.element.sector, $1.offset)
        }
        while index < ordered.count {
            let sector = ordered[index].element.sector
            var versions: [[UInt8]] = []
            while index < ordered.count, ordered[index].element.sector == sector {
                versions.append(ordered[index].element.bytes)
                index += 1
            }
            settle(sector, versions, &random, faults)
        }
        pending.removeAll()
        cache = durable
        durableSize = durable.count
    }

    private func settle(
        _ sector: Int,
        _ versions: [[UInt8]],
        _ random: inout SeededGenerator,
        _ faults: DiskFaults
    ) {
        let start = sector * Self.sectorBytes
        guard start < durable.count else { return }
        let draw = random.below(1000)
        if draw >= faults.applied, draw < faults.applied + faults.dropped { return }
        var content = versions[versions.count - 1]
        if draw >= faults.applied + faults.dropped {
            // A disk changes the bytes it was asked to change and no others: the end of an older
            // version, or noise where the two differ. Bytes synced before stay what they were.
            let newest = random.below(versions.count)
            content = versions[newest]
            let before =
                newest > 0
                ? versions[newest - 1]
                : Array(durable[start..<min(start + Self.sectorBytes, durable.count)])
            let noisy = random.chance(perThousand: 300)
            for byte in random.below(Self.sectorBytes)..<Self.sectorBytes
            where byte < content.count {
                let old = byte < before.count ? before[byte] : 0
                guard content[byte] != old else { continue }
                content[byte] = noisy ? UInt8(truncatingIfNeeded: random.next()) : old
            }
        }
        for (offset, byte) in content.enumerated() where start + offset < durable.count {
            durable[start + offset] = byte
        }
    }

    /// The same file on another disk, all of it durable.
    func copy(to disk: SimulatedDisk) -> SimulatedFile {
        let copy = SimulatedFile(name: name, bytes: 0, on: disk)
        copy.cache = cache
        copy.durable = cache
        copy.durableSize = cache.count
        return copy
    }
}
