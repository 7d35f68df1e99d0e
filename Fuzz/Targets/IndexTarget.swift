// Index files and generations: found damaged, they are made again; found forged, they mislead nobody.

import PulseCore
import PulseLog
import TestDoubles

extension FuzzTarget {
    /// - Whatever an index file holds, the log opens whole: an index is never worth an entry.
    /// - Nothing that is looked up traps, and what is found can be read or is named as damage.
    /// - An index without forged checksums gives the answers of the log itself, or none at all.
    static let index = FuzzTarget(
        name: "index",
        inputBytesMax: 2048,
        check: { bytes in
            let golden = try GoldenLog.shared.get()
            let isIndex = { (name: String) in name.hasSuffix(".idx") || name.hasSuffix(".keys") }
            var edits = DirectoryEdits(golden.files.filter { isIndex($0.name) })
            var draw = Draw(bytes)
            let forges = draw.byte() & 1 == 1
            edits.apply(&draw)
            // Whole again, so that what lies deeper is reached.
            if forges {
                for file in edits.files.indices {
                    for place in stride(from: 0, to: edits.files[file].bytes.count, by: 4096)
                        .reversed()
                    {
                        DiskFormat.seal(&edits.files[file].bytes, at: place)
                    }
                }
            }
            let names = Set(edits.files.map(\.name))
            let others = golden.files.filter { !isIndex($0.name) && !names.contains($0.name) }
            guard edits.files.allSatisfy({ isIndex($0.name) }) else { return }
            let disk = try GoldenLog.directory(others + edits.files)
            let log: ShardLog
            let report: RecoveryReport
            do throws(LogError) {
                (log, report) = try GoldenLog.open(disk)
            } catch {
                // Only a newer program's file stands in the way, and that is kept.
                guard case .newerFormat = error, forges || edits.mayForge else { throw error }
                return
            }
            try require(report.damaged.isEmpty, "an index file is not worth an entry")
            let served = try FuzzTarget.serve(log, disk)
            try require(
                served.entries == golden.entries,
                "the log is whole whatever its indexes say"
            )
            _ = try? LogInspector.inspect(disk, verify: true)
            guard !forges, !edits.mayForge else { return }
            try checkAnswers(log, golden)
        },
        seeds: {
            (0..<9).map {
                [UInt8($0 & 1), $0, $0, 0x10, 0x10 * $0, 0, 7, 1, 0, 0, 0, 0, 0, 0, 0, 0]
            }
        }
    )

    private static func checkAnswers(_ log: ShardLog, _ golden: GoldenLog) throws {
        for key in GoldenLog.keys {
            var found: [LogPosition] = []
            let isWhole: Void? = try? log.lookup(key) { position in
                found.append(position)
                return true
            }
            guard isWhole != nil else { continue }
            let expected = golden.entries.reversed().filter { entry in
                var reader = entry.body.withUnsafeBytes { Array($0.prefix(8)) }[...]
                var value: UInt64 = 0
                for shift in 0..<8 { value |= UInt64(reader.removeFirst()) << UInt64(8 * shift) }
                return value == key
            }
            try require(found == expected.map(\.position), "a damaged index gives right answers")
        }
        for stream in GoldenLog.streams {
            let batches = golden.entries.filter { $0.kind == .recordBatch && $0.stream == stream }
            for (number, entry) in batches.enumerated() {
                guard let place = try? log.locate(stream, Offset(Int64(number) * 3)) else {
                    continue
                }
                try require(place == entry.position, "a damaged index locates records rightly")
            }
        }
    }
}
