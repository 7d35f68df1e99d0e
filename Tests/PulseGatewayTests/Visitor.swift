// A test's end of an HTTP session: text in, requests and text out.

import PulseCore
import PulseGateway

/// Sends text to a session and remembers what comes of it.
final class Visitor {
    var now = MonotonicInstant(nanoseconds: 1_000_000_000)
    let session: HTTPSession
    var requests: [IncomingRequest] = []
    private(set) var output: [UInt8] = []

    init() { session = HTTPSession(at: now) }

    /// All that was sent back so far.
    var text: String { String(decoding: output, as: UTF8.self) }

    /// What was sent back since the last time this was asked.
    func takeText() -> String {
        defer { output = [] }
        return text
    }

    func send(_ text: String) { send(Array(text.utf8)) }

    func send(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes {
            session.receive($0, at: now, requests: &requests, output: &output)
        }
    }

    func resume() { session.resume(at: now, requests: &requests, output: &output) }

    func answer(_ slot: UInt32, _ response: HTTPResponse) {
        session.respond(to: slot, response, output: &output)
    }

    /// Hands back every refusal that the gateway itself decided.
    func answerDecided() {
        for case let request in requests {
            if case .answered(let response) = request.request { answer(request.slot, response) }
        }
        requests = []
    }

    func wait(milliseconds: Int64) {
        now = now.advanced(byMilliseconds: milliseconds)
        session.reachedTime(now, output: &output)
    }
}

/// A complete request.
func http(
    _ line: String,
    _ headers: [String] = [],
    body: String? = nil,
    type: String = "application/json"
) -> String {
    var text = line + " HTTP/1.1\r\nHost: pulse\r\n"
    for header in headers { text += header + "\r\n" }
    if let body {
        text += "Content-Type: \(type)\r\nContent-Length: \(body.utf8.count)\r\n\r\n" + body
    } else {
        text += "\r\n"
    }
    return text
}

/// What a single request becomes.
func request(_ text: String) -> APIRequest? {
    let visitor = Visitor()
    visitor.send(text)
    return visitor.requests.first?.request
}

/// The submission that a body becomes on one of the two paths.
func submission(
    _ body: String,
    to path: String = "/v1/notifications",
    headers: [String] = []
) -> Submission? {
    guard case .submit(let submission) = request(http("POST \(path)", headers, body: body))
    else { return nil }
    return submission
}

/// The status and body of the refusal that a request gets from the gateway itself, as
/// `404 {"error":"…"}`; nil when it gets none.
func refusal(_ text: String) -> String? {
    guard case .answered(let response) = request(text) else { return nil }
    return shape(response)
}

func shape(_ response: HTTPResponse) -> String {
    "\(response.status) " + String(decoding: response.body, as: UTF8.self)
}

/// A submission's errors as `field: message`.
func faults(_ submission: Submission?) -> [String] {
    submission?.errors.map { "\($0.field): \($0.message)" } ?? ["no submission"]
}

let compatiblePath = "/api/notifications/send/"
let someID = NotificationID(high: 0x0000_0000_002A_8001, low: 0x8800_1234_5678_9ABC)
let someIDText = "00000000-002a-8001-8800-123456789abc"
