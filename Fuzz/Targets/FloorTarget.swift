// The floor file: two slots of any bytes, sealed or not, alone and in front of a good log.

import PulseCore
import PulseLog
import TestDoubles

extension FuzzTarget {
    /// - What is read is what the best slot says by a reader of spec/03-storage.md that shares no code with
    ///   the log, or a newer format or another log's is refused: never a position beyond what a slot says.
    /// - Only two whole slots say where the log begins.
    /// - A floor that is written reads the same; one that is restated says the same, but for its cut.
    /// - A good log with this floor opens and serves nothing but what it had, or is refused.
    static let floor = FuzzTarget(
        name: "floor",
        inputBytesMax: 512,
        check: { bytes in
            var draw = Draw(bytes)
            let content = try FloorScript.file(&draw)
            let slots = FloorSlots(content)
            do {
                let read = try readFloor(in: GoldenLog.directory([("floor", content)]))
                try require(!slots.areNewer, "a newer format is refused")
                try compare(read, slots)
                if let floor = read.best, floor.sequence < Floor.sequenceMax {
                    try writeAgain(floor)
                }
                try owned(read)
            } catch let error as LogError {
                guard case .newerFormat = error, slots.areNewer else { throw error }
            }
            try openLog(with: content)
        },
        seeds: {
            let golden = try GoldenLog.shared.get()
            let inside = golden.entries[golden.entries.count / 2].position.rawValue
            let first = FloorScript.Slot(sequence: 6, position: inside, first: 0)
            var second = first
            second.sequence = 7
            var cut = second
            cut.cut = inside
            var newer = second
            newer.major = 1
            var foreign = second
            foreign.isForeign = true
            var last = second
            last.sequence = .max
            let others: [FloorScript.Slot?] = [second, cut, newer, foreign, last, nil]
            return others.map { FloorScript.script([first, $0]) }
                + [FloorScript.script([second, first]), FloorScript.script([nil, second])]
                + [[3, 0, 3, 0], [3, 2, 32, 0, 9, 48, 0, 1, 3, 0], [7, 1, 9, 0, 1, 3, 0]]
        }
    )

    private static func readFloor(in disk: MemoryDirectory) throws -> Floor.Slots {
        try Floor.read(try disk.open("floor"))
    }

    private static func compare(_ read: Floor.Slots, _ slots: FloorSlots) throws {
        let best = slots.best
        try require(read.best?.sequence == best?.sequence, "the newest slot counts")
        try require(read.best?.position == best?.position, "it says how far the log is durable")
        try require(read.best?.chain == best?.chain, "and with which chain it goes on")
        try require(read.best?.cut?.position == best?.cut, "and where it is being cut")
        try require(read.best?.first == best?.first, "and where it begins")
        try require(read.isWhole == slots.areWhole, "both slots are whole, or not")
        try require(
            read.first == (slots.areWhole ? best?.first : nil),
            "only two whole slots say where the log must begin"
        )
        try require(read.unreadable == slots.unreadable, "slots that do not verify are named")
    }

    private static func writeAgain(_ floor: Floor) throws {
        let disk = MemoryDirectory()
        try floor.write(in: disk, makesFile: true)
        try require(try readFloor(in: disk).best == floor, "a floor that is written reads the same")
        let next = try floor.restated(in: disk)
        var same = floor
        same.cut = nil
        same.sequence = next.sequence
        try require(next == same, "a floor that is restated says the same, but for its cut")
        let read = try readFloor(in: disk)
        try require(read.best == next && read.other == floor, "in the other slot")
        try require(read.isWhole, "and both are whole")
    }

    private static func owned(_ read: Floor.Slots) throws {
        do {
            let slots = try read.owned(by: GoldenLog.identity)
            try require(slots.best == read.best, "its own floor is as it is")
            try require(
                slots.best.map { $0.identity == GoldenLog.identity } ?? true,
                "another log's floor is refused"
            )
        } catch let error as LogError {
            guard case .foreign = error else { throw error }
        }
    }

    private static func openLog(with floor: [UInt8]) throws {
        let golden = try GoldenLog.shared.get()
        let files = golden.files.filter { $0.name != "floor" } + [("floor", floor)]
        let disk = try GoldenLog.directory(files)
        _ = try? LogInspector.inspect(disk, verify: false)
        guard let (log, report) = try? GoldenLog.open(disk) else { return }
        _ = report.lines
        let served = try serve(log, disk).entries
        guard let first = served.first else { return }
        let begin = golden.entries.firstIndex(of: first)
        try require(
            begin.map { golden.entries[$0...].starts(with: served) } ?? false,
            "what is served was there"
        )
    }
}
