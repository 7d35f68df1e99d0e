// What a torture found, in a form that can be pasted into spec/results.

package struct TortureResult: Sendable {
    package var name: String
    /// Things counted, in the order in which they were first counted.
    package private(set) var counts: [(name: String, count: Int)] = []
    /// The first broken promises, each with how to repeat it.
    package private(set) var violations: [String] = []
    package private(set) var violationCount = 0

    package init(_ name: String) { self.name = name }

    package var isKept: Bool { violationCount == 0 }

    package mutating func count(_ what: String, _ times: Int = 1) {
        if let index = counts.firstIndex(where: { $0.name == what }) {
            counts[index].count += times
        } else {
            counts.append((what, times))
        }
    }

    package func count(of what: String) -> Int { counts.first { $0.name == what }?.count ?? 0 }

    package mutating func violate(_ what: String) {
        violationCount += 1
        if violations.count < 20 { violations.append(what) }
    }

    package mutating func add(_ other: TortureResult) {
        for (name, count) in other.counts { self.count(name, count) }
        for violation in other.violations.prefix(max(0, 20 - violations.count)) {
            violations.append(violation)
        }
        violationCount += other.violationCount
    }

    package var lines: [String] {
        var lines = ["\(name): \(isKept ? "kept" : "BROKEN, \(violationCount) times")"]
        lines += counts.map { "    \($0.count) \($0.name)" }
        lines += violations.map { "    broken promise: \($0)" }
        return lines
    }
}
