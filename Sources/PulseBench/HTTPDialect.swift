// POST /api/notifications/send/ and its answers, read just far enough: status, length, identifier.

import PulseCore

final class HTTPDialect: BenchDialect {
    /// The answer that is not whole yet.
    private var unread: [UInt8] = []

    func greet(into bytes: inout [UInt8]) {}

    func write(_ number: Int, of workload: BenchWorkload, into bytes: inout [UInt8]) {
        let name = "\(workload.salt)-\(number)"
        let body =
            "{\"user_id\":\"u-\(name)\",\"template_name\":\"\(workload.template)\",\"to\":\""
            + "\(name)@bench.local\",\"channel\":\"\(workload.channel)\",\"context\":{\"name\":"
            + "\"Bench\",\"code\":\"123456\"},\"idempotency_key\":\"\(name)\"}"
        bytes.append(
            contentsOf: """
                POST /api/notifications/send/ HTTP/1.1\r
                Host: \(workload.authority)\r
                Content-Type: application/json\r
                Content-Length: \(body.utf8.count)\r
                \r
                \(body)
                """.utf8
        )
    }

    func read(
        _ bytes: UnsafeRawBufferPointer,
        _ answered: ([BenchVerdict]) -> Void
    ) throws(BenchSocketFailure) {
        // Nearly always answers come whole and are read where they lie.
        if unread.isEmpty {
            let used = try Self.readAll(bytes, answered)
            unread.append(contentsOf: bytes[used...])
        } else {
            unread.append(contentsOf: bytes)
            let whole = unread
            let result = whole.withUnsafeBytes { bytes in
                Result { () throws(BenchSocketFailure) in try Self.readAll(bytes, answered) }
            }
            unread.removeFirst(try result.get())
        }
    }

    /// Reads all whole answers and returns how many bytes they were.
    private static func readAll(
        _ bytes: UnsafeRawBufferPointer,
        _ answered: ([BenchVerdict]) -> Void
    ) throws(BenchSocketFailure) -> Int {
        var start = 0
        while let head = headEnd(bytes, from: start) {
            guard head - start >= 16, let status = number(bytes, at: start + 9, digits: 3) else {
                throw BenchSocketFailure(description: "an answer that is not HTTP")
            }
            let length = contentLength(bytes, from: start, to: head)
            guard bytes.count - head >= length else { break }
            let body = UnsafeRawBufferPointer(rebasing: bytes[head..<head + length])
            if status == 202, let id = identifier(in: body) {
                answered([.accepted(id)])
            } else {
                answered([.other("\(status)")])
            }
            start = head + length
        }
        return start
    }

    /// Where the body begins.
    private static func headEnd(_ bytes: UnsafeRawBufferPointer, from start: Int) -> Int? {
        var index = start
        while index + 3 < bytes.count {
            if bytes[index] == 13, bytes[index + 1] == 10, bytes[index + 2] == 13,
                bytes[index + 3] == 10
            {
                return index + 4
            }
            index += 1
        }
        return nil
    }

    private static func number(
        _ bytes: UnsafeRawBufferPointer,
        at start: Int,
        digits: Int
    ) -> Int? {
        var value = 0
        for index in start..<start + digits {
            guard (48...57).contains(bytes[index]) else { return nil }
            value = value * 10 + Int(bytes[index] - 48)
        }
        return value
    }

    private static func contentLength(
        _ bytes: UnsafeRawBufferPointer,
        from start: Int,
        to end: Int
    ) -> Int {
        let name = Array("\r\ncontent-length:".utf8)
        for index in start..<max(start, end - name.count) where bytes[index] == 13 {
            // Setting bit 5 makes letters lower case, and leaves the rest that is looked for alone.
            let matches = name.indices.allSatisfy {
                bytes[index + $0] == name[$0] || bytes[index + $0] | 0x20 == name[$0]
            }
            guard matches else { continue }
            var length = 0
            for byte in bytes[(index + name.count)..<end] where byte != 32 {
                guard (48...57).contains(byte) else { break }
                length = length * 10 + Int(byte - 48)
            }
            return length
        }
        return 0
    }

    /// The identifier in `{"notification_id":"…",…}`.
    private static func identifier(in body: UnsafeRawBufferPointer) -> NotificationID? {
        let prefix = "{\"notification_id\":\"".utf8
        guard body.count >= prefix.count + 36, body.starts(with: prefix) else { return nil }
        let text = body[prefix.count..<prefix.count + 36]
        return NotificationID(String(decoding: text, as: UTF8.self))
    }
}
