// The command line of pulse-bench.

/// What a run is to do.
package struct BenchArguments: Hashable, Sendable {
    package enum Pace: Hashable, Sendable {
        /// Open loop: so many a second, whatever the server does.
        case rate(Double)
        /// Closed loop: the next as soon as one is answered.
        case maximum
    }

    package var host = "127.0.0.1"
    package var port: UInt16 = 8000
    package var pace = Pace.rate(1000)
    package var seconds = 10.0
    /// Seconds at the beginning whose latencies are not counted; their answers are.
    package var warmup = 1.0
    package var connections = 64
    /// Requests in flight on one connection.
    package var depth = 1
    package var isNative = false
    /// Records in a native produce.
    package var batch = 1
    package var template = "welcome"
    package var channel = "email"
    /// Milliseconds that the generator's own lateness may have at its 99th percentile.
    package var latenessLimit = 5.0
    package var json = false
    package var commit = "unknown"

    package init() {}

    package static let usage = """
        usage: pulse-bench accept [--url HOST:PORT] [--rate R | --max] [options]

        Posts notifications and measures until each is durably accepted.

          --url HOST:PORT     the server; default 127.0.0.1:8000, with --native 127.0.0.1:7070
          --rate R            open loop: R notifications a second at their intended times; latency
                              counts from the intended time, however late the request could leave;
                              this is the default, with R 1000
          --max               closed loop: as many as the server takes
          --seconds S         how long to send; default 10
          --warmup S          seconds at the beginning whose latencies do not count; default 1
          --connections N     default 64
          --depth N           requests in flight on one connection; default 1, with --native 32
          --native            the native protocol in place of POST /api/notifications/send/
          --batch N           notifications in one native request; default 1
          --template NAME     default welcome, which `pulse serve --dev` brings
          --channel NAME      default email
          --lateness-limit MS refuse the run when the generator itself was later than this for more
                              than 1 in 100; default 5
          --commit HASH       noted in the report
          --json              one JSON object in place of the table

        exit codes: 0 measured; 1 an answer was wrong or missing; 2 usage; 3 the generator fell
        behind, so its numbers say nothing about the server; 75 no connection

        """

    /// Why a command line is refused, in a sentence.
    package struct Mistake: Error, CustomStringConvertible {
        package var description: String
    }

    /// Reads the arguments after the program's name.
    package init(parsing words: [String]) throws(Mistake) {
        guard words.first == "accept" else {
            throw Mistake(description: "the first word is the workload: accept")
        }
        var rest = words.dropFirst()
        var url: String?
        var depth: Int?
        while let name = rest.popFirst() {
            func value() throws(Mistake) -> String {
                guard let value = rest.popFirst() else {
                    throw Mistake(description: "\(name) needs a value")
                }
                return value
            }
            switch name {
            case "--url": url = try value()
            case "--rate": pace = .rate(try Self.number(name, try value(), 1...10_000_000))
            case "--max": pace = .maximum
            case "--seconds": seconds = try Self.number(name, try value(), 0.1...86_400)
            case "--warmup": warmup = try Self.number(name, try value(), 0...3600)
            case "--connections": connections = try Self.count(name, try value(), 1...4096)
            case "--depth": depth = try Self.count(name, try value(), 1...1024)
            case "--native": isNative = true
            case "--batch": batch = try Self.count(name, try value(), 1...1024)
            case "--template": template = try value()
            case "--channel": channel = try value()
            case "--lateness-limit": latenessLimit = try Self.number(name, try value(), 0...10_000)
            case "--commit": commit = try value()
            case "--json": json = true
            default: throw Mistake(description: "unknown option \(name)")
            }
        }
        guard isNative || batch == 1 else {
            throw Mistake(description: "--batch goes with --native")
        }
        guard warmup < seconds else {
            throw Mistake(description: "--warmup is shorter than --seconds")
        }
        self.depth = depth ?? (isNative ? 32 : 1)
        try take(url: url ?? (isNative ? "127.0.0.1:7070" : "127.0.0.1:8000"))
    }

    private mutating func take(url: String) throws(Mistake) {
        let bare = url.hasPrefix("http://") ? String(url.dropFirst(7)) : url
        let parts = bare.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, !parts[0].isEmpty, let port = UInt16(parts[1]), port > 0 else {
            throw Mistake(description: "\"\(url)\" is not HOST:PORT")
        }
        host = String(parts[0])
        self.port = port
    }

    private static func number(
        _ name: String,
        _ text: String,
        _ range: ClosedRange<Double>
    ) throws(Mistake) -> Double {
        guard let number = Double(text), range.contains(number) else {
            throw Mistake(
                description:
                    "\(name) needs a number from \(range.lowerBound) to \(range.upperBound)"
            )
        }
        return number
    }

    private static func count(
        _ name: String,
        _ text: String,
        _ range: ClosedRange<Int>
    ) throws(Mistake) -> Int {
        guard let number = Int(text), range.contains(number) else {
            throw Mistake(
                description: "\(name) needs a whole number from \(range.lowerBound) to "
                    + "\(range.upperBound)"
            )
        }
        return number
    }
}
