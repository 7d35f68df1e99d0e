// Files that can be made again: index files, and generations that do not verify.
//
//     a question meets damage ----> made again here and now, in memory: the answer waits for it
//     scrubbing meets damage -----> made again in the background; the file answers where it can
//     a merge meets damage -------> the same; the merge is begun anew
//                                   again and again: with rests, and given up in the end

import PulseCore

/// What was found of a file that can be made again, for people to read.
package struct IndexDamage: Hashable, Sendable {
    package var file: String
    /// Made again in vain too often: done without until the next start.
    package var isGivenUp: Bool

    package init(file: String, isGivenUp: Bool) {
        self.file = file
        self.isGivenUp = isGivenUp
    }
}

extension ShardLog {
    /// Times that a file is made again for the same merge.
    private static let mendsMax = 4
    /// Damages that wait to be told; more at once are counted only.
    private static let indexDamagesMax = 64

    // MARK: Index files

    /// Asks for the index files that are missing, and for those that are damaged.
    func requestIndexes(into jobs: inout [LogJob]) {
        for segment in kept where segment.indexJob == nil {
            guard let footer = segment.footer else { continue }
            let source: IndexJob.Source
            switch segment.index {
            case .memory(let index):
                source = .memory(
                    IndexDraft(index, identity: identity, footer: footer, base: segment.base)
                )
            case .file:
                guard segment.indexIsDamaged else { continue }
                source = .segment(entries(of: segment))
            }
            let job = IndexJob(
                source,
                footer: footer,
                identity: identity,
                needsFilter: segment.generation == nil
            )
            segment.indexJob = job
            jobs.append(.sealIndex(job))
        }
    }

    /// Answers from the new file from now on.
    func adopt(_ outcome: IndexJob.Outcome, of segment: Segment) {
        segment.indexIsDamaged = false
        switch outcome {
        case .unfinished: return
        case .made(let index):
            if segment.generation != nil { index.table.dropFilter() }
            segment.index = .file(index)
            pages.forget()
            wantsJobs = true
        case .damagedSegment(let position, let reason):
            // Whoever asks the index for what it cannot answer is told the same.
            _ = cannotIndex(segment, position, reason)
        }
    }

    /// A question met damage in the index file: it is made anew from the segment, for now in memory.
    @discardableResult
    func remakeIndex(of segment: Segment) throws(LogError) -> MemoryIndex {
        // Once is enough: every message of the segment may ask.
        if let range = segment.indexObstacle { throw .damaged(range) }
        let rebuilt: MemoryIndex
        switch try entries(of: segment).index() {
        case .whole(let index): rebuilt = index
        case .damaged(let position, let reason): throw cannotIndex(segment, position, reason)
        }
        if !segment.indexIsDamaged { noteIndexDamage(LogFileName.name(ofIndex: segment.base)) }
        segment.index = .memory(rebuilt)
        segment.indexIsDamaged = false
        wantsJobs = true
        return rebuilt
    }

    private func cannotIndex(
        _ segment: Segment,
        _ position: UInt64,
        _ reason: String
    ) -> LogError {
        let error = damage(segment, position, reason)
        if case .damaged(let range) = error { segment.indexObstacle = range }
        return error
    }

    /// Nobody waits for an answer: the index file is made anew in the background.
    func mendIndex(of segment: Segment) {
        guard case .file = segment.index, !segment.indexIsDamaged else { return }
        noteIndexDamage(LogFileName.name(ofIndex: segment.base))
        segment.indexIsDamaged = true
        wantsJobs = true
    }

    private func entries(of segment: Segment) -> SegmentEntries {
        SegmentEntries(
            file: segment.file,
            number: segment.number,
            base: segment.base,
            end: segment.end,
            startChain: segment.startChain,
            geometry: geometry,
            checksums: checksums,
            indexer: indexer
        )
    }

    // MARK: Generations, and what they are made from

    /// Lets a damaged generation go. It is merged anew under the same name, or removed where it would
    /// not be asked any more.
    func forget(_ generation: Generation) {
        noteIndexDamage(generation.name)
        pages.forget()
        for segment in kept where segment.generation === generation { segment.generation = nil }
        wantsJobs = true
        if generation.segments.allSatisfy({ $0.latestWall < keysSince }) {
            discard(generation.name)
        }
    }

    /// A file that was to be merged does not verify: it is made anew, and the merge comes later; at
    /// once for the first time, then with rests, since what cannot be read may stay so.
    func mendSource(_ range: ClosedRange<UInt64>) {
        for segment in kept where range.contains(segment.number) {
            if let generation = segment.generation, generation.range == range {
                forget(generation)
                break
            }
            if range.count == 1 { mendIndex(of: segment) }
        }
        var mend = mends.first { $0.range == range } ?? Mend(range: range)
        mend.times += 1
        mends.removeAll { $0.range == range }
        mends.append(mend)
        if mend.times > 1 { rest() }
        if mend.times == Self.mendsMax { tell(IndexDamage(file: name(of: range), isGivenUp: true)) }
    }

    /// Whether the file about these segments was made anew too often.
    func isGivenUp(_ range: ClosedRange<UInt64>) -> Bool {
        mends.contains { $0.range == range && $0.times >= Self.mendsMax }
    }

    /// What these segments' keys were merged from read well.
    func mended(_ range: ClosedRange<UInt64>) { mends.removeAll { range.overlaps($0.range) } }

    private func name(of range: ClosedRange<UInt64>) -> String {
        range.count > 1
            ? LogFileName.name(ofGeneration: range.lowerBound, range.upperBound)
            : LogFileName.name(ofIndex: geometry.base(of: range.lowerBound))
    }

    // MARK: Telling

    /// Files that were made anew in vain so often that merging does without them until the next start.
    package var indexFilesGivenUp: Int { mends.count { $0.times >= Self.mendsMax } }

    /// What was found since this was asked last.
    package func takeIndexDamages() -> [IndexDamage] {
        defer { indexDamages.removeAll() }
        return indexDamages
    }

    private func noteIndexDamage(_ file: String) {
        indexDamagesMet += 1
        tell(IndexDamage(file: file, isGivenUp: false))
    }

    private func tell(_ damage: IndexDamage) {
        if indexDamages.count < Self.indexDamagesMax { indexDamages.append(damage) }
    }
}

/// How often the file about these segments was made anew because a merge could not read it.
struct Mend: Hashable, Sendable {
    var range: ClosedRange<UInt64>
    var times = 0
}
