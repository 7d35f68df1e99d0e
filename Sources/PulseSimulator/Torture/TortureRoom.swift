// Directed cases about room: segments that are let go, with the power cut at every step of it, and answers
// on a disk that is full.

import PulseBroker
import PulseCore
import PulseLog

struct TortureRoom {
    let seed: UInt64

    private static let cutsPerInstant = 4
    /// Segments that are let go together.
    private static let segmentsToRelease: UInt64 = 4
    private static let yearMilliseconds: Int64 = 365 * 86_400_000

    func run(_ result: inout TortureResult) throws(ShardError) {
        try lettingGo(&result)
        try answersWithoutRoom(&result)
        try killedRecovery(&result)
    }

    // MARK: - Killed recoveries

    /// A recovery that cuts a torn tail is killed at each of its operations. The next one sees what is in
    /// the page cache alone, and promises; then the power goes.
    private func killedRecovery(_ result: inout TortureResult) throws(ShardError) {
        let life = try TortureCases.Life(seed: seed)
        for number in 1...4 {
            try life.submit(Array("message \(number)".utf8), number)
            try life.commit()
        }
        let next = life.end
        try life.submit(Array("the torn one".utf8), 5)
        _ = try life.shard.flush(at: life.now)
        let torn = life.disk.copy()
        guard let file = torn.fileNames.first(where: { $0.hasSuffix(".seg") }) else { return }
        torn.suffer(.flipBit(file: file, byte: Int(next) + 20, bit: 1))
        var random = SeededGenerator(seed: seed)
        for operations in 0..<100 {
            let disk = torn.clone()
            disk.operationsLeft = operations
            do throws(ShardError) { _ = try life.open(disk, SimulatedStore()) } catch {
                guard disk.isDead else { throw error }
            }
            guard disk.isDead else { return }
            result.count("recoveries killed in their middle")
            disk.killProcess()
            let promised = try life.open(disk, SimulatedStore()).log.durablePosition
            disk.faults.applied = 0
            disk.faults.dropped = 1000
            disk.losePower(&random)
            let survivor = try life.open(disk, SimulatedStore())
            if !survivor.recovery.damaged.isEmpty || survivor.log.appendPosition < promised {
                result.violate(
                    "seed \(seed), a recovery killed after \(operations) operations: "
                        + "\(promised.rawValue) was durable, now there is "
                        + "\(survivor.log.appendPosition.rawValue) \(survivor.recovery.damaged)"
                )
            }
        }
    }

    // MARK: - Letting go

    /// Several segments are past their time together. What replaces them is saved and the store's flush
    /// takes for ever; then it ends, and their files go. The power is cut at every change of the disk.
    private func lettingGo(_ result: inout TortureResult) throws(ShardError) {
        let bench = TortureBench(seed: seed, checkpointBytes: 8 << 20)
        bench.restarts = false
        bench.flushesStore = false
        try bench.start()
        guard let shard = bench.shard else { return }
        while shard.log.segments.count <= Int(Self.segmentsToRelease) {
            for _ in 0..<8 { try bench.submit(shard) }
            try bench.commit(shard, whole: true)
        }
        while bench.hasWork(shard) { try bench.deliverAll(shard) }
        try bench.settleDown()
        // Both slots of the floor say where the log begins.
        for _ in 0..<2 { try shard.writeFloor() }
        bench.pass(milliseconds: 2 * Int(bench.configuration.retentionMilliseconds))

        var cuts = SeededGenerator(seed: seed ^ 0x5E_67A5)
        var found = TortureResult("")
        let seed = self.seed
        bench.disk.beforeChange = {
            for number in 0..<Self.cutsPerInstant {
                found.count("power cuts while segments are let go")
                // Every other time the floor is lost as well.
                let cut = TorturePowerCuts.cut(
                    bench,
                    losesFloor: number % 2 == 1,
                    &cuts,
                    &found
                )
                for violation in cut {
                    let floor = number % 2 == 1 ? ", the floor lost" : ""
                    found.violate("seed \(seed), letting go, power cut\(floor): \(violation)")
                }
            }
        }
        try letGo(bench, shard)
        let early = shard.log.firstNumber
        bench.flushesStore = true
        try bench.flushStore(shard)
        try letGo(bench, shard)
        bench.disk.beforeChange = nil
        for count in found.counts where count.name.contains("let go") {
            result.count(count.name, count.count)
        }
        for violation in found.violations { result.violate(violation) }
        for violation in bench.violations { result.violate("seed \(seed): \(violation)") }
        result.count("segments let go", Int(shard.log.firstNumber))
        if early > 0 {
            result.violate("seed \(seed): segments went before what replaces them was durable")
        }
        if shard.log.firstNumber < 2 { result.violate("seed \(seed): nothing was let go") }
    }

    private func letGo(_ bench: TortureBench, _ shard: Shard) throws(ShardError) {
        for _ in 0..<5 {
            bench.pass(milliseconds: 1500)
            try bench.release(shard)
            try bench.commit(shard, whole: true)
            while !bench.jobs.isEmpty { try bench.performJob(shard) }
        }
    }

    // MARK: - Answers

    /// Many notifications are cancelled in one turn whose commands find no room, and a record finds some.
    /// Nobody may be told that one is cancelled before that survives a power cut; with room again all
    /// are told, and are.
    private func answersWithoutRoom(_ result: inout TortureResult) throws(ShardError) {
        let life = try TortureCases.Life(seed: seed)
        let shard = life.shard
        let later = life.now.wall.advanced(byMilliseconds: Self.yearMilliseconds)
        var ids: [NotificationID] = []
        for number in 1...160 {
            ids.append(try life.submit(Self.envelope("far \(number)", due: later), number))
            try life.commit()
        }
        life.disk.capacityBytes = life.disk.fileNames.reduce(0) {
            $0 + (life.disk.bytes(of: $1)?.count ?? 0)
        }
        var number = 1000
        let body = Self.envelope(String(repeating: "x", count: 300), due: later)
        while life.roomInSegment > 3000 {
            number += 1
            do throws(ShardError) { try life.submit(body, number) } catch {
                guard case .log(.diskFull) = error else { throw error }
                return result.violate("seed \(seed): the segment was full too soon")
            }
            try life.commit()
        }
        var waiting: [(id: NotificationID, durableAt: LogPosition)] = []
        for id in ids {
            guard case .cancelled(let durableAt) = try shard.cancel(id, at: life.now) else {
                return result.violate("seed \(seed): \(id) is scheduled and cannot be cancelled")
            }
            waiting.append((id, durableAt))
        }
        try life.submit(Self.envelope("small", due: later), 1)
        try life.commit()
        guard shard.isWaitingForRoom else {
            return result.violate("seed \(seed): the commands found room on a full disk")
        }
        result.count("acknowledgements that wait for room", waiting.count)
        try check(life, waiting, "without room", &result)
        life.disk.capacityBytes = .max
        try life.commit()
        if waiting.contains(where: { $0.durableAt > shard.answerableTo }) {
            result.violate("seed \(seed): with room again, acknowledgements still wait")
        }
        try check(life, waiting, "with room again", &result)
    }

    /// The power is cut; what was answered must be so.
    private func check(
        _ life: TortureCases.Life,
        _ waiting: [(id: NotificationID, durableAt: LogPosition)],
        _ when: String,
        _ result: inout TortureResult
    ) throws(ShardError) {
        var random = SeededGenerator(seed: seed)
        let told = waiting.filter { $0.durableAt <= life.shard.answerableTo }
        let disk = life.disk.clone()
        disk.capacityBytes = .max
        disk.losePower(&random)
        let store = life.store.clone()
        store.crash(&random)
        let survivor = try life.open(disk, store)
        for answer in told {
            let state = try survivor.story(of: answer.id, withSteps: false)?.state
            guard state != .cancelled else { continue }
            result.violate(
                "seed \(seed), a full disk, \(when): \(answer.id) was acknowledged as cancelled and is "
                    + (state?.name ?? "gone")
            )
        }
    }

    private static func envelope(_ text: String, due: WallTimestamp) -> [UInt8] {
        var writer = EnvelopeWriter()
        writer.append(.user, "somebody")
        writer.append(.address, "somebody@example.org")
        writer.append(.text, text)
        writer.append(deliverAt: due)
        return writer.bytes
    }
}

extension TortureBench {
    /// Whether anything is still to be delivered.
    func hasWork(_ shard: Shard) -> Bool {
        Channel.allCases.contains { channel in
            let balance = shard.balance(of: channel)
            return balance.scheduled + balance.ready + balance.held + balance.leased > 0
        }
    }
}

extension TortureCases.Life {
    /// Bytes that are left for entries in the active segment.
    var roomInSegment: Int {
        let bytes = UInt64(shard.log.segmentBytes)
        return Int(bytes - end % bytes) - Limits.segmentHeaderBytes
    }
}
