// A tiny HTTP server that takes webhooks, remembers them, and answers as its script says.

import Glibc
import Synchronization

/// Listens on a free port of loopback; every connection has a thread. Stops when let go.
final class WebhookSink: Sendable {
    struct Call: Sendable {
        var path: String
        /// Names in lower case.
        var headers: [String: String]
        var body: String
        /// By the wall clock, in milliseconds.
        var at: Int64
    }

    let port: Int
    private let listener: Int32
    private let book: Book

    private final class Book: Sendable {
        let calls = Mutex<[Call]>([])
        let answer: @Sendable (_ path: String, _ number: Int) -> Int
        init(_ answer: @escaping @Sendable (String, Int) -> Int) { self.answer = answer }
    }

    /// `answer` gives the status of the `number`th call of a path, counted from 1.
    init(_ answer: @escaping @Sendable (_ path: String, _ number: Int) -> Int) throws(TestFailure) {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC, 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let failed = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, size) != 0 || listen(listener, 64) != 0
                    || getsockname(listener, $0, &size) != 0
            }
        }
        guard !failed else { throw TestFailure("no free port for the webhook sink") }
        port = Int(UInt16(bigEndian: address.sin_port))
        self.listener = listener
        let book = Book(answer)
        self.book = book
        onThread {
            while true {
                let descriptor = accept(listener, nil, nil)
                guard descriptor >= 0 else { break }
                onThread { Self.serve(descriptor, book) }
            }
            close(listener)
        }
    }

    deinit { shutdown(listener, Int32(SHUT_RDWR)) }

    func calls(of path: String) -> [Call] {
        book.calls.withLock { $0.filter { $0.path == path } }
    }

    func url(_ path: String) -> String { "http://127.0.0.1:\(port)\(path)" }

    /// The configuration of a broker that may call here, trying again soon.
    static func configuration(retry base: String = "100ms", attempts: Int = 5) -> String {
        """
        providers:
          webhook:
            kind: http
            allow_private: true
            timeout: 5s
        retry:
          base: \(base)
          factor: 1
          cap: \(base)
          attempts: \(attempts)

        """
    }

    private static func serve(_ descriptor: Int32, _ book: Book) {
        defer { close(descriptor) }
        var unread: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            while let (call, size) = parse(unread) {
                unread.removeFirst(size)
                let number = book.calls.withLock { calls in
                    calls.append(call)
                    return calls.count { $0.path == call.path }
                }
                let status = book.answer(call.path, number)
                let answer = Array(
                    "HTTP/1.1 \(status) Said\r\nContent-Length: 2\r\n\r\nok".utf8
                )
                guard send(descriptor, answer, answer.count, Int32(MSG_NOSIGNAL)) > 0 else {
                    return
                }
            }
            let count = recv(descriptor, &buffer, buffer.count, 0)
            guard count > 0 else { return }
            unread += buffer[..<count]
        }
    }

    /// The first request in `bytes` and its size, when it is whole.
    private static func parse(_ bytes: [UInt8]) -> (Call, Int)? {
        let end = Array("\r\n\r\n".utf8)
        guard let index = bytes.indices.first(where: { bytes[$0...].starts(with: end) }) else {
            return nil
        }
        let lines = String(decoding: bytes[..<index], as: UTF8.self).split(separator: "\r\n")
        var headers: [String: String] = [:]
        for line in lines.dropFirst() {
            let parts = line.split(separator: ":", maxSplits: 1)
            guard parts.count == 2 else { continue }
            headers[parts[0].lowercased()] = String(parts[1].drop { $0 == " " })
        }
        let length = headers["content-length"].flatMap { Int($0) } ?? 0
        let start = index + end.count
        guard bytes.count >= start + length else { return nil }
        let words = lines.first?.split(separator: " ") ?? []
        let call = Call(
            path: words.count > 1 ? String(words[1]) : "",
            headers: headers,
            body: String(decoding: bytes[start..<start + length], as: UTF8.self),
            at: wallMilliseconds()
        )
        return (call, start + length)
    }
}
