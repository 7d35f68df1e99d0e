// What is to happen later: not early, and not forgotten.

import Testing

@Suite("Schedules", .serialized, .timeLimit(.minutes(5)))
struct ScheduleTests {
    private static func submission(_ to: String, at time: Int64) -> String {
        #"{"to":"\#(to)@example.org","channel":"email","deliver_at":\#(time),"#
            + #""content":{"subject":"s","text":"t"}}"#
    }

    /// Milliseconds since 1970 of `2026-11-20T09:48:03.120Z`: only the time of day is looked at.
    private static func millisecondOfDay(_ text: String) -> Int64? {
        let digits = text.split(separator: "T").last?.split { ":.Z".contains($0) } ?? []
        let numbers = digits.compactMap { Int64($0) }
        guard numbers.count == 4 else { return nil }
        return ((numbers[0] * 60 + numbers[1]) * 60 + numbers[2]) * 1000 + numbers[3]
    }

    @Test("What is due in 1.5 seconds waits until then")
    func notEarly() throws {
        let broker = try Broker()
        let due = wallMilliseconds() + 1500
        let id = try broker.submit(Self.submission("a", at: due))
        let waiting = try broker.json("/v1/notifications/\(id)")
        #expect(waiting["status"]?.text == "scheduled")
        #expect(waiting["next_attempt_at"]?.text != nil)
        #expect(try broker.outbox().isEmpty)
        try broker.notification(id, reaching: "delivered")
        #expect(wallMilliseconds() >= due)
        let caught = try #require(try broker.outbox().first?["caught_at"]?.text)
        let time = try #require(Self.millisecondOfDay(caught))
        #expect((time - due % 86_400_000 + 86_400_000) % 86_400_000 < 43_200_000, "early")
    }

    @Test("A schedule survives kill -9 and a stop, and is kept")
    func survives() throws {
        let broker = try Broker()
        let due = wallMilliseconds() + 2500
        let id = try broker.submit(Self.submission("a", at: due))
        let past = try broker.submit(Self.submission("b", at: wallMilliseconds() + 200))
        broker.crash()
        try broker.start()
        broker.process.send(15)
        #expect(try broker.process.wait() == 0)
        try broker.start()
        if wallMilliseconds() < due - 500 {
            #expect(try broker.json("/v1/notifications/\(id)")["status"]?.text == "scheduled")
        }
        try broker.notification(id, reaching: "delivered")
        #expect(wallMilliseconds() >= due)
        try broker.notification(past, reaching: "delivered")
    }

    @Test("A template that is revised meanwhile does not change what was accepted before")
    func revisedTemplate() throws {
        let broker = try Broker()
        func save(_ text: String) throws {
            let body = #"{"channel":"sms","text":"\#(text) {{n}}"}"#
            #expect(try broker.ask("PUT", "/v1/templates/t", body).status < 300)
        }
        func post(after milliseconds: Int64) throws -> String {
            try broker.submit(
                #"{"to":{"phone":"+15550100"},"template":"t","data":{"n":"1"},"#
                    + #""deliver_at":\#(wallMilliseconds() + milliseconds)}"#
            )
        }
        try save("old")
        let early = try post(after: 800)
        let late = try post(after: 1800)
        try save("new")
        let fresh = try post(after: 0)
        try broker.notification(early, reaching: "delivered")
        func text(_ id: String) throws -> String? {
            try broker.outbox().first { $0["id"]?.text == id }?["text"]?.text
        }
        #expect(try text(early) == "old 1")
        #expect(try text(fresh) == "new 1")
        broker.crash()
        try broker.start()
        try broker.notification(late, reaching: "delivered")
        #expect(try text(late) == "old 1")
    }

    @Test("What is due in order is delivered in order, whatever the order of its arrival")
    func order() throws {
        let broker = try Broker()
        let base = wallMilliseconds() + 1000
        var ids: [String] = []
        for delay in [300, 100, 200, 0] {
            ids.append(try broker.submit(Self.submission("d\(delay)", at: base + Int64(delay))))
        }
        for id in ids { try broker.notification(id, reaching: "delivered") }
        let order = try broker.outbox().reversed().compactMap { $0["to"]?.text }
        #expect(order == ["d0", "d100", "d200", "d300"].map { "\($0)@example.org" })
    }
}
