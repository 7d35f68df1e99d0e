// Repairing a log whose damage somebody accepts: every damaged file is written anew, with a gap where its
// entries were lost, and the old bytes are kept in the trash.
//
//     for each file, oldest first
//         trash/STAMP-NAME     a copy of what is there, synced              still damaged
//         NAME.tmp             the repaired content, synced                 still damaged
//         its index            removed: it may speak of entries that are no more; a start makes it again
//         NAME.tmp -> NAME     one rename, the directory synced             this file is repaired
//     the floor
//
// A crash at any step leaves some files repaired and the others as they were; repairing goes on from there.
//
// Source: spec/03-storage.md, "Repair".

package import PulseCore

package struct LogRepair {
    /// Finds out what of a log is damaged; changes nothing.
    ///
    /// - Parameter reach: How far the state store has taken the log in: one more that vouches for its end.
    package static func plan(
        _ directory: any LogDirectory,
        _ reach: StoreReach? = nil
    ) throws(LogError) -> RepairPlan {
        try RepairPlanner.plan(directory, reach)
    }

    let directory: any LogDirectory
    let trash: any LogDirectory
    let plan: RepairPlan
    let stamp: String
    let wall: WallTimestamp

    /// Performs a plan that was just made of the same directory, which nobody else uses.
    ///
    /// - Parameters:
    ///   - trash: Where the old files go; nothing in it is ever replaced.
    ///   - stamp: What their names begin with, a UTC date and time.
    /// - Returns: The names of the files in the trash.
    package static func perform(
        _ plan: RepairPlan,
        in directory: any LogDirectory,
        trash: any LogDirectory,
        stamp: String,
        at wall: WallTimestamp
    ) throws(LogError) -> [String] {
        let repair = LogRepair(
            directory: directory,
            trash: trash,
            plan: plan,
            stamp: stamp,
            wall: wall
        )
        var kept: [String] = []
        for file in plan.files {
            if file.exists { kept.append(try repair.keep(file.name)) }
            try repair.write(file)
        }
        // The floor of before, without an announced cut: what it promised is there again, as gaps.
        if !plan.isClean { _ = try plan.floor?.restated(in: directory).restated(in: directory) }
        return kept
    }

    /// Copies a file into the trash, under a name that is not there yet.
    private func keep(_ name: String) throws(LogError) -> String {
        let present = try storage { () throws(StorageError) in try trash.list() }
        var target = "\(stamp)-\(name)"
        var count = 1
        while present.contains(target) {
            count += 1
            target = "\(stamp)-\(count)-\(name)"
        }
        let source = try storage { () throws(StorageError) in try directory.open(name) }
        let size = try storage { () throws(StorageError) in try source.size() }
        let temporary = target + ".tmp"
        let copy = try storage { () throws(StorageError) in
            try trash.create(temporary, bytes: size, written: false)
        }
        // What the disk cannot read is copied as zeros: there is nothing better to keep.
        _ = try Self.copy(0..<size, from: source, to: copy)
        try storage { () throws(StorageError) in
            try copy.sync()
            try trash.rename(temporary, to: target)
            try trash.syncDirectory()
        }
        return target
    }

    private func write(_ file: RepairPlan.File) throws(LogError) {
        let temporary = file.name + ".tmp"
        let target = try storage { () throws(StorageError) in
            try directory.create(temporary, bytes: plan.geometry.segmentBytes, written: true)
        }
        let block = RawBuffer(capacity: SegmentGeometry.blockBytes)
        var header = file.header
        header.encode(to: block.base)
        try Self.put(block, SegmentGeometry.blockBytes, to: target, at: 0)
        var isRead = true
        if file.exists {
            let source = try storage { () throws(StorageError) in try directory.open(file.name) }
            for range in file.kept {
                if try !Self.copy(range, from: source, to: target) { isRead = false }
            }
        }
        for (index, gap) in file.gaps.enumerated() {
            try write(gap, file.chains[index], file.walls[index], to: target, file.base)
        }
        if let footer = file.footer {
            footer.encode(to: block.base, LogChecksums(plan.identity))
            try Self.put(
                block,
                SegmentGeometry.blockBytes,
                to: target,
                at: plan.geometry.entriesEnd
            )
        }
        try storage { () throws(StorageError) in try target.sync() }
        do throws(LogError) { try verify(temporary, as: file) } catch {
            // What the disk does not read counts as zeros: entries that verify all the same are whole.
            guard case .damaged = error, !isRead else { throw error }
            let text = "the disk does not read any more what it read before; plan anew"
            let why = StorageError.Reason.failed(code: 5, text: text)
            throw .storage(StorageError(.read, file: file.name, reason: why))
        }
        try storage { () throws(StorageError) in
            let index = LogFileName.name(ofIndex: file.base)
            if try directory.list().contains(index) { try directory.remove(index) }
            try directory.rename(temporary, to: file.name)
            try directory.syncDirectory()
        }
    }

    /// Reads back from the disk what was written: only a file that says all that the plan says may take
    /// the place of the damaged one.
    private func verify(_ temporary: String, as file: RepairPlan.File) throws(LogError) {
        let checksums = LogChecksums(plan.identity)
        let written = try SegmentCandidate(
            name: temporary,
            base: file.base,
            in: directory,
            identity: plan.identity,
            geometry: plan.geometry
        )
        let scan = try written.scanned(plan.geometry, checksums, nil)
        guard written.header != nil, written.footer == file.footer,
            file.base + UInt64(scan.stopByte) == file.ending.end,
            scan.chain == file.ending.chain, scan.tally.entries == file.ending.entries
        else {
            throw .damaged(
                DamagedRange(
                    file: temporary,
                    byte: scan.stopByte,
                    from: LogPosition(file.base + UInt64(scan.stopByte)),
                    to: LogPosition(file.ending.end),
                    reason: "the repaired file does not read back as planned; nothing was replaced"
                )
            )
        }
    }

    private func write(
        _ gap: Gap,
        _ chains: (own: UInt32, next: UInt32),
        _ gapWall: WallTimestamp,
        to target: any LogFile,
        _ base: UInt64
    ) throws(LogError) {
        let checksums = LogChecksums(plan.identity)
        let position = gap.position.rawValue
        let room = min(
            Int(gap.to.rawValue - position) - EntryHeader.bytes,
            Limits.entryBodyBytesMax
        )
        let body = gap.body(room: room, at: wall)
        let size = EntryHeader.bytes + EntryHeader.padded(body.count)
        let buffer = RawBuffer(capacity: size)
        buffer.zero(0..<size)
        body.withUnsafeBytes {
            buffer.mutableBytes(EntryHeader.bytes..<EntryHeader.bytes + body.count).copyBytes(
                from: $0
            )
        }
        var header = EntryHeader(
            position: gap.position,
            kind: .gap,
            stream: StreamID(rawValue: chains.next),
            baseOffset: Offset(Int64(bitPattern: gap.to.rawValue)),
            recordCount: 0,
            wall: gapWall,
            epoch: LeaderEpoch(0),
            bodyLength: body.count,
            syncedUpTo: gap.position,
            chain: chains.own,
            bodyCRC: body.withUnsafeBytes { checksums.body($0, at: position) },
            headerCRC: 0
        )
        header.encode(to: buffer.base, checksums)
        try Self.put(buffer, size, to: target, at: Int(position - base))
    }

    private static func put(
        _ buffer: RawBuffer,
        _ count: Int,
        to file: any LogFile,
        at byte: Int
    ) throws(LogError) {
        try storage { () throws(StorageError) in
            try file.write(buffer.bytes(0..<count), at: byte)
        }
    }

    /// Copies bytes; what the disk cannot read is copied as zeros.
    ///
    /// - Returns: Whether all were read.
    private static func copy(
        _ range: Range<Int>,
        from source: any LogFile,
        to target: any LogFile
    ) throws(LogError) -> Bool {
        let buffer = RawBuffer(capacity: SegmentScanner.windowBytes)
        var isWhole = true
        var at = range.lowerBound
        while at < range.upperBound {
            let count = min(SegmentScanner.windowBytes, range.upperBound - at)
            let bytes = buffer.mutableBytes(0..<count)
            let got = try readThrough(source, into: bytes, at: at) { _ in isWhole = false }
            if got < count {
                isWhole = false
                buffer.zero(got..<count)
            }
            try put(buffer, count, to: target, at: at)
            at += count
        }
        return isWhole
    }
}
