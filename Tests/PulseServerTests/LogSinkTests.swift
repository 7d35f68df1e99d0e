// Log lines: both formats, and foreign text that would like to be more than a value.

import Glibc
import PulseCore
import PulseServer
import Testing

@Suite("Log sink") struct LogSinkTests {
    let time = WallTimestamp(milliseconds: 1_795_168_083_120)

    func line(_ event: LogEvent, _ format: LogFormat) -> String {
        String(decoding: LogSink.line(event, at: time, format: format), as: UTF8.self)
    }

    @Test("JSON")
    func json() {
        let event = LogEvent(
            .info,
            "torn tail cut",
            [.init("bytes", "17"), .init("file", "a \"b\"")]
        )
        #expect(
            line(event, .json)
                == #"{"ts":"2026-11-20T09:48:03.120Z","level":"info","msg":"torn tail cut","#
                + #""bytes":"17","file":"a \"b\""}"# + "\n"
        )
    }

    @Test("Text")
    func text() {
        let event = LogEvent(
            .warning,
            "slow sync",
            [.init("ms", "17"), .init("path", "a b"), .init("none", "")]
        )
        #expect(
            line(event, .text)
                == "2026-11-20T09:48:03.120Z WARNING slow sync ms=17 path=\"a b\" none=\"\"\n"
        )
        #expect(
            line(LogEvent(.error, "stop"), .text) == "2026-11-20T09:48:03.120Z ERROR   stop\n"
        )
    }

    @Test("Events below the level are dropped; the rest are written whole")
    func writing() throws {
        var ends: [Int32] = [0, 0]
        #expect(pipe(&ends) == 0)
        let sink = LogSink(format: .text, level: .warning, descriptor: ends[1])
        sink.write(LogEvent(.info, "quiet"), at: time)
        sink.write(LogEvent(.warning, "loud"), at: time)
        sink.write(LogEvent(.error, "louder"), at: time)
        close(ends[1])
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = read(ends[0], &bytes, bytes.count)
        close(ends[0])
        #expect(
            String(decoding: bytes[..<max(0, count)], as: UTF8.self)
                == line(LogEvent(.warning, "loud"), .text)
                + line(LogEvent(.error, "louder"), .text)
        )
    }

    @Test("No value makes a second line or moves a terminal", arguments: [LogFormat.json, .text])
    func escaping(format: LogFormat) {
        let hostile = "a\r\n{\"level\":\"error\"}\u{1B}[2J\u{0}\u{7F}\u{9B}\u{2028}å\t\\"
        let bytes = LogSink.line(
            LogEvent(.info, hostile, [.init(hostile, hostile)]),
            at: time,
            format: format
        )
        let text = String(decoding: bytes, as: UTF8.self)
        #expect(bytes.filter { $0 < 0x20 } == [10])
        #expect(bytes.last == 10)
        #expect(!text.unicodeScalars.contains { (0x7F...0x9F).contains($0.value) })
        #expect(!text.unicodeScalars.contains { $0.value == 0x2028 })
        let escaped =
            #"a\r\n{\"level\":\"error\"}\u001b[2J\u0000\u007f\u009b\u2028å\t\\"#
        #expect(text.contains("\"\(escaped)\""))
    }
}
