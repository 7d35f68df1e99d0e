// JSON in: escapes, UTF-8, limits, and where a mistake is. JSON out: escaping.

import PulseCore
import PulseGateway
import Testing

@Suite struct JSONTests {
    /// What a string literal in a body becomes.
    static func decoded(_ literal: String) -> String? {
        submission(#"{"to":"a","template":"t","data":{"v":"# + literal + "}}")?.data.first?.value
    }

    @Test(arguments: [
        (#""plain""#, "plain"), (#""""#, ""), (#""a\"b\\c\/d""#, "a\"b\\c/d"),
        (#""\b\f\n\r\t""#, "\u{8}\u{C}\n\r\t"), (#""\u00e9\u20AC""#, "é€"),
        (#""\ud83d\ude00 \uD83D\uDE00""#, "😀 😀"), (#""😀é""#, "😀é"), (#""a\u007fb""#, "a\u{7F}b"),
        (#""\\u0041""#, "\\u0041"),
    ])
    func `strings are decoded`(literal: String, expected: String) {
        #expect(Self.decoded(literal) == expected)
    }

    @Test func `long strings with escapes are decoded`() {
        for count in [1, 500, 1023, 1024, 4095, 4096, 4097, 9000, 70_000] {
            let plain = String(repeating: "x", count: count)
            #expect(Self.decoded("\"\(plain)\\n\(plain)\"") == plain + "\n" + plain)
            let many = String(repeating: "\\u00e9", count: count)
            #expect(Self.decoded("\"\(many)\"") == String(repeating: "é", count: count))
        }
    }

    @Test func `keys are decoded and sorted by their bytes`() {
        let submission = submission(
            #"{"\u0074o":"a","template":"t","data":{"é":"1","z":"2","\u0061":"3","Z":"4","ab":"5"}}"#
        )
        #expect(submission?.address == "a")
        #expect(submission?.data.map(\.name) == ["Z", "a", "ab", "z", "é"])
    }

    @Test(arguments: [
        ("", "the text ends too early, at byte 0"), ("{", "the text ends too early, at byte 1"),
        (#"{"to":}"#, "a syntax error, at byte 6"), (#"{"to":1,}"#, "a syntax error, at byte 8"),
        (#"{"to":01}"#, "a syntax error, at byte 7"), ("{'a':1}", "a syntax error, at byte 1"),
        ("{} x", "something follows the document, at byte 3"),
        (#"{"a":1,"b":2,"a":3}"#, "a key is given twice in one object, at byte 14"),
        (#"{"a":{"b":1,"b":2}}"#, "a key is given twice in one object, at byte 13"),
        (#"{"a":NaN}"#, "a syntax error, at byte 5"), ("{/**/}", "a syntax error, at byte 1"),
        ("{\"a\":\"\u{1}\"}", "a syntax error, at byte 6"),
        ("\u{FEFF}{}", "a syntax error, at byte 0"),
    ])
    func `a mistake is told with its place`(body: String, expected: String) {
        #expect(
            refusal(http("POST /v1/notifications", body: body))
                == #"400 {"type":"urn:pulse:problem:malformed_json","#
                + #""title":"The body is not valid JSON","status":400,"detail":""# + expected
                + #"","code":"malformed_json"}"#
        )
    }

    @Test(arguments: [
        #""\ud83d""#, #""\ude00""#, #""\ud83dx""#, #""\ud83d\u0041""#, #""\u12""#, #""\x""#, #""a"#,
    ])
    func `broken escapes are refused`(literal: String) {
        let answer = refusal(http("POST /v1/notifications", body: "{\"to\":\(literal)}"))
        #expect(answer?.contains(#""code":"malformed_json""#) == true)
    }

    @Test(
        arguments: [
            [0xC0, 0xAF], [0x80], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xE2, 0x82],
            [0xFF],
        ] as [[UInt8]]
    )
    func `text that is not UTF-8 is refused`(bytes: [UInt8]) {
        let body = Array(#"{"to":""#.utf8) + bytes + Array(#""}"#.utf8)
        let head =
            "POST /v1/notifications HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            + "Content-Length: \(body.count)\r\n\r\n"
        let visitor = Visitor()
        visitor.send(Array(head.utf8) + body)
        guard case .answered(let response) = visitor.requests.first?.request else {
            Issue.record("not refused")
            return
        }
        #expect(shape(response).contains("malformed_json"))
    }

    @Test func `depth and number of values are limited`() {
        func nested(_ depth: Int) -> String {
            "{\"data\":" + String(repeating: "[", count: depth - 1)
                + String(repeating: "]", count: depth - 1) + "}"
        }
        #expect(submission(nested(32)) != nil)
        #expect(
            refusal(http("POST /v1/notifications", body: nested(33)))?.contains("deeper than 32")
                == true
        )
        let deep = String(repeating: "[", count: 500_000)
        #expect(
            refusal(http("POST /v1/notifications", body: deep))?.contains("deeper than 32") == true
        )
        let many = "{\"data\":[" + String(repeating: "1,", count: 10_000) + "1]}"
        #expect(
            refusal(http("POST /v1/notifications", body: many))?.contains("more than 10000") == true
        )
    }

    @Test func `a key twice among many is found`() {
        var keys = (0..<3000).map { "\"k\($0)\":1" }
        #expect(submission("{\"data\":{\(keys.joined(separator: ","))}}") != nil)
        keys.append("\"k7\":2")
        let answer = refusal(
            http("POST /v1/notifications", body: "{\"data\":{\(keys.joined(separator: ","))}}")
        )
        #expect(answer?.contains("a key is given twice") == true)
    }

    @Test func `what is written can be read`() {
        var random = SeededGenerator(seed: 77)
        for _ in 0..<500 {
            var text = ""
            for _ in 0..<random.below(40) {
                let scalar = UInt32(random.below([0x80, 0x800, 0x11_0000][random.below(3)]))
                if scalar > 0, let scalar = Unicode.Scalar(scalar) {
                    text.unicodeScalars.append(scalar)
                }
            }
            var literal: [UInt8] = []
            literal.append(json: text)
            #expect(literal.allSatisfy { $0 >= 0x20 && $0 != 0x3C && $0 != 0x7F })
            let back = Self.decoded(String(decoding: literal, as: UTF8.self))
            #expect(back.map { Array($0.utf8) } == Array(text.utf8))
        }
    }

    @Test func `numbers are written in decimal`() {
        func text(_ value: Int64) -> String {
            var bytes: [UInt8] = []
            bytes.append(decimal: value)
            return String(decoding: bytes, as: UTF8.self)
        }
        for value in [0, 7, -1, 10, 4096, .max, .min] as [Int64] {
            #expect(text(value) == "\(value)")
        }
    }

    @Test func rowsTellPathsAndPlainValues() throws {
        let text = #"{"a":1,"b":{"c":"x\"{y","d":null,"e":[1,2]},"f":true}"#
        let rows = try #require(JSONRows.of(text))
        #expect(rows.map(\.path) == ["a", "b.c", "b.d", "f"])
        #expect(rows.map(\.value) == ["1", "x\"{y", "-", "true"])
        #expect(JSONRows.of(#"{"a":"#) == nil)
    }
}
