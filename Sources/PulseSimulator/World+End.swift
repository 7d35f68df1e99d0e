// The end of a run: faults stop, everything must come to rest, and then every promise is looked at.

import PulseBroker
import PulseCore
import PulseLog
import PulseNode

extension World {
    /// Milliseconds after the last fault within which everything has to be through.
    private static let calmMilliseconds: Int64 = 240_000
    /// Submissions that nobody expects to see delivered in a run.
    static let farMilliseconds: Int64 = 10 * 86_400_000

    /// Looks, every half second, whether the run can go on to its next phase.
    func probe() {
        queue.add(.probe, at: time.advanced(byMilliseconds: 500))
        switch phase {
        case .busy:
            rememberPast()
            rememberOlder()
            let last = plan.lastEnd ?? MonotonicInstant(nanoseconds: 0)
            let busyUntil = max(
                last,
                MonotonicInstant(nanoseconds: UInt64(knobs.workloadMilliseconds) * 1_000_000)
            )
            if time > busyUntil.advanced(byMilliseconds: 5000), node != nil, dying == nil {
                becomeCalm()
            }
        case .calm(let since):
            if isQuiet(since: since) {
                checkEnd()
                guard witness.violations.isEmpty else { return }
                phase = .closing
                trace("closing")
                step(.drainRequested)
            } else if time.milliseconds(since: since) > Self.calmMilliseconds {
                reportStuck()
            }
        case .closing, .over: break
        }
    }

    private func becomeCalm() {
        trace("calm")
        disk.plan = DiskFaultPlan()
        phase = .calm(since: time)
        for (index, client) in clients.enumerated() {
            client.becomeDiligent(in: self)
            if !client.isDone { setTimer(index, afterMilliseconds: 1) }
        }
    }

    private func isQuiet(since calm: MonotonicInstant) -> Bool {
        // Where keys are forgotten, one submission may be two notifications in the far future, and nobody
        // knows of the second: told apart from what is due soon by waiting for that.
        let isLate = time.milliseconds(since: calm) > Self.calmMilliseconds - 20_000
        guard let node, clients.allSatisfy(\.isDone), !node.shard.hasUnsynced else { return false }
        for channel in Channel.allCases {
            let balance = node.shard.balance(of: channel)
            let far = farCount(channel)
            guard balance.ready + balance.held + balance.leased == 0,
                balance.scheduled >= farCount(channel, least: true),
                balance.scheduled <= far + (isLate ? witness.repeats(on: channel) : 0)
            else { return false }
        }
        return groups.allSatisfy { group in
            unsettled(group.name, group.channel).isEmpty
        }
    }

    /// What a group has still to finish.
    private func unsettled(_ name: String, _ channel: Channel) -> [NotificationID] {
        witness.unsettled(of: name, channel) {
            isExcused($0, name, channel)
        } isFinished: {
            isFinished($0, name, channel)
        }
    }

    /// What is due long after the run, and was not taken back as far as anybody was told; `least` of
    /// them are there for certain, for nobody asked for those to be taken back either.
    private func farCount(_ channel: Channel, least: Bool = false) -> UInt64 {
        UInt64(
            witness.known.filter { id in
                guard let submission = witness.submission(of: id), submission.channel == channel,
                    let due = submission.deliverAt
                else { return false }
                return due > wall.advanced(byMilliseconds: Self.farMilliseconds / 2)
                    && !(least ? witness.isAskedBack(id) : witness.isCancelled(id))
            }.count
        )
    }

    /// Says what did not come to an end.
    private func reportStuck() {
        guard let node else { return }
        checkEnd()
        for (index, client) in clients.enumerated() where !client.isDone {
            witness.note("P1", "client \(index) is still waiting for answers")
        }
        for channel in Channel.allCases {
            witness.note("P2", "\(channel.name) ended with \(node.shard.balance(of: channel))")
        }
        for group in groups {
            for id in unsettled(group.name, group.channel) {
                witness.note("P3", "group \(group.name) never finished \(id)")
            }
        }
    }

    private func checkEnd() {
        guard let node else { return }
        for id in witness.known {
            look(at: id, on: node, "at the end")
            do throws(ShardError) {
                guard let story = try node.shard.story(of: id, withSteps: false) else {
                    if mayBeGone(id, from: node.shard) { continue }
                    witness.note("P1", "\(id) was seen by somebody and does not exist")
                    continue
                }
                var deliveredAt: WallTimestamp?
                if let step = story.steps.last, case .delivered = step.command {
                    deliveredAt = step.at
                }
                witness.checkEnded(
                    id,
                    story.state,
                    deliveredAt: deliveredAt,
                    endOfRun: wall.advanced(byMilliseconds: Self.farMilliseconds / 2)
                )
            } catch {
                if case .lost = error, witness.mayBeLost(id) { continue }
                witness.note("P1", "\(id) cannot be read at the end: \(error)")
            }
        }
        for channel in Channel.allCases {
            witness.checkAccepted(channel, node.shard.balance(of: channel))
            witness.checkCancelled(channel, node.shard.balance(of: channel))
        }
        witness.checkTaken()
        checkGhosts(node)
        checkBook(node.shard)
        checkDeadLetters(node)
        for group in groups {
            let excused = Set(
                witness.known.filter { isExcused($0, group.name, group.channel) }
            )
            witness.checkGroup(group.name, group.channel) { excused.contains($0) }
            checkExcuses(of: group.name, group.channel)
        }
    }

    /// The node is closed: its log alone must tell the same story.
    func finish() {
        checkReplay()
        if !options.isPlain, witness.violations.isEmpty { checkDamage() }
        if witness.violations.isEmpty { checkLies() }
        if let buggify { coverage.add(buggify) }
        coverage.saw(.syncPartlyLost, disk.partlySynced)
        coverage.saw(.writeTornByKill, disk.tornByKill)
        phase = .over
        trace("state \(stateHash)")
    }

    /// P7: opens a copy of the disk with the store as it is and with an empty one; both must end in
    /// the same state, byte for byte, and in the same rows.
    func checkReplay() {
        counts.replays += 1
        do throws(ShardError) {
            let kept = store.copy()
            let empty = SimulatedStore()
            let withStore = try Shard.open(
                directory: disk.copy(),
                store: kept,
                configuration: knobs.node.shard,
                seed: 1,
                at: now
            )
            // What retention has let go cannot be replayed, nor what a repair has given up and the store
            // knows: the store is the truth then.
            guard withStore.log.firstNumber == 0, !knowsMoreThanLog else {
                stateHash = XXH3.hash(withStore.state.encoded(), seed: 0)
                return
            }
            let fromLog = try Shard.open(
                directory: disk.copy(),
                store: empty,
                configuration: knobs.node.shard,
                seed: 1,
                at: now
            )
            stateHash = XXH3.hash(fromLog.state.encoded(), seed: 0)
            if withStore.state.encoded() != fromLog.state.encoded() {
                witness.note("P7", "replay from scratch gives another state than the checkpoint")
            }
            // How far a store has come is not what it says: the two came there in other steps.
            let progress = Shard.progressKeys
            let rows = kept.allRows.filter { !progress.contains($0.key) }
            let replayed = empty.allRows.filter { !progress.contains($0.key) }
            if rows != replayed { reportRows(rows, replayed) }
        } catch {
            witness.note("P7", "the log cannot be replayed: \(error)")
        }
    }

    private func reportRows(_ rows: [StateRow], _ replayed: [StateRow]) {
        let stale = rows.filter { !replayed.contains($0) }
        let missing = replayed.filter { !rows.contains($0) }
        func keys(_ rows: [StateRow]) -> String { "\(rows.prefix(3).map(\.key))" }
        witness.note(
            "P7",
            "the store has \(stale.count) rows that replay does not give \(keys(stale)) and lacks "
                + "\(missing.count) \(keys(missing))"
        )
    }
}
