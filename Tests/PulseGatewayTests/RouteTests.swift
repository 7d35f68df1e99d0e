// Paths, methods and queries: where each request goes, and how wrong ones are refused.

import PulseCore
import PulseGateway
import Testing

@Suite struct RouteTests {
    static func name(_ request: APIRequest?) -> String {
        switch request {
        case .submit(let submission): "submit \(submission.dialect)"
        case .status(let id, let dialect): "status \(id) \(dialect)"
        case .cancel(let id): "cancel \(id)"
        case .list(let query, let dialect):
            "list \(query.user ?? "-") \(query.channel?.name ?? "-") \(query.limit) \(dialect)"
        case .templates(let channel, let dialect): "templates \(channel?.name ?? "-") \(dialect)"
        case .template(let name, let dialect): "template \(name) \(dialect)"
        case .putTemplate(let name, let draft): "put \(name) \(draft.channel.name)"
        case .outbox(let asPage): asPage ? "page" : "outbox"
        case .metrics: "metrics"
        case .live: "live"
        case .ready: "ready"
        case .serverStatus: "server"
        case .disk: "disk"
        case .answered(let response): "answered \(response.status)"
        case nil: "nothing"
        }
    }

    @Test(arguments: [
        ("GET /livez", "live"), ("HEAD /livez", "live"), ("GET /readyz", "ready"),
        ("GET /metrics", "metrics"), ("GET /v1/status", "server"), ("GET /v1/disk", "disk"),
        ("GET /dev/outbox", "outbox"),
        ("GET /dev/", "page"), ("GET /dev", "page"),
        ("GET /v1/notifications/\(someIDText)", "status \(someIDText) v1"),
        ("POST /v1/notifications/\(someIDText)/cancel", "cancel \(someIDText)"),
        ("GET /v1/notifications", "list - - 50 v1"),
        ("GET /v1/notifications?user=a%20b%2Bc&channel=sms&limit=500", "list a b+c sms 500 v1"),
        ("GET /v1/templates", "templates - v1"),
        ("GET /v1/templates?channel=email", "templates email v1"),
        ("GET /v1/templates/w%C3%A9lcome", "template wélcome v1"),
        ("GET /api/notifications/status/\(someIDText)/", "status \(someIDText) compatible"),
        ("GET /api/notifications/status/\(someIDText)", "status \(someIDText) compatible"),
        ("GET /api/notifications/list/", "list - - 50 compatible"),
        ("GET /api/notifications/list?user_id=7&limit=9999", "list 7 - 500 compatible"),
        ("GET /api/notifications/list/?page=2&user_id=", "list - - 50 compatible"),
        ("GET /api/notifications/templates/", "templates - compatible"),
        ("GET /api/notifications/templates?channel=push", "templates push compatible"),
        ("GET /api/notifications/templates/welcome/", "template welcome compatible"),
        ("GET http://x/livez", "live"),
    ])
    func `a path leads to its operation`(line: String, expected: String) {
        #expect(Self.name(request(http(line))) == expected)
    }

    @Test(arguments: [
        "GET /", "GET /v1", "GET /v1/", "GET /v1/notifications/", "GET /v1/notifications/a/b",
        "GET /v1/nothing", "GET /V1/status", "GET /livez/", "OPTIONS *", "GET //livez",
        "GET http://x", "GET /v1/templates/a%2", "GET /v1/templates/a%00b",
        "GET /v1/notifications/\(someIDText)0", "POST /v1/notifications//cancel",
        "POST /v1/notifications/\(someIDText)/cancel/", "POST /v1/notifications/1/cancel",
    ])
    func `an unknown path is not found`(line: String) {
        #expect(Self.name(request(http(line))) == "answered 404")
    }

    @Test func `not found has a shape in each dialect`() {
        #expect(
            refusal(http("GET /v1/x"))
                == #"404 {"type":"urn:pulse:problem:not_found","title":"Not found","status":404,"#
                + #""detail":"there is no such path","code":"not_found"}"#
        )
        #expect(refusal(http("GET /api/notifications/x/")) == #"404 {"detail":"Not found."}"#)
        #expect(
            refusal(http("GET /api/notifications/status/7/"))
                == #"404 {"error":"Notification not found"}"#
        )
    }

    @Test(arguments: [
        ("DELETE /v1/notifications", "GET, HEAD, POST"), ("POST /v1/templates/a", "GET, HEAD, PUT"),
        ("POST /livez", "GET, HEAD"), ("GET /api/notifications/send/", "POST"),
        ("PUT /api/notifications/templates/a/", "GET, HEAD"), ("get /livez", "GET, HEAD"),
    ])
    func `a wrong method is told the right ones`(line: String, allowed: String) {
        guard case .answered(let response) = request(http(line)) else {
            Issue.record("not refused")
            return
        }
        #expect(response.status == 405)
        #expect(response.headers == [.init("Allow", allowed)])
    }

    @Test func `system 000's words for a wrong method`() {
        #expect(
            refusal(http("GET /api/notifications/send/"))
                == #"405 {"detail":"Method \"GET\" not allowed."}"#
        )
    }

    @Test(arguments: [
        ("text/html,application/xhtml+xml,*/*;q=0.8", "page"), ("application/json", "outbox"),
        ("*/*", "outbox"), ("application/json, text/html", "outbox"),
    ])
    func `a browser gets the outbox as a page`(accept: String, expected: String) {
        #expect(Self.name(request(http("GET /dev/outbox", ["Accept: " + accept]))) == expected)
    }

    // MARK: Media types

    @Test(arguments: [
        "application/json", "Application/JSON; charset=UTF-8", "application/json;charset=\"utf-8\"",
        "application/json; x=y",
    ])
    func `JSON is welcome`(type: String) {
        let text = http("POST /v1/notifications", body: "{}", type: type)
        #expect(Self.name(request(text)) == "submit v1")
    }

    @Test(arguments: [
        "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", "",
        "application/jsonp",
    ])
    func `other media types are refused`(type: String) {
        let text = http("POST /v1/notifications", body: "{}", type: type)
        #expect(
            refusal(text)
                == #"415 {"type":"urn:pulse:problem:unsupported_media_type","#
                + #""title":"The media type is not supported","status":415,"#
                + #""detail":"the body must be application/json in UTF-8","#
                + #""code":"unsupported_media_type"}"#
        )
        #expect(
            refusal(http("POST " + compatiblePath, body: "{}", type: type))?.hasPrefix(
                #"415 {"detail":"Unsupported media type"#
            ) == true
        )
    }

    // MARK: Queries

    @Test func `all mistakes in a query are told at once`() {
        let text = http("GET /v1/notifications?limit=0&channel=fax&status=sent&cursor=x&page=2")
        #expect(
            refusal(text)
                == #"400 {"type":"urn:pulse:problem:validation_failed","#
                + #""title":"The request has invalid fields","status":400,"#
                + #""detail":"5 fields are invalid","code":"validation_failed","errors":["#
                + #"{"field":"limit","code":"validation_failed","#
                + #""message":"must be a whole number from 1 to 500"},"#
                + #"{"field":"channel","code":"unknown_channel","#
                + #""message":"must be one of email, sms, push, webhook"},"#
                + #"{"field":"status","code":"validation_failed","message":"must be one of "#
                + "scheduled, ready, held, leased, delivered, dead, expired, cancelled, suppressed"
                + #""},{"field":"cursor","code":"validation_failed","#
                + #""message":"is not a cursor of this list"},"#
                + #"{"field":"page","code":"validation_failed","#
                + #""message":"is not a parameter of this request"}]}"#
        )
    }

    @Test(arguments: ["abc", "", "-1", "1.5", "%31%", "1e3"])
    func `a bad limit is a 400 in system 000's shape`(limit: String) {
        let answer = refusal(http("GET /api/notifications/list/?limit=" + limit))
        let expected = limit == "%31%" ? "Enter a valid value." : "A valid integer is required."
        #expect(answer == "400 {\"limit\":[\"\(expected)\"]}")
    }

    @Test func `limits are capped, and zero is refused, on system 000's list`() {
        #expect(
            refusal(http("GET /api/notifications/list/?limit=0"))
                == #"400 {"limit":["Ensure this value is greater than or equal to 1."]}"#
        )
        let huge = "GET /api/notifications/list/?limit=99999999999999999999999"
        #expect(Self.name(request(http(huge))) == "list - - 500 compatible")
    }

    @Test func `system 000 finds nothing for a word it does not know`() {
        for query in ["channel=fax", "status=lost"] {
            #expect(
                refusal(http("GET /api/notifications/list/?" + query))
                    == #"200 {"count":0,"results":[],"next_cursor":null}"#
            )
        }
    }

    @Test func `a cursor comes back as it was given`() {
        let cursor = ListCursor(first: 7, second: .max)
        #expect(cursor.text == "0000000000000007ffffffffffffffff")
        guard
            case .list(let query, _) = request(
                http("GET /v1/notifications?status=held&cursor=" + cursor.text)
            )
        else {
            Issue.record("no list")
            return
        }
        #expect(query.cursor == cursor)
        #expect(query.status == .state(.held))
        #expect(ListCursor("+000000000000007ffffffffffffffff") == nil)
    }

    @Test func `system 000's status words admit our states`() {
        guard
            case .list(let query, _) = request(
                http("GET /api/notifications/list/?status=retrying")
            ), let filter = query.status
        else {
            Issue.record("no list")
            return
        }
        #expect(filter.admits(.held, attempts: 1))
        #expect(filter.admits(.leased, attempts: 1))
        #expect(!filter.admits(.leased, attempts: 0))
        #expect(!filter.admits(.ready, attempts: 1))
    }
}
