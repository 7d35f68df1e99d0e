// Which generations there should be, and keeping them: opened at start, merged in the background,
// adopted, let go.
//
//     level 0   | | | | | | | | | | | | | |    index files of single segments
//     level 1   |---------------|              fan-out segments, aligned by number
//     level 2                                  fan-out squared, and so on
//
// A group is merged once its last segment is indexed, by the largest group that is complete, from the
// largest files there are. So what should exist follows from the segments alone.

import PulseCore

extension ShardLog {
    // MARK: At start

    /// Takes in the generations found that are about the segments kept; removes the others, unless
    /// the log is damaged: leftovers of a merge, of a release, or of segments that were cut.
    func openGenerations(
        _ found: [ClosedRange<UInt64>],
        at wall: WallTimestamp
    ) throws(LogError) {
        // The largest first: a smaller one inside it is what it was made from.
        let ranges = found.sorted {
            $0.count != $1.count ? $0.count > $1.count : $0.lowerBound < $1.lowerBound
        }
        for range in ranges {
            let generation = try Generation.open(
                in: directory,
                segments: range,
                checksums: checksums
            )
            if let generation, let segments = covered(by: generation),
                segments.allSatisfy({ $0.generation == nil })
            {
                for segment in segments { segment.generation = generation }
            } else if damaged.isEmpty {
                let name = LogFileName.name(ofGeneration: range.lowerBound, range.upperBound)
                try storage { () throws(StorageError) in try directory.remove(name) }
            }
        }
        if let age = configuration.mergedKeysMilliseconds {
            keysSince = max(active.tally.newestWall, wall).advanced(byMilliseconds: -age)
        }
        try loadFilters()
    }

    /// The kept segments that a generation is about, or nil when it is not about them as they are.
    private func covered(by generation: Generation) -> [Segment]? {
        let segments = kept.filter { generation.range.contains($0.number) }
        guard let oldest = segments.first else { return nil }
        let rows = generation.segments.filter { $0.number >= oldest.number }
        guard rows.count == segments.count else { return nil }
        for (row, segment) in zip(rows, segments) {
            guard let footer = segment.footer, row.isContent(of: footer) else { return nil }
        }
        return segments
    }

    /// Reads the filters that will be asked, so that the first who asks does not wait for them.
    private func loadFilters() throws(LogError) {
        for segment in kept where !segment.isOlder(than: keysSince) {
            if let generation = segment.generation {
                if try generation.table.loadFilter() { continue }
                forget(generation)
            }
            // One that does not verify is met, and mended, by the first who asks.
            if case .file(let index) = segment.index { _ = try index.table.loadFilter() }
        }
    }

    // MARK: Merging

    /// Asks for the next piece of a merge, or begins one; frees filters that nobody asks any more.
    func requestMerge(into jobs: inout [LogJob]) {
        dropOldFilters()
        guard !mergeJobPending, damaged.isEmpty else { return }
        if merge == nil { merge = nextMerge() }
        guard let merge else { return }
        mergeJobPending = true
        jobs.append(.merge(merge))
    }

    private func dropOldFilters() {
        let oldest = keysSince
        for segment in kept {
            guard segment.isOlder(than: oldest) else { return }
            if case .file(let index) = segment.index { index.table.dropFilter() }
            // A generation is as young as its youngest segment.
            if let generation = segment.generation,
                generation.segments.allSatisfy({ $0.latestWall < oldest })
            {
                generation.table.dropFilter()
            }
        }
    }

    /// The largest complete group that no generation covers, and what to make it from.
    private func nextMerge() -> GenerationMerge? {
        var width: UInt64 = 1
        var widths: [UInt64] = []
        for _ in 0..<configuration.mergeLevels {
            width *= UInt64(configuration.mergeFanOut)
            widths.append(width)
        }
        for width in widths.reversed() {
            var place = 0
            while place < kept.count {
                let first = kept[place].number / width * width
                let range = first...first + width - 1
                let start = place
                while place < kept.count, range.contains(kept[place].number) { place += 1 }
                let group = kept[start..<place]
                if let merge = self.merge(of: group, range) { return merge }
            }
        }
        return nil
    }

    private func merge(
        of group: ArraySlice<Segment>,
        _ range: ClosedRange<UInt64>
    ) -> GenerationMerge? {
        let name = LogFileName.name(ofGeneration: range.lowerBound, range.upperBound)
        guard group.last?.number == range.upperBound, !isGivenUp(range),
            !discarding.contains(name), !group.allSatisfy({ $0.isOlder(than: keysSince) })
        else { return nil }
        var sources: [MergeSource] = []
        var rows: [GenerationSegment] = []
        var taken: Generation?
        for segment in group {
            guard let footer = segment.footer, case .file(let index) = segment.index else {
                return nil
            }
            if let generation = segment.generation {
                // One of another alignment, or of this very group: there is nothing to merge.
                guard range.contains(generation.range.lowerBound),
                    range.contains(generation.range.upperBound), generation.range != range
                else { return nil }
                if generation !== taken { sources.append(MergeSource(generation.table)) }
                taken = generation
            } else {
                let own = segment.number...segment.number
                guard !segment.indexIsDamaged, !isGivenUp(own) else { return nil }
                sources.append(MergeSource(index.table))
            }
            rows.append(GenerationSegment(footer))
        }
        return GenerationMerge(
            range: range,
            segments: rows,
            sources: sources,
            pagesPerPiece: configuration.mergePiecePages,
            checksums: checksums
        )
    }

    /// A piece of the merge ended.
    func mergeFinished(_ failure: StorageError?) {
        mergeJobPending = false
        guard let merge, failure == nil else {
            self.merge = nil
            return
        }
        wantsJobs = true
        switch merge.outcome {
        case .unfinished: return
        case .made(let generation):
            mended(generation.range)
            adopt(generation)
        case .damagedSource(let range): mendSource(range)
        }
        self.merge = nil
    }

    /// Answers from the new generation from now on. What it was made from goes; so does itself when
    /// all its segments were let go meanwhile.
    private func adopt(_ generation: Generation) {
        pages.forget()
        guard let segments = covered(by: generation) else {
            discard(generation.name)
            return
        }
        discarding.removeAll { $0 == generation.name }
        for segment in segments {
            if let old = segment.generation, old !== generation, old.name != generation.name {
                discard(old.name)
            }
            segment.generation = generation
            if case .file(let index) = segment.index { index.table.dropFilter() }
        }
    }

    // MARK: Files of no use any more

    func discard(_ name: String) {
        guard !discarding.contains(name) else { return }
        discarding.append(name)
        wantsJobs = true
    }

    func requestDiscard(into jobs: inout [LogJob]) {
        guard !discarding.isEmpty, !discardJobPending else { return }
        discardJobPending = true
        jobs.append(.discard(names: discarding))
    }
}
