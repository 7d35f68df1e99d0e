// Writes the operator's log: one event, one line, one write(2) to standard error, so that lines of
// several processes never mix.
//
//      json   {"ts":"2026-11-20T09:48:03.120Z","level":"info","msg":"torn tail cut","bytes":"17"}
//      text   2026-11-20T09:48:03.120Z INFO  torn tail cut bytes=17
//
// Foreign text cannot forge a line: control characters are escaped in both.

internal import Glibc
package import PulseCore

package struct LogSink: Sendable {
    package var format: LogFormat
    /// Events below this are dropped.
    package var level: LogEvent.Level
    private let descriptor: Int32

    /// Writes to standard error unless told otherwise.
    package init(format: LogFormat, level: LogEvent.Level, descriptor: Int32 = 2) {
        self.format = format
        self.level = level
        self.descriptor = descriptor
    }

    package func write(_ event: LogEvent, at time: WallTimestamp) {
        guard event.level >= level else { return }
        let line = Self.line(event, at: time, format: format)
        // A log that cannot be written (a full disk, a closed pipe) must not stop the broker, and
        // there is nowhere to say so.
        var written = 0
        while written < line.count {
            let count = line.withUnsafeBytes { bytes in
                Glibc.write(
                    descriptor,
                    bytes.baseAddress.map { $0 + written },
                    bytes.count - written
                )
            }
            if count < 0, errno == EINTR { continue }
            if count <= 0 { return }
            written += count
        }
    }

    /// The line with its line end.
    package static func line(
        _ event: LogEvent,
        at time: WallTimestamp,
        format: LogFormat
    ) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(160)
        switch format {
        case .json:
            bytes += Array("{\"ts\":\"\(time.rfc3339)\",\"level\":\"\(event.level.name)\"".utf8)
            bytes += Array(",\"msg\":".utf8)
            appendQuoted(event.message, to: &bytes)
            for field in event.fields {
                bytes.append(UInt8(ascii: ","))
                appendQuoted(field.name, to: &bytes)
                bytes.append(UInt8(ascii: ":"))
                appendQuoted(field.value, to: &bytes)
            }
            bytes.append(UInt8(ascii: "}"))
        case .text:
            let word = event.level.name.uppercased()
            let padding = String(repeating: " ", count: max(0, 7 - word.utf8.count))
            bytes += Array("\(time.rfc3339) \(word)\(padding) ".utf8)
            // The message is a constant of ours, and read as a sentence: escaped but not quoted.
            appendEscaped(event.message, to: &bytes)
            for field in event.fields {
                bytes.append(UInt8(ascii: " "))
                appendEscaped(field.name, to: &bytes)
                bytes.append(UInt8(ascii: "="))
                if needsQuotes(field.value) {
                    appendQuoted(field.value, to: &bytes)
                } else {
                    bytes += Array(field.value.utf8)
                }
            }
        }
        bytes.append(10)
        return bytes
    }

    private static func needsQuotes(_ value: String) -> Bool {
        value.isEmpty
            || value.unicodeScalars.contains {
                $0 == " " || $0 == "\"" || $0 == "=" || $0 == "\\" || isControl($0)
            }
    }

    private static func appendQuoted(_ text: String, to bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "\""))
        appendEscaped(text, to: &bytes)
        bytes.append(UInt8(ascii: "\""))
    }

    /// JSON's escapes, and `\u00XX` and `\u20XX` for all that could move a terminal or end a line.
    private static func appendEscaped(_ text: String, to bytes: inout [UInt8]) {
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\":
                bytes.append(UInt8(ascii: "\\"))
                bytes += Array(String(scalar).utf8)
            case "\n": bytes += Array("\\n".utf8)
            case "\r": bytes += Array("\\r".utf8)
            case "\t": bytes += Array("\\t".utf8)
            case _ where isControl(scalar):
                let hex = String(scalar.value, radix: 16)
                let zeros = String(repeating: "0", count: 4 - hex.utf8.count)
                bytes += Array("\\u\(zeros)\(hex)".utf8)
            default: bytes += Array(String(scalar).utf8)
            }
        }
    }

    /// C0, DEL, C1, line and paragraph separator.
    private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
        scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value) || scalar.value == 0x2028
            || scalar.value == 0x2029
    }
}
