// A directory on a disk that forgets. Names, like bytes, are pending until they are synced.

package import PulseCore

/// The log's directory in the simulated world.
///
///     create, rename, remove ---> names as the process sees them
///                            '--> pending, in order      power loss: a prefix of them happened
///                                    | syncDirectory                 (or any, see DiskFaults)
///                                    v
///                                 durable names
///
/// A process kill changes nothing here: the page cache lives on. Single calls go wrong as the
/// ``plan`` says; what can happen to a disk at rest is in SimulatedDisk+Rest.swift.
/// Confined to the simulator's one thread, which is what makes the unchecked conformance safe.
package final class SimulatedDisk: LogDirectory, @unchecked Sendable {
    private enum NameChange {
        case create(String, SimulatedFile)
        case rename(String, String)
        case remove(String)
    }

    typealias Names = [String: SimulatedFile]

    var names: Names = [:]
    private var durableNames: Names = [:]
    private var pending: [NameChange] = []
    package var faults = DiskFaults()
    /// Draws what a call that goes wrong leaves: which sectors of a failed sync arrived, how much of a
    /// write a kill let through, which clean pages are forgotten. nil: none, nothing, none.
    package var fate: SeededGenerator?
    /// Writes of which a kill let some bytes through and not all, and failed syncs of which some
    /// sectors arrived.
    package private(set) var tornByKill = 0
    package private(set) var partlySynced = 0
    /// Bytes that all files together may have; past it making a file fails with "no space".
    package var capacityBytes = Int.max

    /// Operations that still succeed before the machine dies in the middle of one; nil for no
    /// limit.
    package var operationsLeft: Int?
    /// What ``operationsLeft`` becomes at the next rename: a crash in the middle of a roll.
    package var operationsLeftAfterRename: Int?
    /// Set once `operationsLeft` ran out: every further operation fails, until the crash.
    package private(set) var isDead = false
    /// Calls that open or change something.
    package private(set) var operationCount = 0
    package private(set) var syncCount = 0
    /// All calls, reads and listings included: what ``DiskFaultPlan`` counts.
    package private(set) var callCount = 0
    /// Called before each operation that changes something: an instant to cut the power at.
    package var beforeChange: (() -> Void)?
    /// What each call was, in order, from the moment this is set to an empty list.
    package var recordedCalls: [StorageError.Operation]?

    /// Set while it is not the process that calls but whoever looks after it: no fault happens.
    package var holdsFaults = false
    /// Faults to come, by call, the nearest last.
    private var comingFaults: [PlannedDiskFault] = []
    /// Faults that happened, with the call they happened to.
    package private(set) var struck: [(fault: PlannedDiskFault, call: String)] = []
    /// What the process must never do to a disk, and did: a sync after a failed one.
    package private(set) var violations: [String] = []
    private var stall: Int64 = 0
    /// Counts the processes that used this disk.
    private(set) var life = 1
    private var directorySyncFailedInLife = 0

    package init() {}

    /// The faults to come; those of calls that are over are left out.
    package var plan: DiskFaultPlan {
        get { DiskFaultPlan(comingFaults.reversed()) }
        set {
            comingFaults = newValue.faults.filter { $0.call > callCount }
                .sorted { $0.call > $1.call }
        }
    }

    /// Milliseconds that calls since the last question should have taken.
    package func takeStall() -> Int64 {
        defer { stall = 0 }
        return stall
    }

    /// Counts a call and answers with what goes wrong in it. Throws plain errors itself.
    func call(
        _ operation: StorageError.Operation,
        on name: String
    ) throws(StorageError) -> DiskFault? {
        callCount += 1
        recordedCalls?.append(operation)
        guard !holdsFaults, let nearest = comingFaults.last, nearest.call <= callCount,
            let index = comingFaults.lastIndex(where: {
                $0.call <= callCount && $0.fault.applies(to: operation)
            })
        else { return nil }
        let next = comingFaults.remove(at: index)
        struck.append((next, "\(operation.rawValue) \(name)"))
        switch next.fault {
        case .error(let reason): throw StorageError(operation, file: name, reason: reason)
        case .stall(let milliseconds):
            stall += milliseconds
            return nil
        default: return next.fault
        }
    }

    /// As ``call(_:on:)``, for calls that a dying machine does not get done.
    func operate(
        _ operation: StorageError.Operation,
        on name: String
    ) throws(StorageError) -> DiskFault? {
        if operation != .open { beforeChange?() }
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
        guard isDead else { return try call(operation, on: name) }
        throw StorageError(
            operation,
            file: name,
            reason: .failed(code: 0, text: "the machine is dying")
        )
    }

    func note(_ violation: String) { violations.append(violation) }

    /// How many bytes of a write are in the page cache when its process dies in it.
    func drawTear(of bytes: Int) -> Int? {
        guard let count = fate?.below(bytes + 1), count > 0 else { return nil }
        if count < bytes { tornByKill += 1 }
        return count
    }

    /// How a sync fails: parts of a thousand of its sectors that are lost, and whether the page cache
    /// shows at once what the disk has.
    func drawSyncFailure() -> (lostPerThousand: Int, reverts: Bool) {
        guard let way = fate?.below(6) else { return (1000, false) }
        if way > 1 { partlySynced += 1 }
        return ([1000, 1000, 900, 500, 500, 100][way], fate?.below(4) == 0)
    }

    func drawLoss(perThousand: Int) -> Bool {
        perThousand >= 1000 || fate?.chance(perThousand: perThousand) ?? true
    }

    package func list() throws(StorageError) -> [String] {
        _ = try call(.list, on: ".")
        return names.keys.sorted()
    }

    package func open(_ name: String) throws(StorageError) -> any LogFile {
        _ = try operate(.open, on: name)
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
        _ = try operate(.create, on: name)
        if capacityBytes != Int.max {
            let others = names.values.reduce(0) { $0 + $1.bytesNow }
            guard others - (names[name]?.bytesNow ?? 0) + bytes <= capacityBytes else {
                throw StorageError(.create, file: name, reason: .noSpace)
            }
        }
        let file = SimulatedFile(name: name, bytes: bytes, on: self)
        names[name] = file
        pending.append(.create(name, file))
        return file
    }

    package func rename(_ old: String, to new: String) throws(StorageError) {
        _ = try operate(.rename, on: old)
        guard let file = names.removeValue(forKey: old) else {
            throw StorageError(.rename, file: old, reason: .notFound)
        }
        file.name = new
        names[new] = file
        pending.append(.rename(old, new))
    }

    package func remove(_ name: String) throws(StorageError) {
        _ = try operate(.remove, on: name)
        guard names.removeValue(forKey: name) != nil else {
            throw StorageError(.remove, file: name, reason: .notFound)
        }
        pending.append(.remove(name))
    }

    package func syncDirectory() throws(StorageError) {
        let fault = try operate(.syncDirectory, on: ".")
        if directorySyncFailedInLife == life {
            note("the directory was synced again after its sync had failed")
        }
        if case .lyingDirectorySync = fault { return }
        if case .syncError = fault {
            // The changes stay on their way: a power loss may still show a prefix of them.
            directorySyncFailedInLife = life
            throw StorageError(.syncDirectory, file: ".", reason: DiskFault.inputOutputError)
        }
        durableNames = names
        pending.removeAll()
    }

    // MARK: - Ends

    /// The process is killed: what it wrote is in the page cache and stays there. Pages that are clean
    /// and differ from the disk may be forgotten, each at any time; now is one.
    package func killProcess() {
        if var random = fate {
            for name in names.keys.sorted() { names[name]?.evict(&random) }
            fate = random
        }
        revive()
    }

    /// The power is gone: unsynced bytes and names go their own ways.
    package func losePower(_ random: inout SeededGenerator) {
        let happened = happenedChanges(&random)
        var survivors = durableNames
        for change in happened {
            switch change {
            case .create(let name, let file): survivors[name] = file
            case .rename(let old, let new):
                guard let file = survivors.removeValue(forKey: old) else { continue }
                survivors[new] = file
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

    private func happenedChanges(_ random: inout SeededGenerator) -> [NameChange] {
        if faults.unorderedNames > 0, random.chance(perThousand: faults.unorderedNames) {
            return pending.filter { _ in random.below(2) == 0 }
        }
        return Array(pending.prefix(random.below(pending.count + 1)))
    }

    private func revive() {
        isDead = false
        operationsLeft = nil
        operationsLeftAfterRename = nil
        life += 1
    }

    // MARK: - Copies

    /// Another disk with the same files, all durable.
    package func copy() -> SimulatedDisk {
        let copy = SimulatedDisk()
        for name in names.keys.sorted() { copy.names[name] = names[name]?.copy(to: copy) }
        copy.durableNames = copy.names
        return copy
    }

    /// Another disk in the very same moment: what is pending here is pending there. The plan and
    /// what was noted stay behind.
    package func clone() -> SimulatedDisk {
        let clone = SimulatedDisk()
        clone.faults = faults
        clone.fate = fate
        clone.capacityBytes = capacityBytes
        // A file has a name now, another one durably, and may be on its way: it stays one file.
        var clones: [(of: SimulatedFile, clone: SimulatedFile)] = []
        func cloned(_ file: SimulatedFile) -> SimulatedFile {
            if let known = clones.first(where: { $0.of === file }) { return known.clone }
            let made = file.clone(to: clone)
            clones.append((file, made))
            return made
        }
        clone.names = names.mapValues(cloned)
        clone.durableNames = durableNames.mapValues(cloned)
        clone.pending = pending.map { change in
            guard case .create(let name, let file) = change else { return change }
            return .create(name, cloned(file))
        }
        return clone
    }

    /// The disk was exchanged for another one: an empty one, one of some time ago, or another log's.
    package func exchange(for other: SimulatedDisk) {
        let copy = other.clone()
        names = copy.names.mapValues { $0.clone(to: self) }
        durableNames = names
        pending = []
        revive()
    }

    /// Names are durable as they are now: what a change at rest leaves.
    func settleNames() {
        durableNames = names
        pending.removeAll()
    }

    package func pendingSectors(of name: String) -> Int { names[name]?.pendingSectors ?? 0 }
}
