// Inspecting index files, alone and against their segments, and generations.

import PulseCore

extension LogInspector {
    mutating func lookAtIndex(
        of candidate: SegmentCandidate,
        _ survey: DirectorySurvey,
        _ identity: LogIdentity,
        _ geometry: SegmentGeometry
    ) throws(LogError) {
        let checksums = LogChecksums(identity)
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
        if verify {
            if let byte = try index.table.firstDamagedByte() {
                add(name, byte, "this part of the index fails its checksum")
            } else {
                try compare(index, name, with: candidate, footer, identity, geometry)
            }
        }
        if let place = result.segments.firstIndex(where: { $0.name == candidate.name }) {
            result.segments[place].hasIndex = true
        }
    }

    /// Asks the index for everything that the segment's entries say. A segment that does not verify is told
    /// as that.
    private mutating func compare(
        _ index: SealedIndex,
        _ name: String,
        with candidate: SegmentCandidate,
        _ footer: SegmentFooter,
        _ identity: LogIdentity,
        _ geometry: SegmentGeometry
    ) throws(LogError) {
        guard let indexer else { return }
        let checksums = LogChecksums(identity)
        let entries = SegmentEntries(
            file: candidate.file,
            number: candidate.number,
            base: candidate.base,
            end: footer.end,
            startChain: candidate.startChain(checksums),
            geometry: geometry,
            checksums: checksums,
            indexer: indexer
        )
        guard case .whole(let found) = try entries.index() else { return }
        let draft = IndexDraft(found, identity: identity, footer: footer, base: candidate.base)
        result.indexesCompared += 1
        if let (byte, text) = try index.firstDifference(from: draft) { add(name, byte, text) }
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
            result.generations.append(name)
            if verify, let byte = try generation.table.firstDamagedByte() {
                add(name, byte, "this part of the generation fails its checksum")
            }
        }
    }
}

extension SealedIndex {
    /// The first thing that a question to this index would be answered otherwise than from the segment; the
    /// byte is where it belongs.
    func firstDifference(from draft: IndexDraft) throws(LogError) -> (byte: Int, text: String)? {
        let pages = IndexPages()
        let nodes = draft.sortedNodes
        // An index made before a repair still names what was lost.
        let mayHaveMore = draft.footer.gaps > 0
        var place = 0
        while place < nodes.count {
            let key = nodes[place].key
            let expected = nodes[place...].prefix { $0.key == key }.map {
                draft.base + UInt64($0.slot) << 3
            }
            var found: [UInt64] = []
            guard try table.positions(of: key, pages, into: &found),
                mayHaveMore ? Self.has(expected, in: found) : found == expected
            else {
                let byte = PagedFile.start(ofPage: place / table.shape.format.pageKeys)
                let at = expected.first ?? draft.base
                return (byte, "the key \(key) of the entry at position \(at) is not found there")
            }
            place += expected.count
        }
        for (stream, runs) in zip(draft.streams, draft.runs) {
            for run in runs {
                for offset in [run.baseOffset, run.endOffset - 1] {
                    let answer = try locate(StreamID(rawValue: stream), Offset(offset), pages)
                    if case .byte(let byte) = answer, byte == Int(run.slot) << 3 { continue }
                    let byte = PagedFile.start(ofPage: table.shape.keyPages)
                    return (byte, "offset \(offset) of stream \(stream) is not found where it is")
                }
            }
        }
        let counts = (table.shape.keys, streams.count, streams.reduce(0) { $0 + $1.runs })
        let runs = draft.runs.reduce(0) { $0 + $1.count }
        guard mayHaveMore || counts == (nodes.count, draft.streams.count, runs) else {
            return (40, "the index has keys or runs that the segment has not")
        }
        return nil
    }

    /// Whether all of some positions are among others, in this order.
    private static func has(_ some: [UInt64], in all: [UInt64]) -> Bool {
        var place = 0
        for one in all where place < some.count && one == some[place] { place += 1 }
        return place == some.count
    }
}
