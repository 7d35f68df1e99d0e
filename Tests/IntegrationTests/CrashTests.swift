// kill -9 under load, again and again: what was acknowledged is there, and counted once. The small
// sister of Scripts/crash-test.py.

import Glibc
import Synchronization
import Testing

@Suite("Crashes", .serialized, .timeLimit(.minutes(4)))
struct CrashTests {
    /// What the clients know: key to identifier, for every 202 or 200 that they read.
    private final class Ledger: Sendable {
        let acknowledged = Mutex<[String: String]>([:])
        let isStopping = Atomic(false)
        /// Clients that are done.
        let ended = Atomic(0)
        let contradictions = Mutex<[String]>([])

        func note(_ key: String, _ id: String) {
            let before = acknowledged.withLock { $0.updateValue(id, forKey: key) }
            if let before, before != id {
                contradictions.withLock { $0.append("\(key) was \(before) and is \(id)") }
            }
        }
    }

    /// Posts one key after another until told to stop; a key without an answer is posted again.
    private static func load(_ client: Int, port: Int, _ ledger: Ledger) {
        var number = 0
        var conversation: HTTPConversation?
        while !ledger.isStopping.load(ordering: .relaxed) {
            let key = "c\(client)-\(number)"
            let body =
                #"{"to":{"user":"u\#(client)","email":"\#(key)@example.org"},"#
                + #""content":{"subject":"s","text":"\#(key)"},"idempotency_key":"\#(key)"}"#
            do {
                let open = try conversation ?? HTTPConversation(port: port)
                conversation = open
                let answer = try open.ask("POST", "/v1/notifications", body)
                if answer.status == 202 || answer.status == 200 {
                    ledger.note(key, try answer.json()["id"]?.text ?? "none")
                    number += 1
                } else if answer.status != 503 {
                    ledger.contradictions.withLock { $0.append("\(key): \(answer.text)") }
                    return
                }
            } catch {
                conversation = nil
                usleep(5000)
            }
        }
    }

    @Test("Five kills under the load of eight clients lose nothing and double nothing")
    func killsUnderLoad() throws {
        let broker = try Broker()
        let ledger = Ledger()
        let port = broker.httpPort
        for client in 0..<8 {
            onThread {
                Self.load(client, port: port, ledger)
                ledger.ended.add(1, ordering: .releasing)
            }
        }
        defer { ledger.isStopping.store(true, ordering: .relaxed) }
        for round in 0..<5 {
            let before = ledger.acknowledged.withLock { $0.count }
            try eventually("progress in round \(round)") {
                ledger.acknowledged.withLock { $0.count } >= before + 200
            }
            broker.crash()
            try broker.start()
        }
        ledger.isStopping.store(true, ordering: .relaxed)
        try eventually("the clients to end") { ledger.ended.load(ordering: .acquiring) == 8 }

        #expect(ledger.contradictions.withLock { $0 } == [])
        let acknowledged = ledger.acknowledged.withLock { $0 }
        #expect(acknowledged.count >= 1000)
        #expect(Set(acknowledged.values).count == acknowledged.count)
        let conversation = try HTTPConversation(port: port)
        for (key, id) in acknowledged {
            let answer = try conversation.ask("GET", "/v1/notifications/\(id)")
            #expect(answer.status == 200, "\(key) is lost")
            #expect(try answer.json()["idempotency_key"]?.text == key)
        }
        try eventually("everything delivered", within: 60) {
            let metrics = try broker.metrics()
            return metrics.sum("pulse_notifications") == 0
        }
        // Up to one post of each client may have been taken and never acknowledged.
        let accepted = try broker.metrics().sum("pulse_notifications_accepted_total")
        #expect(accepted >= acknowledged.count && accepted <= acknowledged.count + 8)
        broker.process.send(SIGTERM)
        #expect(try broker.process.wait() == 0)
    }
}
