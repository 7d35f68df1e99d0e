// The tester is tested: each fault of the simulated disk does what its name says, once, and can be seen.

import PulseCore
import PulseSimulator
import Testing

@Suite("Disk faults")
struct DiskFaultTests {
    private let disk = SimulatedDisk()
    private var random = SeededGenerator(seed: 11)

    private func write(_ byte: UInt8, _ count: Int, to file: any LogFile, at position: Int) throws {
        try [UInt8](repeating: byte, count: count).withUnsafeBytes {
            try file.write($0, at: position)
        }
    }

    /// The fault happens to the next call that it fits.
    private func plan(_ fault: DiskFault) {
        disk.plan = DiskFaultPlan([PlannedDiskFault(call: disk.callCount + 1, fault: fault)])
    }

    /// A durable file of four sectors of ones.
    private func file(_ name: String = "a") throws -> any LogFile {
        let file = try disk.create(name, bytes: 2048, written: true)
        try write(1, 2048, to: file, at: 0)
        try file.sync()
        try disk.syncDirectory()
        return file
    }

    private func bytes(_ name: String = "a") throws -> [UInt8] {
        try #require(disk.bytes(of: name))
    }

    private let inputOutput = StorageError.Reason.failed(code: 5, text: "I/O error")

    @Test("a failed sync tells once, keeps the new bytes in memory and the old ones on the disk")
    mutating func syncError() throws {
        let file = try file()
        try write(2, 512, to: file, at: 512)
        plan(.syncError)
        #expect(throws: StorageError.self) { try file.sync() }
        #expect(try bytes()[512] == 2, "the page cache")
        #expect(disk.pendingSectors(of: "a") == 0, "the pages are clean")
        file.dropCache()
        #expect(try bytes()[512] == 1, "the disk")
        #expect(disk.violations.isEmpty)
        try file.sync()
        #expect(disk.violations.count == 1, "a second sync is noted")
        disk.killProcess()
        try file.sync()
        #expect(disk.violations.count == 1, "another process may sync")
    }

    @Test("after a failed sync a power loss shows the old bytes")
    mutating func syncErrorAndPowerLoss() throws {
        disk.faults.applied = 1000
        let file = try file()
        try write(2, 512, to: file, at: 512)
        plan(.syncError)
        #expect(throws: StorageError.self) { try file.sync() }
        disk.losePower(&random)
        #expect(try bytes()[512] == 1)
    }

    @Test(
        "of a failed sync any sectors arrive: the page cache may show one thing, the disk another"
    )
    func syncErrorLosesAnySubset() throws {
        var left: Set<[UInt8]> = []
        var shown: Set<[UInt8]> = []
        for seed in UInt64(1)...200 {
            let disk = SimulatedDisk()
            disk.fate = SeededGenerator(seed: seed)
            var random = SeededGenerator(seed: 1)
            let file = try disk.create("a", bytes: 1536, written: true)
            try write(1, 1536, to: file, at: 0)
            try file.sync()
            try disk.syncDirectory()
            try write(2, 1536, to: file, at: 0)
            disk.plan = DiskFaultPlan([
                PlannedDiskFault(call: disk.callCount + 1, fault: .syncError)
            ])
            #expect(throws: StorageError.self) { try file.sync() }
            #expect(disk.pendingSectors(of: "a") == 0)
            func sectors() throws -> [UInt8] {
                let bytes = try #require(disk.bytes(of: "a"))
                return [bytes[0], bytes[512], bytes[1024]]
            }
            shown.insert(try sectors())
            disk.killProcess()
            disk.losePower(&random)
            left.insert(try sectors())
        }
        #expect(left.count == 8, "every subset of three sectors")
        #expect(
            shown.contains([2, 2, 2]) && shown.count > 2,
            "most show the new bytes, some the old"
        )
    }

    @Test("a kill in the middle of a write leaves its beginning in the page cache")
    func killTearsWrite() throws {
        var lengths: Set<Int> = []
        for seed in UInt64(1)...40 {
            let disk = SimulatedDisk()
            disk.fate = SeededGenerator(seed: seed)
            let file = try disk.create("a", bytes: 2048, written: true)
            disk.operationsLeft = 0
            #expect(throws: StorageError.self) { try write(2, 1000, to: file, at: 100) }
            // What comes after it leaves nothing.
            #expect(throws: StorageError.self) { try write(3, 10, to: file, at: 1900) }
            disk.killProcess()
            let bytes = try #require(disk.bytes(of: "a"))
            let end = bytes.lastIndex(of: 2).map { $0 + 1 } ?? 100
            #expect(bytes[100..<end].allSatisfy { $0 == 2 })
            #expect(bytes[end...].allSatisfy { $0 == 0 })
            lengths.insert(end - 100)
        }
        #expect(lengths.count > 20)
    }

    @Test("a lying sync of the directory leaves its names on their way")
    func lyingDirectorySync() throws {
        var seen: Set<[String]> = []
        for seed in UInt64(1)...20 {
            let disk = SimulatedDisk()
            var random = SeededGenerator(seed: seed)
            _ = try disk.create("a", bytes: 1, written: true)
            disk.plan = DiskFaultPlan([
                PlannedDiskFault(call: disk.callCount + 1, fault: .lyingDirectorySync)
            ])
            try disk.syncDirectory()
            #expect(disk.fileNames == ["a"])
            disk.losePower(&random)
            seen.insert(disk.fileNames)
        }
        #expect(seen == [[], ["a"]])
    }

    @Test("a lying sync leaves everything pending")
    mutating func lyingSync() throws {
        disk.faults.applied = 0
        disk.faults.dropped = 1000
        let file = try file()
        try write(2, 512, to: file, at: 0)
        plan(.lyingSync)
        try file.sync()
        #expect(disk.pendingSectors(of: "a") == 1)
        disk.losePower(&random)
        #expect(try bytes()[0] == 1)
    }

    @Test("a lost write is in the page cache and never on the disk, synced or not")
    mutating func lostWrite() throws {
        disk.faults.applied = 1000
        let file = try file()
        plan(.lostWrite(sector: 1))
        try write(2, 1536, to: file, at: 0)
        try file.sync()
        #expect(try bytes()[512] == 2)
        disk.losePower(&random)
        let left = try bytes()
        #expect(left[0] == 2 && left[512] == 1 && left[1024] == 2)
    }

    @Test("a misdirected write leaves its own place and damages another")
    mutating func misdirectedWrite() throws {
        let file = try file("a")
        _ = try self.file("b")
        plan(.misdirectedWrite(file: 1, sector: 2))
        try write(7, 512, to: file, at: 0)
        try file.sync()
        disk.losePower(&random)
        #expect(try bytes("a")[0] == 1)
        #expect(try bytes("b")[1024..<1536].allSatisfy { $0 == 7 })
        #expect(try bytes("b")[0..<1024].allSatisfy { $0 == 1 })
    }

    @Test("a short write puts down its first bytes and fails")
    func shortWrite() throws {
        let file = try file()
        plan(.shortWrite(bytes: 100, .noSpace))
        #expect(throws: StorageError(.write, file: "a", byte: 0, reason: .noSpace)) {
            try write(2, 512, to: file, at: 0)
        }
        #expect(try bytes()[99] == 2)
        #expect(try bytes()[100] == 1)
    }

    @Test("a short read is an error, never a shorter file")
    func shortRead() throws {
        _ = try file()
        plan(.shortRead(bytes: 100))
        #expect(throws: StorageError.self) { try disk.contents(of: "a") }
        #expect(try disk.contents(of: "a")?.count == 2048)
    }

    @Test("plain errors happen to the call that they fit, and change nothing")
    func errors() throws {
        let file = try file()
        plan(.error(.tooManyFiles))
        try write(2, 1, to: file, at: 0)
        #expect(throws: StorageError(.open, file: "a", reason: .tooManyFiles)) {
            try disk.open("a")
        }
        plan(.error(inputOutput))
        #expect(throws: StorageError.self) { try write(3, 1, to: file, at: 0) }
        #expect(try bytes()[0] == 2)
        #expect(disk.struck.map(\.call) == ["open a", "write a"])
        #expect(disk.plan.faults.isEmpty)
    }

    @Test("a full disk refuses new files and takes them again when there is room")
    func capacity() throws {
        _ = try file("a")
        disk.capacityBytes = 3000
        #expect(throws: StorageError(.create, file: "b", reason: .noSpace)) {
            try disk.create("b", bytes: 2048, written: true)
        }
        try disk.remove("a")
        _ = try disk.create("b", bytes: 2048, written: true)
    }

    @Test("a stall takes time and nothing else")
    func stall() throws {
        let file = try file()
        plan(.stall(milliseconds: 900))
        try write(2, 1, to: file, at: 0)
        #expect(disk.takeStall() == 900)
        #expect(disk.takeStall() == 0)
    }

    @Test("damage at rest stays through syncs, drops and power losses")
    mutating func rest() throws {
        let first = try file("a")
        _ = try file("b")
        disk.suffer(.flipBit(file: "a", byte: 5, bit: 1))
        disk.suffer(.truncate(file: "b", bytes: 700))
        first.dropCache()
        try first.sync()
        disk.losePower(&random)
        #expect(try bytes("a")[5] == 3)
        #expect(try bytes("b").count == 700)
        disk.suffer(.swap("a", "b"))
        #expect(try bytes("a").count == 700)
        disk.suffer(.delete(file: "b"))
        disk.losePower(&random)
        #expect(disk.fileNames == ["a"])
    }

    @Test("a dead sector fails to be read until it is written")
    func deadSector() throws {
        let file = try file()
        disk.suffer(.deadSector(file: "a", sector: 1))
        #expect(throws: StorageError(.read, file: "a", byte: 512, reason: inputOutput)) {
            try disk.contents(of: "a")
        }
        try write(4, 512, to: file, at: 512)
        #expect(try disk.contents(of: "a")?[512] == 4)
    }

    @Test("an exchanged disk has the other one's files and nothing pending")
    mutating func exchange() throws {
        _ = try file("a")
        let old = disk.copy()
        let file = try disk.open("a")
        try write(9, 512, to: file, at: 0)
        try file.sync()
        disk.exchange(for: old)
        disk.losePower(&random)
        #expect(try bytes()[0] == 1)
        disk.exchange(for: SimulatedDisk())
        #expect(disk.fileNames.isEmpty)
    }

    @Test("a clone loses power without its original")
    mutating func clones() throws {
        disk.faults.applied = 0
        disk.faults.dropped = 1000
        let file = try file("a")
        try write(2, 512, to: file, at: 0)
        try disk.rename("a", to: "b")
        let clone = disk.clone()
        clone.losePower(&random)
        #expect(clone.fileNames == ["a"])
        #expect(clone.bytes(of: "a")?[0] == 1)
        #expect(disk.fileNames == ["b"])
        #expect(try bytes("b")[0] == 2)
        #expect(disk.pendingSectors(of: "b") == 1)
    }

    @Test(
        "names may come in any order when the plan says so, else a prefix of them",
        arguments: 1...60
    )
    func namesUnordered(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        disk.faults.unorderedNames = seed % 2 == 0 ? 1000 : 0
        for name in ["a", "b", "c"] { _ = try disk.create(name, bytes: 1, written: true) }
        disk.losePower(&random)
        guard seed % 2 == 1 else { return }
        #expect(["a", "b", "c"].starts(with: disk.fileNames))
    }

    @Test("names do come without those before them")
    func namesWithoutTheirPredecessors() throws {
        var random = SeededGenerator(seed: 5)
        var seen = false
        for _ in 0..<60 {
            let disk = SimulatedDisk()
            disk.faults.unorderedNames = 1000
            for name in ["a", "b"] { _ = try disk.create(name, bytes: 1, written: true) }
            disk.losePower(&random)
            if disk.fileNames == ["b"] { seen = true }
        }
        #expect(seen)
    }

    @Test("a plan is the same for the same seed, and one kind's rate moves no other kind")
    func plansAreData() {
        var rates = DiskFaultRates()
        rates.syncError = 5000
        rates.lostWrite = 5000
        func plan() -> [PlannedDiskFault] {
            var random = SeededGenerator(seed: 3)
            return DiskFaultPlan(&random, calls: 10_000, rates).faults
        }
        let both = plan()
        #expect(both == plan())
        #expect(both.count > 50)
        rates.lostWrite = 0
        #expect(plan() == both.filter { $0.fault == .syncError })
    }
}
