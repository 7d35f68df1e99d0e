// Work that may wait: spare files, index files of sealed segments, and letting old segments go; the
// floor's part of that is in ShardLog+Floor.

package import PulseCore

extension ShardLog {
    /// Milliseconds between attempts after background work failed, doubled with each failure: a full
    /// disk is not asked twice a millisecond, and room that came back is found within seconds.
    private static let retryMilliseconds: Int64 = 1000
    private static let retryMillisecondsMax: Int64 = 4000

    /// Adds the jobs that are wanted now and not yet under way.
    func requestJobs(into jobs: inout [LogJob]) {
        guard refusal == nil, latestTime >= jobsNotBefore else { return }
        wantsJobs = false
        while spares.count + sparesComing.count < configuration.spareSegments,
            roomBytes >= geometry.segmentBytes
        {
            lastSpareNumber += 1
            let name = LogFileName.name(ofSpare: lastSpareNumber)
            sparesComing.insert(name)
            tookRoom()
            jobs.append(.prepareSpare(name: name, bytes: geometry.segmentBytes))
        }
        requestRelease(into: &jobs)
        requestIndexes(into: &jobs)
        requestMerge(into: &jobs)
        requestDiscard(into: &jobs)
    }

    /// Tells the log what time it is, so that failed work is tried again although nothing is appended.
    ///
    /// - Parameter keysSince: Keys of entries with an earlier wall time are not asked for any more. It may
    ///   go back, when somebody sets the clock: then what was let go is read again.
    package func noteTime(_ now: Now, keysSince: WallTimestamp? = nil) {
        latestTime = now.monotonic
        if let keysSince { self.keysSince = keysSince }
    }

    /// When failed work wants to be tried again; nil when none waits.
    package var jobsDue: MonotonicInstant? {
        wantsJobs && failuresInRow > 0 && refusal == nil ? jobsNotBefore : nil
    }

    func rest() {
        wantsJobs = true
        let wait = Self.retryMilliseconds << Int64(min(failuresInRow, 8))
        failuresInRow += 1
        jobsNotBefore = latestTime.advanced(
            byMilliseconds: min(wait, Self.retryMillisecondsMax)
        )
    }

    /// A file is made: until the disk is looked at again, there is so much less room.
    func tookRoom() {
        if roomBytes != .max { roomBytes = max(0, roomBytes - geometry.segmentBytes) }
    }

    /// There is more or less room on the disk than there was.
    package func noteRoom(bytes free: Int) {
        // Files that are being made may have taken their room already, or not yet: taken for not yet.
        let coming = sparesComing.count * geometry.segmentBytes
        let bytes = free == .max ? free : max(0, free - coming)
        // Spares that could not be made are wanted as soon as they can.
        if bytes > roomBytes { wantsJobs = true }
        if bytes >= geometry.segmentBytes, roomBytes < geometry.segmentBytes {
            jobsNotBefore = latestTime
        }
        roomBytes = bytes
    }

    /// A job ended. What failed is asked for again, a second or more later.
    package func jobFinished(_ subject: LogJob.Subject, failure: StorageError?) {
        if subject == .floor { return floorFinished(failure) }
        if failure == nil { failuresInRow = 0 } else { rest() }
        switch subject {
        case .floor: break
        case .spare(let name):
            sparesComing.remove(name)
            lacksSpares = failure?.reason == .noSpace
            if failure == nil { spares.append(name) }
        case .index(let number):
            guard let segment = kept.first(where: { $0.number == number }) else { return }
            let job = segment.indexJob
            segment.indexJob = nil
            if failure == nil, let job { adopt(job.outcome, of: segment) }
        case .merge: mergeFinished(failure)
        case .discard(let names):
            discardJobPending = false
            guard failure == nil else { return }
            discarding.removeAll { names.contains($0) }
        case .release(let count, let names):
            releaseJobPending = false
            guard failure == nil else { return }
            releasing.removeFirst(count)
            if !releasing.isEmpty { wantsRelease = true }
            for name in names { sparesComing.remove(name) }
            spares += names
        }
    }

    /// Retention: lets go of whole sealed segments that end at or below `below`. They are gone for
    /// reads at once; their files are recycled as spares, or removed when there are enough.
    ///
    /// The caller has made sure that nothing needs them: the state store's checkpoint is above, and
    /// what must outlive them has been copied.
    ///
    /// The new beginning is noted in both slots of the floor before a file goes, each in a job of its own.
    package func releaseSegments(
        below: LogPosition,
        jobs: inout [LogJob]
    ) {
        // A damaged log keeps all it has until somebody has looked.
        guard refusal == nil, damaged.isEmpty else { return }
        let before = releasing.count
        while let oldest = kept.first, oldest !== active, oldest.end <= below.rawValue,
            oldest.end <= durable, geometry.base(of: oldest.number + 1) < durable,
            oldest.indexJob == nil
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
                    base: oldest.base,
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
        noteLatestEntry()
        streamDirectory.forget(before: (kept.first ?? active).number)
        wantsJobs = true
        // Not held back by an earlier failure: on a full disk this is what helps.
        requestRelease(into: &jobs)
    }
}
