// Opening a log: finding its true end after whatever happened, and telling a torn tail from damage.
//
// One rule decides. Walk the segments and entries from the oldest; let P be the first place where
// they stop verifying or following one another. Let S be the furthest position that anything in the
// directory says was once durable: `syncedUpTo` of every verifying header, and the floor. Then
//
//     P >= S   nothing after P was ever covered by a completed sync: a torn tail, cut and reported
//     P <  S   something promised is unreadable: damage; every byte is kept, the log is read-only
//
// It holds for every way a crash can interrupt a roll, because a half-made successor, a lost rename
// and a footer without its entries are all just a P with nothing promised behind it.
//
// Source: spec/03-storage.md, "Recovery".

import PulseCore

/// What the log starts from.
struct RecoveredLog {
    var identity: LogIdentity
    var geometry: SegmentGeometry
    var segments: [Segment]
    var active: Segment
    var position: UInt64
    var chain: UInt32
    var spares: [String]
    var lastSpareNumber: UInt64
    var floor: Floor?
    var damaged: [DamagedRange] = []
    /// Files found, not looked into yet.
    var generations: [ClosedRange<UInt64>] = []
    var gaps: [Gap] = []
    /// Where the segment before the oldest ended.
    var precedingEnd: UInt64 = 0
}

struct Recovery {
    let directory: any LogDirectory
    let configuration: LogConfiguration
    let indexer: any EntryIndexer
    var report = RecoveryReport()
    /// Segments whose index is still to be made again: more than memory is meant to hold.
    var unindexed: [Unindexed] = []

    init(
        directory: any LogDirectory,
        configuration: LogConfiguration,
        indexer: any EntryIndexer
    ) {
        self.directory = directory
        self.configuration = configuration
        self.indexer = indexer
    }

    /// Where the walk over the segments stopped.
    private struct Stop {
        /// The last segment that belongs to the log.
        var tail: Int
        /// The file and byte to name if this turns out to be damage, and what is wrong there.
        var file: String
        var byte: Int
        var reason: String
        var resumesAt: UInt64?
    }

    mutating func run(
        identityIfNew: LogIdentity,
        at wall: WallTimestamp
    ) throws(LogError) -> RecoveredLog {
        var survey = try DirectorySurvey(directory)
        report.unknownFiles = survey.unknown
        guard let (identity, geometry) = try survey.oldestHeader(in: directory) else {
            return try create(identityIfNew, survey, at: wall)
        }
        survey.setStraysAside(geometry)
        report.unknownFiles = survey.unknown
        let checksums = LogChecksums(identity)
        let slots = try survey.floor(in: directory)?.owned(by: identity)
        report.floorSlotsUnreadable = slots?.unreadable ?? []
        let floor = slots?.best
        var candidates: [SegmentCandidate] = []
        for base in survey.segments where base >= floor?.first ?? 0 {
            candidates.append(
                try SegmentCandidate(
                    name: LogFileName.name(ofSegment: base),
                    base: base,
                    in: directory,
                    identity: identity,
                    geometry: geometry
                )
            )
        }
        try checkBeginning(candidates, slots, geometry)
        var doomed: [SegmentCandidate] = []
        if let intent = floor?.cut {
            let number = geometry.number(of: intent.position)
            doomed = candidates.filter { $0.number > number }
            candidates.removeAll { $0.number > number }
            candidates.last?.cutByte = geometry.byte(of: intent.position)
            guard candidates.last?.number == number else {
                throw .damaged(Self.missing(number, geometry, "it was about to be cut"))
            }
        }
        let (promised, scannedFrom) = try promise(candidates, floor, geometry, checksums)
        let stop = try walk(candidates, scannedFrom, geometry, checksums)
        let tail = candidates[stop.tail]
        var cut: TailCut?
        let isAstray = floor?.cut.map { $0.chain != tail.endChain } ?? false
        let isTorn = Mutant.isOn(.neverCut) && tail.scan?.endsCleanly == false
        if tail.end < promised || isAstray || isTorn, !Mutant.isOn(.cutDamage) {
            let reason = isAstray ? "the log does not lead to where it was to be cut" : stop.reason
            report.damaged.append(
                DamagedRange(
                    file: stop.file,
                    byte: stop.byte,
                    from: LogPosition(tail.end),
                    to: LogPosition(stop.resumesAt ?? max(promised, tail.end)),
                    reason: reason
                )
            )
        } else {
            cut = try planCut(
                candidates[stop.tail],
                later: Array(candidates[(stop.tail + 1)...]) + doomed,
                isResumed: floor?.cut != nil,
                geometry
            )
            candidates.removeSubrange((stop.tail + 1)...)
            try cut?.refuseIfUnread(floor: slots)
        }
        var recovered = try assemble(
            candidates,
            survey,
            identity,
            geometry,
            floor: floor,
            promised: promised
        )
        // Nothing was written so far. Where there is damage, nothing is.
        let scanned = candidates[min(scannedFrom, candidates.count)...]
        guard report.damaged.isEmpty, let cut else {
            try settle(scanned, hasFloor: survey.hasFloor)
            try indexRest(identity, geometry)
            return recovered
        }
        try removeTemporaries(survey)
        for name in report.strangeSpares { try remove(name) }
        for candidate in candidates where candidate.wantsFooter {
            try rebuildFooter(of: candidate, geometry, checksums)
        }
        try settle(scanned, hasFloor: survey.hasFloor)
        if cut.isWanted {
            recovered.floor = try perform(cut, recovered, geometry)
        } else if slots?.other?.cut != nil {
            // A cut that was performed; were the newer slot damaged, it would be again.
            recovered.floor = try recovered.floor?.restated(in: directory)
        }
        try finishRelease(survey, &recovered.floor)
        try indexRest(identity, geometry)
        return recovered
    }

    /// Unfinished files of an earlier run.
    mutating func removeTemporaries(_ survey: DirectorySurvey) throws(LogError) {
        for name in survey.temporaries { try remove(name) }
        report.temporariesRemoved = survey.temporaries
    }

    static func missing(
        _ number: UInt64,
        _ geometry: SegmentGeometry,
        _ reason: String
    ) -> DamagedRange {
        let base = geometry.base(of: number)
        let start = LogPosition(base + UInt64(geometry.entriesStart))
        return DamagedRange(
            file: LogFileName.name(ofSegment: base),
            byte: 0,
            from: LogPosition(base),
            to: start,
            reason: "the file is missing: \(reason)"
        )
    }

    // MARK: The beginning

    /// Tells segments that were released from segments that are lost.
    ///
    /// The floor's mark decides. Without it (the file is lost, a slot is, or an older program wrote it)
    /// the oldest header still says whether anything came before it; what became of that nobody knows,
    /// and the report says so.
    private mutating func checkBeginning(
        _ candidates: [SegmentCandidate],
        _ slots: Floor.Slots?,
        _ geometry: SegmentGeometry
    ) throws(LogError) {
        let mark = slots?.best?.first
        report.floorLost = slots?.best == nil
        guard let oldest = candidates.first else {
            let number = geometry.number(of: mark ?? 0)
            throw .damaged(Self.missing(number, geometry, "it is the oldest that must exist"))
        }
        if let mark = slots?.first, oldest.base > mark {
            var lost = Self.missing(geometry.number(of: mark), geometry, "it was never released")
            lost.to = LogPosition(oldest.base + UInt64(geometry.entriesStart))
            report.damaged.append(lost)
        } else if mark != oldest.base {
            let cameFirst =
                oldest.number == 0 || oldest.header?.previousNumber == SegmentHeader.noPrevious
            if !cameFirst { report.beginningUnknown = oldest.name }
        }
    }

    // MARK: The promise, S

    /// How far the log was promised, and the first segment that had to be scanned to know it.
    ///
    /// Scans from the newest segment backwards until everything older is known to be promised: an
    /// entry knows of nothing durable beyond itself, so older ones cannot raise the promise.
    private func promise(
        _ candidates: [SegmentCandidate],
        _ floor: Floor?,
        _ geometry: SegmentGeometry,
        _ checksums: LogChecksums
    ) throws(LogError) -> (promised: UInt64, scannedFrom: Int) {
        var promised = Mutant.isOn(.ignoreFloor) ? 0 : floor?.position ?? 0
        for candidate in candidates { promised = max(promised, candidate.promised) }
        var index = candidates.count
        repeat {
            index -= 1
            _ = try candidates[index].scanned(geometry, checksums, indexer)
            promised = max(promised, candidates[index].promised)
        } while index > 0 && promised < candidates[index].base
        return (promised, index)
    }

    // MARK: The walk, to P

    /// Follows the segments from the oldest. Sets every passed candidate's end, chain and tally.
    private mutating func walk(
        _ candidates: [SegmentCandidate],
        _ scannedFrom: Int,
        _ geometry: SegmentGeometry,
        _ checksums: LogChecksums
    ) throws(LogError) -> Stop {
        for (index, candidate) in candidates.enumerated() {
            if index > 0 {
                let previous = candidates[index - 1]
                let start = candidate.base + UInt64(geometry.entriesStart)
                let isGap = candidate.number != previous.number + 1
                if isGap, !Mutant.isOn(.skipMissingFile) {
                    let missing = LogFileName.name(
                        ofSegment: geometry.base(of: previous.number + 1)
                    )
                    return Stop(
                        tail: index - 1,
                        file: missing,
                        byte: 0,
                        reason: "the file is missing",
                        resumesAt: start
                    )
                }
                if !previous.isFollowed(by: candidate), !Mutant.isOn(.skipSegmentLink),
                    !(isGap && Mutant.isOn(.skipMissingFile))
                {
                    let reason =
                        candidate.header == nil
                        ? candidate.headerFault : "the segment does not follow the one before it"
                    return Stop(
                        tail: index - 1,
                        file: candidate.name,
                        byte: 0,
                        reason: reason,
                        resumesAt: start
                    )
                }
            }
            if index < scannedFrom, let footer = candidate.footer, candidate.header != nil {
                candidate.seal(footer)
                continue
            }
            let scan = try candidate.scanned(geometry, checksums, indexer)
            candidate.end = candidate.base + UInt64(scan.stopByte)
            candidate.endChain = scan.chain
            candidate.tally = scan.tally
            if let footer = candidate.footer, footer.end == candidate.end,
                footer.chain == candidate.endChain
            {
                candidate.isSealed = true
                continue
            }
            if index + 1 < candidates.count, candidate.isFollowed(by: candidates[index + 1]) {
                candidate.isSealed = true
                candidate.wantsFooter = true
                continue
            }
            return Stop(
                tail: index,
                file: candidate.name,
                byte: candidate.header == nil ? 0 : scan.stopByte,
                reason: candidate.header == nil
                    ? candidate.headerFault : scan.fault?.reason ?? "the entries end here",
                resumesAt: scan.nextHeaderByte.map { candidate.base + UInt64($0) }
                    ?? start(of: candidates, at: index + 1, geometry)
            )
        }
        // Even the newest is sealed: its successor's name was lost.
        let last = candidates[candidates.count - 1]
        return Stop(
            tail: candidates.count - 1,
            file: last.name,
            byte: geometry.byte(of: last.end),
            reason: "the next segment is missing",
            resumesAt: nil
        )
    }

    /// Where the entries of a later segment begin: what is damaged before it says nothing of it.
    private func start(
        of candidates: [SegmentCandidate],
        at index: Int,
        _ geometry: SegmentGeometry
    ) -> UInt64? {
        guard candidates.indices.contains(index) else { return nil }
        return candidates[index].base + UInt64(geometry.entriesStart)
    }

    private mutating func rebuildFooter(
        of candidate: SegmentCandidate,
        _ geometry: SegmentGeometry,
        _ checksums: LogChecksums
    ) throws(LogError) {
        let footer = candidate.footerAsFound
        let buffer = RawBuffer(capacity: SegmentGeometry.blockBytes)
        footer.encode(to: buffer.base, checksums)
        try storage { () throws(StorageError) in
            try candidate.file.write(
                buffer.bytes(0..<SegmentGeometry.blockBytes),
                at: geometry.entriesEnd
            )
            try candidate.file.sync()
        }
        report.footersRebuilt.append(candidate.name)
    }
}

extension SegmentCandidate {
    func seal(_ footer: SegmentFooter) {
        isSealed = true
        end = footer.end
        endChain = footer.chain
        tally = SegmentTally(
            entries: footer.entries,
            firstWall: footer.firstWall,
            latestWall: footer.latestWall
        )
    }

    /// The footer this segment should have, from what its entries say.
    var footerAsFound: SegmentFooter {
        SegmentFooter(
            number: number,
            end: end,
            entries: tally.entries,
            firstWall: tally.firstWall,
            latestWall: tally.latestWall,
            syncedUpTo: scan?.syncedUpTo ?? 0,
            chain: endChain,
            gaps: UInt32(scan?.gaps.count ?? 0)
        )
    }
}
