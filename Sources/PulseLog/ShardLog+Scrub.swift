// Scrubbing: every sealed segment is read and verified now and then, whether anybody asks for it or not.
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
            return piece(of: segment, from: (earlier.byte, earlier.chain), bytesMax)
        }
        var next: (order: UInt64, segment: Segment)?
        for segment in kept where isScrubbable(segment) {
            let order = ScrubProgress.order(of: segment.number, in: progress.pass)
            if let reached = progress.reached, order <= reached { continue }
            if let best = next, best.order <= order { continue }
            next = (order, segment)
        }
        return next.flatMap { piece(of: $0.segment, from: nil, bytesMax) }
    }

    /// Takes in what a piece found; moves `progress` when its segment is done.
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
        guard scrubbable(piece.segment) != nil else { return [] }
        return piece.damaged.filter { noteDamage($0) }
    }

    private func piece(
        of segment: Segment,
        from place: (byte: Int, chain: UInt32?)?,
        _ bytesMax: Int
    ) -> ScrubPiece? {
        guard let footer = segment.footer else { return nil }
        return ScrubPiece(
            segment,
            footer: footer,
            from: place,
            bytesMax: bytesMax,
            geometry: geometry,
            checksums: checksums
        )
    }

    private func scrubbable(_ number: UInt64) -> Segment? {
        kept.first { $0.number == number && isScrubbable($0) }
    }

    /// Sealed, its footer and its successor's name on stable storage.
    private func isScrubbable(_ segment: Segment) -> Bool {
        segment.isSealed && segment !== active && geometry.base(of: segment.number + 1) < durable
    }
}
