// The ends and beginnings of the node's lives.

import PulseBroker
import PulseCore
import PulseLog
import PulseNode

extension World {
    /// Whether faults still happen.
    var isFaulty: Bool { if case .busy = phase { true } else { false } }

    /// A planned crash is due: now, or within the next few operations of the disk.
    func begin(_ crash: PlannedCrash) {
        guard isFaulty else { return }
        if crash.kind == .drain {
            guard node != nil else { return }
            trace("asked to drain")
            downUntil = time.advanced(byMilliseconds: crash.downMilliseconds)
            step(.drainRequested)
            return
        }
        guard crash.afterOperations > 0 else {
            if node != nil { fall(crash) }
            return
        }
        // When the node is down just now, it dies in the middle of its recovery.
        dying = crash
        if crash.inJob {
            operationsOfJob = crash.afterOperations
        } else if crash.fromRename {
            disk.operationsLeftAfterRename = crash.afterOperations
        } else {
            disk.operationsLeft = crash.afterOperations
        }
        queue.add(.crashAnyway(crash), at: time.advanced(byMilliseconds: 2000))
    }

    /// The disk was not used enough to die by itself.
    func crashAnyway(_ crash: PlannedCrash) {
        guard let dying, dying.at == crash.at else { return }
        if node == nil {
            queue.add(.crashAnyway(crash), at: time.advanced(byMilliseconds: 500))
        } else {
            fall(crash)
        }
    }

    /// A machine that is to die in a job counts the operations of jobs only.
    func beginsJob() {
        if let operationsOfJob { disk.operationsLeft = operationsOfJob }
    }

    func endsJob(_ job: Job) {
        guard operationsOfJob != nil else { return }
        if disk.isDead {
            coverage.saw(job.deathSight)
        } else {
            operationsOfJob = disk.operationsLeft
            disk.operationsLeft = nil
        }
    }

    /// The disk ran out of operations: whatever the node was doing, it is over.
    func fallIfDead() {
        guard disk.isDead, let crash = dying else { return }
        fall(crash)
    }

    /// The node is gone.
    func fall(_ crash: PlannedCrash) {
        trace("\(crash.kind.rawValue) after \(disk.operationCount) operations")
        counts.crashes += 1
        if node?.shard.isWritingFloor == true { coverage.saw(.floorCutOff) }
        endLife()
        store.crash(&faults)
        if crash.kind == .powerLoss {
            disk.losePower(&faults)
            // The machine starts its clock anew; a killed process does not.
            machineStart = time
        } else {
            disk.killProcess()
        }
        queue.add(.start, at: time.advanced(byMilliseconds: crash.downMilliseconds))
    }

    /// The node said that it is drained: the process ends.
    func drained() {
        trace("drained")
        endLife()
        if case .closing = phase {
            finish()
            return
        }
        counts.crashes += 1
        store.crash(&faults)
        disk.killProcess()
        queue.add(.start, at: max(downUntil, time.advanced(byMilliseconds: 1)))
    }

    private func endLife() {
        dying = nil
        if let node {
            witness.ended(at: time)
            see(node)
        }
        nextSyncFails = false
        disk.plan = DiskFaultPlan()
        operationsOfJob = nil
        nextSyncMilliseconds = nil
        endWaits()
        flushesDone = 0
        node = nil
        life += 1
        turnIsPlanned = false
        syncIsInFlight = false
        effects.removeAll()
        for id in connections.keys.sorted() {
            guard let connection = connections[id] else { continue }
            connection.isKnownToNode = false
            guard connection.isOpen else { continue }
            connection.isOpen = false
            queue.add(
                .closedAtClient(id),
                at: max(connection.lastAtClient, after(microseconds: 100))
            )
        }
    }

    /// What the life that ends saw.
    private func see(_ node: Node) {
        let statistics = node.shard.statistics
        coverage.saw(.leaseExpired, Int(statistics.leasesExpired))
        coverage.saw(.lateOutcomeRefused, Int(statistics.lateOutcomes))
        coverage.saw(.duplicateFound, Int(statistics.duplicates))
        coverage.saw(.conflictFound, Int(statistics.conflicts))
        if statistics.checkpoints > flushesDone { coverage.saw(.crashBeforeFlush) }
        seeRetention(node.shard)
        let recovery = node.shard.recovery
        if recovery.tornTail != nil { coverage.saw(.tornTailCut) }
        if recovery.rollUndone { coverage.saw(.rollUndone) }
        coverage.saw(.footerRebuilt, recovery.footersRebuilt.count)
        coverage.saw(.indexRebuilt, recovery.indexesRebuilt)
        coverage.saw(.segmentDropped, recovery.segmentsDropped.count)
    }

    /// Starts the node on what is left.
    func start() {
        guard node == nil else { return }
        if counts.crashes > 0, schedule.chance(perThousand: 300) { checkReplay() }
        considerRepair()
        guard witness.violations.isEmpty else { return }
        life += 1
        idleTurns = 0
        startOnOtherDisk()
        guard witness.violations.isEmpty else { return }
        do throws(ShardError) {
            let born = try openNode(on: disk, seed: schedule.next())
            node = born
            syncedTo = born.shard.log.durablePosition
            witness.booted(at: time)
            trace("started, life \(life), log ends at \(born.shard.log.appendPosition.rawValue)")
            checkSurvivors(born)
            step(.timeReached)
            tellDisk()
            // It died while it was being closed: a clock that was set may have had to be written down.
            if case .closing = phase { step(.drainRequested) }
        } catch {
            guard disk.isDead, let crash = dying else {
                startLater(after: error)
                return
            }
            coverage.saw(.deathInRecovery)
            fall(crash)
        }
    }

    /// The process starts on a disk.
    func openNode(on disk: SimulatedDisk, seed: UInt64) throws(ShardError) -> Node {
        disk.holdsFaults = false
        defer { disk.holdsFaults = true }
        return try Node(
            configuration: configuration,
            directory: disk,
            store: store,
            seed: seed,
            at: now
        )
    }

    /// P1 and P2 after every start: what was acknowledged is there, with its content.
    private func checkSurvivors(_ node: Node) {
        for damage in node.shard.recovery.damaged {
            witness.note("P1", "a crash is taken for damage: \(damage)")
        }
        for id in witness.acknowledgedIDs {
            look(at: id, on: node, "after a restart")
        }
        checkGhosts(node)
        checkBook(node.shard)
        for channel in Channel.allCases {
            witness.sawBalance(channel, node.shard.balance(of: channel))
        }
    }

    /// Asks the node's shard for one notification and tells the witness.
    func look(at id: NotificationID, on node: Node, _ occasion: String) {
        do throws(ShardError) {
            let story = try node.shard.story(of: id, withSteps: false)
            witness.looked(
                at: id,
                found: story?.state,
                marked: story.flatMap { Submission.number(markedIn: $0.envelope) },
                mayBeGone: story == nil && mayBeGone(id, from: node.shard),
                occasion
            )
        } catch {
            if case .lost = error, witness.mayBeLost(id) { return witness.giveUp(id) }
            witness.note("P1", "\(id) cannot be read \(occasion): \(error)")
        }
    }
}

extension Job {
    /// What dies with the machine.
    fileprivate var deathSight: Coverage.Sight {
        switch self {
        case .log(.prepareSpare): .deathInSpare
        case .log(.sealIndex): .deathInIndex
        case .log(.merge): .deathInMerge
        case .log(.discard): .deathInDiscard
        case .log(.writeFloor): .floorCutOff
        case .log(.release): .deathInRelease
        case .flushStore, .scrub: .deathInOtherJob
        }
    }
}
