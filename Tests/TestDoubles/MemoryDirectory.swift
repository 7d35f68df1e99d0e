// A disk in memory that can lose power: what was not synced is lost, wholly or in part.

package import PulseCore

/// A flat directory of files.
///
/// Used by one thread, the test's; hence the unchecked conformance.
package final class MemoryDirectory: LogDirectory, @unchecked Sendable {
    private var live: [String: MemoryFile] = [:]
    /// What the names would be after a loss of power.
    private var durable: [String: MemoryFile] = [:]
    /// Bytes all files may have together; past it making a file fails.
    package var capacity = Int.max
    /// Syncs fail from now on, as an unlucky disk's would.
    package var failsSyncs = false
    package private(set) var syncs = 0

    package init() {}

    package enum Loss {
        /// The process was killed; the kernel kept everything.
        case nothing
        /// The power went: only what was synced is left.
        case unsynced
        /// The power went in the middle of things: any part of what was not synced may be there.
        case someOfUnsynced(SeededGenerator)
    }

    package func crash(_ loss: Loss) {
        switch loss {
        case .nothing: return
        case .unsynced:
            live = durable
            for file in live.values { file.lose(keeping: { false }) }
        case .someOfUnsynced(var random):
            if random.below(2) == 0 { live = durable } else { durable = live }
            for name in live.keys.sorted() {
                live[name]?.lose(keeping: { random.below(2) == 0 })
            }
        }
    }

    /// A copy as it lies on the disk now, for a second look at the same bytes.
    package func copy() -> MemoryDirectory {
        let other = MemoryDirectory()
        for (name, file) in live { other.live[name] = MemoryFile(name: name, bytes: file.bytes) }
        other.durable = other.live
        return other
    }

    /// Changes bytes behind everybody's back.
    package func damage(_ name: String, _ change: (inout [UInt8]) -> Void) {
        guard let file = live[name] else { preconditionFailure("a file that exists is damaged") }
        change(&file.bytes)
    }

    package func list() throws(StorageError) -> [String] { live.keys.sorted() }

    package func open(_ name: String) throws(StorageError) -> any LogFile {
        guard let file = live[name] else {
            throw StorageError(.open, file: name, reason: .notFound)
        }
        file.directory = self
        return file
    }

    package func create(
        _ name: String,
        bytes: Int,
        written: Bool
    ) throws(StorageError) -> any LogFile {
        let used = live.reduce(0) { $0 + ($1.key == name ? 0 : $1.value.bytes.count) }
        guard bytes <= capacity - used else {
            throw StorageError(.create, file: name, reason: .noSpace)
        }
        let file = MemoryFile(name: name, bytes: [UInt8](repeating: 0, count: bytes))
        file.directory = self
        live[name] = file
        return file
    }

    package func rename(_ old: String, to new: String) throws(StorageError) {
        guard let file = live.removeValue(forKey: old) else {
            throw StorageError(.rename, file: old, reason: .notFound)
        }
        file.name = new
        live[new] = file
    }

    package func remove(_ name: String) throws(StorageError) {
        guard live.removeValue(forKey: name) != nil else {
            throw StorageError(.remove, file: name, reason: .notFound)
        }
    }

    package func syncDirectory() throws(StorageError) {
        try countSync(".")
        durable = live
    }

    fileprivate func countSync(_ name: String) throws(StorageError) {
        guard !failsSyncs else {
            throw StorageError(.sync, file: name, reason: .failed(code: 5, text: "I/O error"))
        }
        syncs += 1
    }
}

package final class MemoryFile: LogFile, @unchecked Sendable {
    package fileprivate(set) var name: String
    fileprivate var bytes: [UInt8]
    /// What the bytes would be after a loss of power, as the writes that are still to be undone.
    private var unsynced: [(position: Int, before: [UInt8], after: [UInt8])] = []
    fileprivate weak var directory: MemoryDirectory?

    fileprivate init(name: String, bytes: [UInt8]) {
        self.name = name
        self.bytes = bytes
    }

    fileprivate func lose(keeping: () -> Bool) {
        for write in unsynced.reversed() {
            bytes.replaceSubrange(
                write.position..<write.position + write.before.count,
                with: write.before
            )
        }
        // A write goes to the disk in sectors, each of which arrives or does not.
        for write in unsynced {
            var at = 0
            while at < write.after.count {
                let sector = min(512 - (write.position + at) % 512, write.after.count - at)
                if keeping() {
                    let place = write.position + at
                    bytes.replaceSubrange(
                        place..<place + sector,
                        with: write.after[at..<at + sector]
                    )
                }
                at += sector
            }
        }
        unsynced = []
    }

    package func size() throws(StorageError) -> Int { bytes.count }

    package func write(
        _ source: UnsafeRawBufferPointer,
        at position: Int
    ) throws(StorageError) {
        let end = position + source.count
        if end > bytes.count {
            bytes.append(contentsOf: repeatElement(0, count: end - bytes.count))
        }
        unsynced.append((position, Array(bytes[position..<end]), Array(source)))
        bytes.replaceSubrange(position..<end, with: source)
    }

    package func read(
        into buffer: UnsafeMutableRawBufferPointer,
        at position: Int
    ) throws(StorageError) -> Int {
        let count = min(buffer.count, bytes.count - position)
        guard count > 0 else { return 0 }
        bytes.withUnsafeBytes {
            buffer.copyBytes(
                from: UnsafeRawBufferPointer(rebasing: $0[position..<position + count])
            )
        }
        return count
    }

    package func sync() throws(StorageError) {
        try directory?.countSync(name)
        unsynced = []
    }

    package func dropCache() {}
}
