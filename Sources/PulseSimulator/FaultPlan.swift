// What goes wrong in a run, as data: drawn up-front from a stream of its own, so that a fault can
// be left out without moving anything else.

package import PulseCore

/// One crash of the node.
package struct PlannedCrash: Sendable, CustomStringConvertible {
    package enum Kind: String, Sendable {
        /// `kill -9`: what the process wrote is in the page cache.
        case processKill
        /// Whatever was not synced is applied, dropped or torn.
        case powerLoss
        /// A clean stop: drained, closed, started again.
        case drain
    }

    package var kind: Kind
    package var at: MonotonicInstant
    /// Disk operations that still succeed from then on: 0 is at once; more lets the crash fall into
    /// the middle of a write, a roll, a background job or a recovery.
    package var afterOperations: Int
    /// Whether they are counted from the next rename on: the middle of a roll, of a new floor, of
    /// an index.
    package var fromRename: Bool
    /// Whether they are counted in background jobs only: an index being written, a release, a merge.
    package var inJob = false
    /// Milliseconds until the node is started again.
    package var downMilliseconds: Int64

    package var description: String {
        "\(kind.rawValue)@\(TraceWriter.seconds(at))+\(afterOperations)ops"
            + (fromRename ? "R" : inJob ? "J" : "")
    }
}

/// Somebody sets the wall clock.
package struct PlannedClockStep: Sendable, CustomStringConvertible {
    package var at: MonotonicInstant
    /// Forwards, or backwards when negative.
    package var milliseconds: Int64

    package var description: String { "\(milliseconds)ms@\(TraceWriter.seconds(at))" }
}

/// One fault of a run.
package enum PlannedFault: Sendable, CustomStringConvertible {
    case crash(PlannedCrash)
    case clockStep(PlannedClockStep)
    /// Parts of a thousand, each time a client sends something.
    case resets(perThousand: Int)
    /// Parts of a thousand of connections whose client reads slowly.
    case slowReaders(perThousand: Int)
    /// Parts of a thousand of syncs that take a hundred times longer.
    case slowSyncs(perThousand: Int)
    /// Providers may say that they are not configured rightly.
    case configurationErrors
    /// The next sync of the log fails, and the process ends.
    case failedSync(at: MonotonicInstant)
    /// The next sync of the log takes this long.
    case stall(at: MonotonicInstant, milliseconds: Int64)
    /// No file can be made for a while.
    case fullDisk(at: MonotonicInstant, milliseconds: Int64)

    /// There is room for so many segments more, and the node is told of the disk again and again.
    case shortOfRoom(at: MonotonicInstant, milliseconds: Int64, segments: Int)

    /// The first call that this can happen to, `after` calls or more from then on.
    case call(at: MonotonicInstant, after: Int, DiskFault)
    /// The process is killed, and another disk is under its path when it starts.
    case exchangedDisk(at: MonotonicInstant, OtherDisk)

    package var description: String {
        func at(_ time: MonotonicInstant) -> String { "@" + TraceWriter.seconds(time) }
        return switch self {
        case .crash(let crash): "\(crash)"
        case .clockStep(let step): "clock \(step)"
        case .resets(let rate): "resets \(rate)/1000"
        case .slowReaders(let rate): "slow readers \(rate)/1000"
        case .slowSyncs(let rate): "slow syncs \(rate)/1000"
        case .configurationErrors: "misconfigured providers"
        case .failedSync(let time): "failed sync" + at(time)
        case .stall(let time, let milliseconds): "stall \(milliseconds)ms" + at(time)
        case .fullDisk(let time, let milliseconds): "full disk \(milliseconds)ms" + at(time)
        case .shortOfRoom(let time, let milliseconds, let segments):
            "room for \(segments) segments, \(milliseconds)ms" + at(time)
        case .call(let time, let after, let fault): "\(fault) after \(after) calls" + at(time)
        case .exchangedDisk(let time, let other): "exchanged for \(other.rawValue)" + at(time)
        }
    }

    /// When it happens, nil for what goes on all the time.
    package var at: MonotonicInstant? {
        switch self {
        case .crash(let crash): crash.at
        case .clockStep(let step): step.at
        case .failedSync(let at), .stall(let at, _), .fullDisk(let at, _),
            .shortOfRoom(let at, _, _), .call(let at, _, _), .exchangedDisk(let at, _):
            at
        case .resets, .slowReaders, .slowSyncs, .configurationErrors: nil
        }
    }

    /// When it is over.
    var end: MonotonicInstant? {
        switch self {
        case .fullDisk(let at, let milliseconds), .shortOfRoom(let at, let milliseconds, _):
            at.advanced(byMilliseconds: milliseconds)
        default: at
        }
    }
}

/// The faults of one run.
///
/// Swarm testing: a run has only some kinds of faults, so that a frequent one does not hide what a
/// rare one would find. A fault is known by its place in ``faults``, counted from 1.
package struct FaultPlan: Sendable, CustomStringConvertible {
    package let faults: [PlannedFault]
    /// The places of those that happen.
    package private(set) var kept: [Int]
    package private(set) var resetPerThousand = 0
    package private(set) var slowReaderPerThousand = 0
    package private(set) var slowSyncPerThousand = 0
    package private(set) var configurationErrors = false
    package let disk: DiskFaults

    package init() {
        faults = []
        kept = []
        disk = DiskFaults()
    }

    package init(_ random: inout SeededGenerator, during milliseconds: Int64) {
        var faults = Self.crashes(&random, during: milliseconds).map(PlannedFault.crash)
        func swarm(_ value: Int) -> Int { random.chance(perThousand: 500) ? value : 0 }
        let resets = swarm(30)
        if resets > 0 { faults.append(.resets(perThousand: resets)) }
        let slowReaders = swarm(200)
        if slowReaders > 0 { faults.append(.slowReaders(perThousand: slowReaders)) }
        let slowSyncs = swarm(10)
        if slowSyncs > 0 { faults.append(.slowSyncs(perThousand: slowSyncs)) }
        if swarm(1) == 1 { faults.append(.configurationErrors) }
        for _ in 0..<swarm(3) {
            let at = UInt64(random.below(Int(milliseconds) + 4000)) * 1_000_000
            let isForward = random.chance(perThousand: 600)
            let step = isForward ? 500 + random.below(600_000) : -500 - random.below(3000)
            let instant = MonotonicInstant(nanoseconds: at)
            faults.append(.clockStep(PlannedClockStep(at: instant, milliseconds: Int64(step))))
        }
        var disk = DiskFaults()
        disk.applied = [0, 400, 900][random.below(3)]
        disk.dropped = [0, 300, 1000 - disk.applied][random.below(3)]
        if disk.applied + disk.dropped > 1000 { disk.dropped = 1000 - disk.applied }
        self.init(faults, disk)
    }

    init(_ faults: [PlannedFault], _ disk: DiskFaults) {
        self.faults = faults
        self.disk = disk
        kept = Array(faults.indices.map { $0 + 1 })
        derive()
    }

    private static func crashes(
        _ random: inout SeededGenerator,
        during milliseconds: Int64
    ) -> [PlannedCrash] {
        var crashes: [PlannedCrash] = []
        let kinds: [[PlannedCrash.Kind]] = [
            [.powerLoss], [.processKill], [.powerLoss, .processKill],
            [.powerLoss, .powerLoss, .processKill, .drain],
        ]
        let allowed = kinds[random.below(kinds.count)]
        let aimed = random.chance(perThousand: 500)
        for _ in 0..<(2 + random.below(4)) {
            let at = 300 + random.below(Int(milliseconds) + 4000)
            let kind = allowed[random.below(allowed.count)]
            let fromRename = aimed && kind != .drain && random.chance(perThousand: 500)
            let operations =
                aimed && kind != .drain ? 1 + random.below(fromRename ? 8 : 40) : 0
            crashes.append(
                PlannedCrash(
                    kind: kind,
                    at: MonotonicInstant(nanoseconds: UInt64(at) * 1_000_000),
                    afterOperations: operations,
                    fromRename: fromRename,
                    downMilliseconds: Int64(random.chance(perThousand: 300) ? 4000 : 5)
                        + Int64(random.below(500))
                )
            )
        }
        return crashes.sorted { $0.at < $1.at }
    }

    /// The same plan with faults of the disk in the world: failed syncs, stalls, a full disk. Drawn
    /// from a stream of their own.
    package func withDiskFaults(
        _ random: inout SeededGenerator,
        during milliseconds: Int64
    ) -> FaultPlan {
        var more = faults
        func instant() -> MonotonicInstant {
            let at = 1000 + random.below(Int(milliseconds) + 2000)
            return MonotonicInstant(nanoseconds: UInt64(at) * 1_000_000)
        }
        if random.chance(perThousand: 300) {
            for _ in 0..<(1 + random.below(3)) { more.append(.failedSync(at: instant())) }
        }
        if random.chance(perThousand: 150) {
            let spread = random.chance(perThousand: 500) ? 2000 : 60_000
            more.append(.stall(at: instant(), milliseconds: Int64(100 + random.below(spread))))
        }
        if random.chance(perThousand: 300) {
            let length = Int64(500 + random.below(8000))
            more.append(.fullDisk(at: instant(), milliseconds: length))
        }
        return FaultPlan(more, disk)
    }

    /// The same plan, in a quarter of all worlds, with a disk that has little room for a while.
    package func withShortRoom(
        _ random: inout SeededGenerator,
        during milliseconds: Int64
    ) -> FaultPlan {
        guard random.chance(perThousand: 250) else { return self }
        let at = 500 + random.below(Int(milliseconds))
        let fault = PlannedFault.shortOfRoom(
            at: MonotonicInstant(nanoseconds: UInt64(at) * 1_000_000),
            milliseconds: Int64(1000 + random.below(12_000)),
            segments: random.below(5)
        )
        return FaultPlan(faults + [fault], disk)
    }

    /// The same plan with the faults of these numbers only.
    package func keeping(_ numbers: Set<Int>) -> FaultPlan {
        var plan = self
        plan.kept = kept.filter { numbers.contains($0) }
        plan.derive()
        return plan
    }

    /// The faults that happen.
    package var happening: [PlannedFault] { kept.map { faults[$0 - 1] } }

    /// When the last of them is over.
    package var lastEnd: MonotonicInstant? { happening.compactMap(\.end).max() }

    /// Milliseconds by which the disk may hold everything up.
    package var holdUpMilliseconds: Int64 {
        happening.reduce(0) { sum, fault in
            switch fault {
            case .stall(_, let milliseconds), .fullDisk(_, let milliseconds),
                .shortOfRoom(_, let milliseconds, _), .call(_, _, .stall(let milliseconds)):
                sum + milliseconds
            default: sum
            }
        }
    }

    private mutating func derive() {
        resetPerThousand = 0
        slowReaderPerThousand = 0
        slowSyncPerThousand = 0
        configurationErrors = false
        for fault in happening {
            switch fault {
            case .resets(let rate): resetPerThousand = rate
            case .slowReaders(let rate): slowReaderPerThousand = rate
            case .slowSyncs(let rate): slowSyncPerThousand = rate
            case .configurationErrors: configurationErrors = true
            default: break
            }
        }
    }

    package var description: String {
        let list = kept.map { "\($0): \(faults[$0 - 1])" }.joined(separator: ", ")
        return "\(list); unsynced sectors \(disk.applied)/\(disk.dropped)"
    }
}
