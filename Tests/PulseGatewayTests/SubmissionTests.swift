// The two bodies in which a notification is handed in.

import PulseCore
import PulseGateway
import Testing

@Suite struct SubmissionV1Tests {
    @Test func `every field arrives`() {
        let submission = submission(
            #"""
            {"to":{"user":"u1","email":"a@b.c","phone":"+1","push_token":"t","url":"https://x"},
             "channel":"email","template":"welcome","lane":"critical","idempotency_key":"k",
             "data":{"z":"1","a":1.50,"m":true,"big":12345678901234567890,"e":-1e-7,"s":""},
             "deliver_at":"2026-11-20T10:00:00+01:00"}
            """#,
            headers: ["Idempotency-Key: \"k\""]
        )
        guard let submission else {
            Issue.record("no submission")
            return
        }
        #expect(submission.errors.isEmpty)
        #expect(submission.origin == .v1)
        #expect(submission.user == "u1")
        #expect(submission.email == "a@b.c")
        #expect(submission.phone == "+1")
        #expect(submission.pushToken == "t")
        #expect(submission.url == "https://x")
        #expect(submission.channel == .email)
        #expect(submission.template == "welcome")
        #expect(submission.lane == .critical)
        #expect(submission.idempotencyKey == "k")
        #expect(submission.deliverAt?.rfc3339 == "2026-11-20T09:00:00.000Z")
        #expect(
            submission.data.map { "\($0.name)=\($0.value)" }
                == ["a=1.50", "big=12345678901234567890", "e=-1e-7", "m=true", "s=", "z=1"]
        )
    }

    @Test func `content names its channel, or its address does`() {
        let content = submission(
            #"{"to":{"phone":"+491"},"content":{"subject":"","text":"hi\nthere","html":"<b>"}}"#
        )
        #expect(content?.errors == [])
        #expect(content?.channel == .sms)
        #expect(content?.text == "hi\nthere")
        #expect(content?.html == "<b>")
        #expect(
            faults(submission(#"{"to":"x","content":{"text":"hi"}}"#))
                == ["channel: is required, as neither template nor address tells it"]
        )
    }

    @Test(
        arguments: [
            ("{}", ["to: is required", "template: is required, unless there is content"]),
            (
                #"{"to":7,"template":"","channel":"fax","lane":"dead","x":1,"deliver_at":-1}"#,
                [
                    "to: must be an address or an object", "template: must not be empty",
                    "channel: must be one of email, sms, push, webhook",
                    "lane: must be one of critical, high, normal, bulk",
                    "x: is not a field of this request",
                    "deliver_at: must be an RFC 3339 time or whole milliseconds since 1970",
                ]
            ),
            (
                #"{"to":{},"template":"a","data":{"n":null,"o":{},"l":[],"":"x","z":"\u0000"}}"#,
                [
                    "to: must name a user or an address",
                    "data.: must have a name of 1 to 100 bytes",
                    "data.l: must be a string, a number or a boolean",
                    "data.n: must be a string, a number or a boolean",
                    "data.o: must be a string, a number or a boolean",
                    "data.z: must not have a NUL character",
                ]
            ),
            (
                #"{"to":{"mail":"x","email":"a\r\nb"},"template":"a","content":{"bcc":"x"},"data":1}"#,
                [
                    "to.mail: is not a field of this request",
                    "to.email: must not have control characters",
                    "content.bcc: is not a field of this request",
                    "content: must have text or html", "data: must be an object",
                    "content: cannot be given together with template",
                ]
            ),
            (
                #"{"to":"a","channel":"email","content":{"subject":"a\nb","text":"t"},"data":{}}"#,
                [
                    "content.subject: must not have control characters",
                    "data: belongs to a template",
                ]
            ),
            (
                #"{"to":"a","template":"t","deliver_at":1.5}"#,
                [
                    "deliver_at: must be an RFC 3339 time or whole milliseconds since 1970"
                ]
            ),
            (
                #"{"to":"a","template":"t","deliver_at":"2026-02-30T00:00:00Z"}"#,
                [
                    "deliver_at: must be an RFC 3339 time or whole milliseconds since 1970"
                ]
            ),
            (#"{"to":"a","template":"t","deliver_at":1790000000000}"#, []),
        ] as [(String, [String])]
    )
    func `all mistakes are collected`(body: String, expected: [String]) {
        #expect(faults(submission(body)) == expected)
    }

    @Test func `the two idempotency keys must agree`() {
        let body = #"{"to":"a","template":"t","idempotency_key":"k1"}"#
        #expect(
            faults(submission(body, headers: ["Idempotency-Key: k2"]))
                == ["idempotency_key: differs from the Idempotency-Key header"]
        )
        #expect(faults(submission(body, headers: ["Idempotency-Key: k1"])) == [])
        #expect(
            faults(submission(body, headers: ["Idempotency-Key:"])) == [
                "idempotency_key: the header must have 1 to 255 bytes of plain text"
            ]
        )
    }

    @Test func `limits are exact`() {
        func body(key: Int, data: Int) -> String {
            let fields = (0..<data).map { "\"n\($0)\":\"\"" }.joined(separator: ",")
            let key = String(repeating: "k", count: key)
            return "{\"to\":\"a\",\"template\":\"t\",\"idempotency_key\":\"\(key)\","
                + "\"data\":{\(fields)}}"
        }
        #expect(faults(submission(body(key: 255, data: 100))) == [])
        #expect(
            faults(submission(body(key: 256, data: 101))) == [
                "idempotency_key: must have at most 255 bytes",
                "data: must have at most 100 fields",
            ]
        )
    }

    @Test func `a notification that fits no record is refused`() {
        let value = String(repeating: "x", count: 400 << 10)
        let body =
            "{\"to\":\"a\",\"template\":\"t\",\"data\":{\"a\":\"\(value)\",\"b\":\"\(value)\"}}"
        let answer = refusal(http("POST /v1/notifications", body: body))
        #expect(answer?.hasPrefix(#"413 {"type":"urn:pulse:problem:record_too_large""#) == true)
    }
}

@Suite struct SubmissionCompatibleTests {
    @Test func `every field arrives`() {
        let submission = submission(
            #"""
            {"template_name":" welcome_email ","user_id":42,"to":"ada@example.org",
             "context":{"name":"  Ada ","code":123,"pi":3.140,"empty":""},"idempotency_key":"k",
             "channel":"webhook","device_token":"d","title":"T","subject":"S","unknown":[1]}
            """#,
            to: compatiblePath
        )
        guard let submission else {
            Issue.record("no submission")
            return
        }
        #expect(submission.errors.isEmpty)
        #expect(submission.origin == .compatible)
        #expect(submission.template == "welcome_email")
        #expect(submission.user == "42")
        #expect(submission.address == "ada@example.org")
        #expect(submission.channel == .webhook)
        #expect(submission.idempotencyKey == "k")
        #expect(submission.deviceToken == "d")
        #expect(submission.title == "T")
        #expect(submission.subject == "S")
        #expect(
            submission.data.map { "\($0.name)=\($0.value)" }
                == ["code=123", "empty=", "name=Ada", "pi=3.140"]
        )
    }

    @Test func `mistakes are told in its words, by field`() {
        let submission = submission(
            #"""
            {"user_id":"  ","to":true,"channel":"fax","idempotency_key":" ","title":null,
             "context":{"a":true,"b":null,"c":{"d":1}}}
            """#,
            to: compatiblePath
        )
        guard let submission else {
            Issue.record("no submission")
            return
        }
        #expect(submission.idempotencyKey == nil)
        #expect(
            shape(.invalid(submission.errors, .compatible))
                == #"400 {"user_id":["This field may not be blank."],"to":["Not a valid string."],"#
                + #""channel":["\"fax\" is not a valid choice."],"#
                + #""context":["a: Not a valid string.","b: This field may not be null.","#
                + #""c: Not a valid string."],"template_name":["This field is required."]}"#
        )
    }

    @Test func `lengths are counted in letters`() {
        func body(_ letters: Int) -> String {
            let name = String(repeating: "é", count: letters)
            return "{\"template_name\":\"t\",\"user_id\":\"\(name)\",\"to\":\"x\"}"
        }
        #expect(faults(submission(body(100), to: compatiblePath)) == [])
        #expect(
            faults(submission(body(101), to: compatiblePath)) == [
                "user_id: Ensure this field has no more than 100 characters."
            ]
        )
    }

    @Test func `a body that is no object, or no JSON`() {
        #expect(
            refusal(http("POST " + compatiblePath, body: "[]"))
                == #"400 {"non_field_errors":["Invalid data. Expected a dictionary."]}"#
        )
        #expect(
            refusal(http("POST " + compatiblePath, body: "{"))
                == #"400 {"detail":"JSON parse error - the text ends too early, at byte 1"}"#
        )
    }
}

@Suite struct TemplateBodyTests {
    @Test func `a template arrives`() {
        let body = #"{"channel":"email","subject":"Hi {{n}}","text":"Dear {{n}}\n","html":null}"#
        guard
            case .putTemplate(let name, let draft) = request(
                http("PUT /v1/templates/welcome%20mail", body: body)
            )
        else {
            Issue.record("no template")
            return
        }
        #expect(name == "welcome mail")
        #expect(
            draft
                == TemplateDraft(
                    channel: .email,
                    subject: "Hi {{n}}",
                    text: "Dear {{n}}\n",
                    html: nil
                )
        )
    }

    @Test func `mistakes are told at once`() {
        let name = String(repeating: "n", count: 101)
        let answer = refusal(http("PUT /v1/templates/" + name, body: #"{"body":"x","subject":1}"#))
        for part in [
            #""field":"name""#, #""field":"body""#, #""field":"subject""#, #""field":"channel""#,
            #""field":"text""#, #""detail":"5 fields are invalid""#,
        ] {
            #expect(answer?.contains(part) == true, "\(part)")
        }
    }
}
