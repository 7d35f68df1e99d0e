// From a failing seed to the smallest run that still fails: fewer faults, fewer clients, fewer
// submissions, in this order. What fails is for the caller to say; it may start another process.

package struct Shrinker {
    package private(set) var options: RunOptions
    package private(set) var runs = 0
    private let fails: (RunOptions) -> Bool

    /// - Parameter fails: Whether the world still breaks a promise when run like this.
    package init(_ options: RunOptions, fails: @escaping (RunOptions) -> Bool) {
        self.options = options
        self.fails = fails
    }

    private mutating func isEnough(_ smaller: RunOptions) -> Bool {
        runs += 1
        guard fails(smaller) else { return false }
        options = smaller
        return true
    }

    /// Leaves out all that can be left out.
    ///
    /// - Parameters:
    ///   - faults: How many faults the world has.
    ///   - clients: How many clients.
    ///   - submissions: How many submissions.
    package mutating func shrink(faults: Int, clients: Int, submissions: Int) {
        reduce(Array(options.faults ?? Set(1..<(faults + 1))).sorted()) { $0.faults = $1 }
        reduce(Array(options.clients ?? Set(0..<clients)).sorted()) { $0.clients = $1 }
        var low = 0
        var high = options.submissionsMax ?? submissions
        while low < high {
            let middle = (low + high) / 2
            var smaller = options
            smaller.submissionsMax = middle
            if isEnough(smaller) { high = middle } else { low = middle + 1 }
        }
        // With less to do, more may be left out.
        reduce((options.faults ?? []).sorted()) { $0.faults = $1 }
    }

    /// Leaves out halves, then quarters, down to single elements, as long as it still fails.
    private mutating func reduce(_ all: [Int], _ set: (inout RunOptions, Set<Int>) -> Void) {
        var kept = all
        var size = max(1, kept.count / 2)
        while !kept.isEmpty {
            var start = 0
            var hasShrunk = false
            while start < kept.count {
                let end = min(start + size, kept.count)
                let rest = Array(kept[..<start] + kept[end...])
                var smaller = options
                set(&smaller, Set(rest))
                if isEnough(smaller) {
                    kept = rest
                    hasShrunk = true
                } else {
                    start = end
                }
            }
            if size == 1, !hasShrunk { return }
            size = max(1, size / 2)
        }
    }
}
