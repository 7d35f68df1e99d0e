// Planning the repair of one segment: where its holes are, and how the chain goes on behind each.

import PulseCore

extension RepairPlanner {
    /// A hole, in bytes of the file.
    private struct Hole {
        var bytes: Range<Int>
        var ownChain: UInt32
        var nextChain: UInt32
        var wall: WallTimestamp
        /// Part of it has no good header: more may be lost than is known.
        var isPartlyUnknown = false
    }

    /// Looks at a segment, and adds its file to the plan when it has to be written anew.
    ///
    /// - Returns: How it ends; nil when the log ends in it and it is still open.
    mutating func repair(
        _ number: UInt64,
        _ candidate: SegmentCandidate?,
        after previous: RepairPlan.Ending?,
        next: SegmentHeader?,
        isLast: Bool
    ) throws(LogError) -> RepairPlan.Ending? {
        let base = geometry.base(of: number)
        let name = LogFileName.name(ofSegment: base)
        var faults: [String] = []
        var header = candidate?.header
        if let found = header, let previous,
            found.previousNumber != previous.number || found.previousEnd != previous.end
                || found.previousChain != previous.chain
        {
            faults.append("the segment does not follow the one before it")
            header = nil
        } else if candidate == nil {
            faults.append("the file is missing")
        } else if header == nil, let candidate {
            faults.append(candidate.headerFault)
        }
        let footer = candidate?.footer
        let knownEnd = footer?.end ?? next?.previousEnd
        let knownChain = footer?.chain ?? next?.previousChain
        let isSealed = !isLast || footer != nil

        // Where the first entry's chain starts: by the header, or as the first entry itself says.
        var start = header?.firstChain(checksums)
        var remade = header
        if header == nil {
            remade = SegmentHeader(
                identity: identity,
                number: number,
                segmentBytes: geometry.segmentBytes,
                previousNumber: previous?.number
                    ?? (number == 0 ? SegmentHeader.noPrevious : number - 1),
                previousEnd: previous?.end ?? 0,
                previousChain: previous?.chain ?? 0,
                created: previous?.wall ?? WallTimestamp(milliseconds: 0),
                syncedUpTo: min(plan.end, base),
                startChain: 0
            )
        }

        var holes: [Hole] = []
        var kept: [Range<Int>] = []
        var tally = SegmentTally()
        var gapCount: UInt32 = 0
        var wall = previous?.wall ?? WallTimestamp(milliseconds: 0)
        let limit = candidate?.cutByte ?? geometry.entriesEnd
        var at = geometry.entriesStart
        var chain = start
        if let candidate {
            let scanner = SegmentScanner(
                file: candidate.file,
                number: number,
                geometry: geometry,
                checksums: checksums,
                byte: at,
                chain: start
            )
            walking: while scanner.byte < limit, scanner.byte != knownEnd.map(geometry.byte(of:)) {
                at = scanner.byte
                let expected = scanner.chain
                switch try scanner.next() {
                case .full: break walking
                case .entry(let entry, let body):
                    if start == nil { start = entry.chain }
                    note(entry, body)
                    if entry.kind == .gap { gapCount += 1 }
                    tally.count(entry.wall)
                    wall = entry.wall
                    // What an earlier gap stands for is nothing, and need not be readable.
                    let end = at + entry.storedBytes
                    if kept.last?.upperBound == at {
                        kept[kept.count - 1] = kept[kept.count - 1].lowerBound..<end
                    } else {
                        kept.append(at..<end)
                    }
                    if holes.last?.bytes.upperBound == at {
                        holes[holes.count - 1].nextChain = entry.chain
                    }
                case .fault(_, let bad):
                    guard base + UInt64(at) < plan.end else { break walking }
                    let resume = try resume(scanner, at, bad, knownEnd, limit)
                    guard resume > at else { break walking }
                    if holes.last?.bytes.upperBound == at {
                        let last = holes.count - 1
                        holes[last].bytes = holes[last].bytes.lowerBound..<resume
                    } else {
                        let own = expected ?? 0
                        holes.append(
                            Hole(bytes: at..<resume, ownChain: own, nextChain: own, wall: wall)
                        )
                        ledger.beginHole(place(holes.count - 1))
                        tally.count(wall)
                    }
                    let last = holes.count - 1
                    if let bad {
                        ledger.noteLost(bad)
                        scanner.stepOver(bad)
                        holes[last].nextChain = scanner.chain ?? 0
                        scanner.byte = resume
                    } else {
                        holes[last].isPartlyUnknown = true
                        scanner.byte = resume
                        scanner.chain = nil
                    }
                }
            }
            at = scanner.byte
            chain = scanner.chain
        } else {
            let end = knownEnd.map(geometry.byte(of:)) ?? unknownEnd(base, isLast: isLast)
            if end > at {
                holes.append(
                    Hole(
                        bytes: at..<end,
                        ownChain: 0,
                        nextChain: 0,
                        wall: wall,
                        isPartlyUnknown: true
                    )
                )
                ledger.beginHole(place(0))
                tally.count(wall)
            }
            at = end
        }
        remade?.startChain = header == nil ? start ?? 0 : header?.startChain
        // What a lost header or a hole at the very beginning leaves open.
        if holes.first?.bytes.lowerBound == geometry.entriesStart {
            holes[0].ownChain = remade?.startChain ?? start ?? 0
        }
        let end = base + UInt64(at)
        var endChain = chain ?? remade?.startChain ?? start ?? 0
        if holes.last?.bytes.upperBound == at {
            let last = holes.count - 1
            if let knownChain, knownEnd == end { holes[last].nextChain = knownChain }
            if let floor = plan.floor, floor.position == end { holes[last].nextChain = floor.chain }
            endChain = holes[last].nextChain
        } else if header == nil, candidate == nil, let knownChain {
            // A segment without entries: only the link has to hold.
            remade?.startChain = knownChain
            endChain = knownChain
        }
        if isSealed, footer == nil, candidate != nil {
            faults.append("the footer is missing or fails its checksum")
        }
        if !holes.isEmpty { faults.append("\(holes.count) hole(s) among its entries") }
        var gaps: [Gap] = []
        for (index, hole) in holes.enumerated() {
            guard hole.bytes.count >= EntryHeader.bytes else {
                throw .damaged(
                    DamagedRange(
                        file: name,
                        byte: hole.bytes.lowerBound,
                        from: LogPosition(base + UInt64(hole.bytes.lowerBound)),
                        to: LogPosition(base + UInt64(hole.bytes.upperBound)),
                        reason: "the hole is smaller than any entry: this cannot be repaired here"
                    )
                )
            }
            let gap = Gap(
                position: LogPosition(base + UInt64(hole.bytes.lowerBound)),
                to: LogPosition(base + UInt64(hole.bytes.upperBound)),
                reason: candidate == nil ? .missingFile : .damagedBytes,
                file: name
            )
            gaps.append(gap)
            ledger.endHole(
                place(index),
                bytes: hole.bytes.count,
                isPartlyUnknown: hole.isPartlyUnknown
            )
        }
        let ending = RepairPlan.Ending(
            number: number,
            end: end,
            chain: endChain,
            entries: tally.entries,
            wall: wall
        )
        if !faults.isEmpty, let remade {
            plan.files.append(
                RepairPlan.File(
                    name: name,
                    faults: faults,
                    gaps: gaps,
                    exists: candidate != nil,
                    base: base,
                    header: remade,
                    footer: isSealed
                        ? SegmentFooter(
                            number: number,
                            end: end,
                            entries: tally.entries,
                            firstWall: tally.firstWall,
                            latestWall: tally.latestWall,
                            syncedUpTo: footer?.syncedUpTo ?? min(plan.end, end),
                            chain: endChain,
                            gaps: gapCount + UInt32(gaps.count)
                        ) : nil,
                    ending: ending,
                    kept: kept,
                    chains: holes.map { ($0.ownChain, $0.nextChain) },
                    walls: holes.map(\.wall)
                )
            )
        }
        return isSealed ? ending : nil
    }

    /// Of a hole in the file that is looked at: it is the next of the plan, if there is a hole.
    private func place(_ gap: Int) -> LossLedger.Place {
        LossLedger.Place(file: plan.files.count, gap: gap)
    }

    private mutating func note(_ entry: EntryHeader, _ body: UnsafeRawBufferPointer) {
        if let gap = Gap(entry, body) {
            ledger.note(gap)
        } else if entry.kind == .recordBatch, entry.recordCount > 0 {
            let next = entry.baseOffset.advanced(by: entry.recordCount)
            ledger.note(entry.stream, entry.baseOffset, next: next)
        }
    }

    /// Where the segment reads well again behind a fault, or where its entries end.
    private func resume(
        _ scanner: SegmentScanner,
        _ at: Int,
        _ bad: EntryHeader?,
        _ knownEnd: UInt64?,
        _ limit: Int
    ) throws(LogError) -> Int {
        let end = knownEnd.map(geometry.byte(of:))
        if let bad {
            return min(Int(bad.endPosition.rawValue - scanner.base), end ?? limit)
        }
        if let next = try scanner.nextHeader(from: at + EntryHeader.bytes),
            next.byte <= end ?? limit
        {
            return next.byte
        }
        return end ?? min(limit, unknownEnd(scanner.base, isLast: true))
    }

    /// Where entries end that nothing speaks of: at the promise, or at the segment's end.
    private func unknownEnd(_ base: UInt64, isLast: Bool) -> Int {
        let promised = plan.end > base ? plan.end - base : 0
        guard promised < UInt64(geometry.entriesEnd) else { return geometry.entriesEnd }
        return isLast ? max(geometry.entriesStart, Int(promised + 7) & ~7) : geometry.entriesEnd
    }
}
