// Every path over the real server: what a good request gets, and what a bad one gets.

import Testing

/// One request and what must come back.
struct Exchange: CustomTestStringConvertible, Sendable {
    var method: String
    var path: String
    var body: String?
    var headers: [String] = []
    var status: Int
    /// Words the answer must contain.
    var says: String

    var testDescription: String {
        "\(method) \(path.prefix(60)) \(body?.prefix(60) ?? "") is \(status)"
    }

    init(
        _ method: String,
        _ path: String,
        _ body: String? = nil,
        headers: [String] = [],
        is status: Int,
        _ says: String
    ) {
        (self.method, self.path, self.body) = (method, path, body)
        (self.headers, self.status, self.says) = (headers, status, says)
    }
}

@Suite("Routes", .serialized, .timeLimit(.minutes(3)))
struct RouteTests {
    private static let good =
        #""to":{"email":"a@example.org"},"content":{"subject":"s","text":"t"}"#
    private static let nobody = "00000000-0000-8001-8800-000000000000"

    static let exchanges: [Exchange] = [
        // Operators.
        Exchange("GET", "/livez", is: 200, "ok"),
        Exchange("GET", "/readyz", is: 200, "ok"),
        Exchange("HEAD", "/livez", is: 200, ""),
        Exchange("GET", "/v1/status", is: 200, #""state":"serving""#),
        Exchange("GET", "/metrics", is: 200, "# TYPE"),
        Exchange("GET", "/nothing", is: 404, #""code":"not_found""#),
        Exchange("DELETE", "/livez", is: 405, "method_not_allowed"),
        Exchange("POST", "/metrics", "{}", is: 405, "method_not_allowed"),
        // Submitting to /v1.
        Exchange("POST", "/v1/notifications", "{\(good)}", is: 202, #""status":"accepted""#),
        Exchange("POST", "/v1/notifications", "{", is: 400, "malformed_json"),
        Exchange("POST", "/v1/notifications", "", is: 400, "malformed_json"),
        Exchange("POST", "/v1/notifications", "[]", is: 400, #""code""#),
        Exchange("POST", "/v1/notifications", #"{"to":"a","to":"b"}"#, is: 400, "malformed_json"),
        Exchange("POST", "/v1/notifications", "{\(good),\"colour\":1}", is: 400, "colour"),
        Exchange(
            "POST",
            "/v1/notifications",
            #"{"to":"no address","template":"nosuch"}"#,
            is: 400,
            "unknown_template"
        ),
        Exchange(
            "POST",
            "/v1/notifications",
            #"{"to":"a@example.org","template":"welcome"}"#,
            is: 400,
            "missing_variable"
        ),
        Exchange(
            "POST",
            "/v1/notifications",
            #"{"to":{"email":"not one"},"template":"welcome"}"#,
            is: 400,
            "invalid_address"
        ),
        Exchange("POST", "/v1/notifications", "{\(good),\"lane\":\"dead\"}", is: 400, "lane"),
        Exchange(
            "POST",
            "/v1/notifications",
            "{\(good),\"deliver_at\":\"soon\"}",
            is: 400,
            "deliver_at"
        ),
        Exchange("GET", "/v1/notifications/\(nobody)", is: 404, "not_found"),
        Exchange("GET", "/v1/notifications/nonsense", is: 404, "not_found"),
        Exchange("PUT", "/v1/notifications", "{}", is: 405, "method_not_allowed"),
        Exchange("GET", "/v1/notifications", is: 200, #""next_cursor""#),
        Exchange("GET", "/v1/notifications?limit=0", is: 400, "limit"),
        Exchange("GET", "/v1/notifications?limit=501", is: 400, "limit"),
        Exchange("GET", "/v1/notifications?limit=abc", is: 400, "limit"),
        Exchange("GET", "/v1/notifications?status=sent", is: 400, "status"),
        Exchange("GET", "/v1/notifications?cursor=zz", is: 400, "cursor"),
        Exchange("GET", "/v1/notifications?nosuch=1", is: 400, "nosuch"),
        // Templates.
        Exchange("GET", "/v1/templates", is: 200, #""name":"welcome""#),
        Exchange("GET", "/v1/templates?channel=sms", is: 200, #"{"templates":[]}"#),
        Exchange("GET", "/v1/templates/welcome", is: 200, #""channel":"email""#),
        Exchange("GET", "/v1/templates/nosuch", is: 404, "not_found"),
        Exchange(
            "PUT",
            "/v1/templates/broken",
            #"{"channel":"sms","text":"{{ open"}"#,
            is: 400,
            "invalid_template"
        ),
        Exchange("PUT", "/v1/templates/broken", #"{"text":"x"}"#, is: 400, "channel"),
        // System 000.
        Exchange("POST", "/api/notifications/send/", "{", is: 400, #"{"detail":"#),
        Exchange(
            "POST",
            "/api/notifications/send/",
            "{}",
            is: 400,
            #""template_name":["This field is required."]"#
        ),
        Exchange(
            "POST",
            "/api/notifications/send/",
            #"{"user_id":"u","to":"x@example.org","template_name":"nosuch"}"#,
            is: 400,
            #"{"template_name":["Template not found"]}"#
        ),
        Exchange(
            "POST",
            "/api/notifications/send/",
            #"{"user_id":"u","to":"x@example.org","template_name":"welcome"}"#,
            is: 400,
            "missing template variable: 'name'"
        ),
        Exchange(
            "GET",
            "/api/notifications/status/\(nobody)/",
            is: 404,
            #"{"error":"Notification not found"}"#
        ),
        Exchange(
            "GET",
            "/api/notifications/status/x/",
            is: 404,
            #"{"error":"Notification not found"}"#
        ),
        Exchange("GET", "/api/notifications/list/", is: 200, #""results""#),
        Exchange(
            "GET",
            "/api/notifications/list/?limit=abc",
            is: 400,
            #"{"limit":["A valid integer is required."]}"#
        ),
        Exchange("GET", "/api/notifications/list/?limit=-1", is: 400, #"{"limit":"#),
        Exchange("GET", "/api/notifications/templates/", is: 200, #""count":1"#),
        Exchange("GET", "/api/notifications/templates/welcome/", is: 200, #""body_template""#),
        Exchange(
            "GET",
            "/api/notifications/templates/x/",
            is: 404,
            #"{"error":"Template not found"}"#
        ),
        Exchange("GET", "/api/notifications/nosuch/", is: 404, #"{"detail":"#),
        Exchange("GET", "/api/notifications/send/", is: 405, #"{"detail":"#),
    ]

    @Test("What each path answers, on one connection that stays open")
    func answers() throws {
        let broker = try Broker()
        let conversation = try HTTPConversation(port: broker.httpPort)
        for exchange in Self.exchanges {
            let answer = try conversation.ask(
                exchange.method,
                exchange.path,
                exchange.body,
                headers: exchange.headers
            )
            #expect(answer.status == exchange.status, "\(exchange.testDescription): \(answer.text)")
            #expect(answer.text.contains(exchange.says), "\(exchange.testDescription)")
            if exchange.status >= 400, !exchange.path.hasPrefix("/api/") {
                #expect(answer.header("content-type") == "application/problem+json")
                #expect(try answer.json()["status"]?.int == exchange.status)
            }
            if exchange.status == 405 { #expect(answer.header("allow") != nil) }
        }
        #expect(try broker.isAlive())
    }

    @Test("Every mistake of a request is told at once")
    func allMistakes() throws {
        let broker = try Broker()
        let answer = try broker.ask(
            "POST",
            "/v1/notifications",
            #"{"to":{"email":"nobody"},"template":"welcome","lane":"fast","surprise":true}"#
        )
        #expect(answer.status == 400)
        let fields = (try answer.json()["errors"]?.items ?? []).compactMap { $0["field"]?.text }
        for field in ["to.email", "data.name", "lane", "surprise"] {
            #expect(fields.contains(field), "\(field) among \(fields)")
        }
    }

    @Test("A body that is not JSON by its header is refused with 415")
    func mediaType() throws {
        let broker = try Broker()
        for path in ["/v1/notifications", "/api/notifications/send/"] {
            let conversation = try HTTPConversation(port: broker.httpPort)
            try conversation.wire.send(
                "POST \(path) HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"
                    + "Content-Length: 2\r\n\r\n{}"
            )
            #expect(try conversation.readAnswer().status == 415)
        }
    }

    @Test("A template is made, revised, used and listed")
    func templates() throws {
        let broker = try Broker()
        let first = #"{"channel":"sms","text":"Code {{code}}"}"#
        #expect(try broker.ask("PUT", "/v1/templates/otp", first).status == 201)
        let second = #"{"channel":"sms","text":"Your code: {{code}}"}"#
        let revised = try broker.ask("PUT", "/v1/templates/otp", second)
        #expect(revised.status == 200)
        #expect(try revised.json()["text"]?.text == "Your code: {{code}}")
        let id = try broker.submit(
            #"{"to":{"phone":"+15550100"},"template":"otp","data":{"code":123}}"#
        )
        try broker.notification(id, reaching: "delivered")
        #expect(try broker.outbox().first?["text"]?.text == "Your code: 123")
        let view = try broker.json("/v1/templates/otp")
        let name = try #require(view["id"]?.text)
        #expect(try broker.json("/api/notifications/templates/\(name)/")["name"]?.text == "otp")
    }

    @Test("A list is read page by page, newest first, each notification once")
    func paging() throws {
        let broker = try Broker()
        let conversation = try HTTPConversation(port: broker.httpPort)
        var sent: [String] = []
        for index in 0..<25 {
            let answer = try conversation.ask(
                "POST",
                "/v1/notifications",
                #"{"to":{"user":"u\#(index % 2)","email":"a@example.org"},"#
                    + #""content":{"subject":"s","text":"\#(index)"}}"#
            )
            sent.append(try #require(try answer.json()["id"]?.text))
        }
        var read: [String] = []
        var cursor = ""
        repeat {
            let page = try conversation.ask("GET", "/v1/notifications?limit=10\(cursor)").json()
            read += (page["notifications"]?.items ?? []).compactMap { $0["id"]?.text }
            cursor = page["next_cursor"]?.text.map { "&cursor=\($0)" } ?? ""
        } while !cursor.isEmpty && read.count < 100
        #expect(read == sent.reversed())

        let own = try broker.json("/v1/notifications?user=u1")["notifications"]?.items ?? []
        #expect(own.count == 12)
        let none = try broker.json("/v1/notifications?status=dead&channel=email")
        #expect(none["notifications"]?.items.isEmpty == true)
    }
}
