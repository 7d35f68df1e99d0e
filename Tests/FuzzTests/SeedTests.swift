// Seeds are what a fuzzer begins with: a kind or a version that none of them has is hardly ever reached.

import FuzzTargets
import PulseBroker
import PulseCore
import Testing

@Suite struct SeedTests {
    private func seeds(_ target: String) throws -> [[UInt8]] {
        try #require(FuzzTarget.named(target)).seeds()
    }

    private func kinds(_ body: [UInt8]) -> Set<Command.Kind> {
        var kinds: Set<Command.Kind> = []
        let whole = body.withUnsafeBytes { bytes in
            Command.forEach(in: bytes) { kinds.insert($0.kind) }
        }
        #expect(whole)
        return kinds
    }

    @Test func `commands of every kind are among the seeds`() throws {
        let found = try seeds("command").reduce(into: Set()) { $0.formUnion(kinds($1)) }
        #expect(found == Set(Command.Kind.allCases))
        let folded = try seeds("fold").reduce(into: Set()) { all, seed in
            for body in FuzzTarget.commands(ofFold: seed) { all.formUnion(kinds(body)) }
        }
        #expect(folded == Set(Command.Kind.allCases))
    }

    @Test func `every seed of the fold is folded to its end`() throws {
        for seed in try seeds("fold") { _ = try FuzzTarget.folded(seed) }
    }

    @Test func `hot states of every version are among the seeds, with all they can have`() throws {
        let seeds = try seeds("state")
        for version in ShardState.readableVersions {
            let states = seeds.filter { $0[0] == version }.compactMap(ShardState.init(encoded:))
            #expect(!states.isEmpty, "version \(version)")
            #expect(states.contains { $0.openIntents.count > 0 && $0.groups.count > 1 })
            guard version > 1 else { continue }
            #expect(states.contains { $0.gaps.count > 0 && $0.lost.count > 1 && $0.isUnsettled })
            guard version > 2 else { continue }
            #expect(states.contains { $0.book.keptRecords > 0 && $0.book.releasedBelow > 0 })
            #expect(states.contains { $0.book.revisions.count > 0 && $0.groups[1].expired > 0 })
            guard version > 3 else { continue }
            #expect(states.contains { $0.clock.steps.count > 1 && $0.keys.count > 0 })
        }
    }

    @Test func `what is seeded is what is written today`() throws {
        let versions = try seeds("state").map { $0[0] }
        #expect(versions.max() == ShardState.readableVersions.upperBound)
    }

    @Test func `rows of every kind are among the seeds, and each is read`() throws {
        let rows = try FuzzTarget.seedRows()
        let kinds = rows.compactMap { StoredRow($0)?.kind }
        #expect(kinds.count == rows.count)
        #expect(Set(kinds) == Set(StoredRow.Kind.allCases))
    }
}
