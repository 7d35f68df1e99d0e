// A node on a disk that is full, and one that does not answer: spec/03-storage.md, "When the disk says no".

import PulseBroker
import PulseCore
import PulseDelivery
import PulseLog
import PulseNode
import PulseWire
import TestDoubles
import Testing

@Suite struct NodeDiskTests {
    private static let total: Int64 = 1 << 30
    private let body = #"{"to":{"email":"a@example.org"},"content":{"subject":"s","text":"t"}}"#

    private func status(free: Int64, waiting: Int = 0, stalled: Bool = false) -> DiskStatus {
        DiskStatus(
            freeBytes: free,
            totalBytes: Self.total,
            storeWaitingBytes: waiting,
            isStalled: stalled
        )
    }

    @Test func littleRoomRefusesNewWorkAndDeliversTheOld() throws {
        let bench = try NodeBench()
        let id = try bench.send()
        let low = Self.total / 20
        let template = #"{"channel":"sms","text":"t"}"#
        bench.step(.disk(status(free: low - 1)))
        let refused = try bench.exchange("POST", "/v1/notifications", body)
        #expect(refused.status == 503 && refused.body.contains("disk_full"))
        #expect(try bench.exchange("PUT", "/v1/templates/t", template).status == 503)
        #expect(try bench.exchange("GET", "/readyz").body == "disk_full\n")
        let call = try #require(bench.calls.first)
        bench.step(
            .providerAnswered(call.id, .answered(code: 250, detail: "ok", retryAfterSeconds: nil))
        )
        #expect(try bench.status(id) == "delivered", "the outcome is recorded while it is full")
        bench.step(.disk(status(free: 2 * low - 1)))
        #expect(try bench.exchange("POST", "/v1/notifications", body).status == 503)
        bench.step(.disk(status(free: 2 * low)))
        #expect(try bench.exchange("POST", "/v1/notifications", body).status == 202)
        let said = bench.events.map(\.message).filter { $0.hasPrefix("the disk") }
        #expect(said.count == 2, "once that it is full, once that it is not: \(said)")
    }

    @Test func theReserveIsNotForNewWork() throws {
        let bench = try NodeBench(providers: ProviderSettings(), segmentBytes: 32 << 10)
        bench.step(.disk(status(free: Self.total / 10)))
        #expect(try bench.exchange("POST", "/v1/notifications", body).status == 202)
        // Room for no segment: what there is, is the active one and its spare.
        bench.step(.disk(status(free: Self.total / 20 + 10)))
        #expect(bench.node.shard.log.segmentsToBeHad < 2)
        #expect(try bench.exchange("POST", "/v1/notifications", body).status == 503)
    }

    @Test func outcomesWaitForRoomAndAreAnsweredOnlyThen() throws {
        let bench = try NodeBench(concurrency: [400, 8, 8, 8], segmentBytes: 32 << 10)
        var ids: [String] = []
        for _ in 0..<300 { ids.append(try bench.send()) }
        let calls = bench.calls
        #expect(calls.count == 300)
        let far = try bench.send(more: #","deliver_at":"2030-01-01T00:00:00Z""#)
        // Not one segment more, not even a spare.
        bench.directory.capacity = 0
        let long = String(repeating: "d", count: 180)
        var waited = false
        for call in calls {
            bench.step(
                .providerAnswered(
                    call.id,
                    .answered(code: 250, detail: long, retryAfterSeconds: nil)
                )
            )
            waited = waited || bench.node.shard.isWaitingForRoom
        }
        #expect(waited, "the log never ran out of room")
        #expect(bench.stopped == nil)
        #expect(try bench.exchange("POST", "/v1/notifications", body).status == 503)
        #expect(try bench.status(try #require(ids.last)) == "leased", "not recorded, not shown")
        // Outcomes are bounded by what was leased; what anybody can ask for is not.
        let cancel = try bench.exchange("POST", "/v1/notifications/\(far)/cancel")
        #expect(cancel.status == 503 && cancel.body.contains("disk_full"))
        bench.directory.capacity = .max
        for _ in 0..<10 { bench.pass(milliseconds: 1000) }
        for id in ids { #expect(try bench.status(id) == "delivered") }
        try bench.restart(losing: .unsynced)
        for id in ids { #expect(try bench.status(id) == "delivered") }
    }

    @Test func aBatchThatMeetsAFullDiskIsAnsweredRecordByRecord() throws {
        let bench = try NodeBench(providers: ProviderSettings(), segmentBytes: 32 << 10)
        let client = try bench.client()
        bench.directory.capacity = 0
        let text = String(repeating: "x", count: 1900)
        var accepted: [NotificationID] = []
        var isPartial = false
        for round in 0..<20 where !isPartial {
            let envelopes = (0..<10).map { number in
                // The same key twice: they go in one by one.
                let key = "\(round)-\(max(1, number))"
                return (user: "u", bytes: NativeClient.envelope(user: "u", text: text, key: key))
            }
            client.produce(NativeClient.batch(envelopes))
            let said = try client.verdicts()
            guard said.errors.isEmpty else { break }
            #expect(said.verdicts.count == envelopes.count)
            accepted += said.verdicts.filter { $0.status == .accepted }.map(\.id)
            let full = said.verdicts.filter { $0.code == ErrorCode.diskFull.rawValue }
            isPartial = !full.isEmpty && full.count < 9
            #expect(full.allSatisfy { $0.status == .refused })
        }
        #expect(isPartial, "no batch met a full disk")
        #expect(bench.stopped == nil)
        bench.directory.capacity = .max
        try bench.restart(losing: .unsynced)
        for id in accepted { #expect(try bench.status("\(id)") == "ready") }
        let count = try bench.metric("pulse_notifications_accepted_total{channel=\"email\"}")
        #expect(count == accepted.count, "nothing that was refused is there")
    }

    @Test func aTemplateRefusedOnAFullDiskIsNotSavedLater() throws {
        let bench = try NodeBench(segmentBytes: 32 << 10)
        let text = String(repeating: "x", count: 9000)
        let template = #"{"channel":"sms","text":"\#(text)"}"#
        bench.directory.capacity = 0
        var refused: Int?
        for number in 0..<20 where refused == nil {
            let reply = try bench.exchange("PUT", "/v1/templates/t\(number)", template)
            if reply.status == 503 { refused = number }
        }
        let number = try #require(refused, "the log never ran out of room")
        bench.directory.capacity = .max
        for _ in 0..<10 { bench.pass(milliseconds: 1000) }
        _ = try bench.send()
        #expect(try bench.exchange("GET", "/v1/templates/t\(number)").status == 404)
        try bench.restart()
        #expect(try bench.exchange("GET", "/v1/templates/t\(number)").status == 404)
        #expect(try bench.exchange("GET", "/v1/templates/t0").status == 200)
    }

    @Test func rowsThatWaitStopNewWorkAndThenLeases() throws {
        let bench = try NodeBench()
        let id = try bench.send(more: #","deliver_at":"2026-11-18T12:00:00Z""#)
        let quarter = Limits.storeWaitingBytesMax / 4
        bench.step(.disk(status(free: Self.total, waiting: quarter - 1)))
        _ = try bench.send()
        let call = try #require(bench.calls.first)
        bench.step(
            .providerAnswered(call.id, .answered(code: 250, detail: "ok", retryAfterSeconds: nil))
        )
        bench.calls = []
        bench.step(.disk(status(free: Self.total, waiting: quarter)))
        let refused = try bench.exchange("POST", "/v1/notifications", body)
        #expect(refused.status == 503 && refused.body.contains("disk_full"))
        bench.step(.disk(status(free: Self.total, waiting: 2 * quarter)))
        bench.pass(milliseconds: 3 * 86_400_000)
        #expect(bench.calls.isEmpty)
        bench.step(.disk(status(free: Self.total)))
        #expect(bench.calls.count == 1)
        #expect(try bench.status(id) == "leased")
    }

    @Test func aStoreThatRanOutOfDescriptorsIsFlushedLater() throws {
        let bench = try NodeBench()
        for reason in [StorageError.Reason.noSpace, .tooManyFiles] {
            bench.failNextFlush = StorageError(.storeFlush, file: "state", reason: reason)
            try bench.node.shard.checkpoint()
            bench.step(.timeReached)
            #expect(bench.failNextFlush == nil, "it was tried")
            #expect(bench.stopped == nil)
        }
        _ = try bench.send()
        try bench.node.shard.checkpoint()
        bench.step(.timeReached)
        #expect(bench.node.shard.durableCheckpoint == bench.node.shard.state.applied)
    }

    /// The same at the start and later: 75 says that there must be room first.
    @Test func exitCodesTellRoomFromDamage() {
        func code(_ reason: StorageError.Reason) -> [Int32] {
            let failure = StorageError(.write, file: "f", reason: reason)
            return [ShardError.storage(failure), .log(.storage(failure))].map(\.exitCode)
        }
        #expect(code(.noSpace) == [75, 75])
        #expect(code(.failed(code: 5, text: "")) == [70, 70])
        #expect(ShardError.log(.diskFull(file: "f")).exitCode == 75)
        #expect(ShardError.foreignStore.exitCode == 65)
    }

    @Test func aStalledDiskRefusesUntilItAnswers() throws {
        let bench = try NodeBench()
        let id = try bench.send()
        bench.step(.disk(status(free: Self.total, stalled: true)))
        let refused = try bench.exchange("POST", "/v1/notifications", body)
        #expect(refused.status == 503 && refused.body.contains("disk_stalled"))
        #expect(try bench.exchange("GET", "/readyz").body == "disk_stalled\n")
        #expect(try bench.status(id) == "leased", "what is known can be asked for")
        bench.step(.disk(status(free: Self.total)))
        #expect(try bench.exchange("POST", "/v1/notifications", body).status == 202)
        #expect(try bench.metric("pulse_disk_stalls_total") == 1)
    }
}
