// What the log tests share: an indexer, a model of what was appended, and a driver over a disk.

import PulseCore
import PulseLog
import Testing

/// A test body names its own keys: a count byte, then that many little-endian numbers.
struct BodyIndexer: EntryIndexer {
    func keys(
        of header: EntryHeader,
        body: UnsafeRawBufferPointer,
        secret: UInt64,
        into keys: inout [UInt64]
    ) {
        keys += Self.keys(of: [UInt8](body))
    }

    static func keys(of body: [UInt8]) -> [UInt64] {
        guard let count = body.first else { return [] }
        return (0..<Int(count)).compactMap { index in
            let start = 1 + index * 8
            guard start + 8 <= body.count else { return nil }
            return body[start..<start + 8].reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
    }

    static func body(keys: [UInt64], filler: [UInt8]) -> [UInt8] {
        var body = [UInt8(keys.count)]
        for key in keys { body.append(littleEndian: key) }
        return body + filler
    }
}

/// An entry as the test remembers it.
struct Remembered: Equatable {
    var position: LogPosition
    var kind: EntryKind
    var stream: StreamID
    var baseOffset: Offset
    var count: Int
    var wall: WallTimestamp
    var body: [UInt8]
}

/// A log on a test disk, and what it should hold.
final class LogDriver {
    static let identity = LogIdentity(high: 0x1122_3344_5566_7788, low: 0x99AA_BBCC_DDEE_FF00)

    var disk: TestDisk
    let log: ShardLog
    let report: RecoveryReport
    var entries: [Remembered] = []
    var jobs: [LogJob] = []
    var wall: Int64 = 1_700_000_000_000
    private var passed = MonotonicInstant(nanoseconds: 0)

    init(
        _ disk: TestDisk = TestDisk(),
        segmentBytes: Int = 32 << 10,
        spares: Int = 1,
        identity: LogIdentity = LogDriver.identity,
        mergeFanOut: Int = 2,
        mergedKeysMilliseconds: Int64? = nil
    ) throws(LogError) {
        self.disk = disk
        var configuration = LogConfiguration(
            segmentBytes: segmentBytes,
            spareSegments: spares,
            mergeFanOut: mergeFanOut
        )
        configuration.mergePiecePages = 3
        configuration.mergedKeysMilliseconds = mergedKeysMilliseconds
        (log, report) = try ShardLog.open(
            directory: disk,
            configuration: configuration,
            identityIfNew: identity,
            indexer: BodyIndexer(),
            at: WallTimestamp(milliseconds: wall)
        )
    }

    static func stream(_ number: Int) -> StreamID {
        StreamID(topic: TopicID(UInt16(number)), partition: PartitionID(0), lane: .normal)
    }

    /// The next offset of a stream, as the entries so far say.
    func nextOffset(_ stream: StreamID) -> Offset {
        guard let last = entries.last(where: { $0.stream == stream && $0.count > 0 }) else {
            return Offset(0)
        }
        return last.baseOffset.advanced(by: last.count)
    }

    @discardableResult
    func append(
        keys: [UInt64] = [],
        filler: [UInt8] = [],
        stream: StreamID = LogDriver.stream(1),
        count: Int = 1
    ) throws(LogError) -> LogPosition {
        wall += 1
        let body = BodyIndexer.body(keys: keys, filler: filler)
        let kind: EntryKind = count > 0 ? .recordBatch : .command
        let offset = count > 0 ? nextOffset(stream) : Offset(0)
        let time = WallTimestamp(milliseconds: wall)
        let result = body.withUnsafeBytes { bytes -> Result<LogPosition, LogError> in
            do throws(LogError) {
                return .success(
                    try log.append(
                        kind,
                        stream: stream,
                        baseOffset: offset,
                        recordCount: count,
                        at: time,
                        keys: keys,
                        body: bytes
                    )
                )
            } catch { return .failure(error) }
        }
        let position = try result.get()
        entries.append(
            Remembered(
                position: position,
                kind: kind,
                stream: stream,
                baseOffset: offset,
                count: count,
                wall: time,
                body: body
            )
        )
        return position
    }

    /// Time goes by: what rests is tried again.
    func pass(milliseconds: Int64) {
        passed = passed.advanced(byMilliseconds: milliseconds)
        wall += milliseconds
        log.noteTime(Now(monotonic: passed, wall: WallTimestamp(milliseconds: wall)))
    }

    func flush() throws(LogError) { try log.flush(jobs: &jobs) }

    func sync() throws(LogError) {
        try flush()
        guard let ticket = log.beginSync() else { return }
        do throws(StorageError) { try log.performSync() } catch { throw .storage(error) }
        log.completeSync(ticket)
    }

    /// Lets every spare under way fail, so that released segments have to be recycled.
    func failSpareJobs() {
        let failure = StorageError(.create, file: "spare", reason: .noSpace)
        for job in jobs {
            if case .prepareSpare = job { log.jobFinished(job.subject, failure: failure) }
        }
        jobs.removeAll { if case .prepareSpare = $0 { true } else { false } }
    }

    func runJobs() {
        while !jobs.isEmpty {
            let job = jobs.removeFirst()
            do throws(StorageError) {
                try job.perform(in: disk)
                log.jobFinished(job.subject, failure: nil)
                // As the next flush does: the floor's slots one by one, then the files.
                log.requestRelease(into: &jobs)
            } catch {
                log.jobFinished(job.subject, failure: error)
            }
        }
    }

    /// Performs the notes in the floor that were asked for, at most so many, and no other job.
    ///
    /// - Returns: How many there were.
    func writeFloors(atMost most: Int = .max) throws(StorageError) -> Int {
        var count = 0
        while count < most, let at = jobs.firstIndex(where: { $0.subject == .floor }) {
            let job = jobs.remove(at: at)
            try job.perform(in: disk)
            log.jobFinished(job.subject, failure: nil)
            log.requestRelease(into: &jobs)
            count += 1
        }
        return count
    }

    /// Whether files may go now.
    var wantsFilesGone: Bool {
        jobs.contains { if case .release = $0 { true } else { false } }
    }

    /// Runs background work until none is asked for any more.
    func settle() throws(LogError) {
        repeat {
            runJobs()
            try flush()
        } while !jobs.isEmpty
    }

    /// Everything the log holds, in order.
    func scanned(from position: LogPosition = .zero) throws(LogError) -> [Remembered] {
        var found: [Remembered] = []
        try log.scan(from: position) { header, body throws(LogError) in
            found.append(Remembered(header, body))
            return true
        }
        return found
    }

    func lookup(_ key: UInt64) throws(LogError) -> [LogPosition] {
        var found: [LogPosition] = []
        try log.lookup(key) { position throws(LogError) in
            found.append(position)
            return true
        }
        return found
    }

    /// Index answers equal those of a search through all entries.
    func expectIndexMatches(
        keys: [UInt64],
        streams: [StreamID],
        _ comment: Comment
    ) throws(LogError) {
        for key in keys {
            let expected = entries.reversed().flatMap { entry in
                BodyIndexer.keys(of: entry.body).filter { $0 == key }.map { _ in entry.position }
            }
            let found = try lookup(key)
            #expect(found == expected, comment)
        }
        for stream in streams {
            let end = nextOffset(stream)
            for raw in 0..<end.rawValue + 1 {
                let offset = Offset(raw)
                let expected = entries.last {
                    $0.stream == stream && $0.count > 0 && $0.baseOffset <= offset
                        && offset < $0.baseOffset.advanced(by: $0.count)
                }
                let found = try log.locate(stream, offset)
                #expect(found == expected?.position, comment)
            }
        }
    }
}

extension Remembered {
    init(_ header: EntryHeader, _ body: UnsafeRawBufferPointer) {
        self.init(
            position: header.position,
            kind: header.kind,
            stream: header.stream,
            baseOffset: header.baseOffset,
            count: header.recordCount,
            wall: header.wall,
            body: [UInt8](body)
        )
    }
}
