// One file of the simulated disk: what the page cache shows, what the disk holds, and the sector
// writes on their way from one to the other.
//
//     write ---> cache view                          read sees this
//          '---> pending sector writes, in order     power loss: each applied, dropped or torn
//                     | sync                         failed sync: some arrive, the rest is forgotten
//                     v
//                durable bytes                       power loss and dropCache leave these

package import PulseCore

/// Confined to the simulator's one thread, which is what makes the unchecked conformance safe.
package final class SimulatedFile: LogFile, @unchecked Sendable {
    /// A sector as the process wrote it.
    private struct PendingSector {
        var sector: Int
        var bytes: [UInt8]
        /// A disk that loses or misplaces it: nothing of it arrives here.
        var isLost = false
    }

    package internal(set) var name: String
    private var cache: [UInt8]
    private var durable: [UInt8]
    private var pending: [PendingSector] = []
    /// Sectors whose page is clean and yet differs from the disk: a failed sync, a lost write.
    private var stale: Set<Int> = []
    /// Sectors that fail to be read.
    var unreadable: Set<Int> = []
    /// The size a power loss may fall back to: 0 until the first sync.
    private var durableSize = 0
    /// The process of the disk in which a sync of this file failed.
    private var syncFailedInLife = 0
    private unowned let disk: SimulatedDisk

    static let sectorBytes = 512

    init(name: String, bytes: Int, on disk: SimulatedDisk) {
        self.name = name
        self.disk = disk
        cache = [UInt8](repeating: 0, count: bytes)
        durable = cache
    }

    package var pendingSectors: Int { pending.count }

    /// Its size, and its content as a process would read it.
    var bytesNow: Int { cache.count }
    var content: [UInt8] { cache }

    package func size() throws(StorageError) -> Int { cache.count }

    package func write(
        _ bytes: UnsafeRawBufferPointer,
        at position: Int
    ) throws(StorageError) {
        let fault: DiskFault?
        let wasDead = disk.isDead
        do throws(StorageError) {
            fault = try disk.operate(.write, on: name)
        } catch {
            // Killed in the middle of it: its beginning is in the page cache.
            if !wasDead, disk.isDead, let count = disk.drawTear(of: bytes.count) {
                put(UnsafeRawBufferPointer(rebasing: bytes[..<count]), at: position, nil)
            }
            throw error
        }
        var bytes = bytes
        var failure: StorageError.Reason?
        if case .shortWrite(let count, let reason) = fault {
            bytes = UnsafeRawBufferPointer(rebasing: bytes[..<min(count, bytes.count)])
            failure = reason
        }
        if !bytes.isEmpty { put(bytes, at: position, fault) }
        if let failure { throw StorageError(.write, file: name, byte: position, reason: failure) }
    }

    private func put(_ bytes: UnsafeRawBufferPointer, at position: Int, _ fault: DiskFault?) {
        let end = position + bytes.count
        if end > cache.count { grow(to: end) }
        cache.withUnsafeMutableBytes {
            UnsafeMutableRawBufferPointer(rebasing: $0[position..<end]).copyMemory(from: bytes)
        }
        let sectors = position / Self.sectorBytes...(end - 1) / Self.sectorBytes
        for sector in sectors {
            var write = PendingSector(sector: sector, bytes: Array(cache[range(of: sector)]))
            switch fault {
            case .lostWrite(let choice):
                write.isLost =
                    choice.map { $0 % sectors.count == sector - sectors.lowerBound } ?? true
            case .misdirectedWrite(let file, let target) where sector == sectors.lowerBound:
                write.isLost = true
                disk.misplace(write.bytes, inFile: file, sector: target)
            default: break
            }
            if !unreadable.isEmpty { unreadable.remove(sector) }
            pending.append(write)
        }
    }

    package func read(
        into buffer: UnsafeMutableRawBufferPointer,
        at position: Int
    ) throws(StorageError) -> Int {
        let fault = try disk.call(.read, on: name)
        let count = max(0, min(buffer.count, cache.count - position))
        if case .shortRead(let bytes) = fault, bytes < count {
            // The seam promises all that the file has: a real file reads on, or says so.
            throw StorageError(.read, file: name, byte: position, reason: .short(got: bytes))
        }
        guard count > 0 else { return 0 }
        if !unreadable.isEmpty {
            let sectors =
                position / Self.sectorBytes...(position + count - 1) / Self.sectorBytes
            if let dead = unreadable.filter(sectors.contains).min() {
                throw StorageError(
                    .read,
                    file: name,
                    byte: dead * Self.sectorBytes,
                    reason: DiskFault.inputOutputError
                )
            }
        }
        cache.withUnsafeBytes {
            UnsafeMutableRawBufferPointer(rebasing: buffer[0..<count])
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[position..<position + count]))
        }
        return count
    }

    package func sync() throws(StorageError) {
        let fault = try disk.operate(.sync, on: name)
        if syncFailedInLife == disk.life {
            disk.note("\(name) was synced again after its sync had failed")
        }
        switch fault {
        case .lyingSync: return
        case .syncError:
            loseSync()
            syncFailedInLife = disk.life
            throw StorageError(.sync, file: name, reason: DiskFault.inputOutputError)
        default: break
        }
        while durable.count < cache.count { durable.append(0) }
        for write in pending {
            if write.isLost { stale.insert(write.sector) } else { writeBack(write.sector) }
        }
        pending.removeAll(keepingCapacity: true)
        durableSize = durable.count
    }

    /// The page's newest content reaches the disk, which is as long as the file.
    private func writeBack(_ sector: Int) {
        let range = range(of: sector)
        durable.withUnsafeMutableBytes { target in
            cache.withUnsafeBytes { source in
                UnsafeMutableRawBufferPointer(rebasing: target[range])
                    .copyMemory(from: UnsafeRawBufferPointer(rebasing: source[range]))
            }
        }
        if !stale.isEmpty { stale.remove(sector) }
    }

    /// A sync fails: any of its sectors arrived, the others never will, and all pages are clean. Most
    /// file systems go on showing the new bytes, some the old ones.
    private func loseSync() {
        let (lostPerThousand, reverts) = disk.drawSyncFailure()
        if lostPerThousand < 1000 { while durable.count < cache.count { durable.append(0) } }
        let lost = Set(pending.lazy.filter(\.isLost).map(\.sector))
        for sector in Set(pending.map(\.sector)).sorted() {
            if lost.contains(sector) || disk.drawLoss(perThousand: lostPerThousand) {
                stale.insert(sector)
            } else {
                writeBack(sector)
            }
        }
        pending.removeAll(keepingCapacity: true)
        if reverts { dropCache() }
    }

    /// Memory was short: some of the clean pages are gone, and what is read next comes from the disk.
    func evict(_ random: inout SeededGenerator) {
        for sector in stale.sorted() where random.below(2) == 0 { forget(sector) }
    }

    /// Clean pages are forgotten; those that wait to be written are not.
    package func dropCache() {
        guard !stale.isEmpty else { return }
        for sector in stale.sorted() { forget(sector) }
    }

    private func forget(_ sector: Int) {
        guard !pending.contains(where: { $0.sector == sector }) else { return }
        for byte in range(of: sector) { cache[byte] = byte < durable.count ? durable[byte] : 0 }
        stale.remove(sector)
    }

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
        let ordered = pending.filter { !$0.isLost }.enumerated().sorted {
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
        stale.removeAll()
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

    // MARK: - Behind everybody's back

    /// Somebody else's sector arrives here. The page cache does not know.
    func receive(_ bytes: [UInt8], sector: Int) {
        guard durable.count >= Self.sectorBytes else { return }
        let target = sector % (durable.count / Self.sectorBytes)
        for (offset, byte) in bytes.enumerated() {
            durable[target * Self.sectorBytes + offset] = byte
        }
        stale.insert(target)
    }

    /// Changes what the disk holds. Nothing is pending afterwards.
    func alter(_ change: (inout [UInt8]) -> Void) {
        change(&cache)
        durable = cache
        durableSize = durable.count
        pending.removeAll()
        stale.removeAll()
    }

    // MARK: - Copies

    /// The same file on another disk, all of it durable.
    func copy(to disk: SimulatedDisk) -> SimulatedFile {
        let copy = SimulatedFile(name: name, bytes: 0, on: disk)
        copy.cache = cache
        copy.durable = cache
        copy.durableSize = cache.count
        copy.unreadable = unreadable
        return copy
    }

    /// The same file on another disk, with everything that is on its way.
    func clone(to disk: SimulatedDisk) -> SimulatedFile {
        let clone = copy(to: disk)
        clone.durable = durable
        clone.durableSize = durableSize
        clone.pending = pending
        clone.stale = stale
        return clone
    }
}

extension SimulatedDisk {
    /// A sector lands in the wrong place: `file` counts the names in order.
    func misplace(_ bytes: [UInt8], inFile file: Int, sector: Int) {
        let all = fileNames
        guard !all.isEmpty else { return }
        names[all[file % all.count]]?.receive(bytes, sector: sector)
    }
}
