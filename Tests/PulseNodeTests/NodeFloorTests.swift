// How far the log is durable is noted by a job: no answer waits for it, and a stop does.

import PulseBroker
import PulseCore
import PulseDelivery
import PulseLog
import PulseNode
import PulseWire
import TestDoubles
import Testing

@Suite struct NodeFloorTests {
    private let body = #"{"to":{"email":"a@example.org"},"content":{"subject":"s","text":"t"}}"#

    private func noting(_ bench: NodeBench) -> Int { bench.jobs.count { $0.1.isFloor } }

    /// A node that has something to note, and whose jobs wait.
    private func busy() throws -> NodeBench {
        let bench = try NodeBench(providers: ProviderSettings())
        _ = try bench.send()
        bench.syncsAtOnce = false
        bench.pass(milliseconds: 60)
        return bench
    }

    @Test func itIsAJobAndOneAtATime() throws {
        let bench = try busy()
        #expect(noting(bench) == 1 && bench.node.shard.isWritingFloor)
        for _ in 0..<5 {
            bench.pass(milliseconds: 1100)
            #expect(noting(bench) == 1)
        }
        #expect(bench.pendingSyncs.isEmpty)
        bench.settle()
        #expect(noting(bench) == 0 && !bench.node.shard.isWritingFloor)
        #expect(bench.node.shard.log.notedPosition == bench.node.shard.log.durablePosition)
    }

    @Test func answersDoNotWaitForIt() throws {
        let bench = try busy()
        let client = try bench.client()
        client.produce(NativeClient.batch([("ada", NativeClient.envelope())]))
        bench.performSyncs()
        #expect(try client.verdicts().verdicts.map(\.status) == [.accepted])
        #expect(noting(bench) == 1, "it is still under way")
    }

    @Test func aStopWaitsForItAndThenWritesItsOwn() throws {
        let bench = try busy()
        bench.step(.drainRequested)
        #expect(!bench.drained && noting(bench) == 1)
        bench.settle()
        #expect(bench.drained && bench.stopped == nil)
        #expect(bench.node.shard.log.notedPosition == bench.node.shard.log.durablePosition)
    }

    @Test func aStopDoesNotWaitForEver() throws {
        let bench = try busy()
        let before = bench.node.shard.log.notedPosition
        bench.step(.drainRequested)
        bench.pass(milliseconds: bench.configuration.drainMilliseconds + 1)
        #expect(bench.drained && bench.stopped == nil)
        #expect(bench.node.shard.log.notedPosition == before, "nobody writes beside the other")
    }

    @Test(arguments: [StorageError.Operation.sync, .write, .open])
    func aFailedOneStopsTheProcess(_ operation: StorageError.Operation) throws {
        let bench = try busy()
        let reason = StorageError.Reason.failed(code: 5, text: "EIO")
        bench.failNextFloor = StorageError(operation, file: "floor", reason: reason)
        bench.settle()
        #expect(bench.stopped?.code == 70)
    }

    @Test func oneWithoutRoomIsDoneWithout() throws {
        let bench = try busy()
        bench.failNextFloor = StorageError(.sync, file: "floor", reason: .noSpace)
        bench.settle()
        #expect(bench.stopped == nil && !bench.node.shard.isWritingFloor)
        bench.syncsAtOnce = true
        _ = try bench.send()
        bench.pass(milliseconds: 60)
        #expect(bench.node.shard.log.notedPosition == bench.node.shard.log.durablePosition)
    }
}
