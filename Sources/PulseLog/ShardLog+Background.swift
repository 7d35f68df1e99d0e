// Work that may wait: spare files, index files of sealed segments, and letting old segments go.

package import PulseCore

extension ShardLog {
    /// Milliseconds between attempts after background work failed: a full disk is not asked twice
    /// a millisecond.
    private static let retryMilliseconds: Int64 = 1000

    /// Adds the jobs that are wanted now and not yet under way.
    func requestJobs(into jobs: inout [LogJob]) throws(LogError) {
        guard refusal == nil, latestWall >= jobsNotBefore else { return }
        wantsJobs = false
        while spares.count + sparesComing.count < configuration.spareSegments {
            lastSpareNumber += 1
            let name = LogFileName.name(ofSpare: lastSpareNumber)
            sparesComing.insert(name)
            jobs.append(.prepareSpare(name: name, bytes: geometry.segmentBytes))
        }
        try requestRelease(into: &jobs)
        for segment in kept {
            guard let footer = segment.footer, !segment.indexJobPending,
                case .memory(let index) = segment.index
            else { continue }
            segment.indexJobPending = true
            jobs.append(
                .sealIndex(
                    IndexDraft(index, identity: identity, footer: footer, base: segment.base)
                )
            )
        }
        requestMerge(into: &jobs)
        requestDiscard(into: &jobs)
    }

    /// Tells the log what time it is, so that failed work is tried again although nothing is appended.
    package func noteTime(_ wall: WallTimestamp) {
        if wall > latestWall { latestWall = wall }
    }

    /// No file goes before the floor says, durably, that the log begins above it: otherwise nobody could
    /// tell a released segment from one that was lost.
    private func requestRelease(into jobs: inout [LogJob]) throws(LogError) {
        guard !releasing.isEmpty, !releaseJobPending else { return }
        if releaseMarkDue {
            do throws(LogError) {
                try writeReleasedMark()
            } catch {
                // Only a floor file that has to be made needs room.
                guard case .storage(let failed) = error, failed.reason == .noSpace else {
                    throw error
                }
                wantsJobs = true
                jobsNotBefore = latestWall.advanced(byMilliseconds: Self.retryMilliseconds)
                return
            }
            releaseMarkDue = false
        }
        releaseJobPending = true
        jobs.append(.release(releasing))
    }

    /// A job ended. What failed is asked for again, a second of log time later.
    package func jobFinished(_ subject: LogJob.Subject, failure: StorageError?) {
        if failure != nil {
            wantsJobs = true
            jobsNotBefore = latestWall.advanced(byMilliseconds: Self.retryMilliseconds)
        }
        switch subject {
        case .spare(let name):
            sparesComing.remove(name)
            lacksSpares = failure?.reason == .noSpace
            if failure == nil { spares.append(name) }
        case .index(let number):
            guard let segment = kept.first(where: { $0.number == number }) else { return }
            segment.indexJobPending = false
            if failure == nil { adoptIndexFile(of: segment) }
        case .merge: mergeFinished(failure)
        case .discard(let names):
            discardJobPending = false
            guard failure == nil else { return }
            discarding.removeAll { names.contains($0) }
        case .release(let count, let names):
            releaseJobPending = false
            guard failure == nil else { return }
            releasing.removeFirst(count)
            if !releasing.isEmpty { wantsJobs = true }
            for name in names { sparesComing.remove(name) }
            spares += names
        }
    }

    /// Lets the index in memory go once the file reads well; keeps it otherwise.
    private func adoptIndexFile(of segment: Segment) {
        guard let footer = segment.footer else { return }
        do throws(LogError) {
            if let index = try SealedIndex.open(
                in: directory,
                name: LogFileName.name(ofIndex: segment.base),
                footer: footer,
                checksums: checksums
            ) {
                segment.index = .file(index)
                pages.forget()
                // Read now rather than by the first who asks; damage is met, and mended, by that one.
                if segment.generation == nil { _ = try index.loadFilter() }
                wantsJobs = true
            }
        } catch {
            wantsJobs = true
            jobsNotBefore = latestWall.advanced(byMilliseconds: Self.retryMilliseconds)
        }
    }

    /// Retention: lets go of whole sealed segments that end at or below `below`. They are gone for
    /// reads at once; their files are recycled as spares, or removed when there are enough.
    ///
    /// The caller has made sure that nothing needs them: the state store's checkpoint is above, and
    /// what must outlive them has been copied.
    ///
    /// The new beginning is noted in the floor and synced before the job is asked for.
    package func releaseSegments(
        below: LogPosition,
        jobs: inout [LogJob]
    ) throws(LogError) {
        // A damaged log keeps all it has until somebody has looked.
        guard refusal == nil, damaged.isEmpty else { return }
        let before = releasing.count
        while let oldest = kept.first, oldest !== active, oldest.end <= below.rawValue,
            oldest.end <= durable, geometry.base(of: oldest.number + 1) < durable,
            !oldest.indexJobPending
        {
            var spareName: String?
            if spares.count + sparesComing.count < configuration.spareSegments {
                lastSpareNumber += 1
                let name = LogFileName.name(ofSpare: lastSpareNumber)
                sparesComing.insert(name)
                spareName = name
            }
            releasing.append(
                ReleasedSegment(
                    name: oldest.name,
                    indexName: LogFileName.name(ofIndex: oldest.base),
                    spareName: spareName
                )
            )
            kept.removeFirst()
            if let generation = oldest.generation, generation !== kept.first?.generation {
                discard(generation.name)
            }
        }
        guard releasing.count > before else { return }
        releaseMarkDue = true
        streamDirectory.forget(before: (kept.first ?? active).number)
        wantsJobs = true
        // Not held back by an earlier failure: on a full disk this is what helps.
        try requestRelease(into: &jobs)
    }
}
