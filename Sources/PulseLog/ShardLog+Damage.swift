// Damage that is met while the log is in use: noted once, told to whoever asks, never skipped.

package import PulseCore

extension ShardLog {
    /// Ranges that are kept; a medium that fails altogether would name thousands.
    static let damagedRangesMax = 1024

    /// Whether bytes were found, at open or later, that do not verify. New work is refused then; what is
    /// whole is served.
    package var isDamaged: Bool { !damaged.isEmpty }

    /// Makes the log read-only: the state could not be folded over this damage, so that nothing new would
    /// find its place.
    package func refuseAppends(because range: DamagedRange) {
        if refusal == nil { refusal = .damaged(range) }
    }

    /// The known damage that a position lies in.
    func knownDamage(at position: UInt64) -> DamagedRange? {
        damaged.first { $0.from.rawValue <= position && position < $0.to.rawValue }
    }

    /// Whether a gap stands where something at this position was.
    package func isLost(_ position: LogPosition) -> Bool {
        !gaps.isEmpty && gaps.contains { $0.position <= position && position < $0.to }
    }

    /// The gap that begins before a position and goes on behind it: what it names is no more.
    func gap(over position: LogPosition) -> Gap? {
        gaps.isEmpty ? nil : gaps.first { $0.position < position && position < $0.to }
    }

    /// The error for promised bytes that do not verify. Notes the range when it is new.
    func damage(_ segment: Segment, _ position: UInt64, _ reason: String) -> LogError {
        if let known = knownDamage(at: position) { return .damaged(known) }
        let range = DamagedRange(
            file: segment.name,
            byte: geometry.byte(of: position),
            from: LogPosition(position),
            to: LogPosition(endOfDamage(segment, from: position)),
            reason: reason
        )
        if damaged.count < Self.damagedRangesMax { damaged.append(range) }
        return .damaged(range)
    }

    /// The error for an entry whose bytes verify and that is no record batch all the same. Noted when new.
    package func damagedBatch(_ header: EntryHeader, _ error: RecordBatchError) -> LogError {
        let at = header.position.rawValue
        guard let segment = segment(at: at) else { return .noEntry(at: header.position) }
        return damage(segment, at, "the record batch does not parse: \(error)")
    }

    /// Notes damage that scrubbing found; answers whether it is new.
    func noteDamage(_ range: DamagedRange) -> Bool {
        let isKnown = damaged.contains {
            $0.from == range.from || $0.from < range.from && range.from < $0.to
        }
        guard !isKnown else { return false }
        if damaged.count < Self.damagedRangesMax { damaged.append(range) }
        return true
    }

    /// Where the segment reads well again behind a bad place, or its end.
    private func endOfDamage(_ segment: Segment, from position: UInt64) -> UInt64 {
        let byte = geometry.byte(of: position)
        let scanner = SegmentScanner(
            file: segment.file,
            number: segment.number,
            geometry: geometry,
            checksums: checksums,
            byte: byte,
            chain: nil
        )
        let end = max(segment.end, position)
        do throws(LogError) {
            var bad: EntryHeader?
            if case .fault(_, let header) = try scanner.next() { bad = header }
            scanner.byte = byte
            let limit = Int(end - segment.base)
            return segment.base + UInt64(try scanner.skip(bad, limit: limit).upperBound)
        } catch {
            return end
        }
    }
}
