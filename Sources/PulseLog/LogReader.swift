// Reads the entries of a log and changes nothing: no recovery, no index, no lock. For those who look at
// a directory from outside, `pulse inspect` above all.

package import PulseCore

package struct LogReader {
    /// What lies at a place of the log.
    package enum Found {
        /// A verified entry; the body is valid during the call only.
        case entry(EntryHeader, UnsafeRawBufferPointer)
        /// Bytes where entries belong that are none, up to the next that verifies.
        case unreadable(file: String, byte: Int, at: LogPosition, reason: String)
    }

    package let identity: LogIdentity
    package let segmentBytes: Int
    /// Base positions, ascending.
    private let segments: [UInt64]
    private let directory: any LogDirectory
    private let geometry: SegmentGeometry
    private let checksums: LogChecksums

    /// Nil when there is no segment file.
    ///
    /// - Throws: ``LogError/damaged(_:)`` when nothing says whose log it is.
    package init?(_ directory: any LogDirectory) throws(LogError) {
        var survey = try DirectorySurvey(directory)
        guard let (identity, geometry) = try survey.oldestHeader(in: directory) else { return nil }
        survey.setStraysAside(geometry)
        self.directory = directory
        self.identity = identity
        self.geometry = geometry
        segments = survey.segments
        segmentBytes = geometry.segmentBytes
        checksums = LogChecksums(identity)
    }

    /// Where the oldest segment's entries begin.
    package var firstPosition: LogPosition {
        LogPosition((segments.first ?? 0) + UInt64(geometry.entriesStart))
    }

    /// Visits what begins in `range`, in order, until `visit` answers false. Segments that overlap it are
    /// walked from their beginning, so that every entry is reached by its chain.
    ///
    /// - Returns: One past the last entry that was visited or walked over.
    @discardableResult
    package func forEach(
        in range: Range<LogPosition>,
        _ visit: (Found) throws(LogError) -> Bool
    ) throws(LogError) -> LogPosition {
        var end = max(range.lowerBound, firstPosition)
        for base in segments
        where base < range.upperBound.rawValue
            && base + UInt64(segmentBytes) > range.lowerBound.rawValue
        {
            guard try walk(base, range, &end, visit) else { break }
        }
        return end
    }

    /// The gaps that begin below a position.
    package func gaps(below position: LogPosition) throws(LogError) -> [Gap] {
        var found: [Gap] = []
        for base in segments where base < position.rawValue {
            let candidate = try SegmentCandidate(
                name: LogFileName.name(ofSegment: base),
                base: base,
                in: directory,
                identity: identity,
                geometry: geometry
            )
            if let footer = candidate.footer, footer.gaps == 0 { continue }
            let end = min(base + UInt64(segmentBytes), position.rawValue)
            try forEach(in: LogPosition(base)..<LogPosition(end)) { entry in
                if case .entry(let header, let body) = entry, let gap = Gap(header, body) {
                    found.append(gap)
                }
                return true
            }
        }
        return found
    }

    private func walk(
        _ base: UInt64,
        _ range: Range<LogPosition>,
        _ end: inout LogPosition,
        _ visit: (Found) throws(LogError) -> Bool
    ) throws(LogError) -> Bool {
        let candidate = try SegmentCandidate(
            name: LogFileName.name(ofSegment: base),
            base: base,
            in: directory,
            identity: identity,
            geometry: geometry
        )
        let scanner = SegmentScanner(
            file: candidate.file,
            number: candidate.number,
            geometry: geometry,
            checksums: checksums,
            byte: geometry.entriesStart,
            chain: candidate.header == nil ? nil : candidate.startChain(checksums)
        )
        func tell(_ found: Found, at position: UInt64) throws(LogError) -> Bool {
            guard position < range.upperBound.rawValue else { return false }
            guard position >= range.lowerBound.rawValue else { return true }
            return try visit(found)
        }
        while true {
            let byte = scanner.byte
            let position = scanner.position
            switch try scanner.next() {
            case .entry(let header, let body):
                guard try tell(.entry(header, body), at: position) else { return false }
                end = max(end, header.endPosition)
            case .full:
                return true
            case .fault(let fault, let header):
                let bad = Found.unreadable(
                    file: candidate.name,
                    byte: byte,
                    at: LogPosition(position),
                    reason: fault.reason
                )
                if let header {
                    guard try tell(bad, at: position) else { return false }
                    scanner.stepOver(header)
                } else if let next = try scanner.nextHeader(from: byte + 8) {
                    guard try tell(bad, at: position) else { return false }
                    scanner.byte = next.byte
                    scanner.chain = nil
                } else {
                    // Nothing of this segment follows: its end, unless its footer knows of more.
                    guard let footer = candidate.footer, footer.end > position else { return true }
                    return try tell(bad, at: position)
                }
            }
        }
    }
}
