// Inspecting the files beside the segments: the floor, the indexes and the generations.

import PulseCore

extension LogInspector {
    mutating func readFloor(
        _ survey: DirectorySurvey,
        _ identity: LogIdentity
    ) throws(LogError) -> Floor? {
        guard survey.hasFloor else { return nil }
        let file = try storage { () throws(StorageError) in
            try directory.open(LogFileName.floorName)
        }
        let slots = try Floor.read(file)
        for slot in slots.unreadable {
            add(LogFileName.floorName, slot * Floor.slotBytes, "the slot fails its checksum")
        }
        guard let floor = slots.best else { return nil }
        guard floor.identity == identity else {
            add(LogFileName.floorName, floor.slot * Floor.slotBytes + 16, "it is another log's")
            return nil
        }
        result.floor = LogPosition(floor.position)
        return floor
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

    mutating func lookAtIndex(
        of candidate: SegmentCandidate,
        _ survey: DirectorySurvey,
        _ checksums: LogChecksums
    ) throws(LogError) {
        let name = LogFileName.name(ofIndex: candidate.base)
        guard let footer = candidate.footer, survey.indexes.contains(candidate.base) else {
            result.notes.append("\(candidate.name) has no index file yet; opening the log makes it")
            return
        }
        guard
            let index = try SealedIndex.open(
                in: directory,
                base: candidate.base,
                footer: footer,
                checksums: checksums
            )
        else {
            if try KeyTableHeader(name, in: directory, .index, checksums)?.isOlder == true {
                result.notes.append("\(name) is of an older format; opening the log remakes it")
            } else {
                add(
                    name,
                    0,
                    "the index is damaged or not this segment's; opening the log remakes it"
                )
            }
            return
        }
        if verify, let byte = try index.table.firstDamagedByte() {
            add(name, byte, "this part of the index fails its checksum")
        }
        if let place = result.segments.firstIndex(where: { $0.name == candidate.name }) {
            result.segments[place].hasIndex = true
        }
    }

    /// Generations are looked at by themselves; whether they fit the segments is for opening to see.
    mutating func lookAtGenerations(
        _ survey: DirectorySurvey,
        _ checksums: LogChecksums
    ) throws(LogError) {
        for range in survey.generations {
            let name = LogFileName.name(ofGeneration: range.lowerBound, range.upperBound)
            let generation = try Generation.open(
                in: directory,
                segments: range,
                checksums: checksums
            )
            guard let generation else {
                // A running broker may have replaced it by a larger one just now.
                let names = try storage { () throws(StorageError) in try directory.list() }
                guard names.contains(name) else { continue }
                add(name, 0, "the generation is damaged; opening the log remakes it")
                continue
            }
            if verify, let byte = try generation.table.firstDamagedByte() {
                add(name, byte, "this part of the generation fails its checksum")
            }
        }
    }
}
