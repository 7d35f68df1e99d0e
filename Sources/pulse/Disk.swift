// `pulse disk`: where the bytes of a running server are, asked over HTTP; of a directory: DiskFiles.swift.

import Glibc
import PulseGateway
import PulseIO
import PulseServer

enum Disk {
    static let flags = [
        Flag(
            "--http",
            value: "HOST:PORT",
            "The server's HTTP address; or PULSE_HTTP, or 127.0.0.1:8000"
        )
    ]

    private static let timeoutMilliseconds: Int64 = 10_000
    /// Bytes of an answer that are read at most: it has some hundreds.
    private static let answerBytesMax = 1 << 20

    static func perform(_ invocation: Invocation) throws(CommandFailure) -> Int32 {
        if let root = invocation.arguments.first {
            guard invocation["--http"] == nil else {
                throw .usage(
                    "a directory is read by itself, and --http asks a server: give one of them"
                )
            }
            return try DiskFiles.perform(root, invocation.format)
        }
        let variable = getenv("PULSE_HTTP").map { String(cString: $0) }
        let text = invocation["--http"] ?? variable ?? "127.0.0.1:8000"
        guard let address = ListenAddress(text) else {
            throw .usage("\"\(text)\" is not HOST:PORT")
        }
        let document = try document(from: address)
        switch invocation.format {
        case .json: Console.print(document)
        case .table:
            guard let rows = JSONRows.of(document) else {
                throw .failed("\(address) answers what is no JSON")
            }
            printTable(rows)
        }
        return ExitCode.success
    }

    static func printTable(_ rows: [(path: String, value: String)]) {
        let rows = rows.map { [$0.path, Console.safe($0.value)] }
        for line in Table(rows: rows).lines { Console.print(line) }
    }

    private static func document(from address: ListenAddress) throws(CommandFailure) -> String {
        let answer: [UInt8]
        do throws(IOFailure) {
            answer = try ask(address)
        } catch {
            throw CommandFailure(ExitCode.unreachable, "unreachable", "\(error)")
        }
        let text = String(decoding: answer, as: UTF8.self)
        guard text.hasPrefix("HTTP/1.1 200"), let start = text.firstIndex(of: "{") else {
            let line = text.prefix { $0 != "\r\n" && $0 != "\n" }
            throw .failed("\(address) answers \"\(Console.safe(String(line)))\", not with its disk")
        }
        return String(text[start...])
    }

    private static func ask(_ address: ListenAddress) throws(IOFailure) -> [UInt8] {
        let socket = try Dialer.connect(
            host: address.host,
            port: address.port,
            timeoutMilliseconds: timeoutMilliseconds
        )
        let request = "GET /v1/disk HTTP/1.1\r\nHost: \(address)\r\nConnection: close\r\n\r\n"
        let bytes = Array(request.utf8)
        // Some hundred bytes on a new connection always fit what the system holds.
        guard write(socket.rawValue, bytes, bytes.count) == bytes.count else {
            throw IOFailure("send to", "\(address)", code: errno)
        }
        var answer: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 16 << 10)
        while answer.count < answerBytesMax {
            let count = read(socket.rawValue, &piece, piece.count)
            if count == 0 { break }
            if count > 0 {
                answer += piece[..<count]
                continue
            }
            let code = errno
            if code == EINTR { continue }
            guard code == EAGAIN else { throw IOFailure("read from", "\(address)", code: code) }
            var entry = pollfd(fd: socket.rawValue, events: Int16(POLLIN), revents: 0)
            guard poll(&entry, 1, Int32(timeoutMilliseconds)) > 0 else {
                throw IOFailure("read from", "\(address)", code: ETIMEDOUT)
            }
        }
        socket.close()
        return answer
    }
}
