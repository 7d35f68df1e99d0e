// A disk in memory that crashes: what was not synced is lost, kept or torn at 512-byte sectors, and
// names that were not synced come back or go, in any combination.

import PulseCore

final class TestDisk: LogDirectory, @unchecked Sendable {
    // Not synchronised: each test drives its disk from one thread.

    static let sectorBytes = 512

    final class Content {
        var current: [UInt8] = []
        var durable: [UInt8] = []
        /// Whole sectors as they were after each write that is not yet durable.
        var pending: [(sector: Int, bytes: [UInt8])] = []
        /// A sync failed: what was pending then is in memory, marked clean, and not on the disk.
        var isAhead = false
    }

    enum NameChange {
        case link(String, Content)
        case rename(String, String)
        case remove(String)
    }

    var names: [String: Content] = [:]
    var durableNames: [String: Content] = [:]
    var pendingNames: [NameChange] = []
    /// Operations until the machine dies; nil for ever.
    var operationsLeft: Int?
    var isFull = false
    var failsSyncs = false
    /// A byte of each file that the medium has lost, until it is written again.
    var unreadable: [String: Int] = [:]
    /// The medium has lost it for every file of that name.
    var staysUnreadable = false
    /// Bytes read of all files.
    var bytesRead = 0

    func step(_ operation: StorageError.Operation, _ name: String) throws(StorageError) {
        guard let left = operationsLeft else { return }
        guard left > 0 else {
            throw StorageError(
                operation,
                file: name,
                reason: .failed(code: 5, text: "machine died")
            )
        }
        operationsLeft = left - 1
    }

    func list() throws(StorageError) -> [String] {
        try step(.list, ".")
        return names.keys.sorted()
    }

    func open(_ name: String) throws(StorageError) -> any LogFile {
        try step(.open, name)
        guard let content = names[name] else {
            throw StorageError(.open, file: name, reason: .notFound)
        }
        return TestFile(name: name, content: content, disk: self)
    }

    func create(
        _ name: String,
        bytes: Int,
        written: Bool
    ) throws(StorageError) -> any LogFile {
        try step(.create, name)
        guard !isFull else { throw StorageError(.create, file: name, reason: .noSpace) }
        let content = Content()
        content.current = [UInt8](repeating: 0, count: bytes)
        names[name] = content
        pendingNames.append(.link(name, content))
        return TestFile(name: name, content: content, disk: self)
    }

    func rename(_ old: String, to new: String) throws(StorageError) {
        try step(.rename, old)
        guard let content = names.removeValue(forKey: old) else {
            throw StorageError(.rename, file: old, reason: .notFound)
        }
        names[new] = content
        // Another file, on other sectors.
        if !staysUnreadable { unreadable[new] = nil }
        pendingNames.append(.rename(old, new))
    }

    func remove(_ name: String) throws(StorageError) {
        try step(.remove, name)
        guard names.removeValue(forKey: name) != nil else {
            throw StorageError(.remove, file: name, reason: .notFound)
        }
        pendingNames.append(.remove(name))
    }

    func syncDirectory() throws(StorageError) {
        try step(.syncDirectory, ".")
        durableNames = names
        pendingNames = []
    }

    private static func apply(_ change: NameChange, to names: inout [String: Content]) {
        switch change {
        case .link(let name, let content): names[name] = content
        case .rename(let old, let new):
            if let content = names.removeValue(forKey: old) { names[new] = content }
        case .remove(let name): names.removeValue(forKey: name)
        }
    }

    /// The disk that the next process finds.
    func crashed(_ random: inout SeededGenerator) -> TestDisk {
        var found = durableNames
        let inOrder = random.chance(perThousand: 600)
        let keep = random.below(pendingNames.count + 1)
        for (index, change) in pendingNames.enumerated()
        where inOrder ? index < keep : random.chance(perThousand: 500) {
            Self.apply(change, to: &found)
        }
        let next = TestDisk()
        let style = random.below(4)
        for name in found.keys.sorted() {
            guard let content = found[name] else { continue }
            let copy = Content()
            var bytes = content.durable
            if bytes.count < content.current.count, style != 0 || !content.pending.isEmpty {
                bytes += [UInt8](repeating: 0, count: content.current.count - bytes.count)
            }
            for (sector, sectorBytes) in content.pending {
                let kept =
                    switch style {
                    case 0: false
                    case 1: true
                    default: random.chance(perThousand: 500)
                    }
                if kept {
                    let start = sector * Self.sectorBytes
                    bytes.replaceSubrange(start..<start + sectorBytes.count, with: sectorBytes)
                }
            }
            copy.current = bytes
            copy.durable = bytes
            next.names[name] = copy
        }
        next.durableNames = next.names
        return next
    }

    /// A byte-for-byte copy, everything durable.
    func copy() -> TestDisk {
        let next = TestDisk()
        for (name, content) in names {
            let copy = Content()
            copy.current = content.current
            copy.durable = content.current
            next.names[name] = copy
        }
        next.durableNames = next.names
        return next
    }

    /// Changes bytes behind everybody's back.
    func damage(_ name: String, _ change: (inout [UInt8]) -> Void) {
        guard let content = names[name] else { return }
        change(&content.current)
        content.durable = content.current
    }

    func bytes(of name: String) -> [UInt8] { names[name]?.current ?? [] }
}

final class TestFile: LogFile, @unchecked Sendable {
    let name: String
    private let content: TestDisk.Content
    private let disk: TestDisk

    init(name: String, content: TestDisk.Content, disk: TestDisk) {
        self.name = name
        self.content = content
        self.disk = disk
    }

    func size() throws(StorageError) -> Int { content.current.count }

    func write(_ bytes: UnsafeRawBufferPointer, at position: Int) throws(StorageError) {
        try disk.step(.write, name)
        let end = position + bytes.count
        if !disk.staysUnreadable, let lost = disk.unreadable[name], position <= lost, lost < end {
            disk.unreadable[name] = nil
        }
        if content.current.count < end {
            content.current += [UInt8](repeating: 0, count: end - content.current.count)
        }
        content.current.replaceSubrange(position..<end, with: bytes)
        guard position < end else { return }
        for sector in position / TestDisk.sectorBytes...(end - 1) / TestDisk.sectorBytes {
            let start = sector * TestDisk.sectorBytes
            let stop = min(start + TestDisk.sectorBytes, content.current.count)
            content.pending.append((sector, [UInt8](content.current[start..<stop])))
        }
    }

    func read(
        into buffer: UnsafeMutableRawBufferPointer,
        at position: Int
    ) throws(StorageError) -> Int {
        let end = min(content.current.count, position + buffer.count)
        if let lost = disk.unreadable[name], position <= lost, lost < end {
            throw StorageError(.read, file: name, reason: .failed(code: 5, text: "I/O error"))
        }
        guard position < end else { return 0 }
        disk.bytesRead += end - position
        content.current.withUnsafeBytes { bytes in
            buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[position..<end]))
        }
        return end - position
    }

    func sync() throws(StorageError) {
        try disk.step(.sync, name)
        guard !disk.failsSyncs else {
            content.isAhead = true
            content.pending = []
            throw StorageError(.sync, file: name, reason: .failed(code: 5, text: "I/O error"))
        }
        content.durable = content.isAhead ? onDisk : content.current
        content.pending = []
    }

    /// What the disk has when what is pending is written: no page that a failed sync marked clean.
    private var onDisk: [UInt8] {
        var bytes = content.durable
        let missing = content.current.count - bytes.count
        if missing > 0 { bytes += [UInt8](repeating: 0, count: missing) }
        for (sector, sectorBytes) in content.pending {
            let start = sector * TestDisk.sectorBytes
            bytes.replaceSubrange(start..<start + sectorBytes.count, with: sectorBytes)
        }
        return bytes
    }

    /// What is pending is written; what a failed sync left in memory alone goes.
    func dropCache() {
        if content.isAhead {
            content.current = onDisk
            content.isAhead = false
        }
        content.durable = content.current
        content.pending = []
    }
}
