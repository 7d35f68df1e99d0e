// Cutting the log where it truly ends, and making sure of what is left.
//
//     settle       what will stay is durable
//     intent       the floor says: the log ends here, what follows goes     <- from here on it is decided
//     cut          zeros, later segments removed, synced
//     done         the floor without the intent, in both slots: one that stayed would be believed again
//
// A cut that a crash interrupts is finished by the next start, at the same place: it never looks again at
// bytes of which half are gone.

import PulseCore

/// What is to be cut off behind the true end. Made by looking, performed later.
struct TailCut {
    let tail: SegmentCandidate
    /// Segments behind the tail, oldest first.
    let later: [SegmentCandidate]
    /// Bytes of the tail to overwrite with zeros.
    let zeros: Range<Int>
    let undoesRoll: Bool
    /// An earlier start decided it.
    let isResumed: Bool
    let lostBytes: Int

    var isWanted: Bool { isResumed || !later.isEmpty || !zeros.isEmpty || undoesRoll }

    /// What the disk cannot read now may be whole, and acknowledged: it is not cut off for that.
    ///
    /// - Throws: ``LogError/storage(_:)``; nothing was changed. Another start may read it, or a person
    ///   must look at the disk.
    func refuseIfUnread(floor: Floor.Slots?) throws(LogError) {
        guard isWanted, !isResumed else { return }
        let segment = ([tail] + later).first { $0.hasUnreadBytes }?.name
        // The floor may vouch for what looks torn.
        guard let name = segment ?? (floor?.isUnread == true ? LogFileName.floorName : nil)
        else { return }
        let why = StorageError.Reason.failed(code: 5, text: "Input/output error")
        throw .storage(StorageError(.read, file: name, reason: why))
    }
}

extension Recovery {
    /// Makes the tail segment the active one, in memory: nothing after P stays, here or in later segments.
    mutating func planCut(
        _ tail: SegmentCandidate,
        later: [SegmentCandidate],
        isResumed: Bool,
        _ geometry: SegmentGeometry
    ) throws(LogError) -> TailCut {
        var lost = 0
        for segment in later {
            lost += max(0, (segment.scan?.reachByte ?? 0) - geometry.entriesStart)
        }
        let start = geometry.byte(of: tail.end)
        var end = start
        if let scan = tail.scan, !scan.endsCleanly || isResumed {
            end = try geometry.endOfData(in: tail.file, from: start)
            lost += end - start
        }
        tail.cutByte = start
        tail.isSealed = false
        return TailCut(
            tail: tail,
            later: later,
            zeros: start..<end,
            undoesRoll: tail.footer != nil,
            isResumed: isResumed,
            lostBytes: lost
        )
    }

    /// Cuts, between the intent and its end in the floor; returns the floor as it is then.
    mutating func perform(
        _ cut: TailCut,
        _ log: RecoveredLog,
        _ geometry: SegmentGeometry
    ) throws(LogError) -> Floor {
        var floor = Floor(
            sequence: (log.floor?.sequence ?? 0) + 1,
            identity: log.identity,
            position: cut.tail.end,
            chain: cut.tail.endChain,
            first: log.segments[0].base,
            cut: Floor.Cut(position: cut.tail.end, chain: cut.tail.endChain)
        )
        try storage { () throws(StorageError) in
            try floor.write(in: directory, makesFile: log.floor == nil)
        }
        for segment in cut.later.reversed() {
            report.segmentsDropped.append(segment.name)
            try remove(LogFileName.name(ofIndex: segment.base))
            try remove(segment.name)
        }
        try writeZeros(cut.tail.file, cut.zeros)
        if cut.undoesRoll {
            report.rollUndone = true
            try writeZeros(cut.tail.file, geometry.entriesEnd..<geometry.segmentBytes)
        }
        try storage { () throws(StorageError) in
            try cut.tail.file.sync()
            try directory.syncDirectory()
        }
        floor = try floor.restated(in: directory).restated(in: directory)
        report.cutFinished = cut.isResumed
        if cut.lostBytes > 0 {
            report.tornTail = RecoveryReport.TornTail(
                file: cut.tail.name,
                byte: geometry.byte(of: cut.tail.end),
                position: LogPosition(cut.tail.end),
                bytes: cut.lostBytes
            )
        }
        return floor
    }

    /// Removes what a release that was cut short has left: nothing but files below the floor's mark.
    mutating func finishRelease(
        _ survey: DirectorySurvey,
        _ floor: inout Floor?
    ) throws(LogError) {
        guard let found = floor, let mark = found.first else { return }
        // The release may have been cut short between the floor's slots: first both say so.
        if survey.segments.contains(where: { $0 < mark }) {
            floor = try found.restated(in: directory)
        }
        for base in survey.segments where base < mark {
            report.releasesFinished.append(LogFileName.name(ofSegment: base))
            try remove(LogFileName.name(ofIndex: base))
            try remove(LogFileName.name(ofSegment: base))
            // One by one, oldest first: a hole must not outlive a crash.
            try storage { () throws(StorageError) in try directory.syncDirectory() }
        }
        let present = try storage { () throws(StorageError) in try directory.list() }
        for base in survey.indexes where base < mark {
            let name = LogFileName.name(ofIndex: base)
            if present.contains(name) { try remove(name) }
        }
    }

    /// Removes a file, if it is there.
    func remove(_ name: String) throws(LogError) {
        do throws(StorageError) {
            try directory.remove(name)
        } catch {
            guard error.reason == .notFound else { throw .storage(error) }
        }
    }

    private func writeZeros(_ file: any LogFile, _ range: Range<Int>) throws(LogError) {
        let zeros = RawBuffer(capacity: SegmentScanner.windowBytes)
        zeros.zero(0..<SegmentScanner.windowBytes)
        var at = range.lowerBound
        while at < range.upperBound {
            let count = min(SegmentScanner.windowBytes, range.upperBound - at)
            try storage { () throws(StorageError) in
                try file.write(zeros.bytes(0..<count), at: at)
            }
            at += count
        }
    }

    /// What was read becomes durable only now: a crash may have left it in the page cache alone. The
    /// floor too: a cut that only the cache knows to be over would be made again, through what is
    /// appended from here on.
    func settle(
        _ scanned: ArraySlice<SegmentCandidate>,
        hasFloor: Bool
    ) throws(LogError) {
        for candidate in scanned {
            try storage { () throws(StorageError) in try candidate.file.sync() }
        }
        if hasFloor {
            try storage { () throws(StorageError) in
                try directory.open(LogFileName.floorName).sync()
            }
        }
        try storage { () throws(StorageError) in try directory.syncDirectory() }
    }
}
