// Inspecting the floor.

import PulseCore

extension LogInspector {
    mutating func readFloor(
        _ survey: DirectorySurvey,
        _ identity: LogIdentity
    ) throws(LogError) -> Floor? {
        guard let slots = try survey.floor(in: directory) else { return nil }
        let name = LogFileName.floorName
        let size = try storage { () throws(StorageError) in try directory.open(name).size() }
        if size < Floor.fileBytes { add(name, size, "the file is cut short") }
        for slot in slots.unreadable {
            add(LogFileName.floorName, slot * Floor.slotBytes, "the slot fails its checksum")
        }
        guard let floor = slots.best else { return nil }
        guard floor.identity == identity else {
            add(LogFileName.floorName, floor.slot * Floor.slotBytes + 16, "it is another log's")
            return nil
        }
        result.floor = LogPosition(floor.position)
        result.first = floor.first.map { LogPosition($0) }
        return floor
    }

    /// Without a floor nobody can tell what was lost at either end of the log. A young log has none yet.
    mutating func tellOfNoFloor(
        _ survey: DirectorySurvey,
        _ oldest: SegmentCandidate
    ) throws(LogError) {
        let name = LogFileName.floorName
        if result.problems.contains(where: { $0.file == name }) { return }
        // The first programs made the file before they had anything to write into it.
        if survey.hasFloor { return }
        if let header = oldest.header, header.previousNumber != SegmentHeader.noPrevious {
            let text =
                "there is no floor file: nothing says whether the segments before \(oldest.name) were"
                + " released or are lost"
            // No damage by itself: the first programs released segments without a floor.
            result.notes.append(text)
        } else {
            result.notes.append(
                "there is no floor file, unless the log is young it is lost: a loss of the newest"
                    + " entries would look like a torn tail"
            )
        }
    }

    /// The floor must lie inside the log; where it names the very end, the chain must agree.
    mutating func check(
        _ floor: Floor,
        _ candidates: [SegmentCandidate],
        _ geometry: SegmentGeometry
    ) {
        let byte = floor.slot * Floor.slotBytes + 32
        guard let first = candidates.first, let last = candidates.last else { return }
        if let begin = floor.first, begin < first.base {
            add(
                LogFileName.name(ofSegment: begin),
                0,
                "the file is missing: the log was to begin at \(begin) and begins at \(first.base)"
            )
        }
        if floor.position > last.end {
            add(
                LogFileName.floorName,
                byte,
                "the log was durable up to \(floor.position) and ends at \(last.end)"
            )
        }
        for candidate in candidates
        where candidate.end == floor.position && candidate.endChain != floor.chain {
            add(LogFileName.floorName, byte, "the floor's chain is not that of \(candidate.name)")
        }
    }
}
