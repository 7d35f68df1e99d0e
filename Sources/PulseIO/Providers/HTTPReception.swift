// What is kept of an HTTP answer: its status, the first bytes of its body, and no more.

/// Fed with header lines and body pieces of one transfer.
package struct HTTPReception {
    /// The final status; 0 before it came.
    ///
    /// Interim answers (1xx) do not count.
    package private(set) var status = 0
    package private(set) var bodyPrefix: [UInt8] = []
    private var bodyBytes = 0

    /// Bytes of a body read before the transfer is ended: its status is known by then, and a
    /// provider with more to say is not listened to.
    package static let bodyBytesMax = 64 << 10

    package init() {}

    package mutating func receive(header line: UnsafeRawBufferPointer) {
        guard line.starts(with: Array("HTTP/".utf8)) else { return }
        let digits = line.drop { $0 != 32 }.dropFirst().prefix(3)
        var value = 0
        for digit in digits {
            guard (48...57).contains(digit) else { return }
            value = value * 10 + Int(digit - 48)
        }
        status = value >= 200 ? value : 0
    }

    /// Returns whether more may come.
    package mutating func receive(body bytes: UnsafeRawBufferPointer) -> Bool {
        let room = AnswerDetail.bytesMax - bodyPrefix.count
        if room > 0 { bodyPrefix.append(contentsOf: bytes.prefix(room)) }
        bodyBytes += bytes.count
        return bodyBytes <= Self.bodyBytesMax
    }
}

/// The text of an answer, fit for a record: short, one line, valid UTF-8.
package enum AnswerDetail {
    package static let bytesMax = 200

    package static func text(_ bytes: [UInt8]) -> String {
        let printable = bytes.prefix(bytesMax).map { $0 < 32 || $0 == 127 ? 32 : $0 }
        var text = String(decoding: printable, as: UTF8.self)
        // A byte that is no character becomes three; a character cut in two ends the text.
        while text.utf8.count > bytesMax || text.hasSuffix("\u{FFFD}") { text.removeLast() }
        return text
    }
}
