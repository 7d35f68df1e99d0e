// R08: a directory at rest is damaged in every way, and opened. Whatever was promised is served right, or
// its loss is reported; nothing wrong is served and no gap is silent.

import PulseBroker
import PulseCore
import PulseLog

package struct TortureDamage {
    package var flips: Int
    package var seed: UInt64 = 1

    /// Directories that the flips are spread over; some have released their oldest segments.
    private static let directories = 4

    package init(flips: Int) { self.flips = flips }

    package func run() -> TortureResult {
        var result = TortureResult("R08 damage at rest, and disks that lie")
        for index in 0..<Self.directories {
            guard let trials = directory(index, &result) else { return result }
            var random = SeededGenerator(seed: seed ^ UInt64(index) << 32)
            for _ in 0..<flips / Self.directories {
                trials.suffer([flip(in: trials.disk, &random)], "bits flipped", &result)
            }
            // Whole files take everything with them that could vouch for them, but for the floor.
            guard trials.isClosed else { continue }
            for damage in Self.cuts(trials) { trials.suffer([damage], "files cut short", &result) }
            let names = trials.disk.fileNames
            for name in names {
                trials.suffer([.delete(file: name)], "files deleted", &result)
            }
            for (place, name) in names.enumerated() {
                for other in names[(place + 1)...] {
                    trials.suffer([.swap(name, other)], "files swapped", &result)
                }
            }
            for segment in trials.segments {
                for sector in stride(from: 0, to: 64, by: 5) {
                    let damage = DiskDamage.deadSector(file: segment.name, sector: sector)
                    trials.suffer([damage], "sectors unreadable", &result)
                }
            }
        }
        TortureLies(seed: seed).run(trials: flips / 2, &result)
        return result
    }

    /// A directory of six segments or more; not every life leads to one that retention has been at.
    private func directory(_ index: Int, _ result: inout TortureResult) -> TortureTrials? {
        for attempt in 0..<20 where result.isKept {
            var trials = TortureTrials(
                seed: seed + UInt64(index) + UInt64(attempt) * 100,
                closed: index % 2 == 0,
                releases: index >= 2
            )
            if trials.populate(&result) { return trials }
        }
        if result.isKept { result.violate("seed \(seed): no directory \(index) to damage") }
        return nil
    }

    /// Any bit of any file; small files get their share.
    private func flip(in disk: SimulatedDisk, _ random: inout SeededGenerator) -> DiskDamage {
        let names = disk.fileNames
        let sizes = names.map { disk.bytes(of: $0)?.count ?? 0 }
        var file = random.below(names.count)
        if random.below(10) < 7 {
            var place = random.below(sizes.reduce(0, +))
            file = 0
            while place >= sizes[file] {
                place -= sizes[file]
                file += 1
            }
        }
        return .flipBit(
            file: names[file],
            byte: random.below(max(1, sizes[file])),
            bit: random.below(8)
        )
    }

    /// A segment in the middle and the last one, cut at every sector.
    private static func cuts(_ trials: TortureTrials) -> [DiskDamage] {
        let middle = trials.segments[trials.segments.count / 2]
        return ([middle] + trials.segments.suffix(1)).flatMap { segment in
            stride(from: 0, to: 32 << 10, by: 512).map {
                .truncate(file: segment.name, bytes: $0)
            }
        }
    }
}

/// One directory at rest, and what is asked of copies of it that were damaged.
struct TortureTrials {
    let seed: UInt64
    /// Ended cleanly, so that the floor vouches for everything; else killed in the middle.
    let isClosed: Bool
    /// The oldest segments are gone already.
    let releases: Bool
    private(set) var disk = SimulatedDisk()
    private(set) var store = SimulatedStore()
    private(set) var ghost = TortureGhost()
    private(set) var segments: [SegmentDescription] = []
    private let bench: TortureBench

    init(seed: UInt64, closed: Bool, releases: Bool) {
        self.seed = seed
        isClosed = closed
        self.releases = releases
        bench = TortureBench(seed: seed, retentionMilliseconds: releases ? 20_000 : 9_000_000)
    }

    /// Lives a life on a good disk.
    mutating func populate(_ result: inout TortureResult) -> Bool {
        do throws(ShardError) {
            for _ in 0..<2000 where !isReady { try bench.step() }
            for violation in bench.violations { result.violate("seed \(seed): \(violation)") }
            guard isReady, bench.violations.isEmpty else { return false }
            try bench.settleDown()
            segments = bench.shard?.log.segments ?? []
            try bench.finish(isClosed ? .clean : .powerLoss)
        } catch {
            result.violate("seed \(seed), a healthy disk: \(error)")
            return false
        }
        disk = bench.disk.copy()
        store = bench.store.copy()
        ghost = bench.ghost
        result.count("directories")
        result.count("files", disk.fileNames.count)
        result.count("acknowledged notifications", ghost.acknowledgedRecords)
        return true
    }

    private var isReady: Bool {
        guard let log = bench.shard?.log else { return !bench.violations.isEmpty }
        let hasReleased = log.firstPosition.rawValue > UInt64(log.segmentBytes)
        return !bench.violations.isEmpty || log.segments.count >= 6 && hasReleased == releases
    }

    /// Damages a copy, opens it and asks for everything.
    func suffer(_ damages: [DiskDamage], _ kind: String, _ result: inout TortureResult) {
        result.count(kind)
        let damaged = disk.copy()
        for damage in damages { damaged.suffer(damage) }
        let what = "seed \(seed)\(isClosed ? "" : ", killed"), \(damages)"
        let examination = TortureExamination(ghost: ghost, mayLoseTail: !isClosed)
        let seen = examination.open(damaged, store.clone(), bench.configuration, at: bench.now)
        seen.tell(what, isPromised: damages.contains(where: isPromised), &result)
        // Without its rows all has to come from the log, which is folded as far as the damage only. Two
        // files in each other's place may be all that vouched for the newest entries.
        if case .swap? = damages.first { return }
        guard !releases, isClosed, kind != "files cut short" else { return }
        let bare = examination.open(damaged, SimulatedStore(), bench.configuration, at: bench.now)
        bare.tell("\(what), no rows", isPromised: false, &result)
    }

    /// Whether the bit is part of something promised: an entry, or a header or footer around it.
    private func isPromised(_ damage: DiskDamage) -> Bool {
        guard case .flipBit(let file, let byte, _) = damage,
            let segment = segments.first(where: { $0.name == file })
        else { return false }
        if byte < Limits.segmentHeaderBytes { return true }
        if byte >= (32 << 10) - Limits.segmentHeaderBytes { return segment.isSealed }
        return segment.base.rawValue + UInt64(byte) < min(segment.end.rawValue, ghost.end)
    }
}
