// The fold of entries into state: records and commands in any order, with any content.

package import PulseBroker
package import PulseCore
import PulseLog
import TestDoubles

extension FuzzTarget {
    /// - An entry that cannot follow is refused with a ``StateError``, never a trap.
    /// - The same entries give the same state and the same rows, byte for byte.
    /// - A state that was reached can be saved and read again.
    static let fold = FuzzTarget(
        name: "fold",
        inputBytesMax: 2048,
        check: { bytes in
            let entries = scriptedEntries(bytes)
            let first = foldAll(entries)
            let second = foldAll(entries)
            try require(first.bytes == second.bytes, "equal entries give an equal state")
            try require(first.rows == second.rows, "equal entries give equal rows")
            guard first.isWhole else { return }
            let read = ShardState(encoded: first.bytes)
            try require(read != nil, "a state that was reached can be read")
            try require(read?.encoded() == first.bytes, "and is the same then")
        },
        seeds: { [SeedStory.whole, SeedStory.holed, SeedStory.settled].map(SeedStory.script) }
    )

    private static let segmentBytes = 64 << 20

    /// The state that a script leads to, and all rows that were put on the way.
    ///
    /// - Throws: ``StateError`` when an entry of it is refused.
    package static func folded(
        _ script: [UInt8]
    ) throws -> (state: ShardState, rows: [StateRow]) {
        var state = ShardState(segmentBytes: segmentBytes)
        var rows: [StateRow] = []
        for (header, body) in scriptedEntries(script) {
            var batch = StateBatch()
            try body.withUnsafeBytes { _ = try state.apply(header, $0, rows: &batch) }
            for case .put(let key, let value) in batch.changes {
                rows.append(StateRow(key: key, value: value))
            }
        }
        return (state, rows)
    }

    /// The bodies of a script's command entries.
    package static func commands(ofFold script: [UInt8]) -> [[UInt8]] {
        scriptedEntries(script).filter { $0.0.kind == .command }.map(\.1)
    }

    private struct Folded {
        var bytes: [UInt8]
        var rows: [String]
        var isWhole: Bool
    }

    private static func foldAll(_ entries: [(EntryHeader, [UInt8])]) -> Folded {
        var state = ShardState(segmentBytes: segmentBytes)
        var rows: [String] = []
        for (header, body) in entries {
            var batch = StateBatch()
            let fits = body.withUnsafeBytes { raw in
                (try? state.apply(header, raw, rows: &batch)) != nil
            }
            rows += batch.changes.map { "\($0)" }
            guard fits else { return Folded(bytes: state.encoded(), rows: rows, isWhole: false) }
        }
        return Folded(bytes: state.encoded(), rows: rows, isWhole: true)
    }

    /// Even, then commands; odd, then place, count and delays: a batch at the next offset of a stream, or
    /// behind some that are left out; a gap, with how far it reaches and its body; or the next segment.
    private static func scriptedEntries(_ bytes: [UInt8]) -> [(EntryHeader, [UInt8])] {
        guard let template = anyHeader else { return [] }
        var draw = Draw(bytes)
        var entries: [(EntryHeader, [UInt8])] = []
        var ends: [UInt8: Int64] = [:]
        var position: UInt64 = 4096
        while !draw.isAtEnd, entries.count < 64 {
            var header = template
            header.position = LogPosition(position)
            header.wall = WallTimestamp(milliseconds: 500)
            let body: [UInt8]
            let operation = draw.byte()
            if operation == FoldScript.nextSegment {
                position = (position / UInt64(segmentBytes) + 1) * UInt64(segmentBytes) + 4096
                continue
            }
            if operation == FoldScript.gap {
                let reach = draw.number(bytes: 4) & ~7
                body = FoldScript.gapBody(&draw)
                header.kind = .gap
                header.recordCount = 0
                let stored = UInt64(EntryHeader.bytes + (body.count + 7) & ~7)
                header.baseOffset = Offset(Int64(position + stored + reach))
            } else if operation & 1 == 0 {
                body = draw.field()
                // Folding what is lost takes time for each offset.
                guard !FoldScript.losesMuch(body) else { continue }
                header.kind = .command
                header.recordCount = 0
                header.baseOffset = Offset(0)
            } else {
                let choice = draw.byte()
                let place = choice & 15
                header.kind = .recordBatch
                header.stream = StreamID(
                    topic: TopicID(UInt16(place >> 2) + 1),
                    partition: PartitionID(0),
                    lane: Lane(rawValue: place & 3) ?? .normal
                )
                header.recordCount = Int(draw.byte() & 15) + 1
                header.baseOffset = Offset((ends[place] ?? 0) + Int64(choice >> 4))
                ends[place] = header.baseOffset.rawValue + Int64(header.recordCount)
                body = records(header.recordCount, &draw)
            }
            header.bodyLength = body.count
            position = header.endPosition.rawValue
            entries.append((header, body))
        }
        return entries
    }

    private static func records(_ count: Int, _ draw: inout Draw) -> [UInt8] {
        var bytes: [UInt8] = []
        let wall = WallTimestamp(milliseconds: 500)
        var writer = RecordBatchWriter(timestamp: wall, in: &bytes)
        for _ in 0..<count {
            let due = draw.byte()
            var envelope = EnvelopeWriter()
            if due > 0 {
                envelope.append(deliverAt: WallTimestamp(milliseconds: Int64(due) * 10))
            }
            envelope.bytes.withUnsafeBytes {
                writer.append(key: nil, value: $0, timestamp: wall, into: &bytes)
            }
        }
        writer.close(in: &bytes)
        return bytes
    }

    /// A header that a log has written, to be changed: only a log makes them.
    private static let anyHeader: EntryHeader? = {
        var found: EntryHeader?
        _ = try? GoldenLog.shared.get().log().log.scan(from: .zero) { header, _ in
            found = header
            return false
        }
        return found
    }()
}
