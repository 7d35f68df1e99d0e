// What happened in a run, one line an event, and a rolling hash over all of it: two runs of a seed
// are the same run exactly when their hashes are equal.

package import PulseCore

package struct TraceWriter {
    /// The newest lines, for the report of a broken promise.
    private var ring: [String] = []
    private var next = 0
    private static let linesKept = 200

    package private(set) var hash: UInt64 = 0
    package private(set) var count = 0
    /// Sees every line as it is written; nil unless the run is verbose.
    private let listener: ((String) -> Void)?

    package init(listener: ((String) -> Void)? = nil) { self.listener = listener }

    package mutating func write(_ time: MonotonicInstant, _ text: String) {
        let line = "\(Self.seconds(time)) \(text)"
        hash = XXH3.hash(line, seed: hash)
        count += 1
        listener?(line)
        if ring.count < Self.linesKept {
            ring.append(line)
        } else {
            ring[next] = line
            next = (next + 1) % Self.linesKept
        }
    }

    /// The newest lines, oldest first.
    package var lastLines: [String] {
        ring.count < Self.linesKept ? ring : Array(ring[next...] + ring[..<next])
    }

    /// Seconds with six decimals.
    static func seconds(_ time: MonotonicInstant) -> String {
        let microseconds = String(time.nanoseconds / 1000 % 1_000_000)
        let padding = String(repeating: "0", count: 6 - microseconds.count)
        return "\(time.nanoseconds / 1_000_000_000).\(padding)\(microseconds)"
    }
}
