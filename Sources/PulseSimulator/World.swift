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
    case jobDone(life: Int, JobID, failure: StorageError?)
    case providerTakes(call: Int)
    case providerAnswers(life: Int, CallID, call: Int, PlannedAnswer)
    case opened(ConnectionID)
    case toNode(ConnectionID, [UInt8])
    case closedAtNode(ConnectionID)
    case backlog(ConnectionID, bytes: Int)
    /// `durable`: how far the log was durable when the node sent it.
    case toClient(ConnectionID, [UInt8], durable: LogPosition, life: Int)
    case closedAtClient(ConnectionID)
    case clientTimer(client: Int, serial: Int)
    case crash(PlannedCrash)
    /// The node did not reach the operation at which it was to die: it dies now.
    case crashAnyway(PlannedCrash)
    case clockStep(PlannedClockStep)
    /// A fault of the disk begins.
    case disk(PlannedFault)
    /// The disk has room again.
    case room
    /// The shell looks at a disk that has little room.
    case diskLook
    case start
    case probe
    /// A call of the disk that held the node's loop up is back.
    case unblocked(life: Int, endsTurn: Bool)
    case callLeft(life: Int, CallID)
    /// The shell looks whether a sync takes too long.
    case watch(life: Int)
}

package final class World {
    package let seed: UInt64
    package let options: RunOptions
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
    /// For what was added later: templates saved again and again, damage after the end.
    var extras: SeededGenerator

    /// For cancellations.
    var cancelling: SeededGenerator

    /// For damage that is repaired in the middle, and how often that happens.
    var repairing: SeededGenerator
    var repairsLeft = 0
    /// The state store knew of what a repair gave up: the log alone tells less.
    var knowsMoreThanLog = false

    /// Nil in a plain run.
    let buggify: Buggify?
    package internal(set) var coverage = Coverage()

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
    /// How far the syncs that the disk performed reach.
    var syncedTo = LogPosition.zero
    /// Faults of the disk that wait for the next sync of the log.
    var nextSyncFails = false
    var nextSyncMilliseconds: Int64?
    var diskIsFull = false
    /// Until when the shell goes on looking at the disk.
    var looksUntil: MonotonicInstant?
    /// When the disk had room again, and whether the node was told.
    var roomSince: (time: MonotonicInstant, wasTold: Bool)?
    /// The loop is in a call of the disk that takes its time: what comes for the node waits, in order.
    var isBlocked = false
    var deferred: [Event] = []
    /// What the clocks showed when it began to wait: the time of its turn.
    var blockedAt: Now?
    /// Calls that leave now and were decided before the wait.
    var lateCalls: [CallID]?
    /// Until when a sync that the disk did stays in it.
    var syncHeldUntil: MonotonicInstant?
    /// Whether the shell looks how long syncs take and tells the node, and what it saw.
    let watchesSyncs: Bool
    var watch = SyncWatch()
    /// Faults that had struck when this life began.
    var struckBefore = 0
    /// The disk that is under the path at the next start, and a copy of some time ago.
    var otherDisk: OtherDisk?
    var olderDisk: (disk: SimulatedDisk, end: LogPosition)?
    /// Store flushes that ended in this life of the node.
    var flushesDone: UInt64 = 0
    /// How far the log was durable when the bytes that a client is reading were sent; nil when that
    /// node is no more.
    var answerDurable: LogPosition?
    /// A moment of the past, for a log that is older than its store.
    var past: PastMoment?
    /// Notifications that were not kept to the end; looked up.
    var gone: Set<NotificationID> = []
    var logIsWhole = true
    /// Where the records of notifications are that are in the log at the end; looked up.
    var places: [NotificationID: LogPosition] = [:]
    /// Operations of the next background job after which the machine dies.
    var operationsOfJob: Int?
    /// Records that were ever moved out of segments.
    var evacuated: UInt64 = 0
    /// Messages that groups had lost to retention when a life ended.
    var expired: UInt64 = 0

    var clients: [any SimulatedClient] = []
    var timerSerials: [Int] = []
    /// Looked up; walked in the order of numbers.
    var connections: [ConnectionID: SimulatedConnection] = [:]
    var nextConnection: UInt64 = 1
    /// Channels whose template exists, by raw value.
    var templatesSaved: Set<UInt8> = []
    /// Names of further templates that a client was told are saved.
    var extraTemplates: Set<String> = []
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

    package init(
        seed: UInt64,
        options: RunOptions = RunOptions(),
        listener: ((String) -> Void)? = nil
    ) {
        self.seed = seed
        self.options = options
        var root = SeededGenerator(seed: seed)
        var dials = root.fork()
        var planning = root.fork()
        schedule = root.fork()
        faults = root.fork()
        workload = root.fork()
        providers = root.fork()
        var unusual = root.fork()
        var diskPlanning = root.fork()
        extras = root.fork()
        var keeping = root.fork()
        var inputs = root.fork()
        cancelling = inputs.fork()
        var later = root.fork()
        if options.hasInputs { disk.fate = later.fork() }
        watchesSyncs = options.hasInputs && later.chance(perThousand: 500)
        repairing = root.fork()
        buggify = options.isPlain ? nil : Buggify(unusual.fork())
        var knobs = Knobs(&dials)
        if !options.isPlain, !options.keepsAll, keeping.chance(perThousand: 450) {
            knobs.segmentBytes = 32 << 10
            knobs.retention = RetentionDial(&keeping, segmentBytes: knobs.segmentBytes)
        }
        if options.hasInputs, inputs.chance(perThousand: 500) {
            knobs.cancelPerThousand = 50 + inputs.below(250)
        }
        if options.repairs, repairing.chance(perThousand: 500) {
            repairsLeft = 1 + repairing.below(2)
        }
        self.knobs = knobs
        var plan = FaultPlan(&planning, during: knobs.workloadMilliseconds)
        if !options.isPlain {
            plan = plan.withDiskFaults(&diskPlanning, during: knobs.workloadMilliseconds)
        }
        if options.hasInputs {
            plan = plan.withShortRoom(&inputs, during: knobs.workloadMilliseconds)
        }
        if options.hasInputs {
            plan = plan.withCalls(&later, during: knobs.workloadMilliseconds)
        }
        if let kept = options.faults { plan = plan.keeping(kept) }
        self.plan = plan
        var rules = knobs.rules
        rules.slackMilliseconds += 2 * plan.holdUpMilliseconds
        rules.settleMilliseconds += 2 * plan.holdUpMilliseconds
        witness = Witness(rules: rules)
        tracer = TraceWriter(listener: listener)
        disk.faults = plan.disk
        disk.holdsFaults = true
    }

    /// Runs the world to its end, or to the first broken promise.
    package func run() {
        trace("knobs \(knobs)")
        trace("faults \(plan)")
        if let buggify { trace("buggify \(buggify.sites)") }
        prepareWorkload()
        queue.add(.start, at: time)
        for fault in plan.happening {
            switch fault {
            case .crash(let crash): queue.add(.crash(crash), at: crash.at)
            case .clockStep(let step): queue.add(.clockStep(step), at: step.at)
            case .failedSync(let at), .stall(let at, _), .fullDisk(let at, _),
                .shortOfRoom(let at, _, _), .call(let at, _, _), .exchangedDisk(let at, _):
                queue.add(.disk(fault), at: at)
            case .resets, .slowReaders, .slowSyncs, .configurationErrors: break
            }
        }
        queue.add(.probe, at: time.advanced(byMilliseconds: 500))
        while witness.violations.isEmpty, let (at, event) = queue.next() {
            time = at
            witness.clock(time, wall)
            handle(event)
            if case .over = phase { return }
            if counts.events >= options.untilEvent ?? .max { return }
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

    func handle(_ event: Event) {
        counts.events += 1
        if isBlocked, event.isForNode {
            deferred.append(event)
            return
        }
        switch event {
        case .endTurn(let life) where life == self.life: endTurn()
        case .performSync(let life, let ticket) where life == self.life: performSync(ticket)
        case .synced(let life, let ticket) where life == self.life: synced(ticket)
        case .wake(let life, let serial) where life == self.life && serial == wakeSerial:
            step(.timeReached)
        case .performJob(let life, let id, let job) where life == self.life: perform(job, id)
        case .jobDone(let life, let id, let failure) where life == self.life:
            step(.jobFinished(id, failure: failure))
        case .providerAnswers(let life, let id, let call, let planned) where life == self.life:
            answerCall(id, call, planned)
        case .unblocked(let life, let endsTurn) where life == self.life: unblock(endsTurn)
        case .callLeft(let life, let call) where life == self.life: step(.callLeft(call))
        case .watch(let life) where life == self.life: watchSync()
        case .endTurn, .performSync, .synced, .wake, .performJob, .jobDone, .providerAnswers,
            .unblocked, .watch, .callLeft:
            break  // Of an earlier life, or replaced.
        case .providerTakes(let call): witness.received(call)
        case .opened(let id): open(id)
        case .toNode(let id, let bytes): arriveAtNode(id, bytes)
        case .closedAtNode(let id): closeAtNode(id)
        case .backlog(let id, let bytes):
            if connections[id]?.isKnownToNode == true { step(.backlog(id, bytes: bytes)) }
        case .toClient(let id, let bytes, let durable, let life):
            answerDurable = life == self.life ? durable : nil
            arriveAtClient(id, bytes)
            answerDurable = nil
        case .closedAtClient(let id): closeAtClient(id)
        case .clientTimer(let client, let serial): fireTimer(client, serial)
        case .crash(let crash): begin(crash)
        case .crashAnyway(let crash): crashAnyway(crash)
        case .clockStep(let step):
            trace("the clock is set by \(step.milliseconds) ms")
            clockOffset += step.milliseconds
            witness.clockSet(by: step.milliseconds, at: time)
            witness.clock(time, wall)
        case .disk(let fault): begin(fault)
        case .room: roomAgain()
        case .diskLook: lookAtDisk()
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
}
