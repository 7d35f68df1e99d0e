// The exact text of every answer, in both dialects.

import PulseCore
import PulseGateway
import Testing

@Suite struct AnswerTests {
    static let at = WallTimestamp(milliseconds: 1_763_632_083_120)
    static let view = NotificationView(
        id: someID,
        user: "u\"1",
        template: "welcome",
        channel: .email,
        to: "ada@example.org",
        lane: .normal,
        state: .held,
        attempts: 2,
        attemptsMax: 5,
        createdAt: at,
        lastAttemptAt: at.advanced(byMilliseconds: 1000),
        nextAttemptAt: at.advanced(byMilliseconds: 61_000),
        error: "451 try later",
        idempotencyKey: "k1",
        history: [
            .init(at: at, what: "accepted", detail: nil),
            .init(at: at.advanced(byMilliseconds: 1000), what: "attempt", detail: "451"),
        ]
    )
    static let template = TemplateView(
        name: "welcome",
        id: someIDText,
        channel: .email,
        subject: nil,
        text: "Hi",
        html: "<b>",
        createdAt: at,
        revision: 3
    )

    @Test func `accepted`() {
        #expect(
            shape(.accepted(someID, .v1)) == #"202 {"id":"\#(someIDText)","status":"accepted"}"#
        )
        #expect(
            shape(.accepted(someID, .compatible))
                == #"202 {"notification_id":"\#(someIDText)","status":"queued"}"#
        )
    }

    @Test func `a repeat tells where the first one is`() {
        #expect(
            shape(.duplicate(someID, .leased, .v1))
                == #"200 {"id":"\#(someIDText)","status":"leased","duplicate":true}"#
        )
        let words: [(NotificationState, Int, String)] = [
            (.scheduled, 0, "pending"), (.ready, 0, "pending"), (.leased, 0, "pending"),
            (.leased, 1, "retrying"), (.held, 1, "retrying"), (.delivered, 1, "sent"),
            (.dead, 5, "failed"), (.expired, 0, "failed"), (.cancelled, 0, "failed"),
            (.suppressed, 0, "failed"),
        ]
        for (state, attempts, word) in words {
            #expect(
                shape(.duplicate(someID, state, attempts: attempts, .compatible))
                    == #"200 {"notification_id":"\#(someIDText)","status":"\#(word)"}"#
            )
        }
    }

    @Test func `conflicts and refusals`() {
        #expect(
            shape(.conflict(.v1))
                == #"409 {"type":"urn:pulse:problem:idempotency_conflict","#
                + #""title":"The idempotency key was used for another request","status":409,"#
                + #""detail":"The idempotency key was used for another request","#
                + #""code":"idempotency_conflict"}"#
        )
        #expect(
            shape(.conflict(.compatible))
                == #"409 {"error":"The idempotency key was used for another request"}"#
        )
        #expect(shape(.unsupportedChannel()) == #"400 {"error":"Unsupported channel"}"#)
        #expect(
            shape(.notFound(.template, .compatible)) == #"404 {"error":"Template not found"}"#
        )
        let missing = FieldError(
            field: "context",
            code: .missingVariable,
            message: "missing template variable: 'x'"
        )
        #expect(
            shape(.invalid([missing], .compatible))
                == #"400 {"context":["missing template variable: 'x'"]}"#
        )
    }

    @Test func `unavailable says when to come back`() {
        for code in [ErrorCode.draining, .overloaded, .diskFull] {
            for dialect in [APIDialect.v1, .compatible] {
                let response = HTTPResponse.unavailable(code, retryAfterSeconds: 2, dialect)
                #expect(response.status == 503)
                #expect(response.headers == [.init("Retry-After", "2")])
            }
        }
        #expect(
            shape(.unavailable(.diskFull, retryAfterSeconds: 5, .compatible))
                == #"503 {"error":"The server's disk is full"}"#
        )
    }

    @Test func `a notification on v1`() {
        let fields =
            #"{"id":"\#(someIDText)","status":"held","user":"u\"1","template":"welcome","#
            + #""channel":"email","to":"ada@example.org","lane":"normal","attempts":2,"#
            + #""attempts_max":5,"created_at":"2025-11-20T09:48:03.120Z","sent_at":null,"#
            + #""last_attempt_at":"2025-11-20T09:48:04.120Z","#
            + #""next_attempt_at":"2025-11-20T09:49:04.120Z","error":"451 try later","#
            + #""idempotency_key":"k1""#
        #expect(
            shape(.notification(Self.view, .v1))
                == "200 " + fields
                + #","history":[{"at":"2025-11-20T09:48:03.120Z","what":"accepted","detail":null},"#
                + #"{"at":"2025-11-20T09:48:04.120Z","what":"attempt","detail":"451"}]}"#
        )
        #expect(
            shape(.list([Self.view], next: nil, .v1))
                == #"200 {"notifications":["# + fields + #"}],"next_cursor":null}"#
        )
    }

    @Test func `a notification in system 000's shape`() {
        #expect(
            shape(.notification(Self.view, .compatible))
                == #"200 {"notification_id":"\#(someIDText)","user_id":"u\"1","#
                + #""template_name":"welcome","channel":"email","to":"ada@example.org","#
                + #""status":"retrying","attempts":2,"max_retries":5,"#
                + #""created_at":"2025-11-20T09:48:03.120Z","sent_at":null,"#
                + #""last_attempt_at":"2025-11-20T09:48:04.120Z","#
                + #""next_retry_at":"2025-11-20T09:49:04.120Z","error_message":"451 try later","#
                + #""provider_config":{},"idempotency_key":"k1"}"#
        )
        #expect(
            shape(.list([Self.view], next: ListCursor(first: 1, second: 2), .compatible))
                == #"200 {"count":1,"results":[{"notification_id":"\#(someIDText)","#
                + #""user_id":"u\"1","template_name":"welcome","channel":"email","#
                + #""to":"ada@example.org","status":"retrying","attempts":2,"#
                + #""created_at":"2025-11-20T09:48:03.120Z","sent_at":null}],"#
                + #""next_cursor":"00000000000000010000000000000002"}"#
        )
    }

    @Test func `templates`() {
        let v1 =
            #"{"name":"welcome","id":"\#(someIDText)","channel":"email","subject":null,"#
            + #""text":"Hi","html":"\u003cb\u003e","created_at":"2025-11-20T09:48:03.120Z","#
            + #""revision":3}"#
        #expect(shape(.template(Self.template, created: true, .v1)) == "201 " + v1)
        #expect(shape(.templates([Self.template], .v1)) == #"200 {"templates":["# + v1 + "]}")
        let compatible =
            #"{"id":"\#(someIDText)","name":"welcome","channel":"email","subject":"","#
            + #""body_template":"Hi","created_at":"2025-11-20T09:48:03.120Z"}"#
        #expect(shape(.template(Self.template, .compatible)) == "200 " + compatible)
        #expect(
            shape(.templates([Self.template], .compatible))
                == #"200 {"count":1,"results":["# + compatible + "]}"
        )
    }

    @Test func `the server itself`() {
        #expect(shape(.ready(nil)) == "200 ok\n")
        #expect(shape(.ready("draining")) == "503 draining\n")
        let view = ServerStatusView(
            version: "0.1",
            state: "serving",
            startedAt: Self.at,
            counts: [("ready", 3)]
        )
        #expect(
            shape(.serverStatus(view))
                == #"200 {"version":"0.1","state":"serving","#
                + #""started_at":"2025-11-20T09:48:03.120Z","counts":{"ready":3}}"#
        )
    }

    @Test func `the outbox page cannot be broken out of`() {
        let evil = "<script>alert('x')</script>\"&"
        let entry = OutboxEntry(
            id: someID,
            caughtAt: Self.at,
            channel: .email,
            to: evil,
            user: nil,
            subject: evil,
            text: evil,
            html: evil
        )
        let page = HTTPResponse.outbox([entry], asPage: true)
        let text = String(decoding: page.body, as: UTF8.self)
        #expect(!text.contains("<script"))
        let escaped = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;"
        #expect(text.split(separator: escaped, omittingEmptySubsequences: false).count == 5)
        #expect(
            page.headers.contains {
                $0.name == "Content-Security-Policy" && $0.value.hasPrefix("default-src 'none'")
            }
        )
        let json = HTTPResponse.outbox([entry], asPage: false)
        #expect(
            shape(json).hasPrefix(
                #"200 {"count":1,"entries":[{"id":"\#(someIDText)","#
                    + #""caught_at":"2025-11-20T09:48:03.120Z","channel":"email","#
                    + #""to":"\u003cscript\u003e"#
            )
        )
    }
}
