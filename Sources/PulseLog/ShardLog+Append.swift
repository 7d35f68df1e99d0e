// Appending: entries into the turn's memory, the roll to the next segment, and the write.

package import PulseCore

extension ShardLog {
    /// Copies an entry into the turn's buffer; touches the disk only when a segment is full.
    ///
    /// - Parameters:
    ///   - baseOffset: The first record's offset; the stream's offsets are dense, so a batch begins
    ///     where the one before it ended.
    ///   - recordCount: 0 for commands, which have no offsets.
    ///   - keys: The index keys, exactly as the ``EntryIndexer`` would say them.
    ///   - body: Copied.
    /// - Returns: The entry's position, final at once.
    /// - Throws: ``LogError/entryTooLarge(bytes:limit:)`` and ``LogError/diskFull(file:)`` leave
    ///   the log as it was; any other error is for good.
    @discardableResult
    package func append(
        _ kind: EntryKind,
        stream: StreamID,
        baseOffset: Offset,
        recordCount: Int,
        at wall: WallTimestamp,
        keys: [UInt64],
        body: UnsafeRawBufferPointer
    ) throws(LogError) -> LogPosition {
        if let refusal { throw refusal }
        guard body.count <= geometry.bodyBytesMax else {
            throw .entryTooLarge(bytes: body.count, limit: geometry.bodyBytesMax)
        }
        precondition(recordCount >= 0 && recordCount <= UInt16.max, "a record count has 16 bits")
        let padded = EntryHeader.padded(body.count)
        let size = EntryHeader.bytes + padded
        let isFull = geometry.entriesEnd - Int(position - active.base) < size
        if isFull || active.tally.entries > 8 && configuration.buggify?.fires(.forceRoll) == true {
            try roll(at: wall)
        }

        let segment = active
        guard case .memory(let index) = segment.index else {
            preconditionFailure("the active segment's index is in memory")
        }
        let at = position
        let byte = Int(at - segment.base)
        let target = turn.extend(segment, at: byte, by: size)
        let bodyTarget = target + EntryHeader.bytes
        if let source = body.baseAddress {
            bodyTarget.copyMemory(from: source, byteCount: body.count)
        }
        if padded > body.count {
            (bodyTarget + body.count).initializeMemory(
                as: UInt8.self,
                repeating: 0,
                count: padded - body.count
            )
        }
        // Over the copy, not the original: what is checked is what will be written.
        let copied = UnsafeRawBufferPointer(start: bodyTarget, count: body.count)
        var syncedUpTo = durable
        if Mutant.isOn(.syncedUpToHigh) { syncedUpTo = at }
        if Mutant.isOn(.syncedUpToLow) { syncedUpTo = 0 }
        var header = EntryHeader(
            position: LogPosition(at),
            kind: kind,
            stream: stream,
            baseOffset: baseOffset,
            recordCount: recordCount,
            wall: wall,
            epoch: configuration.leaderEpoch,
            bodyLength: body.count,
            syncedUpTo: LogPosition(syncedUpTo),
            chain: chain,
            bodyCRC: checksums.body(copied, at: at),
            headerCRC: 0
        )
        header.encode(to: target, checksums)

        chain = checksums.chain(
            after: chain,
            headerCRC: header.headerCRC,
            bodyCRC: header.bodyCRC
        )
        position = at + UInt64(size)
        segment.end = position
        segment.tally.count(wall)
        if wall > latestEntryWall { latestEntryWall = wall }
        if kind == .recordBatch, recordCount > 0 {
            index.add(stream: stream, baseOffset: baseOffset, count: recordCount, byte: byte)
        }
        index.add(keys, byte: byte)
        return LogPosition(at)
    }

    /// Seals the active segment and opens the next: one rename when a spare is ready. All that has
    /// to be written goes into the turn's memory. Nothing is changed when no file can be had.
    private func roll(at wall: WallTimestamp) throws(LogError) {
        let number = active.number + 1
        let base = geometry.base(of: number)
        let file = try takeFile(named: LogFileName.name(ofSegment: base))
        if syncInFlight != nil { configuration.buggify?.saw(.rollDuringSync) }
        directoryIsDirty = !Mutant.isOn(.rollWithoutDirectorySync)

        let sealed = active
        let footer = SegmentFooter(
            number: sealed.number,
            end: position,
            entries: sealed.tally.entries,
            firstWall: sealed.tally.firstWall,
            latestWall: sealed.tally.latestWall,
            syncedUpTo: durable,
            chain: chain,
            gaps: sealed.gapCount
        )
        let room = geometry.entriesEnd - Int(position - sealed.base)
        turn.closePart(terminator: room >= EntryHeader.bytes)
        footer.encode(
            to: turn.extend(sealed, at: geometry.entriesEnd, by: SegmentGeometry.blockBytes),
            checksums
        )
        turn.closePart(terminator: false)
        sealed.footer = footer
        streamDirectory.add(sealed)

        var header = SegmentHeader(
            identity: identity,
            number: number,
            segmentBytes: geometry.segmentBytes,
            previousNumber: sealed.number,
            previousEnd: position,
            previousChain: chain,
            created: wall,
            syncedUpTo: durable
        )
        var expected = 0
        if case .memory(let index) = sealed.index { expected = index.keyCount }
        let next = Segment(
            number: number,
            base: base,
            file: file,
            startChain: 0,
            index: .memory(MemoryIndex(expectedKeys: expected)),
            tally: SegmentTally(),
            footer: nil,
            end: base + UInt64(geometry.entriesStart)
        )
        header.encode(to: turn.extend(next, at: 0, by: SegmentGeometry.blockBytes))
        chain = checksums.chain(afterSegmentHeader: header.crc, previous: chain)
        next.startChain = chain
        kept.append(next)
        active = next
        position = next.end
        wantsJobs = true
    }

    /// Makes sure that entries with bodies of these sizes, one after the other, will find their files:
    /// all of them or, with ``LogError/diskFull(file:)``, none.
    package func makeRoom(forBodies bodies: [Int]) throws(LogError) {
        var left = geometry.entriesEnd - Int(position - active.base)
        var files = 0
        for body in bodies {
            let size = EntryHeader.bytes + EntryHeader.padded(body)
            if left < size {
                files += 1
                left = geometry.entriesEnd - geometry.entriesStart
            }
            left -= size
        }
        while spares.count < files {
            lastSpareNumber += 1
            let name = LogFileName.name(ofSpare: lastSpareNumber)
            do throws(StorageError) {
                try makeFile(named: name)
            } catch { throw refusing(name, error) }
            spares.append(name)
            directoryIsDirty = true
        }
    }

    /// Makes a segment's file here and now, with its room reserved but not written.
    private func makeFile(named name: String) throws(StorageError) {
        guard roomBytes >= geometry.segmentBytes else {
            throw StorageError(.create, file: name, reason: .noSpace)
        }
        let temporary = name + ".tmp"
        _ = try directory.create(temporary, bytes: geometry.segmentBytes, written: false)
        try directory.rename(temporary, to: name)
        tookRoom()
    }

    private func refusing(_ name: String, _ error: StorageError) -> LogError {
        guard error.reason == .noSpace else { return .storage(error) }
        // A half-made file would keep the disk full.
        do throws(StorageError) { try directory.remove(name + ".tmp") } catch {}
        return .diskFull(file: name)
    }

    /// A file for the next segment, under its final name: a spare if one is ready, otherwise made
    /// here and now, with its room reserved but not written: slower syncs are better than a stall.
    private func takeFile(named name: String) throws(LogError) -> any LogFile {
        let isReady = configuration.buggify?.fires(.spareNotReady) != true
        do throws(StorageError) {
            let isTaken = isReady ? try takeSpare(as: name) : false
            if !isTaken {
                configuration.buggify?.saw(.rollWithoutSpare)
                try makeFile(named: name)
            }
            return try directory.open(name)
        } catch {
            throw refusing(name, error)
        }
    }

    /// Renames the first spare that is there; false when there is none. One that somebody has removed by
    /// hand is no reason to end: another will do.
    private func takeSpare(as name: String) throws(StorageError) -> Bool {
        while !spares.isEmpty {
            let spare = spares.removeFirst()
            do throws(StorageError) {
                try directory.rename(spare, to: name)
                return true
            } catch {
                guard error.reason == .notFound else { throw error }
            }
        }
        return false
    }

    /// Writes the turn to the page cache, one write for each place it goes to, and asks for
    /// background work. After an error nothing more can be appended: close and reopen the log.
    package func flush(jobs: inout [LogJob]) throws(LogError) {
        if !turn.parts.isEmpty { try writeTurn() }
        if wantsRelease { requestRelease(into: &jobs) }
        if wantsJobs { requestJobs(into: &jobs) }
    }

    private func writeTurn() throws(LogError) {
        if let refusal { throw refusal }
        turn.memory.reserve(turn.count + EntryHeader.bytes, keeping: turn.count)
        turn.memory.zero(turn.count..<turn.count + EntryHeader.bytes)
        do throws(StorageError) {
            for part in turn.parts {
                var count = part.count
                let room = geometry.entriesEnd - part.fileByte - count
                if !part.isClosed, room >= EntryHeader.bytes { count += EntryHeader.bytes }
                let bytes = turn.memory.bytes(part.start..<part.start + count)
                let file = part.segment.file
                if dirty.last !== file { dirty.append(file) }
                try file.write(bytes, at: part.fileByte)
            }
        } catch {
            refusal = .storage(error)
            throw .storage(error)
        }
        turn.removeAll()
        written = position
        writtenChain = chain
    }

    /// Writes and syncs everything, and the floor unless a note is under way: the end of a clean run.
    package func close() throws(LogError) {
        guard refusal == nil else { return }
        if !turn.parts.isEmpty { try writeTurn() }
        if syncInFlight != nil { try finishSync() }
        if beginSync() != nil { try finishSync() }
        try writeFloor()
    }

    private func finishSync() throws(LogError) {
        guard let work = syncInFlight else { return }
        try storage { () throws(StorageError) in try performSync() }
        completeSync(work.ticket)
    }
}
