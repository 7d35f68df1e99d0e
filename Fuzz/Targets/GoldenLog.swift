// A good log in memory, made by the code under test: segments, indexes, a generation, a spare and a floor.

import PulseCore
import PulseLog
import TestDoubles

/// The directory that mutations begin with, and what is in it.
struct GoldenLog: Sendable {
    /// An entry as it was appended.
    struct Entry: Equatable {
        var position: LogPosition
        var kind: EntryKind
        var stream: StreamID
        var body: [UInt8]
    }

    static let segmentBytes = 32 << 10
    static let wall = WallTimestamp(milliseconds: 1_700_000_000_000)
    static let identity = LogIdentity(high: 0x1122_3344_5566_7788, low: 0x99AA_BBCC_DDEE_FF00)
    /// Some of them of the class that is merged: its top bits are zeros.
    static let keys: [UInt64] = (1...6).map { ($0 &* 0x9E37_79B9_7F4A_7C15) >> ($0 & 2) }
    static let streams = (1...2).map {
        StreamID(topic: TopicID(UInt16($0)), partition: PartitionID(0), lane: .normal)
    }

    let files: [(name: String, bytes: [UInt8])]
    let entries: [Entry]

    /// Made once: every input starts from a copy.
    static let shared = Result<GoldenLog, any Error> { try GoldenLog() }

    private init() throws {
        let disk = MemoryDirectory()
        let (log, _) = try Self.open(disk)
        var ends = [Int64](repeating: 0, count: Self.streams.count)
        var jobs: [LogJob] = []
        for number in 0..<60 {
            let stream = number % Self.streams.count
            let isCommand = number % 5 == 4
            let key = Self.keys[number % Self.keys.count]
            var body = [UInt8](repeating: UInt8(number), count: 8 + number * 37 % 2400)
            body.patch(at: 0, littleEndian: key)
            try body.withUnsafeBytes { raw in
                _ = try log.append(
                    isCommand ? .command : .recordBatch,
                    stream: Self.streams[stream],
                    baseOffset: Offset(isCommand ? 0 : ends[stream]),
                    recordCount: isCommand ? 0 : 3,
                    at: Self.wall.advanced(byMilliseconds: Int64(number)),
                    keys: [key],
                    body: raw
                )
            }
            if !isCommand { ends[stream] += 3 }
            try log.flush(jobs: &jobs)
            if number % 3 == 0, let ticket = log.beginSync() {
                try log.performSync()
                log.completeSync(ticket)
            }
            for job in jobs {
                try job.perform(in: disk)
                log.jobFinished(job.subject, failure: nil)
            }
            jobs = []
        }
        // One merge leads to another, and that to files to remove.
        repeat {
            for job in jobs {
                try job.perform(in: disk)
                log.jobFinished(job.subject, failure: nil)
            }
            jobs = []
            try log.flush(jobs: &jobs)
        } while !jobs.isEmpty
        try log.close()
        entries = try Self.entries(of: log)
        var files: [(String, [UInt8])] = []
        for name in try disk.list() { files.append((name, try disk.contents(of: name) ?? [])) }
        self.files = files
        for ending in [".seg", ".idx", ".keys", "floor"] {
            try require(
                files.contains { $0.0.hasSuffix(ending) },
                "the log to begin with has a file of every kind: \(ending)"
            )
        }
    }

    /// Opens a log as a start does.
    static func open(
        _ directory: MemoryDirectory
    ) throws(LogError) -> (log: ShardLog, report: RecoveryReport) {
        try ShardLog.open(
            directory: directory,
            configuration: LogConfiguration(segmentBytes: segmentBytes, mergeFanOut: 2),
            identityIfNew: identity,
            indexer: FirstBytesIndexer(),
            at: wall
        )
    }

    /// Everything a log serves, in order.
    static func entries(of log: ShardLog) throws(LogError) -> [Entry] {
        var found: [Entry] = []
        try log.scan(from: .zero) { header, body throws(LogError) in
            found.append(
                Entry(
                    position: header.position,
                    kind: header.kind,
                    stream: header.stream,
                    body: Array(body)
                )
            )
            return true
        }
        return found
    }

    /// A directory with the given files, all durable.
    static func directory(_ files: [(name: String, bytes: [UInt8])]) throws -> MemoryDirectory {
        let disk = MemoryDirectory()
        disk.capacity = 8 << 20
        for (name, bytes) in files {
            let file = try disk.create(name, bytes: bytes.count, written: true)
            try bytes.withUnsafeBytes { try file.write($0, at: 0) }
            try file.sync()
        }
        try disk.syncDirectory()
        return disk
    }

    func log() throws -> (log: ShardLog, report: RecoveryReport) {
        try Self.open(try Self.directory(files))
    }
}

/// Every entry has one key: the first eight bytes of its body.
struct FirstBytesIndexer: EntryIndexer {
    func keys(
        of header: EntryHeader,
        body: UnsafeRawBufferPointer,
        secret: UInt64,
        into keys: inout [UInt64]
    ) {
        var reader = ByteReader(body)
        if let key: UInt64 = reader.littleEndian() { keys.append(key) }
    }
}
