// Taking a notification back, and asking where the disk's bytes are, as a client of the node sees it.

import PulseBroker
import PulseCore
import PulseDelivery
import PulseNode
import TestDoubles
import Testing

@Suite struct NodeCancelTests {
    private func later(_ bench: NodeBench) -> String {
        let due = bench.now.wall.milliseconds + 3_600_000
        return
            #"{"to":{"email":"a@example.org"},"content":{"subject":"s","text":"t"},"deliver_at":\#(due)}"#
    }

    @Test func aScheduledOneIsTakenBackOnceAndForAll() throws {
        let bench = try NodeBench()
        let id = try #require(
            try bench.exchange("POST", "/v1/notifications", later(bench)).field("id")
        )
        #expect(try bench.status(id) == "scheduled")
        for _ in 0..<2 {
            let reply = try bench.exchange("POST", "/v1/notifications/\(id)/cancel")
            #expect(reply.status == 200 && reply.field("status") == "cancelled")
            #expect(reply.field("id") == id)
        }
        #expect(
            try bench.metric(
                "pulse_notifications_finished_total{channel=\"email\",state=\"cancelled\"}"
            ) == 1
        )
        try bench.restart(losing: .unsynced)
        #expect(try bench.status(id) == "cancelled")
        for _ in 0..<8 { bench.pass(milliseconds: 1_000_000) }
        #expect(bench.calls.isEmpty, "it is never delivered")
    }

    @Test func noAnswerBeforeTheSync() throws {
        let bench = try NodeBench()
        let id = try #require(
            try bench.exchange("POST", "/v1/notifications", later(bench)).field("id")
        )
        bench.syncsAtOnce = false
        let connection = bench.open(.http)
        bench.receive(NodeBench.request("POST", "/v1/notifications/\(id)/cancel"), on: connection)
        #expect(bench.takeSent(connection).isEmpty, "no answer before the sync that covers it")
        bench.settle()
        #expect(bench.replies(on: connection).first?.status == 200)
    }

    @Test func whatSomebodyHasOrNobodyKnowsIsRefused() throws {
        let bench = try NodeBench()
        let id = try bench.send()
        #expect(try bench.status(id) == "leased")
        let leased = try bench.exchange("POST", "/v1/notifications/\(id)/cancel")
        #expect(leased.status == 409 && leased.body.contains("not_cancellable"))
        let call = try #require(bench.calls.first)
        bench.step(
            .providerAnswered(call.id, .answered(code: 250, detail: "ok", retryAfterSeconds: nil))
        )
        let ended = try bench.exchange("POST", "/v1/notifications/\(id)/cancel")
        #expect(ended.status == 409 && ended.body.contains("not_cancellable"))
        #expect(try bench.status(id) == "delivered")
        let unknown = id.dropLast(2) + (id.hasSuffix("00") ? "11" : "00")
        #expect(try bench.exchange("POST", "/v1/notifications/\(unknown)/cancel").status == 404)
        #expect(try bench.exchange("GET", "/v1/notifications/\(id)/cancel").status == 405)
    }

    @Test func theDiskIsToldByReasonAndWithWhatPinsIt() throws {
        let bench = try NodeBench(segmentBytes: 32 << 10)
        // The stream that came first has the younger message.
        let bulk = String(later(bench).dropLast()) + #","lane":"bulk"}"#
        let first = try #require(
            try bench.exchange("POST", "/v1/notifications", bulk).field("id")
        )
        #expect(try bench.exchange("POST", "/v1/notifications/\(first)/cancel").status == 200)
        let id = try #require(
            try bench.exchange("POST", "/v1/notifications", later(bench)).field("id")
        )
        #expect(try bench.exchange("POST", "/v1/notifications", bulk).status == 202)
        let before = try bench.exchange("GET", "/v1/disk")
        #expect(before.status == 200)
        #expect(before.body.contains("\"active\":32768") && before.body.contains("\"pin\":null"))
        // Less than what is worth compressing.
        let long = String(repeating: "x", count: 3000)
        let body =
            #"{"to":{"email":"a@example.org"},"content":{"subject":"s","text":"\#(long)"}}"#
        for _ in 0..<16 {
            #expect(try bench.exchange("POST", "/v1/notifications", body).status == 202)
        }
        let after = try bench.exchange("GET", "/v1/disk")
        #expect(after.body.contains("\"pin\":{\"segment\":0,"), "\(after.body)")
        #expect(after.body.contains(id) && after.body.contains("\"state\":\"waiting\""))
        #expect(try bench.metric("pulse_disk_bytes{reason=\"active\"}") == 32 << 10)
        #expect(try bench.metric("pulse_disk_bytes{reason=\"open\"}") > 0)
    }
}
