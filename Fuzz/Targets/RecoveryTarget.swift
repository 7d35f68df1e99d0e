// Opening a log whose directory anything may have happened to.

import PulseCore
import PulseLog
import TestDoubles

extension FuzzTarget {
    /// - Any directory opens, opens read-only with the damage named, or is refused: no trap.
    /// - Every entry served verifies by a reader that shares no code with the log.
    /// - Entries follow one another without a hole, up to damage that is told or to where appends go on.
    /// - Opening once more changes nothing; what is appended then is there after the next opening.
    /// - After bit flips, zeros, truncation or misplaced writes in one file, every entry that was there is
    ///   served, or the damage is named.
    /// - Inspecting never traps, and changes nothing.
    static let recovery = FuzzTarget(
        name: "recovery",
        inputBytesMax: 1024,
        check: { bytes in
            var draw = Draw(bytes)
            let golden = try GoldenLog.shared.get()
            var edits = DirectoryEdits(golden.files)
            if draw.byte() == 0xFF {
                edits.files = rawFiles(&draw)
            } else {
                edits.apply(&draw)
            }
            let disk = try GoldenLog.directory(edits.files)
            _ = try? LogInspector.inspect(disk, verify: true)
            try require(try same(disk, edits.files), "inspecting changes nothing")

            guard let (log, report) = try? GoldenLog.open(disk) else { return }
            _ = report.lines
            let served = try serve(log, disk)
            if !edits.mayForge, edits.touched.count == 1, bytes.first != 0xFF,
                report.damaged.isEmpty,
                !served.isCut
            {
                try require(served.entries == golden.entries, "a loss is never silent")
            }
            try require(log.isReadOnly == !report.damaged.isEmpty, "a damaged log is read-only")
            try require(served.isCut || report.damaged.isEmpty, "damage is never scanned over")
            guard report.damaged.isEmpty, !served.isCut else { return }
            try goOn(log, disk, after: served.entries)
        },
        seeds: {
            // One input for each operation, on two of the files.
            let arguments: [UInt8] = [0x40, 0x10, 0, 3, 1, 0, 16, 0, 0, 8, 0, 8, 0, 0]
            var seeds: [[UInt8]] = []
            for operation: UInt8 in 0..<11 {
                for file in [operation % 7, (operation * 3 + 1) % 7] {
                    seeds.append([0, operation, file] + arguments)
                }
            }
            return seeds
        }
    )

    /// Files of any content: count, then for each a kind, a size and the bytes it begins with.
    private static func rawFiles(_ draw: inout Draw) -> [(name: String, bytes: [UInt8])] {
        let names = [
            "00000000000000000000.seg", "00000000000000032768.seg", "00000000000000000000.idx",
            "spare-0", "floor", "x.tmp", "18446744073709518848.seg", "99999999999999999999.seg",
        ]
        var files: [(name: String, bytes: [UInt8])] = []
        for _ in 0..<Int(draw.byte() & 7) {
            let name = names[Int(draw.byte() & 7)]
            var bytes = draw.field()
            let size = Int(draw.number(bytes: 2))
            if bytes.count < size { bytes += [UInt8](repeating: 0, count: size - bytes.count) }
            for _ in 0..<Int(draw.byte() & 3) {
                DiskFormat.seal(&bytes, at: Int(draw.number(bytes: 2)) % max(1, bytes.count))
            }
            files.removeAll { $0.name == name }
            files.append((name, bytes))
        }
        return files
    }

    private static func same(
        _ disk: MemoryDirectory,
        _ files: [(name: String, bytes: [UInt8])]
    ) throws -> Bool {
        guard try disk.list() == files.map(\.name).sorted() else { return false }
        return try files.allSatisfy { try disk.contents(of: $0.name) == $0.bytes }
    }

    struct Served {
        var entries: [GoldenLog.Entry]
        /// Damage was met while reading.
        var isCut: Bool
    }

    /// Reads all there is, and checks it against the files.
    static func serve(_ log: ShardLog, _ disk: MemoryDirectory) throws -> Served {
        var entries: [GoldenLog.Entry] = []
        var isCut = false
        do throws(LogError) {
            try log.scan(from: .zero) { header, body throws(LogError) in
                entries.append(
                    GoldenLog.Entry(
                        position: header.position,
                        kind: header.kind,
                        stream: header.stream,
                        body: Array(body)
                    )
                )
                return true
            }
        } catch { isCut = true }
        var checker = DiskChecker(disk, segmentBytes: log.segmentBytes)
        var before: (chain: UInt32, end: UInt64)?
        for entry in entries {
            before = try checker.check(entry, after: before)
            let again = try log.read(at: entry.position) { _, body in Array(body) }
            try require(again == entry.body, "one by one the entries are the same")
        }
        if let end = before?.end, !isCut, !log.isReadOnly {
            let goesOn = log.appendPosition.rawValue
            try require(
                goesOn == end || goesOn > end && Int(goesOn) % log.segmentBytes == DiskFormat.block,
                "appends go on right behind what is there, or in a new segment"
            )
        }
        for key in GoldenLog.keys {
            try? log.lookup(key) { position in
                _ = try? log.read(at: position) { _, _ in }
                return true
            }
        }
        for stream in GoldenLog.streams {
            for offset: Int64 in [-1, 0, 5, 80, .max] {
                _ = try? log.locate(stream, Offset(offset))
            }
        }
        return Served(entries: entries, isCut: isCut)
    }

    /// Opens once more, appends, and opens again.
    private static func goOn(
        _ first: ShardLog,
        _ disk: MemoryDirectory,
        after entries: [GoldenLog.Entry]
    ) throws {
        disk.crash(.unsynced)
        let (second, report) = try GoldenLog.open(disk)
        try require(
            report.damaged.isEmpty && report.tornTail == nil,
            "recovery needs no second run"
        )
        try require(try serve(second, disk).entries == entries, "and changes nothing")
        try require(second.appendPosition == first.appendPosition, "and goes on at the same place")
        second.checkInvariants()
        let body: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8, 9]
        let position: LogPosition
        do throws(LogError) {
            let appended = body.withUnsafeBytes { raw in
                Result { () throws(LogError) in
                    try second.append(
                        .command,
                        stream: .none,
                        baseOffset: Offset(0),
                        recordCount: 0,
                        at: GoldenLog.wall,
                        keys: [],
                        body: raw
                    )
                }
            }
            position = try appended.get()
            try second.close()
        } catch {
            if case .diskFull = error { return }
            if case .storage(let failure) = error, failure.reason == .noSpace { return }
            throw error
        }
        disk.crash(.unsynced)
        let (third, _) = try GoldenLog.open(disk)
        let last = try serve(third, disk).entries.last
        try require(
            last?.position == position && last?.body == body,
            "what is appended to a recovered log stays"
        )
    }
}
