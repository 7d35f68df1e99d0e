// The fold of entries into state: records and commands in any order, with any content.

import PulseBroker
import PulseCore
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
        seeds: {
            var script = Script()
            script.add(0, bytes: 1)
            script.add(field: encoded(seedCommands[0]))
            script.add(1, bytes: 1)
            script.bytes += [UInt8(seedStream.rawValue & 3), 1, 0, 0]
            for command in seedCommands.dropFirst() {
                script.add(0, bytes: 1)
                script.add(field: encoded(command))
            }
            return [script.bytes]
        }
    )

    static func foldedSeedState() throws -> ShardState {
        var state = ShardState(segmentBytes: 64 << 20)
        for seed in try fold.seeds() {
            var rows = StateBatch()
            for (header, body) in scriptedEntries(seed) {
                try body.withUnsafeBytes { _ = try state.apply(header, $0, rows: &rows) }
            }
        }
        return state
    }

    private struct Folded {
        var bytes: [UInt8]
        var rows: [String]
        var isWhole: Bool
    }

    private static func foldAll(_ entries: [(EntryHeader, [UInt8])]) -> Folded {
        var state = ShardState(segmentBytes: 64 << 20)
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

    /// 0, commands; or 1, lane, count, delays: a batch at the next offset of a stream.
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
            if draw.byte() & 1 == 0 {
                body = draw.field()
                header.kind = .command
                header.recordCount = 0
                header.baseOffset = Offset(0)
            } else {
                let place = draw.byte() & 15
                let lane = Lane(rawValue: place & 3) ?? .normal
                header.kind = .recordBatch
                header.stream = StreamID(
                    topic: TopicID(UInt16(place >> 2) + 1),
                    partition: PartitionID(0),
                    lane: lane
                )
                header.recordCount = Int(draw.byte() & 15) + 1
                header.baseOffset = Offset(ends[place] ?? 0)
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
