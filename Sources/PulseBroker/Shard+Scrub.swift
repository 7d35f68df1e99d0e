// When to scrub, and how fast: a pass over all sealed segments each week or so, at a rate that nobody
// notices.

package import PulseCore
package import PulseLog

/// Scrubbing of one shard: what is under way, and what was found.
package struct Scrubbing: Sendable {
    package internal(set) var progress: ScrubProgress
    /// The last piece, when its segment goes on.
    var earlier: ScrubPiece?
    var inFlight = false
    var due: MonotonicInstant?
    /// Whether the pass that `progress` names is over.
    var passEnded = false
    /// The counters, since this process started.
    package internal(set) var bytes: UInt64 = 0
    package internal(set) var segments: UInt64 = 0
    package internal(set) var damaged: UInt64 = 0
    package internal(set) var passesEnded: UInt64 = 0
    package internal(set) var failures: UInt64 = 0

    init(_ progress: ScrubProgress) { self.progress = progress }
}

extension Shard {
    static let scrubKey: [UInt8] = Array("scrub".utf8)

    /// Milliseconds until a file that could not be read is tried again, and until the clock is looked at
    /// again between passes.
    private static let scrubPauseMilliseconds: Int64 = 60_000

    /// When ``scrubPiece(at:)`` is to be asked again; nil while a piece is under way.
    package var scrubDeadline: MonotonicInstant? {
        scrubbing.inFlight || configuration.scrubBytesPerSecond <= 0 ? nil : scrubbing.due
    }

    /// The piece to verify now; hand it to the background, then to ``scrubbed(_:failure:at:)``.
    package func scrubPiece(at now: Now) -> ScrubPiece? {
        guard !scrubbing.inFlight, configuration.scrubBytesPerSecond > 0,
            now.monotonic >= scrubbing.due ?? now.monotonic
        else { return nil }
        if scrubbing.progress.pass == 0 || scrubPassIsDue(now) { beginPass(at: now) }
        guard
            let piece = log.scrubPiece(
                after: scrubbing.earlier,
                scrubbing.progress,
                bytesMax: Limits.scrubPieceBytes
            )
        else {
            endPass()
            scrubbing.due = now.monotonic.advanced(byMilliseconds: Self.scrubPauseMilliseconds)
            return nil
        }
        scrubbing.inFlight = true
        return piece
    }

    /// Takes in the end of a piece.
    ///
    /// - Returns: What is damaged and was not known to be.
    package func scrubbed(
        _ piece: ScrubPiece,
        failure: StorageError?,
        at now: Now
    ) -> [DamagedRange] {
        scrubbing.inFlight = false
        guard failure == nil else {
            scrubbing.failures += 1
            scrubbing.due = now.monotonic.advanced(byMilliseconds: Self.scrubPauseMilliseconds)
            return []
        }
        let pause = Int64(piece.bytes) * 1000 / configuration.scrubBytesPerSecond
        scrubbing.due = now.monotonic.advanced(byMilliseconds: max(pause, 1))
        scrubbing.bytes += UInt64(piece.bytes)
        let found = log.scrubbed(piece, &scrubbing.progress)
        scrubbing.damaged += UInt64(found.count)
        scrubbing.earlier = piece.isWhole ? nil : piece
        if piece.isWhole {
            scrubbing.segments += 1
            saveScrubProgress()
        }
        return found
    }

    private func scrubPassIsDue(_ now: Now) -> Bool {
        guard scrubbing.passEnded else { return false }
        let next = scrubbing.progress.began.advanced(
            byMilliseconds: configuration.scrubIntervalMilliseconds
        )
        // A clock that was set back must not put scrubbing off for years.
        return now.wall >= next || now.wall < scrubbing.progress.began
    }

    private func beginPass(at now: Now) {
        scrubbing.progress = ScrubProgress(pass: scrubbing.progress.pass + 1, began: now.wall)
        scrubbing.passEnded = false
    }

    private func endPass() {
        guard !scrubbing.passEnded else { return }
        scrubbing.passEnded = true
        scrubbing.passesEnded += 1
    }

    // MARK: - Its row: pass u64, began i64, whether something was reached u8, what u64

    private func saveScrubProgress() {
        var value: [UInt8] = []
        value.append(littleEndian: scrubbing.progress.pass)
        value.append(littleEndian: scrubbing.progress.began.milliseconds)
        value.append(scrubbing.progress.reached == nil ? 0 : 1)
        value.append(littleEndian: scrubbing.progress.reached ?? 0)
        var batch = StateBatch()
        batch.put(Self.scrubKey, value)
        // A store that cannot write says so where it matters; here a restart scrubs a segment again.
        try? store.write(batch)
    }

    /// Where the last process was; a row that cannot be read begins a new pass.
    static func scrubProgress(
        in store: any StateStore,
        at now: Now
    ) throws(ShardError) -> ScrubProgress {
        let none = ScrubProgress(began: now.wall)
        guard let row = try fromStore({ () throws(StorageError) in try store.get(scrubKey) }) else {
            return none
        }
        return row.withUnsafeBytes { bytes in
            var reader = ByteReader(bytes)
            guard let pass: UInt64 = reader.littleEndian(),
                let began: Int64 = reader.littleEndian(), let isReached = reader.byte(),
                let reached: UInt64 = reader.littleEndian(), reader.isAtEnd, pass < .max
            else { return none }
            return ScrubProgress(
                pass: pass,
                began: WallTimestamp(milliseconds: began),
                reached: isReached == 1 ? reached : nil
            )
        }
    }
}
