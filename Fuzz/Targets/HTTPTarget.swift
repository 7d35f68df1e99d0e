// HTTP requests from anybody, and the JSON bodies in them.

import PulseCore
import PulseGateway

extension FuzzTarget {
    /// - However the bytes are cut, the same requests come out and the same answers leave.
    static let http = FuzzTarget(
        name: "http",
        inputBytesMax: 4096,
        check: { bytes in
            var draw = Draw(bytes)
            let stream = draw.field()
            let whole = visit(stream, [stream.count])
            let cut = visit(stream, draw.pieces(of: stream.count))
            try require(whole.requests == cut.requests, "requests do not depend on the cuts")
            try require(whole.output == cut.output, "answers do not depend on the cuts")
            try require(whole.isClosed == cut.isClosed, "the end does not depend on the cuts")
        },
        seeds: {
            let post =
                "POST /v1/notifications HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            return [
                "GET /livez HTTP/1.1\r\nHost: a\r\n\r\nGET /v1/notifications?limit=5&status=dead "
                    + "HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
                post + "Content-Length: 2\r\nIdempotency-Key: \"k\"\r\n\r\n{}",
                post + "Transfer-Encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\nX: y\r\n\r\n",
                post + "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
                "PUT /v1/templates/a%20b HTTP/1.1\r\nHost: a\r\nContent-Type: application/json; "
                    + "charset=utf-8\r\nContent-Length: 2\r\n\r\n{}",
                "HEAD http://h/api/notifications/list/?user_id=1 HTTP/1.0\r\n\r\n",
                "GET /v1/notifications/00000000-002a-8001-8800-123456789abc HTTP/1.1\r\nHost: a\r\n\r\n",
            ].map { text in
                var script = Script()
                script.add(field: Array(text.utf8))
                return script.bytes + [1, 40, 3]
            }
        }
    )

    /// - Any body is refused or understood, the same way for all three kinds of body.
    /// - All JSON that we answer is JSON that we read.
    static let json = FuzzTarget(
        name: "json",
        inputBytesMax: 4096,
        check: { bytes in
            let lines = [
                "POST /v1/notifications", "POST /api/notifications/send/", "PUT /v1/templates/t",
            ]
            for line in lines {
                let visit = visit(request(line, bytes), [])
                try require(visit.requests.count == 1, "one request, whatever its body: \(line)")
                for answer in visit.bodies {
                    let again = Self.visit(request(line, answer), [])
                    try require(
                        !again.output.contains("not valid JSON")
                            && !again.output.contains("JSON parse error"),
                        "our own JSON can be read: \(String(decoding: answer, as: UTF8.self))"
                    )
                }
            }
        },
        seeds: {
            [
                #"{"to":{"user":"u","email":"a@b.c","phone":"+1","push_token":"t","url":"https://x"},"#
                    + #""channel":"email","template":"w","lane":"critical","idempotency_key":"k","#
                    + #""data":{"z":"1","a":1.50,"m":true,"e":-1e-7,"s":"\u00e9\ud83d\ude00\n"},"#
                    + #""deliver_at":"2026-11-20T10:00:00+01:00"}"#,
                #"{"to":"x","content":{"subject":"s","text":"t","html":"<b>"},"deliver_at":17}"#,
                #"{"template_name":" w ","user_id":42,"to":"a@b.c","context":{"n":"A","p":3.1},"#
                    + #""channel":"webhook","device_token":"d","title":"T","subject":"S","x":[1,[]]}"#,
                #"{"channel":"sms","subject":"","text":"Hi {{n}}","html":null}"#,
                #"[{},[],"\\\"\/\b\f\n\r\t",0,-0,1e308,true,false,null]"#,
            ].map { Array($0.utf8) }
        }
    )

    private static func request(_ line: String, _ body: [UInt8]) -> [UInt8] {
        let head =
            "\(line) HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            + "Content-Length: \(body.count)\r\n\r\n"
        return Array(head.utf8) + body
    }

    private struct Visit {
        var requests: [String] = []
        var bodies: [[UInt8]] = []
        var output = ""
        var isClosed = false
    }

    /// A connection on which everything is answered at once; no sizes: in one piece.
    private static func visit(_ stream: [UInt8], _ sizes: [Int]) -> Visit {
        let now = MonotonicInstant(nanoseconds: 1)
        let session = HTTPSession(at: now)
        var visit = Visit()
        var output: [UInt8] = []
        stream.inPieces(sizes.isEmpty ? [stream.count] : sizes) { piece in
            var requests: [IncomingRequest] = []
            session.receive(piece, at: now, requests: &requests, output: &output)
            while !requests.isEmpty {
                for request in requests {
                    visit.requests.append("\(request.request)")
                    let answer = answer(to: request.request)
                    visit.bodies.append(answer.body)
                    session.respond(to: request.slot, answer, output: &output)
                }
                requests = []
                session.resume(at: now, requests: &requests, output: &output)
            }
        }
        visit.isClosed = session.shouldClose
        // Whether the interim answer is due depends on whether the body came at once.
        let text = String(decoding: output, as: UTF8.self)
        visit.output = text.split(separator: "HTTP/1.1 100 Continue\r\n\r\n").joined()
        return visit
    }

    private static func answer(to request: APIRequest) -> HTTPResponse {
        switch request {
        case .answered(let response): response
        case .submit(let submission) where !submission.errors.isEmpty:
            .invalid(submission.errors, submission.dialect)
        default: .notFound(.notification, .v1)
        }
    }
}
