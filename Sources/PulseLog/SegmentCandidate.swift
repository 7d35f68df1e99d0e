// A segment file as recovery and inspection see it, before anybody trusts it.

import PulseCore

/// What scanning a segment from its first entry found.
struct SegmentScan {
    /// Where the first entry begins that is not there or not right.
    var stopByte: Int
    /// The chain expected at `stopByte`.
    var chain: UInt32
    var fault: EntryFault?
    var tally = SegmentTally()
    var gaps: [Gap] = []
    /// Made where somebody asked for it, and until somebody took it.
    var index: MemoryIndex?
    /// The largest `syncedUpTo` of any verifying header, before or after the stop.
    var syncedUpTo: UInt64 = 0
    /// The first verifying header after the stop.
    var nextHeaderByte: Int?
    /// End of the last entry with a verifying header, at least `stopByte`.
    var reachByte: Int

    /// Nothing at the stop, and nothing of this segment after it.
    var endsCleanly: Bool { (fault == nil || fault == .zero) && reachByte == stopByte }
}

final class SegmentCandidate {
    let number: UInt64
    let base: UInt64
    let name: String
    let file: any LogFile
    /// The header, when it verifies and is this very segment's.
    let header: SegmentHeader?
    /// Why there is no header.
    let headerFault: String
    let footer: SegmentFooter?
    var scan: SegmentScan?
    /// Set once it is known: one past its last entry, and the chain there.
    var end: UInt64
    var endChain: UInt32 = 0
    var tally = SegmentTally()
    var isSealed = false
    /// Its footer is missing, and can be made again from its entries.
    var wantsFooter = false
    /// The disk failed to read some of it: what is not seen is no torn tail, nothing may be cut for it.
    private(set) var hasUnreadBytes = false
    /// Where the log ends because it is cut there, by an earlier start or now; nil when it is not.
    var cutByte: Int?

    /// Reads header and footer. Throws when the file is another log's or of a newer format.
    init(
        name: String,
        base: UInt64,
        in directory: any LogDirectory,
        identity: LogIdentity,
        geometry: SegmentGeometry
    ) throws(LogError) {
        self.name = name
        self.base = base
        number = geometry.number(of: base)
        end = base + UInt64(geometry.entriesStart)
        let file = try storage { () throws(StorageError) in try directory.open(name) }
        // What the disk holds, not what a failed sync left in memory: a header that is believed and is
        // not on the disk takes with it, at the next power cut, all that was written behind it.
        if !Mutant.isOn(.keepCache) { file.dropCache() }
        self.file = file
        let buffer = RawBuffer(capacity: SegmentGeometry.blockBytes)
        var header: SegmentHeader?
        var isLost = false
        var fault = "the segment header cannot be read"
        if try readBlock(file, at: 0, into: buffer, lost: &isLost) {
            switch SegmentHeader.decode(UnsafeRawPointer(buffer.base)) {
            case .unreadable(let reason): fault = reason
            case .newer(let major): throw .newerFormat(file: name, byte: 8, major: major)
            case .header(let found):
                guard found.identity == identity else {
                    throw .foreign(file: name, byte: 16, expected: identity, found: found.identity)
                }
                if found.number != number || geometry.base(of: number) != base {
                    fault = "the segment header is that of segment \(found.number)"
                } else if found.segmentBytes != geometry.segmentBytes {
                    fault = "the segment header has another segment size"
                } else {
                    header = found
                }
            }
        }
        self.header = header
        headerFault = fault
        footer =
            try readBlock(file, at: geometry.entriesEnd, into: buffer, lost: &isLost)
            ? SegmentFooter.decode(
                UnsafeRawPointer(buffer.base),
                number: number,
                geometry: geometry,
                LogChecksums(identity)
            )
            : nil
        hasUnreadBytes = isLost
    }

    func startChain(_ checksums: LogChecksums) -> UInt32 { header?.firstChain(checksums) ?? 0 }

    /// The furthest that its header, its footer and its scan say was durable once.
    var promised: UInt64 {
        max(header?.syncedUpTo ?? 0, footer?.syncedUpTo ?? 0, scan?.syncedUpTo ?? 0)
    }

    /// Whether `next` says that it follows this segment as it is known to end.
    func isFollowed(by next: SegmentCandidate) -> Bool {
        guard let header = next.header else { return false }
        return next.number == number + 1 && header.previousNumber == number
            && header.previousEnd == end && header.previousChain == endChain
    }

    /// The scan of its entries, made when first asked for; with an index where there is an indexer.
    func scanned(
        _ geometry: SegmentGeometry,
        _ checksums: LogChecksums,
        _ indexer: (any EntryIndexer)?
    ) throws(LogError) -> SegmentScan {
        if let scan { return scan }
        let made = try scanEntries(geometry, checksums, indexer)
        scan = made
        return made
    }

    /// Scans all entries from the first, then looks ahead of the stop for later headers: they tell
    /// how far the log had been promised.
    private func scanEntries(
        _ geometry: SegmentGeometry,
        _ checksums: LogChecksums,
        _ indexer: (any EntryIndexer)?
    ) throws(LogError) -> SegmentScan {
        let start = startChain(checksums)
        let scanner = SegmentScanner(
            file: file,
            number: number,
            geometry: geometry,
            checksums: checksums,
            byte: geometry.entriesStart,
            chain: start
        )
        let builder = indexer.map { IndexBuilder($0, checksums) }
        var scan = SegmentScan(
            stopByte: geometry.entriesStart,
            chain: start,
            fault: nil,
            index: builder?.index,
            reachByte: geometry.entriesStart
        )
        // Without a header there is no chain to follow; all entries are then "after the stop".
        scanning: while header != nil {
            let at = scanner.byte
            if let cutByte, at >= cutByte { break scanning }
            switch try scanner.next() {
            case .entry(let header, let body):
                builder?.add(header, body, byte: at)
                scan.tally.count(header.wall)
                if let gap = Gap(header, body) { scan.gaps.append(gap) }
                scan.syncedUpTo = max(scan.syncedUpTo, header.syncedUpTo.rawValue)
            case .full:
                break scanning
            case .fault(let fault, _):
                scan.fault = fault
                break scanning
            }
        }
        scan.stopByte = scanner.byte
        scan.reachByte = scanner.byte
        scan.chain = scanner.chain ?? 0
        var from = scan.stopByte
        while let (byte, header) = try scanner.nextHeader(from: from) {
            scan.syncedUpTo = max(scan.syncedUpTo, header.syncedUpTo.rawValue)
            if byte > scan.stopByte, scan.nextHeaderByte == nil { scan.nextHeaderByte = byte }
            scan.reachByte = max(scan.reachByte, Int(header.endPosition.rawValue - base))
            from = byte + EntryHeader.bytes
        }
        if scanner.hasUnreadBytes { hasUnreadBytes = true }
        return scan
    }
}

/// The files of a log directory, by kind.
struct DirectorySurvey {
    /// Base positions, ascending.
    var segments: [UInt64] = []
    var indexes: [UInt64] = []
    /// By their first and last segment.
    var generations: [ClosedRange<UInt64>] = []
    var spares: [UInt64] = []
    var hasFloor = false
    var temporaries: [String] = []
    var unknown: [String] = []

    init(_ directory: any LogDirectory) throws(LogError) {
        for name in try storage({ () throws(StorageError) in try directory.list() }) {
            switch LogFileName(name) {
            case .segment(let base): segments.append(base)
            case .index(let base): indexes.append(base)
            case .generation(let first, let last): generations.append(first...last)
            case .spare(let number): spares.append(number)
            case .floor: hasFloor = true
            case .temporary: temporaries.append(name)
            case .unknown: unknown.append(name)
            }
        }
        segments.sort()
        indexes.sort()
        spares.sort()
    }

    /// Puts aside what has the shape of our names and names no place where a segment begins: it is not
    /// ours, and must never stand for the segment whose number it falls into.
    mutating func setStraysAside(_ geometry: SegmentGeometry) {
        let segmentBytes = UInt64(geometry.segmentBytes)
        unknown += segments.filter { $0 % segmentBytes != 0 }.map(LogFileName.name(ofSegment:))
        unknown += indexes.filter { $0 % segmentBytes != 0 }.map(LogFileName.name(ofIndex:))
        segments.removeAll { $0 % segmentBytes != 0 }
        indexes.removeAll { $0 % segmentBytes != 0 }
    }

    /// Whose log this is, from the header of the oldest segment that has a good one; everything else
    /// depends on it. With no good header at all, the floor knows the log and the file its size.
    func oldestHeader(
        in directory: any LogDirectory
    ) throws(LogError) -> (identity: LogIdentity, geometry: SegmentGeometry)? {
        var first: DamagedRange?
        for base in segments {
            let name = LogFileName.name(ofSegment: base)
            let file = try storage { () throws(StorageError) in try directory.open(name) }
            file.dropCache()
            let buffer = RawBuffer(capacity: SegmentGeometry.blockBytes)
            var reason = "the segment header cannot be read"
            if try readBlock(file, at: 0, into: buffer) {
                switch SegmentHeader.decode(UnsafeRawPointer(buffer.base)) {
                case .header(let header) where base % UInt64(header.segmentBytes) == 0:
                    return (header.identity, SegmentGeometry(segmentBytes: header.segmentBytes))
                case .header: reason = "the file's name is no position where a segment begins"
                case .newer(let major): throw .newerFormat(file: name, byte: 8, major: major)
                case .unreadable(let why): reason = why
                }
            }
            guard first == nil else { continue }
            first = DamagedRange(
                file: name,
                byte: 0,
                from: LogPosition(base),
                to: LogPosition(base),
                reason: reason
            )
        }
        guard let first else { return nil }
        if let known = try identityFromFloor(in: directory, first.file) { return known }
        throw .damaged(first)
    }

    private func identityFromFloor(
        in directory: any LogDirectory,
        _ segment: String
    ) throws(LogError) -> (identity: LogIdentity, geometry: SegmentGeometry)? {
        guard let floor = try floor(in: directory)?.best else { return nil }
        let size = try storage { () throws(StorageError) in try directory.open(segment).size() }
        guard size >= 32 << 10, size <= 32 << 30, size & (size - 1) == 0 else { return nil }
        return (floor.identity, SegmentGeometry(segmentBytes: size))
    }
}
