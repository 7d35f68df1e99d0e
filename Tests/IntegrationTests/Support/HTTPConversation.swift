// A plain HTTP/1.1 client over one connection, and the answers it reads.

/// One answer, whole.
struct HTTPAnswer: Sendable {
    var status: Int
    /// In order; names in lower case.
    var headers: [(name: String, value: String)]
    var body: [UInt8]

    var text: String { String(decoding: body, as: UTF8.self) }

    func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }

    func json() throws(TestFailure) -> JSONValue { try JSONValue(parsing: body) }
}

/// Requests and answers on one connection. Used by one thread.
final class HTTPConversation {
    let wire: Wire
    private var unread: [UInt8] = []

    init(port: Int) throws(TestFailure) { wire = try Wire(port: port) }

    /// A request as bytes; a body is sent as JSON with its length.
    static func request(
        _ method: String,
        _ path: String,
        _ body: String? = nil,
        headers: [String] = []
    ) -> String {
        var lines = ["\(method) \(path) HTTP/1.1", "Host: pulse.test"] + headers
        if let body {
            lines += ["Content-Type: application/json", "Content-Length: \(body.utf8.count)"]
        }
        return lines.joined(separator: "\r\n") + "\r\n\r\n" + (body ?? "")
    }

    func ask(
        _ method: String,
        _ path: String,
        _ body: String? = nil,
        headers: [String] = []
    ) throws(TestFailure) -> HTTPAnswer {
        try wire.send(Self.request(method, path, body, headers: headers))
        return try readAnswer(hasBody: method != "HEAD")
    }

    /// The next answer on the connection.
    func readAnswer(hasBody: Bool = true) throws(TestFailure) -> HTTPAnswer {
        let head = try readHead()
        let lines = head.split(separator: "\r\n", omittingEmptySubsequences: false)
        guard let first = lines.first, first.hasPrefix("HTTP/1.1 "),
            let status = Int(first.dropFirst(9).prefix(3))
        else { throw TestFailure("not a status line: \(head)") }
        var answer = HTTPAnswer(status: status, headers: [], body: [])
        for line in lines.dropFirst() {
            let parts = line.split(separator: ":", maxSplits: 1).map(String.init)
            guard parts.count == 2 else { throw TestFailure("not a header: \(line)") }
            answer.headers.append((parts[0].lowercased(), String(parts[1].drop { $0 == " " })))
        }
        guard hasBody, let length = answer.header("content-length").flatMap(Int.init) else {
            return answer
        }
        while unread.count < length { try readMore() }
        answer.body = Array(unread[..<length])
        unread.removeFirst(length)
        return answer
    }

    /// Whether the server closes, with nothing more to say.
    func isClosedByServer() throws(TestFailure) -> Bool {
        guard unread.isEmpty else { return false }
        return try wire.receive().isEmpty
    }

    private func readHead() throws(TestFailure) -> String {
        let end = Array("\r\n\r\n".utf8)
        while true {
            if let index = unread.indices.first(where: { unread[$0...].starts(with: end) }) {
                let head = String(decoding: unread[..<index], as: UTF8.self)
                unread.removeFirst(index + end.count)
                return head
            }
            try readMore()
        }
    }

    private func readMore() throws(TestFailure) {
        let bytes = try wire.receive()
        guard !bytes.isEmpty else {
            let rest = String(decoding: unread, as: UTF8.self)
            throw TestFailure("the server closed in the middle of an answer: \"\(rest)\"")
        }
        unread += bytes
    }
}
