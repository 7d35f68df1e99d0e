// A directory on a disk that forgets. Names, like bytes, are pending until they are synced.

package import PulseCore

/// The log's directory in the simulated world.
///
///     create, rename, remove ---> names as the process sees them
///                            '--> pending, in order      power loss: a prefix of them happened
///                                    | syncDirectory
///                                    v
///                                 durable names
///
/// A process kill changes nothing here: the page cache lives on. Confined to the simulator's one
/// thread, which is what makes the unchecked conformance safe.
package final class SimulatedDisk: LogDirectory, @unchecked Sendable {
    private enum NameChange {
        case create(String, SimulatedFile)
        case rename(String, String)
        case remove(String)
    }

    private typealias Names = [String: SimulatedFile]

    private var names: Names = [:]
    private var durableNames: Names = [:]
    private var pending: [NameChange] = []
    package var faults = DiskFaults()

    /// Operations that still succeed before the machine dies in the middle of one; nil for no
    /// limit.
    package var operationsLeft: Int?
    /// What ``operationsLeft`` becomes at the next rename: a crash in the middle of a roll.
    package var operationsLeftAfterRename: Int?
    /// Set once `operationsLeft` ran out: every further operation fails, until the crash.
    package private(set) var isDead = false
    package private(set) var operationCount = 0
    package private(set) var syncCount = 0

    package init() {}

    /// Counts an operation, and fails it when the machine is dying.
    func operate(_ operation: StorageError.Operation, on name: String) throws(StorageError) {
        operationCount += 1
        if operation == .sync { syncCount += 1 }
        if operation == .rename, let armed = operationsLeftAfterRename {
            operationsLeft = armed
            operationsLeftAfterRename = nil
        }
        if let left = operationsLeft {
            if left <= 0 { isDead = true }
            operationsLeft = left - 1
        }
        guard isDead else { return }
        throw StorageError(
            operation,
            file: name,
            reason: .failed(code: 0, text: "the machine is dying")
        )
    }

    package func list() throws(StorageError) -> [String] { names.keys.sorted() }

    package func open(_ name: String) throws(StorageError) -> any LogFile {
        try operate(.open, on: name)
        guard let file = names[name] else {
            throw StorageError(.open, file: name, reason: .notFound)
        }
        return file
    }

    package func create(
        _ name: String,
        bytes: Int,
        written: Bool
    ) throws(StorageError) -> any LogFile {
        try operate(.create, on: name)
        let file = SimulatedFile(name: name, bytes: bytes, on: self)
        names[name] = file
        pending.append(.create(name, file))
        return file
    }

    package func rename(_ old: String, to new: String) throws(StorageError) {
        try operate(.rename, on: old)
        guard let file = names.removeValue(forKey: old) else {
            throw StorageError(.rename, file: old, reason: .notFound)
        }
        file.name = new
        names[new] = file
        pending.append(.rename(old, new))
    }

    package func remove(_ name: String) throws(StorageError) {
        try operate(.remove, on: name)
        guard names.removeValue(forKey: name) != nil else {
            throw StorageError(.remove, file: name, reason: .notFound)
        }
        pending.append(.remove(name))
    }

    package func syncDirectory() throws(StorageError) {
        try operate(.syncDirectory, on: ".")
        durableNames = names
        pending.removeAll()
    }

    // MARK: - Faults

    /// The process is killed: what it wrote is in the page cache and stays there.
    package func killProcess() { revive() }

    /// The power is gone: unsynced bytes and names go their own ways.
    package func losePower(_ random: inout SeededGenerator) {
        let happened = random.below(pending.count + 1)
        var survivors = durableNames
        for change in pending.prefix(happened) {
            switch change {
            case .create(let name, let file): survivors[name] = file
            case .rename(let old, let new): survivors[new] = survivors.removeValue(forKey: old)
            case .remove(let name): survivors[name] = nil
            }
        }
        pending.removeAll()
        for name in survivors.keys.sorted() {
            guard let file = survivors[name] else { continue }
            file.name = name
            file.losePower(&random, faults)
        }
        names = survivors
        durableNames = survivors
        revive()
    }

    private func revive() {
        isDead = false
        operationsLeft = nil
        operationsLeftAfterRename = nil
    }

    /// Another disk with the same files, all durable.
    package func copy() -> SimulatedDisk {
        let copy = SimulatedDisk()
        for name in names.keys.sorted() { copy.names[name] = names[name]?.copy(to: copy) }
        copy.durableNames = copy.names
        return copy
    }

    package func pendingSectors(of name: String) -> Int { names[name]?.pendingSectors ?? 0 }
}
