// What a repair would do: which files it would write anew, and what is lost for good where it does.

package import PulseCore

package struct RepairPlan: Sendable {
    /// A segment file to be written anew.
    package struct File: Sendable {
        package var name: String
        /// What is wrong with it, one sentence each.
        package var faults: [String]
        package internal(set) var gaps: [Gap]
        /// Whether there is a file to keep in the trash.
        package var exists: Bool

        let base: UInt64
        var header: SegmentHeader
        var footer: SegmentFooter?
        /// How its entries end: where, with which chain, how many.
        let ending: Ending
        /// Ranges of the old file that are taken over.
        var kept: [Range<Int>]
        /// The chain that each gap carries, and the one behind it, in the order of the gaps.
        var chains: [(own: UInt32, next: UInt32)]
        /// Walls of the gaps: those of the entries before them.
        var walls: [WallTimestamp]
    }

    package internal(set) var files: [File] = []
    let identity: LogIdentity
    let geometry: SegmentGeometry
    let floor: Floor?
    /// How far the log was promised.
    var end: UInt64

    /// How a segment's entries end, as its footer and the next segment must say it.
    struct Ending {
        var number: UInt64
        var end: UInt64
        var chain: UInt32
        var entries: UInt64
        var wall: WallTimestamp
    }

    package var isClean: Bool { files.isEmpty }

    /// All that would be lost, in the order of the log.
    package var gaps: [Gap] { files.flatMap(\.gaps) }

    package var lines: [String] {
        guard !isClean else { return ["nothing is damaged"] }
        var lines: [String] = []
        for file in files {
            for fault in file.faults { lines.append("\(file.name): \(fault)") }
            for gap in file.gaps {
                let byte = gap.position.rawValue - file.base
                lines.append(
                    "\(file.name) at byte \(byte): \(gap.to.rawValue - gap.position.rawValue) bytes"
                        + " are lost, positions \(gap.position.rawValue) to \(gap.to.rawValue)"
                )
                for loss in gap.losses { lines.append("  lost: \(loss)") }
            }
            if file.gaps.isEmpty { lines.append("\(file.name): no entry is lost") }
        }
        return lines
    }
}

/// How far a state store has taken a log in: what it has was durable, whatever became of the log's end.
package struct StoreReach: Hashable, Sendable {
    package var identity: LogIdentity
    package var position: LogPosition

    package init(identity: LogIdentity, position: LogPosition) {
        self.identity = identity
        self.position = position
    }
}

/// Finds out what of the log is damaged and what would have to be given up. Changes nothing.
struct RepairPlanner {
    let directory: any LogDirectory
    let identity: LogIdentity
    let geometry: SegmentGeometry
    let checksums: LogChecksums
    var plan: RepairPlan
    var ledger: LossLedger

    /// Files that may be missing altogether: what says more is no sign of a log that can be repaired.
    private static let missingMax: UInt64 = 4096

    package static func plan(
        _ directory: any LogDirectory,
        _ reach: StoreReach?
    ) throws(LogError) -> RepairPlan {
        var survey = try DirectorySurvey(directory)
        guard let (identity, geometry) = try survey.oldestHeader(in: directory) else {
            throw .damaged(
                DamagedRange(
                    file: "*.seg",
                    byte: 0,
                    from: .zero,
                    to: .zero,
                    reason: "there is no segment file to repair"
                )
            )
        }
        survey.setStraysAside(geometry)
        let slots = try survey.floor(in: directory)?.owned(by: identity)
        let floor = slots?.best
        let first =
            slots?.first ?? survey.segments.first { $0 >= floor?.first ?? 0 }
            ?? floor?.first ?? 0
        var planner = RepairPlanner(
            directory: directory,
            identity: identity,
            geometry: geometry,
            checksums: LogChecksums(identity),
            plan: RepairPlan(identity: identity, geometry: geometry, floor: floor, end: 0),
            ledger: LossLedger(isWhole: first == 0)
        )
        // Another log's store says nothing of this one.
        let reached = reach?.identity == identity ? reach?.position.rawValue : nil
        try planner.run(survey, floor, reached: reached ?? 0, from: geometry.number(of: first))
        return planner.plan
    }

    private mutating func run(
        _ survey: DirectorySurvey,
        _ floor: Floor?,
        reached: UInt64,
        from first: UInt64
    ) throws(LogError) {
        var candidates: [UInt64: SegmentCandidate] = [:]
        var promised = max(floor?.position ?? 0, reached)
        var last: UInt64
        for base in survey.segments where base >= floor?.first ?? 0 {
            // A cut that was begun ends the log: what lies behind was never promised.
            if let cut = floor?.cut, base > cut.position { continue }
            let candidate = try SegmentCandidate(
                name: LogFileName.name(ofSegment: base),
                base: base,
                in: directory,
                identity: identity,
                geometry: geometry
            )
            if let cut = floor?.cut, geometry.number(of: cut.position) == candidate.number {
                candidate.cutByte = geometry.byte(of: cut.position)
            }
            _ = try candidate.scanned(geometry, checksums, nil)
            promised = max(promised, candidate.promised)
            candidates[candidate.number] = candidate
        }
        plan.end = promised
        // What begins behind the promise is for the next start to keep or to cut.
        guard promised > UInt64(geometry.entriesStart) else { return }
        last = geometry.number(of: promised - 1)
        if geometry.byte(of: promised - 1) < geometry.entriesStart { last -= 1 }
        guard last < first + UInt64(candidates.count) + Self.missingMax else {
            throw .damaged(
                DamagedRange(
                    file: LogFileName.floorName,
                    byte: 0,
                    from: LogPosition(geometry.base(of: first)),
                    to: LogPosition(promised),
                    reason: "more than \(Self.missingMax) segment files are missing"
                )
            )
        }
        var previous: RepairPlan.Ending?
        var number = first
        while number <= last {
            let next = candidates[number + 1]?.header
            guard
                let ending = try repair(
                    number,
                    candidates[number],
                    after: previous,
                    next: next?.previousNumber == number ? next : nil,
                    isLast: number == last
                )
            else { break }
            previous = ending
            number += 1
        }
        for (place, loss) in ledger.assigned() {
            plan.files[place.file].gaps[place.gap].losses.append(loss)
        }
    }
}
