// Scrubbing: every sealed segment is read and verified now and then, whether anybody asks for it or not,
// and so are the index files and generations.
//
//     pass 7:  segments in the order of hash(7, number); where it stands is one number, the last hash done
//
// So the order differs from pass to pass, a segment sealed meanwhile finds its place, and after a restart
// the pass goes on where it was.

package import PulseCore

/// How far scrubbing has come: saved after each segment, so that a restart does not begin anew.
package struct ScrubProgress: Hashable, Sendable {
    /// Passes begun, from 1; 0 before the first.
    package var pass: UInt64
    package var began: WallTimestamp
    /// The order hash of the segment that was verified last; nil before the first of the pass.
    package var reached: UInt64?

    package init(pass: UInt64 = 0, began: WallTimestamp, reached: UInt64? = nil) {
        self.pass = pass
        self.began = began
        self.reached = reached
    }

    static func order(of segment: UInt64, in pass: UInt64) -> UInt64 {
        withUnsafeBytes(of: segment.littleEndian) { XXH3.hash($0, seed: pass) }
    }
}

extension ShardLog {
    /// The next piece to verify, nil when the pass is over. One piece at a time.
    ///
    /// - Parameter earlier: The piece before, when it ended in the middle of its segment.
    package func scrubPiece(
        after earlier: ScrubPiece?,
        _ progress: ScrubProgress,
        bytesMax: Int
    ) -> ScrubPiece? {
        if let earlier, !earlier.isWhole, let segment = scrubbable(earlier.segment) {
            return piece(of: segment, after: earlier, bytesMax)
        }
        var next: (order: UInt64, segment: Segment)?
        for segment in kept where isScrubbable(segment) {
            let order = ScrubProgress.order(of: segment.number, in: progress.pass)
            if let reached = progress.reached, order <= reached { continue }
            if let best = next, best.order <= order { continue }
            next = (order, segment)
        }
        return next.flatMap { piece(of: $0.segment, after: nil, bytesMax) }
    }

    /// Takes in what a piece found; moves `progress` when its segment is done. Damaged index files and
    /// generations are made again in the background.
    ///
    /// - Returns: What is damaged and was not known to be.
    package func scrubbed(
        _ piece: ScrubPiece,
        _ progress: inout ScrubProgress
    ) -> [DamagedRange] {
        if piece.isWhole {
            progress.reached = ScrubProgress.order(of: piece.segment, in: progress.pass)
        }
        // Let go meanwhile: its file may be another segment's by now.
        guard let segment = scrubbable(piece.segment) else { return [] }
        for table in piece.damagedTables {
            if case .file(let index) = segment.index, index.table === table {
                mendIndex(of: segment)
            } else if let generation = segment.generation, generation.table === table {
                forget(generation)
            }
        }
        return piece.damaged.filter { noteDamage($0) }
    }

    private func piece(
        of segment: Segment,
        after earlier: ScrubPiece?,
        _ bytesMax: Int
    ) -> ScrubPiece? {
        guard let footer = segment.footer else { return nil }
        let tables = tables(of: segment)
        return ScrubPiece(
            segment,
            footer: footer,
            // What was made anew meanwhile was just written, and is verified in the next pass.
            checks: earlier?.checks.filter { check in tables.contains { $0 === check.table } }
                ?? tables.map { KeyTableCheck($0) },
            after: earlier,
            bytesMax: bytesMax,
            geometry: geometry,
            checksums: checksums
        )
    }

    /// What is verified with a segment: its index file, and with the last of its segments a generation.
    private func tables(of segment: Segment) -> [KeyTable] {
        var tables: [KeyTable] = []
        if case .file(let index) = segment.index, !segment.indexIsDamaged {
            tables.append(index.table)
        }
        if let generation = segment.generation, generation.range.upperBound == segment.number {
            tables.append(generation.table)
        }
        return tables
    }

    private func scrubbable(_ number: UInt64) -> Segment? {
        kept.first { $0.number == number && isScrubbable($0) }
    }

    /// Sealed, its footer and its successor's name on stable storage.
    private func isScrubbable(_ segment: Segment) -> Bool {
        segment.isSealed && segment !== active && geometry.base(of: segment.number + 1) < durable
    }
}
