// Addresses that can be used and addresses that are refused, channel by channel; and the lane rule.

import PulseCore
import PulseDelivery
import Testing

@Suite("Addresses") struct AddressTests {
    static let good: [(Channel, String)] = [
        (.email, "a@b"), (.email, "first.last+tag@mail.example.org"),
        (.email, "o'brien@example.org"), (.email, "\"a b\"@example.org"),
        (.email, "\"a@b\"@example.org"), (.email, "\"a\\\"b\"@example.org"),
        (.email, "abc-1@bench.local"), (.email, "x@xn--bcher-kva.example"),
        (.sms, "+4670123456"), (.sms, "12345"), (.sms, "12345678901234567890"),
        (.push, "token:AbC_-09"),
        (.webhook, "https://example.org/hook?x=1&y=2#z"), (.webhook, "http://127.0.0.1:8080"),
        (.webhook, "HTTPS://Example.ORG"), (.webhook, "http://[::1]:9/x"),
        (.webhook, "http://svc_a.ns.svc.cluster.local./x"),
        (.webhook, "https://example.org/a@b"),
    ]

    @Test("Good", arguments: good)
    func accepts(_ channel: Channel, _ address: String) {
        #expect(Address.problem(channel, address) == nil)
    }

    static let refused: [(Channel, String)] = [
        (.email, ""), (.email, "   "), (.email, "a"), (.email, "@b"), (.email, "a@"),
        (.email, "a b@c"), (.email, "a..b@c"), (.email, ".a@c"), (.email, "a.@c"),
        (.email, "a@b@c"), (.email, "a@b..c"), (.email, "a@-b.c"), (.email, "a@b-.c"),
        (.email, "a@b.c."), (.email, "a@b_c"), (.email, "a@[1.2.3.4]"),
        (.email, "a,b@example.org"), (.email, "a@b, c@d"), (.email, "\"a,b\"@example.org"),
        (.email, "\"a\" b\"@example.org"), (.email, "\"a\\\"@example.org"),
        (.email, "a@b\r\nBcc: c@d"), (.email, "a\n@b"), (.email, "a\u{0}@b"),
        (.email, "<a@b>"), (.email, "A <a@b>"), (.email, "é@example.org"),
        (.email, "a@bücher.example"),
        (.email, String(repeating: "a", count: 65) + "@b"),
        (.email, "a@" + String(repeating: "b", count: 64)),
        (.email, "a@" + Array(repeating: "abcdefgh", count: 29).joined(separator: ".")),
        (.sms, ""), (.sms, "1234"), (.sms, "+"), (.sms, "123456789012345678901"),
        (.sms, "+46 70 123456"), (.sms, "12345x"), (.sms, "1+2345"), (.sms, "abc-1@bench.local"),
        (.push, "\n"), (.push, "a b"), (.push, "tökn"),
        (.push, String(repeating: "a", count: 2049)),
        (.webhook, ""), (.webhook, "example.org"), (.webhook, "ftp://example.org"),
        (.webhook, "file:///etc/passwd"), (.webhook, "https://"), (.webhook, "https:///x"),
        (.webhook, "https://user@example.org"), (.webhook, "https://u:p@example.org/"),
        (.webhook, "https://example.org/a b"), (.webhook, "https://example.org/\r\nX: y"),
        (.webhook, "https://example.org\\@evil.org"), (.webhook, "https://exa mple.org"),
        (.webhook, "https://example.org:0"), (.webhook, "https://example.org:65536"),
        (.webhook, "https://example.org:"), (.webhook, "https://example.org:+80"),
        (.webhook, "https://[::1"), (.webhook, "https://[x]"), (.webhook, "https://?x"),
        (.webhook, "https://" + String(repeating: "a", count: 2048)),
    ]

    @Test("Refused", arguments: refused)
    func refuses(_ channel: Channel, _ address: String) {
        #expect(Address.problem(channel, address) != nil)
    }

    @Test("What system 000 takes for sms and push: any text that is not blank")
    func lenient() {
        for channel in [Channel.sms, .push] {
            #expect(Address.problem(channel, "abc-1@bench.local", lenient: true) == nil)
            #expect(Address.problem(channel, "+46 70-123", lenient: true) == nil)
            #expect(Address.problem(channel, " \t", lenient: true) != nil)
            #expect(
                Address.problem(channel, String(repeating: "a", count: 2049), lenient: true) != nil
            )
        }
        #expect(Address.problem(.email, "no address", lenient: true) != nil)
        #expect(Address.problem(.webhook, "no address", lenient: true) != nil)
    }

    @Test("Senders come with and without a name")
    func mailboxes() {
        #expect(Mailbox("a@b.c")?.domain == "b.c")
        let named = Mailbox("Åsa \"Ö\" Ek <a@b.c>")
        #expect(named?.displayName == "Åsa \"Ö\" Ek")
        #expect(named?.address == "a@b.c")
        #expect(Mailbox("\"Ek, Åsa\" <a@b.c>")?.displayName == "Ek, Åsa")
        for bad in ["", "a", "<a@b.c", "a@b.c>", "A\r\nB <a@b.c>", "A <a@b> <a@b.c>", "A <>"] {
            #expect(Mailbox(bad) == nil)
        }
    }
}

@Suite("Lane rule") struct LaneRuleTests {
    @Test(
        "Codes are urgent, unless the request says otherwise",
        arguments: [
            ("otp_sms", nil, Lane.high), ("Login_OTP", nil, .high), ("2FA_code", nil, .high),
            ("EmailVerification", nil, .high), ("newsletter", nil, .normal), (nil, nil, .normal),
            ("otp", .bulk, .bulk), ("newsletter", .critical, .critical), ("ot.p", nil, .normal),
        ] as [(String?, Lane?, Lane)]
    )
    func lanes(name: String?, requested: Lane?, expected: Lane) {
        #expect(LaneRule.lane(template: name, requested: requested) == expected)
    }
}
