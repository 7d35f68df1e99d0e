// The log of one shard: the face of this room. Opened once, driven by the shard's thread.

package import PulseCore

/// An append-only sequence of entries in segment files, with an index of where things are.
///
///     append  ->  turn buffer  --flush-->  page cache  --sync-->  stable storage
///                 |                        |                      |
///                 appendPosition           written                durablePosition
///
/// One turn: any number of ``append``, one ``flush(jobs:)``, one ``beginSync()``; the shell
/// performs the sync and ``completeSync(_:)`` moves ``durablePosition``. Nothing may be promised
/// above it.
///
/// Confined to one thread, apart from ``SyncWork`` and ``LogJob``, which are values made to travel.
///
/// Invariants:
/// - `durable <= written <= position`, and `written == position` when the turn is empty;
/// - all segments but the last are sealed; segment *k + 1* starts with the end and chain of *k*;
/// - an entry is never changed and never straddles two segments.
///
/// - Source: spec/03-storage.md
package final class ShardLog {
    package let identity: LogIdentity
    let directory: any LogDirectory
    let configuration: LogConfiguration
    let geometry: SegmentGeometry
    let checksums: LogChecksums
    let indexer: any EntryIndexer

    /// Oldest first; the last one is active.
    var kept: [Segment]
    var active: Segment
    let turn = TurnBuffer()

    /// End of the last entry appended.
    var position: UInt64
    /// End of the last entry handed to the page cache, and the chain there.
    var written: UInt64
    var writtenChain: UInt32
    var durable: UInt64
    var durableChain: UInt32
    /// The chain the next entry carries.
    var chain: UInt32

    /// Files written since the last ``beginSync()``, in order of writing.
    var dirty: [any LogFile] = []
    var directoryIsDirty = false
    var syncInFlight: SyncWork?
    var lastTicket: UInt64 = 0

    /// Names of spare files that are ready, and of those being made.
    var spares: [String]
    var sparesComing: Set<String> = []
    /// The last attempt to make a spare found the disk full.
    var lacksSpares = false
    var lastSpareNumber: UInt64
    /// Segments let go whose files are still to be recycled or removed, oldest first; a failed job
    /// leaves them here, because a younger one must never go before an older one.
    var releasing: [ReleasedSegment] = []
    var releaseJobPending = false
    /// Set when the next ``flush(jobs:)`` can go on with them, whatever else failed.
    var wantsRelease = false
    /// Set when the next ``flush(jobs:)`` has background work to ask for.
    var wantsJobs = true
    /// What ``noteTime(_:)`` was told last, and until when failed work rests.
    var latestTime = MonotonicInstant(nanoseconds: 0)
    var jobsNotBefore = MonotonicInstant(nanoseconds: 0)
    /// The latest wall clock of any entry: later than now when a clock was set back. Kept, because it is
    /// asked for with every waiting message.
    package internal(set) var latestEntryWall = WallTimestamp(milliseconds: .min)
    /// Keys of older entries are not asked for: their filters need no memory.
    var keysSince = WallTimestamp(milliseconds: .min)
    /// Jobs that failed with none ending well between them.
    var failuresInRow = 0
    /// Bytes of the disk that new segments may take; all of them until somebody says.
    package var roomBytes = Int.max

    /// The newest slot that is known to be durable, what the other says of the log's beginning (0 while
    /// that is not known), and the slot that is being written.
    var floor: Floor?
    var firstInOtherSlot: UInt64 = 0
    var floorComing: Floor?
    /// Why nothing can be appended any more; nil while all is well.
    var refusal: LogError?
    /// What recovery found damaged, which makes the log read-only, and what was met since.
    package internal(set) var damaged: [DamagedRange]
    /// Damage found when it was opened that may hide records which no index names.
    package private(set) var unindexed: [DamagedRange] = []

    /// Which sealed segment holds which offsets.
    var streamDirectory = StreamDirectory()
    let pages = IndexPages()
    /// The merge under way; one at a time.
    var merge: GenerationMerge?
    var mergeJobPending = false
    /// What merges could not read and was made anew, since a merge of it ended well.
    var mends: [Mend] = []
    /// Index files and generations found damaged, and those of them that are still to be told.
    package internal(set) var indexDamagesMet: UInt64 = 0
    var indexDamages: [IndexDamage] = []
    /// Files to remove in the background, and those whose removal is under way.
    var discarding: [String] = []
    var discardJobPending = false
    /// When it was opened: where the segment before the oldest had ended, whose files are gone.
    package let precedingEnd: LogPosition
    /// Holes that a repair has left, oldest first.
    package let gaps: [Gap]

    /// Reused by reads; taken out while one is under way, so that a nested read gets its own.
    var scratch: RawBuffer?
    var foundPositions: [UInt64] = []

    /// Opens the log, or creates it in a directory that has none; recovers what a crash left.
    ///
    /// - Parameters:
    ///   - identityIfNew: Drawn at random by the shell; ignored when the log exists.
    ///   - indexer: Says the keys of entries whose index has to be rebuilt.
    ///   - wall: For the header of a segment made now.
    /// - Throws: ``LogError/foreign(file:byte:expected:found:)``, ``LogError/newerFormat``, and
    ///   ``LogError/damaged(_:)`` when not even the first segment says whose log it is. Any other
    ///   damage opens the log read-only and is told in the report.
    package static func open(
        directory: any LogDirectory,
        configuration: LogConfiguration,
        identityIfNew: LogIdentity,
        indexer: any EntryIndexer,
        at wall: WallTimestamp
    ) throws(LogError) -> (log: ShardLog, report: RecoveryReport) {
        var recovery = Recovery(
            directory: directory,
            configuration: configuration,
            indexer: indexer
        )
        let recovered = try recovery.run(identityIfNew: identityIfNew, at: wall)
        let log = ShardLog(recovered, directory, configuration, indexer)
        try log.openGenerations(recovered.generations, at: wall)
        return (log, recovery.report)
    }

    private init(
        _ recovered: RecoveredLog,
        _ directory: any LogDirectory,
        _ configuration: LogConfiguration,
        _ indexer: any EntryIndexer
    ) {
        identity = recovered.identity
        self.directory = directory
        self.configuration = configuration
        self.indexer = indexer
        geometry = recovered.geometry
        checksums = LogChecksums(recovered.identity)
        kept = recovered.segments
        active = recovered.active
        position = recovered.position
        written = recovered.position
        durable = recovered.position
        chain = recovered.chain
        writtenChain = recovered.chain
        durableChain = recovered.chain
        spares = recovered.spares
        lastSpareNumber = recovered.lastSpareNumber
        floor = recovered.floor
        damaged = recovered.damaged
        gaps = recovered.gaps
        precedingEnd = LogPosition(recovered.precedingEnd)
        refusal = recovered.damaged.first.map { .damaged($0) }
        noteLatestEntry()
        for segment in kept where segment.isSealed || segment !== active {
            streamDirectory.add(segment)
        }
        unindexed = findUnindexed()
    }

    // MARK: Where the log stands

    /// Where the oldest entry kept begins, or will begin.
    package var firstPosition: LogPosition {
        LogPosition((kept.first ?? active).base + UInt64(geometry.entriesStart))
    }

    /// End of the last entry appended. The next one begins here, or in the next segment.
    package var appendPosition: LogPosition { LogPosition(position) }

    /// Everything below is on stable storage.
    package var durablePosition: LogPosition { LogPosition(durable) }

    /// Bytes appended and not yet written.
    package var bytesInTurn: Int { turn.count }

    package var segmentBytes: Int { geometry.segmentBytes }

    /// Bytes the largest body may have.
    package var bodyBytesMax: Int { geometry.bodyBytesMax }

    /// Whether new work must wait for room: there is no next segment, making one failed, and what is
    /// left of this one is kept for outcomes.
    package var isShortOfSpace: Bool {
        lacksNextSegment
            && geometry.entriesEnd - Int(position - active.base) < geometry.segmentBytes / 8
    }

    /// Whether even outcomes may soon find no room: nothing new is begun.
    package var isNearlyFull: Bool {
        lacksNextSegment
            && geometry.entriesEnd - Int(position - active.base) < geometry.segmentBytes / 16
    }

    private var lacksNextSegment: Bool {
        spares.isEmpty && (lacksSpares || roomBytes < geometry.segmentBytes)
    }

    /// Whether appends are refused: the log is damaged, or its storage failed.
    package var isReadOnly: Bool { refusal != nil }

    /// Spare files ready for the next rolls; 0 means that a roll needs free disk space.
    package var spareCount: Int { spares.count }

    /// Segments that can be had from now on: spare files, those being made, and what the disk has
    /// room for besides.
    package var segmentsToBeHad: Int {
        spares.count + sparesComing.count + roomBytes / geometry.segmentBytes
    }

    func noteLatestEntry() {
        latestEntryWall = kept.lazy.map(\.tally.latestWall).max() ?? active.tally.latestWall
    }

    /// When the newest entry was written, nil when there is none. Mostly known; where the newest segment
    /// was just begun, the one before is read.
    package func newestEntryWall() throws(LogError) -> WallTimestamp? {
        if active.tally.entries > 0 { return active.tally.newestWall }
        guard let last = kept.last(where: { $0 !== active && $0.tally.entries > 0 }) else {
            return nil
        }
        var newest: WallTimestamp?
        try scan(from: LogPosition(last.base)) { header, _ in
            newest = header.wall
            return true
        }
        return newest
    }

    /// Oldest first, for disk usage and inspection.
    package var segments: [SegmentDescription] { kept.map { $0.description(geometry) } }

    /// The segment a position falls into, or nil when the log does not have it.
    func segment(at position: UInt64) -> Segment? {
        let number = geometry.number(of: position)
        if number == active.number { return active }
        var low = 0
        var high = kept.count
        while low < high {
            let middle = (low + high) / 2
            if kept[middle].number < number { low = middle + 1 } else { high = middle }
        }
        return low < kept.count && kept[low].number == number ? kept[low] : nil
    }

    /// Stops with a sentence when an invariant does not hold; called by the simulator each step.
    package func checkInvariants() {
        precondition(durable <= written && written <= position, "durable <= written <= appended")
        precondition(turn.count > 0 || written == position, "an empty turn has nothing unwritten")
        precondition(kept.last === active, "the last segment is the active one")
        for index in kept.indices.dropLast() where damaged.isEmpty {
            precondition(kept[index].isSealed, "every segment but the last is sealed")
            precondition(
                kept[index].number + 1 == kept[index + 1].number,
                "segments follow one another"
            )
            if let generation = kept[index].generation {
                precondition(
                    generation.range.contains(kept[index].number),
                    "a generation is of its segments"
                )
            }
        }
    }
}
