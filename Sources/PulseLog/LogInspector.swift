// Reads a shard's directory and changes nothing: what is there, and whether all of it verifies.

package import PulseCore

package struct LogInspector {
    let directory: any LogDirectory
    let verify: Bool
    let indexer: (any EntryIndexer)?
    var result = LogInspection()

    /// Looks at the log in `directory`, which may belong to a running or a stopped process.
    ///
    /// Entries, chains, headers, footers and the floor are always checked; `verify` adds the record
    /// batches inside entries, every page of the index files, and with an `indexer`, which says the keys of
    /// entries, whether each index answers what its segment says.
    package static func inspect(
        _ directory: any LogDirectory,
        verify: Bool,
        indexer: (any EntryIndexer)? = nil
    ) throws(LogError) -> LogInspection {
        var inspector = LogInspector(directory: directory, verify: verify, indexer: indexer)
        try inspector.run()
        return inspector.result
    }

    private init(
        directory: any LogDirectory,
        verify: Bool,
        indexer: (any EntryIndexer)?
    ) {
        self.directory = directory
        self.verify = verify
        self.indexer = indexer
        result.verified = verify
    }

    mutating func add(_ file: String, _ byte: Int, _ text: String) {
        result.problems.append(LogInspection.Problem(file: file, byte: byte, text: text))
    }

    private mutating func run() throws(LogError) {
        var survey = try DirectorySurvey(directory)
        result.spares = survey.spares.count
        result.notes += survey.unknown.map { "\($0) is not a file of ours" }
        result.notes += survey.temporaries.map { "\($0) is unfinished; opening the log deletes it" }
        guard let (identity, geometry) = try survey.oldestHeader(in: directory) else {
            if survey.hasFloor { add(LogFileName.floorName, 0, "there is a floor but no segment") }
            result.notes.append("there is no log here")
            return
        }
        let strays = survey.unknown.count
        survey.setStraysAside(geometry)
        result.notes += survey.unknown[strays...].map { "\($0) is not a file of ours" }
        result.segmentBytes = geometry.segmentBytes
        let checksums = LogChecksums(identity)
        let floor = try readFloor(survey, identity)
        var candidates: [SegmentCandidate] = []
        for base in survey.segments {
            candidates.append(
                try SegmentCandidate(
                    name: LogFileName.name(ofSegment: base),
                    base: base,
                    in: directory,
                    identity: identity,
                    geometry: geometry
                )
            )
        }
        var promised = floor?.position ?? 0
        for candidate in candidates {
            _ = try candidate.scanned(geometry, checksums, nil)
            promised = max(promised, candidate.promised)
        }
        for (index, candidate) in candidates.enumerated() {
            try look(
                at: candidate,
                after: index > 0 ? candidates[index - 1] : nil,
                isLast: index == candidates.count - 1,
                promised: promised,
                geometry,
                checksums
            )
        }
        if let floor {
            check(floor, candidates, geometry)
        } else if let first = candidates.first {
            try tellOfNoFloor(survey, first)
        }
        for base in survey.indexes where !survey.segments.contains(base) {
            result.notes.append("\(LogFileName.name(ofIndex: base)) is the index of no segment")
        }
        for candidate in candidates where candidate.isSealed {
            try lookAtIndex(of: candidate, survey, identity, geometry)
        }
        try lookAtGenerations(survey, checksums)
    }

    // MARK: One segment

    private mutating func look(
        at candidate: SegmentCandidate,
        after previous: SegmentCandidate?,
        isLast: Bool,
        promised: UInt64,
        _ geometry: SegmentGeometry,
        _ checksums: LogChecksums
    ) throws(LogError) {
        let name = candidate.name
        let size = try storage { () throws(StorageError) in try candidate.file.size() }
        if size < geometry.segmentBytes {
            add(name, size, "the file has \(size) bytes, not \(geometry.segmentBytes)")
        } else if size > geometry.segmentBytes {
            result.notes.append(
                "\(name) has \(size - geometry.segmentBytes) bytes behind its end: nobody reads them"
            )
        }
        if candidate.header == nil { add(name, 0, candidate.headerFault) }
        let scan = try candidate.scanned(geometry, checksums, nil)
        let reach = candidate.footer.map { geometry.byte(of: $0.end) } ?? scan.reachByte
        var line = try walk(candidate, to: max(reach, scan.stopByte), promised, geometry, checksums)
        candidate.end = candidate.base + UInt64(scan.stopByte)
        candidate.endChain = scan.chain
        candidate.tally = scan.tally
        candidate.isSealed = candidate.footer != nil
        line.isSealed = candidate.isSealed

        if let footer = candidate.footer {
            let expected = candidate.footerAsFound
            if footer.end != expected.end || footer.chain != expected.chain
                || footer.entries != expected.entries
                || footer.firstWall != expected.firstWall
                || footer.latestWall != expected.latestWall
            {
                add(name, geometry.entriesEnd, "the footer does not agree with the entries")
            } else if isLast {
                result.notes.append("\(name) is sealed and the last: opening the log reopens it")
            }
        } else if !isLast {
            add(name, geometry.entriesEnd, "the footer is missing or fails its checksum")
        }
        if let previous, candidate.header != nil, !previous.isFollowed(by: candidate) {
            let text =
                previous.number + 1 == candidate.number
                ? "the segment does not follow the one before it"
                : "the segments between \(previous.name) and this one are missing"
            add(name, 48, text)
        }
        if isLast, candidate.footer == nil, scan.reachByte == scan.stopByte,
            candidate.end < promised
        {
            add(
                name,
                scan.stopByte,
                "the log ends at position \(candidate.end) but was durable up to \(promised)"
            )
        }
        result.segments.append(line)
    }

    /// Goes through the entries, stepping over what does not verify.
    private mutating func walk(
        _ candidate: SegmentCandidate,
        to reach: Int,
        _ promised: UInt64,
        _ geometry: SegmentGeometry,
        _ checksums: LogChecksums
    ) throws(LogError) -> LogInspection.SegmentLine {
        let scanner = SegmentScanner(
            file: candidate.file,
            number: candidate.number,
            geometry: geometry,
            checksums: checksums,
            byte: geometry.entriesStart,
            chain: candidate.header == nil ? nil : candidate.startChain(checksums)
        )
        var line = LogInspection.SegmentLine(
            name: candidate.name,
            base: LogPosition(candidate.base),
            end: LogPosition(candidate.base + UInt64(geometry.entriesStart)),
            usedBytes: 0,
            recordBatches: 0,
            records: 0,
            commands: 0,
            isSealed: false,
            hasIndex: false,
            firstWall: WallTimestamp(milliseconds: 0),
            latestWall: WallTimestamp(milliseconds: 0)
        )
        var tally = SegmentTally()
        walking: while true {
            let at = scanner.byte
            switch try scanner.next() {
            case .entry(let header, let body):
                tally.count(header.wall)
                switch header.kind {
                case .command: line.commands += 1
                case .gap:
                    let lost = Gap(header, body)?.losses.map(\.description) ?? []
                    result.notes.append(
                        "\(candidate.name) at byte \(at): a gap, accepted by a repair; positions"
                            + " \(header.position.rawValue) to \(header.endPosition.rawValue) are lost"
                            + (lost.isEmpty ? "" : ": " + lost.joined(separator: ", "))
                    )
                case .recordBatch:
                    line.recordBatches += 1
                    line.records += header.recordCount
                    if verify { check(header, body, in: candidate.name, at: at) }
                }
                line.end = header.endPosition
                line.usedBytes += header.storedBytes
            case .full:
                break walking
            case .fault(let fault, let header):
                if fault == .zero || fault == .magic, at >= reach {
                    // The end: zeros, or bytes of the file's life before this one.
                    if fault == .magic { addTornTail(candidate, at, fault, promised) }
                    break walking
                }
                if fault != .zero || at < reach { addTornTail(candidate, at, fault, promised) }
                if let header {
                    scanner.stepOver(header)
                } else if let next = try scanner.nextHeader(from: at + 8) {
                    scanner.byte = next.byte
                    scanner.chain = nil
                } else {
                    break walking
                }
            }
        }
        line.firstWall = tally.firstWall
        line.latestWall = tally.latestWall
        return line
    }

    private mutating func addTornTail(
        _ candidate: SegmentCandidate,
        _ byte: Int,
        _ fault: EntryFault,
        _ promised: UInt64
    ) {
        let position = candidate.base + UInt64(byte)
        let verdict =
            position >= promised
            ? "a torn tail, never acknowledged; opening the log cuts it here"
            : "damage: this was durable up to position \(promised)"
        add(candidate.name, byte, "\(fault.reason): \(verdict)")
    }

    private mutating func check(
        _ header: EntryHeader,
        _ body: UnsafeRawBufferPointer,
        in file: String,
        at byte: Int
    ) {
        do throws(RecordBatchError) {
            let batch = try RecordBatch(body)
            if batch.baseOffset != header.baseOffset || batch.count != header.recordCount {
                add(file, byte, "the entry header and its record batch disagree")
            }
        } catch {
            add(file, byte + EntryHeader.bytes, "the record batch is malformed: \(error)")
        }
    }
}
