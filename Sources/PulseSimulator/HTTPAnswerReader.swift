// The client's end of HTTP/1.1, as little of it as the simulator needs: status, length, body.

import PulseCore

struct HTTPAnswer {
    var status: Int
    var body: [UInt8]
    /// Whether it says when to come again.
    var hasRetryAfter = false

    /// Whether it is a refusal for want of room, in either dialect.
    var isForRoom: Bool { isRefusal("disk_full", "The server's disk is full") }

    /// Whether it is a refusal because the disk does not answer.
    var isForStall: Bool { isRefusal("disk_stalled", "The server's disk does not answer") }

    private func isRefusal(_ code: String, _ error: String) -> Bool {
        status == 503 && (string(["code"]) == code || string(["error"]) == error)
    }

    /// The value of the first string member with one of these names.
    func string(_ names: [String]) -> String? {
        for name in names {
            let opening = Array("\"\(name)\":\"".utf8)
            guard body.count > opening.count else { continue }
            for start in 0..<(body.count - opening.count)
            where body[start] == opening[0]
                && body[start..<start + opening.count].elementsEqual(opening)
            {
                let value = body[(start + opening.count)...].prefix { $0 != UInt8(ascii: "\"") }
                return String(decoding: value, as: UTF8.self)
            }
        }
        return nil
    }
}

/// Cuts a stream of bytes into answers.
struct HTTPAnswerReader {
    private var bytes: [UInt8] = []

    mutating func append(_ more: [UInt8]) { bytes += more }

    /// The next whole answer, or nil.
    mutating func next() -> HTTPAnswer? {
        guard let end = headerEnd() else { return nil }
        let header = String(decoding: bytes[..<end], as: UTF8.self)
        var length = 0
        var status = 0
        var hasRetryAfter = false
        for (index, line) in header.split(separator: "\r\n").enumerated() {
            if index == 0 {
                status = Int(line.split(separator: " ").dropFirst().first ?? "") ?? 0
            } else if line.lowercased().hasPrefix("retry-after:") {
                hasRetryAfter = true
            } else if line.lowercased().hasPrefix("content-length:") {
                length = Int(line.dropFirst(15).filter { $0 != " " }) ?? 0
            }
        }
        let total = end + 4 + length
        guard bytes.count >= total else { return nil }
        let body = Array(bytes[(end + 4)..<total])
        bytes.removeFirst(total)
        return HTTPAnswer(status: status, body: body, hasRetryAfter: hasRetryAfter)
    }

    private func headerEnd() -> Int? {
        guard bytes.count >= 4 else { return nil }
        for start in 0...(bytes.count - 4)
        where bytes[start] == 13 && bytes[start + 1] == 10 && bytes[start + 2] == 13
            && bytes[start + 3] == 10
        {
            return start
        }
        return nil
    }
}
