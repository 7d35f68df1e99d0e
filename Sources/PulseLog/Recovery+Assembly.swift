// The second half of opening a log: a first segment when there is none, indexes for the others.

import PulseCore

extension Recovery {
    /// Makes a new log. The first segment is only reserved, so that a first start is quick; it gets its
    /// name only when its header is durable.
    mutating func create(
        _ identity: LogIdentity,
        _ survey: DirectorySurvey,
        at wall: WallTimestamp
    ) throws(LogError) -> RecoveredLog {
        guard !survey.hasFloor else {
            throw .damaged(
                DamagedRange(
                    file: LogFileName.floorName,
                    byte: 0,
                    from: .zero,
                    to: .zero,
                    reason: "it says that there was a log here, but there is no segment file"
                )
            )
        }
        try removeTemporaries(survey)
        let geometry = SegmentGeometry(segmentBytes: configuration.segmentBytes)
        var header = SegmentHeader(
            identity: identity,
            number: 0,
            segmentBytes: geometry.segmentBytes,
            previousNumber: SegmentHeader.noPrevious,
            previousEnd: 0,
            previousChain: 0,
            created: wall,
            syncedUpTo: 0
        )
        let buffer = RawBuffer(capacity: SegmentGeometry.blockBytes)
        header.encode(to: buffer.base)
        let name = LogFileName.name(ofSegment: 0)
        let file = try storage { () throws(StorageError) in
            let temporary = name + ".tmp"
            let file = try directory.create(
                temporary,
                bytes: geometry.segmentBytes,
                written: false
            )
            try file.write(buffer.bytes(0..<SegmentGeometry.blockBytes), at: 0)
            try file.sync()
            try directory.rename(temporary, to: name)
            try directory.syncDirectory()
            return try directory.open(name)
        }
        report.created = true
        report.segments = 1
        let chain = LogChecksums(identity).chain(afterSegmentHeader: header.crc, previous: 0)
        let start = UInt64(geometry.entriesStart)
        let segment = Segment(
            number: 0,
            base: 0,
            file: file,
            startChain: chain,
            index: .memory(MemoryIndex()),
            tally: SegmentTally(),
            footer: nil,
            end: start
        )
        let (spares, lastSpare) = try findSpares(survey, geometry, behind: 0)
        return RecoveredLog(
            identity: identity,
            geometry: geometry,
            segments: [segment],
            active: segment,
            position: start,
            chain: chain,
            spares: spares,
            lastSpareNumber: lastSpare
        )
    }

    /// Turns verified candidates into the log's segments, each with an index.
    mutating func assemble(
        _ candidates: [SegmentCandidate],
        _ survey: DirectorySurvey,
        _ identity: LogIdentity,
        _ geometry: SegmentGeometry,
        floor: Floor?,
        promised: UInt64
    ) throws(LogError) -> RecoveredLog {
        let checksums = LogChecksums(identity)
        let indexed = Set(survey.indexes)
        var segments: [Segment] = []
        var gaps: [Gap] = []
        for (place, candidate) in candidates.enumerated() {
            let isActive = place == candidates.count - 1 && report.damaged.isEmpty
            let footer = isActive ? nil : (candidate.footer ?? candidate.rebuiltFooter)
            var index: Segment.Index?
            if let footer, indexed.contains(candidate.base),
                let file = try SealedIndex.open(
                    in: directory,
                    base: candidate.base,
                    footer: footer,
                    checksums: checksums
                )
            {
                index = .file(file)
            }
            if let footer, candidate.scan == nil || !candidate.isSealed { candidate.seal(footer) }
            let next = place + 1 < candidates.count ? candidates[place + 1] : nil
            let known =
                footer.map { geometry.byte(of: $0.end) }
                ?? (report.damaged.isEmpty
                    ? 0 : promisedByte(of: candidate, before: next, promised, geometry))
            var rebuilt: MemoryIndex?
            if index == nil || candidate.scan != nil || footer?.gaps ?? 0 > 0 {
                rebuilt = try memoryIndex(of: candidate, known, geometry, checksums)
                gaps += candidate.scan?.gaps ?? []
            }
            if index == nil, !isActive { report.indexesRebuilt += 1 }
            let keepsIndex = isActive || report.indexesRebuilt <= Self.rebuiltInMemoryMax
            let segment = Segment(
                number: candidate.number,
                base: candidate.base,
                file: candidate.file,
                startChain: candidate.startChain(checksums),
                index: index ?? .memory(keepsIndex ? rebuilt ?? MemoryIndex() : MemoryIndex()),
                tally: candidate.tally,
                footer: footer,
                end: candidate.end,
                gapCount: UInt32(candidate.scan?.gaps.count ?? 0)
            )
            segments.append(segment)
            if index == nil, !keepsIndex {
                unindexed.append(
                    Unindexed(segment: segment, candidate: candidate, known: known)
                )
            }
        }
        report.segments = segments.count
        report.entries = segments.reduce(0) { $0 + Int($1.tally.entries) }
        let active = segments[segments.count - 1]
        let (spares, lastSpare) = try findSpares(survey, geometry, behind: active.number)
        return RecoveredLog(
            identity: identity,
            geometry: geometry,
            segments: segments,
            active: active,
            position: report.damaged.isEmpty ? active.end : max(promised, active.end),
            chain: candidates[candidates.count - 1].endChain,
            spares: spares,
            lastSpareNumber: lastSpare,
            floor: floor,
            damaged: report.damaged,
            generations: survey.generations,
            gaps: gaps,
            precedingEnd: candidates[0].header?.previousEnd ?? candidates[0].base
        )
    }

    /// Indexes that are made again and stay in memory until a background job has written them.
    private static let rebuiltInMemoryMax = 4

    /// Makes the other indexes, when it is known whether there is damage. Where there is none each is
    /// written here and now, so that memory stays bounded.
    mutating func indexRest(
        _ identity: LogIdentity,
        _ geometry: SegmentGeometry
    ) throws(LogError) {
        let checksums = LogChecksums(identity)
        for rest in unindexed {
            let index = try memoryIndex(of: rest.candidate, rest.known, geometry, checksums)
            rest.segment.index = try written(index, rest.segment, identity)
        }
        unindexed = []
    }

    private func written(
        _ index: MemoryIndex,
        _ segment: Segment,
        _ identity: LogIdentity
    ) throws(LogError) -> Segment.Index {
        guard let footer = segment.footer, report.damaged.isEmpty else { return .memory(index) }
        let draft = IndexDraft(index, identity: identity, footer: footer, base: segment.base)
        do throws(StorageError) {
            try draft.write(in: directory)
        } catch {
            guard error.reason == .noSpace else { throw .storage(error) }
            return .memory(index)
        }
        let made = try SealedIndex.open(
            in: directory,
            base: segment.base,
            footer: footer,
            checksums: LogChecksums(identity)
        )
        return made.map { .file($0) } ?? .memory(index)
    }

    /// How far a segment without a footer must have reached: its successor says where it began, or the
    /// promise lies behind it or in it. Whatever cannot be read before that is damage.
    private func promisedByte(
        of candidate: SegmentCandidate,
        before next: SegmentCandidate?,
        _ promised: UInt64,
        _ geometry: SegmentGeometry
    ) -> Int {
        if let header = next?.header, header.previousNumber == candidate.number {
            return geometry.byte(of: header.previousEnd)
        }
        let end = candidate.base + UInt64(geometry.entriesEnd)
        if next != nil || promised >= end { return geometry.entriesEnd }
        return promised > candidate.base ? geometry.byte(of: promised) : 0
    }

    /// The index from the scan, which gives it away, or from a scan made for it. Entries that do not
    /// verify are left out and, where a footer vouches for them, reported.
    private mutating func memoryIndex(
        of candidate: SegmentCandidate,
        _ known: Int,
        _ geometry: SegmentGeometry,
        _ checksums: LogChecksums
    ) throws(LogError) -> MemoryIndex {
        if candidate.scan?.index == nil { candidate.scan = nil }
        let scan = try candidate.scanned(geometry, checksums, indexer)
        candidate.scan?.index = nil
        let reach = candidate.cutByte ?? max(known, scan.reachByte)
        guard scan.stopByte < reach else {
            // The walk may have stopped before it: what is whole behind a hole is served too.
            if candidate.end < candidate.base + UInt64(scan.stopByte) {
                candidate.end = candidate.base + UInt64(scan.stopByte)
                candidate.endChain = scan.chain
                candidate.tally = scan.tally
            }
            return scan.index ?? MemoryIndex()
        }
        return try salvage(candidate, reach: reach, geometry, checksums)
    }

    /// Indexes what can be read of a damaged segment; adds the holes to the report.
    private mutating func salvage(
        _ candidate: SegmentCandidate,
        reach: Int,
        _ geometry: SegmentGeometry,
        _ checksums: LogChecksums
    ) throws(LogError) -> MemoryIndex {
        let scanner = SegmentScanner(
            file: candidate.file,
            number: candidate.number,
            geometry: geometry,
            checksums: checksums,
            byte: geometry.entriesStart,
            // Without a header the first entry speaks for itself.
            chain: candidate.header.map { $0.firstChain(checksums) }
        )
        let builder = IndexBuilder(indexer, checksums)
        var tally = SegmentTally()
        var gaps: [Gap] = []
        salvaging: while scanner.byte < reach {
            let at = scanner.byte
            switch try scanner.next() {
            case .entry(let header, let body):
                builder.add(header, body, byte: at)
                tally.count(header.wall)
                if let gap = Gap(header, body) { gaps.append(gap) }
            case .full:
                break salvaging
            case .fault(let fault, let header):
                let skipped = try scanner.skip(header, limit: reach)
                addDamage(candidate, skipped, fault.reason)
            }
        }
        candidate.end = candidate.base + UInt64(reach)
        candidate.tally = tally
        candidate.scan?.gaps = gaps
        return builder.index
    }

    private mutating func addDamage(
        _ candidate: SegmentCandidate,
        _ bytes: Range<Int>,
        _ reason: String
    ) {
        let from = LogPosition(candidate.base + UInt64(bytes.lowerBound))
        guard !report.damaged.contains(where: { $0.from == from }) else { return }
        report.damaged.append(
            DamagedRange(
                file: candidate.name,
                byte: bytes.lowerBound,
                from: from,
                to: LogPosition(candidate.base + UInt64(bytes.upperBound)),
                reason: reason
            )
        )
    }

    /// Spares of the right size, and the highest spare number in use.
    ///
    /// A spare may have been a segment behind the tail, whose name a crash took back: as that segment it
    /// would bring its entries along, which nobody was promised. Such a one is no spare.
    private mutating func findSpares(
        _ survey: DirectorySurvey,
        _ geometry: SegmentGeometry,
        behind tail: UInt64
    ) throws(LogError) -> (names: [String], last: UInt64) {
        var names: [String] = []
        let block = RawBuffer(capacity: SegmentGeometry.blockBytes)
        for number in survey.spares {
            let name = LogFileName.name(ofSpare: number)
            let file = try storage { () throws(StorageError) in try directory.open(name) }
            let size = try storage { () throws(StorageError) in try file.size() }
            guard size == geometry.segmentBytes else {
                report.unknownFiles.append(name)
                continue
            }
            if try readBlock(file, at: 0, into: block),
                case .header(let header) = SegmentHeader.decode(UnsafeRawPointer(block.base)),
                header.number > tail
            {
                report.strangeSpares.append(name)
            } else {
                names.append(name)
            }
        }
        return (names, survey.spares.last ?? 0)
    }

    /// A segment whose index is made once it is known that nothing is damaged.
    struct Unindexed {
        var segment: Segment
        var candidate: SegmentCandidate
        /// How far it must have reached.
        var known: Int
    }
}

extension SegmentCandidate {
    /// The footer that recovery wrote, for a segment sealed without a good one.
    var rebuiltFooter: SegmentFooter? { isSealed ? footerAsFound : nil }
}
