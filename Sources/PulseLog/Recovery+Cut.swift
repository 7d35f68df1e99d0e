// Cutting the log where it truly ends, and making sure of what is left.

import PulseCore

extension Recovery {
    /// Makes the tail segment the active one: nothing after P stays, here or in later segments.
    mutating func cut(
        _ candidates: [SegmentCandidate],
        _ tailIndex: Int,
        _ geometry: SegmentGeometry
    ) throws(LogError) {
        let tail = candidates[tailIndex]
        var lost = 0
        for later in candidates[(tailIndex + 1)...].reversed() {
            let scan = later.scan
            lost += max(0, (scan?.reachByte ?? 0) - geometry.entriesStart)
            report.segmentsDropped.append(later.name)
            try storage { () throws(StorageError) in
                if try directory.list().contains(LogFileName.name(ofIndex: later.base)) {
                    try directory.remove(LogFileName.name(ofIndex: later.base))
                }
                try directory.remove(later.name)
            }
        }
        let start = geometry.byte(of: tail.end)
        if let scan = tail.scan, !scan.endsCleanly {
            let scanner = SegmentScanner(
                file: tail.file,
                number: tail.number,
                geometry: geometry,
                checksums: LogChecksums(LogIdentity(high: 0, low: 0)),
                byte: start,
                chain: nil
            )
            let end = try scanner.endOfData(from: start)
            lost += end - start
            try writeZeros(tail.file, start..<end)
            tail.scan?.reachByte = start
        }
        if tail.footer != nil {
            report.rollUndone = true
            try writeZeros(tail.file, geometry.entriesEnd..<geometry.segmentBytes)
        }
        tail.isSealed = false
        if lost > 0 {
            report.tornTail = RecoveryReport.TornTail(
                file: tail.name,
                byte: start,
                position: LogPosition(tail.end),
                bytes: lost
            )
        }
    }

    private func writeZeros(_ file: any LogFile, _ range: Range<Int>) throws(LogError) {
        let zeros = RawBuffer(capacity: SegmentScanner.windowBytes)
        zeros.zero(0..<SegmentScanner.windowBytes)
        var at = range.lowerBound
        while at < range.upperBound {
            let count = min(SegmentScanner.windowBytes, range.upperBound - at)
            try storage { () throws(StorageError) in
                try file.write(zeros.bytes(0..<count), at: at)
            }
            at += count
        }
    }

    /// What was read becomes durable only now: a crash may have left it in the page cache alone.
    func settle(
        _ scanned: ArraySlice<SegmentCandidate>,
        _ checksums: LogChecksums
    ) throws(LogError) {
        for candidate in scanned {
            try storage { () throws(StorageError) in try candidate.file.sync() }
        }
        try storage { () throws(StorageError) in try directory.syncDirectory() }
    }
}
