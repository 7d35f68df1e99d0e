// Reads the Prometheus text format strictly: what a scraper would refuse is a failure here.

struct MetricsReading {
    /// `name{labels}` to value, as written.
    private(set) var samples: [String: Double] = [:]
    private(set) var types: [String: String] = [:]
    /// In the order in which they came.
    private(set) var families: [String] = []

    init(_ text: String) throws(TestFailure) {
        guard text.hasSuffix("\n") else { throw TestFailure("the last line has no end") }
        var helped: Set<String> = []
        for line in text.split(separator: "\n", omittingEmptySubsequences: false).dropLast() {
            let words = line.split(separator: " ", maxSplits: 3).map(String.init)
            if line.hasPrefix("# HELP ") {
                guard words.count == 4, helped.insert(words[2]).inserted else {
                    throw TestFailure("a HELP twice or without text: \(line)")
                }
            } else if line.hasPrefix("# TYPE ") {
                guard words.count == 4, ["counter", "gauge", "histogram"].contains(words[3]),
                    types.updateValue(words[3], forKey: words[2]) == nil, helped.contains(words[2])
                else { throw TestFailure("a TYPE twice, of no kind, or before its HELP: \(line)") }
                families.append(words[2])
            } else {
                try take(sample: String(line))
            }
        }
    }

    private mutating func take(sample line: String) throws(TestFailure) {
        guard let space = line.lastIndex(of: " "),
            let value = Double(line[line.index(after: space)...])
        else { throw TestFailure("not a sample: \(line)") }
        let series = String(line[..<space])
        let name = series.prefix { $0 != "{" }
        let letters = name.utf8.allSatisfy {
            (97...122).contains($0) || $0 == 95 || (48...57).contains($0)
        }
        guard letters, families.last == String(name) else {
            throw TestFailure("a sample outside its family: \(line)")
        }
        guard series.contains("{") == series.hasSuffix("}") else {
            throw TestFailure("labels without an end: \(line)")
        }
        guard samples.updateValue(value, forKey: series) == nil else {
            throw TestFailure("a series twice: \(line)")
        }
    }

    /// The sum of all series of a family whose labels contain all of `labels` (`channel="email"`).
    func sum(_ name: String, _ labels: String...) -> Int {
        var sum = 0.0
        for (series, value) in samples where series.prefix(while: { $0 != "{" }) == name {
            if labels.allSatisfy({ series.contains($0) }) { sum += value }
        }
        return Int(sum)
    }
}
