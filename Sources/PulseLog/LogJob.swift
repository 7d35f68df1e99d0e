// Slow work that the log asks for and somebody else performs, off the thread that serves.

package import PulseCore

/// A piece of background work of the log. Performed by calling ``perform(in:)`` on any thread; the
/// result goes back to the log as ``ShardLog/jobFinished(_:failure:)``, with the job's subject.
package enum LogJob: Sendable {
    /// Make a spare segment: zero-filled, synced, under its final spare name.
    case prepareSpare(name: String, bytes: Int)
    /// Make the index file of a sealed segment.
    case sealIndex(IndexJob)
    /// Do a piece of a merge; asked for again until it is done.
    case merge(GenerationMerge)
    /// Remove files whose content is found elsewhere, or of no use any more.
    case discard(names: [String])
    /// Write one slot of the floor, and sync it.
    case writeFloor(FloorWrite)
    /// Let go of segments, oldest first. Both slots of the floor have said so.
    case release([ReleasedSegment])

    /// What a job is about; enough for the log to know which one ended.
    package enum Subject: Hashable, Sendable {
        case spare(name: String)
        case index(segment: UInt64)
        case merge(first: UInt64, last: UInt64)
        case discard(names: [String])
        case floor
        case release(count: Int, spares: [String])
    }

    package var subject: Subject {
        switch self {
        case .prepareSpare(let name, _): .spare(name: name)
        case .sealIndex(let job): .index(segment: job.footer.number)
        case .merge(let merge):
            .merge(first: merge.range.lowerBound, last: merge.range.upperBound)
        case .discard(let names): .discard(names: names)
        case .writeFloor: .floor
        case .release(let segments):
            .release(count: segments.count, spares: segments.compactMap(\.spareName))
        }
    }

    package func perform(in directory: any LogDirectory) throws(StorageError) {
        switch self {
        case .prepareSpare(let name, let bytes):
            let temporary = name + ".tmp"
            let file = try directory.create(temporary, bytes: bytes, written: true)
            try file.sync()
            try directory.rename(temporary, to: name)
            try directory.syncDirectory()
        case .sealIndex(let job):
            try job.perform(in: directory)
        case .merge(let merge):
            try merge.perform(in: directory)
        case .discard(let names):
            for name in names {
                try unlessMissing { () throws(StorageError) in try directory.remove(name) }
            }
            try directory.syncDirectory()
        case .writeFloor(let write): try write.perform(in: directory)
        case .release(let segments):
            let order = Mutant.isOn(.releaseYoungestFirst) ? segments.reversed() : segments
            for segment in order { try segment.release(in: directory) }
        }
    }
}

/// One slot of the floor, with what was durable when it was asked for.
package struct FloorWrite: Hashable, Sendable {
    let floor: Floor
    let makesFile: Bool

    func perform(in directory: any LogDirectory) throws(StorageError) {
        try floor.write(in: directory, makesFile: makesFile)
    }
}

/// A segment that retention has let go: its file becomes a spare or is removed, its index goes.
package struct ReleasedSegment: Hashable, Sendable {
    let base: UInt64
    package let name: String
    package let indexName: String
    /// The name its file is recycled under, or nil to remove it.
    package let spareName: String?

    /// Synced one by one: were a younger segment's removal to outlive a crash and an older one's
    /// not, the log would have a hole.
    func release(in directory: any LogDirectory) throws(StorageError) {
        try unlessMissing { () throws(StorageError) in try directory.remove(indexName) }
        try unlessMissing { () throws(StorageError) in
            if let spareName {
                try directory.rename(name, to: spareName)
            } else {
                try directory.remove(name)
            }
        }
        try directory.syncDirectory()
    }
}

/// A file that is not there was dealt with by an attempt before this one.
private func unlessMissing(_ step: () throws(StorageError) -> Void) throws(StorageError) {
    do throws(StorageError) {
        try step()
    } catch {
        guard error.reason == .notFound else { throw error }
    }
}
