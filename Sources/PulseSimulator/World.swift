// One simulated world: the production node, and around it a disk, a store, a network, providers and
// clients, all drawn from one seed and driven by one queue of events.
//
//     clients <--- network ---> NODE ---> providers
//                                | log, store
//                                v
//                        disk that tears, store that forgets
//
// The node is the one that production runs; the world only performs its effects, late, and takes
// the ground from under it. Nothing here reads a clock, starts a thread or draws an unseeded
// number.

import PulseBroker
package import PulseCore
import PulseDelivery
package import PulseNode

/// Everything that can happen.
///
/// What belongs to one life of the node carries its number, and is void once that life is over.
enum Event {
    case endTurn(life: Int)
    case performSync(life: Int, SyncTicket)
    case synced(life: Int, SyncTicket)
    case wake(life: Int, serial: Int)
    case performJob(life: Int, JobID, Job)
    case jobDone(life: Int, JobID)
    case providerTakes(call: Int)
    case providerAnswers(life: Int, CallID, call: Int, PlannedAnswer)
    case opened(ConnectionID)
    case toNode(ConnectionID, [UInt8])
    case closedAtNode(ConnectionID)
    case backlog(ConnectionID, bytes: Int)
    case toClient(ConnectionID, [UInt8])
    case closedAtClient(ConnectionID)
    case clientTimer(client: Int, serial: Int)
    case crash(PlannedCrash)
    /// The node did not reach the operation at which it was to die: it dies now.
    case crashAnyway(PlannedCrash)
    case clockStep(PlannedClockStep)
    case start
    case probe
}

package final class World {
    package let seed: UInt64
    package let knobs: Knobs
    package let plan: FaultPlan
    package internal(set) var witness: Witness
    package internal(set) var tracer: TraceWriter

    package internal(set) var time = MonotonicInstant(nanoseconds: 0)
    var queue = EventQueue<Event>()
    /// One generator a purpose, so that drawing more for one moves none of the others.
    var schedule: SeededGenerator
    var faults: SeededGenerator
    var workload: SeededGenerator
    var providers: SeededGenerator

    package let disk = SimulatedDisk()
    package let store = SimulatedStore()
    package internal(set) var node: Node?
    var effects = EffectQueue()
    /// Counts the lives of the node, and the times between them.
    var life = 0
    var turnIsPlanned = false
    var syncIsInFlight = false
    var wakeSerial = 0
    /// Turns since anything but the node's own wish for a turn happened.
    var idleTurns = 0
    /// How far the wall clock is off, in milliseconds.
    var clockOffset: Int64 = 0
    /// The moment that the node's monotonic clock calls one second.
    var machineStart = MonotonicInstant(nanoseconds: 0)
    /// The crash that an exhausted ``SimulatedDisk/operationsLeft`` stands for.
    var dying: PlannedCrash?
    var downUntil = MonotonicInstant(nanoseconds: 0)

    var clients: [any SimulatedClient] = []
    var timerSerials: [Int] = []
    /// Looked up; walked in the order of numbers.
    var connections: [ConnectionID: SimulatedConnection] = [:]
    var nextConnection: UInt64 = 1
    /// Channels whose template exists, by raw value.
    var templatesSaved: Set<UInt8> = []
    var groups: [(name: String, channel: Channel)] = []

    enum Phase {
        /// Clients work, faults happen.
        case busy
        /// Faults are over; everything must come to an end.
        case calm(since: MonotonicInstant)
        /// The node was asked to stop.
        case closing
        case over
    }
    var phase = Phase.busy
    /// Hash of the node's state at the end.
    package internal(set) var stateHash: UInt64 = 0
    package internal(set) var counts = WorldCounts()

    /// Events of one run: a hundred times what a long one has.
    private static let eventsMax = 2_000_000

    /// Wall time at the world's beginning: 2026-01-01.
    static let epochMilliseconds: Int64 = 1_767_225_600_000

    package init(seed: UInt64, listener: ((String) -> Void)? = nil) {
        self.seed = seed
        var root = SeededGenerator(seed: seed)
        var dials = root.fork()
        var planning = root.fork()
        schedule = root.fork()
        faults = root.fork()
        workload = root.fork()
        providers = root.fork()
        knobs = Knobs(&dials)
        plan = FaultPlan(&planning, during: knobs.workloadMilliseconds)
        witness = Witness(rules: knobs.rules)
        tracer = TraceWriter(listener: listener)
        disk.faults = plan.disk
    }

    /// Runs the world to its end, or to the first broken promise.
    package func run() {
        trace("knobs \(knobs)")
        trace("faults \(plan)")
        prepareWorkload()
        queue.add(.start, at: time)
        for crash in plan.crashes { queue.add(.crash(crash), at: crash.at) }
        for step in plan.clockSteps { queue.add(.clockStep(step), at: step.at) }
        queue.add(.probe, at: time.advanced(byMilliseconds: 500))
        while witness.violations.isEmpty, let (at, event) = queue.next() {
            time = at
            handle(event)
            if case .over = phase { return }
            if counts.events > Self.eventsMax {
                witness.note("P6", "there is no end to it: \(counts.events) events")
            }
        }
        if witness.violations.isEmpty { witness.note("P1", "the world stopped before its end") }
    }

    /// What the node's clocks show.
    var now: Now {
        Now(
            monotonic: MonotonicInstant(
                nanoseconds: time.nanoseconds - machineStart.nanoseconds + 1_000_000_000
            ),
            wall: wall
        )
    }

    var wall: WallTimestamp {
        WallTimestamp(
            milliseconds: Self.epochMilliseconds + clockOffset
                + Int64(time.nanoseconds / 1_000_000)
        )
    }

    func trace(_ text: String) { tracer.write(time, text) }

    func after(microseconds: Int) -> MonotonicInstant {
        MonotonicInstant(nanoseconds: time.nanoseconds + UInt64(max(0, microseconds)) * 1000)
    }

    func setTimer(_ client: Int, afterMilliseconds milliseconds: Int) {
        timerSerials[client] += 1
        queue.add(
            .clientTimer(client: client, serial: timerSerials[client]),
            at: after(microseconds: milliseconds * 1000)
        )
    }

    // MARK: - What happens

    private func handle(_ event: Event) {
        counts.events += 1
        switch event {
        case .endTurn(let life) where life == self.life: endTurn()
        case .performSync(let life, let ticket) where life == self.life: performSync(ticket)
        case .synced(let life, let ticket) where life == self.life:
            syncIsInFlight = false
            trace("synced \(ticket.rawValue)")
            step(.synced(ticket))
        case .wake(let life, let serial) where life == self.life && serial == wakeSerial:
            step(.timeReached)
        case .performJob(let life, let id, let job) where life == self.life: perform(job, id)
        case .jobDone(let life, let id) where life == self.life:
            step(.jobFinished(id, failure: nil))
        case .providerAnswers(let life, let id, let call, let planned) where life == self.life:
            answerCall(id, call, planned)
        case .endTurn, .performSync, .synced, .wake, .performJob, .jobDone, .providerAnswers:
            break  // Of an earlier life, or replaced.
        case .providerTakes(let call): witness.received(call)
        case .opened(let id): open(id)
        case .toNode(let id, let bytes): arriveAtNode(id, bytes)
        case .closedAtNode(let id): closeAtNode(id)
        case .backlog(let id, let bytes):
            if connections[id]?.isKnownToNode == true { step(.backlog(id, bytes: bytes)) }
        case .toClient(let id, let bytes): arriveAtClient(id, bytes)
        case .closedAtClient(let id): closeAtClient(id)
        case .clientTimer(let client, let serial): fireTimer(client, serial)
        case .crash(let crash): begin(crash)
        case .crashAnyway(let crash): crashAnyway(crash)
        case .clockStep(let step):
            trace("the clock is set by \(step.milliseconds) ms")
            clockOffset += step.milliseconds
            witness.clockSet(by: step.milliseconds, at: time)
        case .start: start()
        case .probe: probe()
        }
    }

    private func fireTimer(_ client: Int, _ serial: Int) {
        guard serial == timerSerials[client] else { return }
        // The first client saves the templates that the others name.
        if client > 0, templatesSaved.count < Channel.allCases.count {
            setTimer(client, afterMilliseconds: 50)
            return
        }
        clients[client].timerFired(in: self)
    }
}

/// What a run amounted to, for the line about it.
package struct WorldCounts: Sendable {
    package var events = 0
    package var turns = 0
    package var calls = 0
    package var crashes = 0
    package var replays = 0
    package var rare = RareCounts()
}

/// How often paths were taken that a good run seldom takes: a run over many seeds in which one of
/// them stays at 0 does not test it.
package struct RareCounts: Sendable, CustomStringConvertible {
    package var rolls = 0
    package var tornTails = 0
    package var rollsUndone = 0
    package var checkpoints: UInt64 = 0
    package var duplicates: UInt64 = 0
    package var conflicts: UInt64 = 0
    package var lateOutcomes: UInt64 = 0
    package var leasesExpired: UInt64 = 0
    package var clockChanges: UInt64 = 0
    package var deathsInRecovery = 0

    package init() {}

    package static func += (sum: inout Self, other: Self) {
        sum.rolls += other.rolls
        sum.tornTails += other.tornTails
        sum.rollsUndone += other.rollsUndone
        sum.checkpoints += other.checkpoints
        sum.duplicates += other.duplicates
        sum.conflicts += other.conflicts
        sum.lateOutcomes += other.lateOutcomes
        sum.leasesExpired += other.leasesExpired
        sum.clockChanges += other.clockChanges
        sum.deathsInRecovery += other.deathsInRecovery
    }

    package var description: String {
        """
        rolls \(rolls), torn tails \(tornTails), rolls undone \(rollsUndone), \
        checkpoints \(checkpoints), duplicates \(duplicates), conflicts \(conflicts), \
        late outcomes \(lateOutcomes), leases expired \(leasesExpired), \
        clock changes \(clockChanges), deaths in recovery \(deathsInRecovery)
        """
    }
}
