// What a disk can do to its owner, as data: a list of faults, each at a call of its own, drawn
// up-front from a random stream of their own. So a run can be told, repeated, and shrunk by leaving
// faults out, without moving anything else.
//
// Source: spec/09-simulation.md, "The disk".

package import PulseCore

/// What goes wrong with one call of the disk.
package enum DiskFault: Hashable, Sendable, CustomStringConvertible {
    /// The call fails and changes nothing. A failed sync is ``syncError``.
    case error(StorageError.Reason)
    /// A write puts down its first bytes, then fails.
    case shortWrite(bytes: Int, StorageError.Reason)
    /// A read ends early although the file goes on.
    case shortRead(bytes: Int)
    /// What Linux does: any of the sectors arrived, all pages are marked clean, the page cache keeps the
    /// new bytes; the error is told once, the next sync succeeds.
    case syncError
    /// Says that it succeeded, and leaves everything pending.
    case lyingSync
    /// The same for the directory: its names stay on their way.
    case lyingDirectorySync
    /// One sector of the write, or all of it, never reaches the disk. Nobody is told.
    case lostWrite(sector: Int?)
    /// The write's first sector lands elsewhere: `file` counts the names in order. Its own place
    /// keeps what it had.
    case misdirectedWrite(file: Int, sector: Int)
    /// The call takes its time; the simulator asks for ``SimulatedDisk/takeStall()``.
    case stall(milliseconds: Int64)

    package var description: String {
        switch self {
        case .error(let reason): "error \(Self.name(reason))"
        case .shortWrite(let bytes, let reason): "short write \(bytes) \(Self.name(reason))"
        case .shortRead(let bytes): "short read \(bytes)"
        case .syncError: "sync error"
        case .lyingSync: "lying sync"
        case .lyingDirectorySync: "lying sync of the directory"
        case .lostWrite(let sector): "lost write \(sector.map { "sector \($0)" } ?? "whole")"
        case .misdirectedWrite(let file, let sector): "misdirected to file \(file) sector \(sector)"
        case .stall(let milliseconds): "stall \(milliseconds)ms"
        }
    }

    static let inputOutputError = StorageError.Reason.failed(code: 5, text: "I/O error")

    /// The kind of a failure, whatever its text.
    static func name(_ reason: StorageError.Reason) -> String {
        switch reason {
        case .noSpace: "ENOSPC"
        case .tooManyFiles: "EMFILE"
        case .failed(code: 5, text: _): "EIO"
        default: "\(reason)"
        }
    }

    /// Whether this can happen to such a call.
    package func applies(to operation: StorageError.Operation) -> Bool {
        switch self {
        case .error(.tooManyFiles): [.open, .create, .list].contains(operation)
        case .error(.noSpace): [.create, .write, .rename].contains(operation)
        case .error: ![.sync, .syncDirectory].contains(operation)
        case .shortWrite, .lostWrite, .misdirectedWrite: operation == .write
        case .shortRead: operation == .read
        case .syncError: [.sync, .syncDirectory].contains(operation)
        case .lyingSync: operation == .sync
        case .lyingDirectorySync: operation == .syncDirectory
        case .stall: true
        }
    }
}

/// A fault and the call it happens to, counted from 1 over all calls of the disk, reads included.
package struct PlannedDiskFault: Hashable, Sendable, CustomStringConvertible {
    package var call: Int
    package var fault: DiskFault

    package init(call: Int, fault: DiskFault) {
        self.call = call
        self.fault = fault
    }

    package var description: String { "\(fault)@\(call)" }
}

/// Which faults a plan may hold, in parts of a million calls.
package struct DiskFaultRates: Sendable {
    package var error = 0
    package var noSpace = 0
    package var tooManyFiles = 0
    package var shortWrite = 0
    package var shortRead = 0
    package var syncError = 0
    package var lyingSync = 0
    package var lostWrite = 0
    package var misdirectedWrite = 0
    package var stall = 0
    package var lyingDirectorySync = 0

    package init() {}
}

/// All faults of a run, by call.
package struct DiskFaultPlan: Sendable, CustomStringConvertible {
    package var faults: [PlannedDiskFault] = []

    package init(_ faults: [PlannedDiskFault] = []) { self.faults = faults }

    /// Draws faults for the calls up to `calls`. Each kind has a stream of its own, so that another
    /// rate of one leaves the others where they were. A fault that does not fit its call is moved to
    /// the next one that it fits.
    package init(_ random: inout SeededGenerator, calls: Int, _ rates: DiskFaultRates) {
        func add(_ perMillion: Int, _ draw: (inout SeededGenerator) -> DiskFault) {
            var own = random.fork()
            guard perMillion > 0 else { return }
            for call in 1...max(1, calls) where own.below(1_000_000) < perMillion {
                faults.append(PlannedDiskFault(call: call, fault: draw(&own)))
            }
        }
        add(rates.error) { _ in .error(DiskFault.inputOutputError) }
        add(rates.noSpace) { _ in .error(.noSpace) }
        add(rates.tooManyFiles) { _ in .error(.tooManyFiles) }
        add(rates.shortWrite) { .shortWrite(bytes: $0.below(4096), .noSpace) }
        add(rates.shortRead) { .shortRead(bytes: $0.below(4096)) }
        add(rates.syncError) { _ in .syncError }
        add(rates.lyingSync) { _ in .lyingSync }
        add(rates.lostWrite) { .lostWrite(sector: $0.below(2) == 0 ? nil : $0.below(16)) }
        add(rates.misdirectedWrite) {
            .misdirectedWrite(file: $0.below(64), sector: $0.below(1 << 16))
        }
        add(rates.stall) { .stall(milliseconds: 100 + Int64($0.below(60_000))) }
        add(rates.lyingDirectorySync) { _ in .lyingDirectorySync }
        faults.sort { $0.call < $1.call }
    }

    package var description: String { "\(faults)" }
}

/// How a power loss treats what was not synced.
///
/// Parts of a thousand, one draw a sector.
package struct DiskFaults: Sendable {
    /// The sector holds the newest of its pending writes, as if it had just been written back.
    package var applied = 400
    /// The sector holds what was durable.
    package var dropped = 400
    // The rest: it holds an older pending write, or the beginning of one over the one before, or
    // noise where the two differ.

    /// Parts of a thousand: names that were not synced happened in no order, each for itself. Else a
    /// prefix of them happened, as journaling file systems (ext4, XFS) have it.
    package var unorderedNames = 0

    package init() {}
}
