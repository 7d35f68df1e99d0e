// The simulated disk and store forget what a real one may forget, and nothing else.

import PulseCore
import PulseSimulator
import Testing

@Suite("Simulated disk")
struct SimulatedDiskTests {
    private let disk = SimulatedDisk()
    private var random = SeededGenerator(seed: 7)

    private func write(_ byte: UInt8, _ count: Int, to file: any LogFile, at position: Int) throws {
        try [UInt8](repeating: byte, count: count).withUnsafeBytes {
            try file.write($0, at: position)
        }
    }

    private func content(_ name: String) throws -> [UInt8]? { try disk.contents(of: name) }

    @Test("a process kill keeps what was written, synced or not")
    func killKeepsCache() throws {
        let file = try disk.create("a", bytes: 1024, written: true)
        try write(1, 700, to: file, at: 100)
        disk.killProcess()
        let bytes = try #require(try content("a"))
        #expect(bytes[100..<800].allSatisfy { $0 == 1 })
    }

    @Test("a power loss keeps what was synced, name and bytes")
    mutating func lossKeepsSynced() throws {
        let file = try disk.create("a", bytes: 2048, written: true)
        try write(1, 1500, to: file, at: 0)
        try file.sync()
        try disk.syncDirectory()
        disk.losePower(&random)
        let bytes = try #require(try content("a"))
        #expect(bytes[..<1500].allSatisfy { $0 == 1 })
        #expect(bytes[1500...].allSatisfy { $0 == 0 })
    }

    @Test("a power loss drops unsynced sectors when it is told to")
    mutating func lossDrops() throws {
        disk.faults.applied = 0
        disk.faults.dropped = 1000
        let file = try disk.create("a", bytes: 2048, written: true)
        try file.sync()
        try disk.syncDirectory()
        try write(1, 2048, to: file, at: 0)
        #expect(disk.pendingSectors(of: "a") == 4)
        disk.losePower(&random)
        #expect(try content("a") == [UInt8](repeating: 0, count: 2048))
    }

    @Test("a torn sector never changes bytes that a write left as they were", arguments: 1...50)
    func tearsInside(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        disk.faults.applied = 0
        disk.faults.dropped = 0
        let file = try disk.create("a", bytes: 512, written: true)
        try write(1, 200, to: file, at: 0)
        try file.sync()
        try disk.syncDirectory()
        try write(2, 100, to: file, at: 200)
        disk.losePower(&random)
        let bytes = try #require(try content("a"))
        #expect(bytes[..<200].allSatisfy { $0 == 1 })
        #expect(bytes[300...].allSatisfy { $0 == 0 })
    }

    @Test(
        "a new name is gone after a power loss, or there, but never half renamed",
        arguments: 1...50
    )
    func namesArePrefix(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        try disk.replace("floor", with: [1])
        let file = try disk.create("floor.tmp", bytes: 1, written: false)
        try write(2, 1, to: file, at: 0)
        try file.sync()
        try disk.rename("floor.tmp", to: "floor")
        disk.losePower(&random)
        let bytes = try #require(try content("floor"))
        #expect(bytes == [1] || bytes == [2])
    }

    @Test("a dying machine fails every operation until the crash")
    mutating func dies() throws {
        let file = try disk.create("a", bytes: 512, written: true)
        disk.operationsLeft = 1
        try write(1, 1, to: file, at: 0)
        #expect(throws: StorageError.self) { try file.sync() }
        #expect(throws: StorageError.self) { try disk.syncDirectory() }
        #expect(disk.isDead)
        disk.losePower(&random)
        #expect(!disk.isDead)
        try disk.syncDirectory()
    }
}

@Suite("Simulated store")
struct SimulatedStoreTests {
    private func batch(_ key: UInt8, _ value: UInt8) -> StateBatch {
        var batch = StateBatch()
        batch.put([key], [value])
        batch.put([key, 0], [value])
        return batch
    }

    @Test("a crash keeps what was flushed and a prefix of whole batches", arguments: 1...40)
    func keepsPrefix(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let store = SimulatedStore()
        try store.write(batch(1, 1))
        try store.flush()
        for key in UInt8(2)...6 { try store.write(batch(key, key)) }
        store.crash(&random)
        #expect(try store.get([1]) == [1])
        var ended = false
        for key in UInt8(2)...6 {
            let first = try store.get([key])
            #expect(try store.get([key, 0]) == first)
            if first == nil { ended = true } else { #expect(!ended) }
        }
    }

    @Test("rows come in key order, from and below, up to the limit")
    func scans() throws {
        let store = SimulatedStore()
        for key in [5, 1, 3, 2, 4] as [UInt8] {
            var batch = StateBatch()
            batch.put([key], [key])
            try store.write(batch)
        }
        #expect(try store.scan(from: [2], below: [5], limit: 9).map(\.key) == [[2], [3], [4]])
        #expect(try store.scan(from: [0], below: [9], limit: 2).map(\.key) == [[1], [2]])
        var deletion = StateBatch()
        deletion.delete([3])
        try store.write(deletion)
        #expect(try store.get([3]) == nil)
        #expect(store.count == 4)
    }
}
