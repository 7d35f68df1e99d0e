// The torture itself, in small: it keeps running clean, and it would notice a log that is too trusting.

import PulseBroker
import PulseCore
import PulseLog
import PulseSimulator
import Testing

@Suite("Torture")
struct TortureTests {
    private func expectKept(_ result: TortureResult) {
        #expect(result.isKept, "\(result.lines.joined(separator: "\n"))")
    }

    @Test("power cuts lose nothing and are never taken for damage")
    func powerCuts() {
        var cuts = TorturePowerCuts(cuts: 400)
        cuts.cutsPerInstant = 20
        let result = cuts.run()
        expectKept(result)
        #expect(result.count(of: "power cuts") == 400)
        #expect(result.count(of: "torn tails cut") > 0)
        #expect(result.count(of: "keys asked for") > 0)
        #expect(result.count(of: "kills among them") > 0)
    }

    @Test(
        "what is repaired keeps all that lies outside its gaps, through power cuts and more repairs"
    )
    func repairs() {
        let result = TortureRepairs(scenarios: 3).run()
        expectKept(result)
        #expect(result.count(of: "repairs") > 3)
        #expect(result.count(of: "power cuts inside repairs") > 10)
    }

    @Test("forged headers vouch for nothing, a damaged middle is noticed, a foreign store refused")
    func directedCases() {
        let result = TortureCases().run()
        expectKept(result)
        #expect(result.count(of: "headers forged in content") == 8)
        #expect(result.count(of: "acknowledged middles damaged") == 8)
        #expect(result.count(of: "stores of another log") == 8)
        #expect(result.count(of: "segments let go") > 8)
        #expect(result.count(of: "recoveries killed in their middle") > 50)
        #expect(result.count(of: "acknowledgements that wait for room") > 100)
    }

    @Test("every so manyth call fails once")
    func singleFaults() {
        var faults = TortureSingleFaults()
        faults.every = 41
        let result = faults.run()
        expectKept(result)
        #expect(result.count(of: "points: short reads") > 0)
        #expect(result.count(of: "ends of the process, store lost") > 0)
        #expect(result.count(of: "keys asked for") > 100)
        expectKept(faults.runFailedSyncs())
    }

    @Test("damage is reported and nothing wrong is served")
    func damage() {
        let result = TortureDamage(flips: 60).run()
        expectKept(result)
        #expect(result.count(of: "hits of promised bytes") > 10)
        #expect(
            result.count(of: "hits of promised bytes") == result.count(of: "hits reported")
        )
    }

    /// A reader that believes its disk: after a bit flips it hands out another content, and only the
    /// ghost, who was told what was written, can know.
    @Test("a reader without checksums would be caught")
    func weakReader() throws {
        let bench = TortureBench(seed: 3)
        while (bench.shard?.log.segments.count ?? 0) < 2 { try bench.step() }
        try bench.settleDown()
        let shard = try #require(bench.shard)
        var bodies: [(header: EntryHeader, body: [UInt8])] = []
        try shard.log.scan(from: .zero) { header, body in
            bodies.append((header, [UInt8](body)))
            return bodies.count < 20
        }
        let first = try #require(shard.log.segments.first)
        let last = try #require(bodies.last)
        let disk = bench.disk.copy()
        let byte = Int(last.header.position.rawValue - first.base.rawValue) + EntryHeader.bytes
        disk.suffer(.flipBit(file: first.name, byte: byte + last.body.count - 1, bit: 0))

        // What the log itself makes of it: an error.
        var isDamaged = false
        do {
            let (log, report) = try ShardLog.open(
                directory: disk,
                configuration: bench.configuration.log,
                identityIfNew: LogIdentity(high: 1, low: 1),
                indexer: BrokerIndexer(),
                at: bench.now.wall
            )
            isDamaged = !report.damaged.isEmpty
            try log.read(at: last.header.position) { _, _ in }
        } catch { isDamaged = true }
        #expect(isDamaged)

        // What a reader makes of it that takes bytes as they come.
        let raw = try #require(disk.bytes(of: first.name))
        let believed = Array(
            raw[byte..<byte + last.body.count]
        )
        #expect(believed != last.body)
        #expect(
            !bench.promised(last.header, believed),
            "the ghost knows what was written here"
        )
        #expect(bench.promised(last.header, last.body))
    }
}
