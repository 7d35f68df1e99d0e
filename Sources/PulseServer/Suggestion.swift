// Finds what somebody probably meant to type: a configuration key, a command, a flag.

package enum Suggestion {
    /// ` (did you mean "retry"?)`, or nothing when no candidate is close to `word`.
    package static func hint(for word: String, among candidates: [String]) -> String {
        let limit = max(1, word.count / 3)
        var best: (word: String, distance: Int)?
        for candidate in candidates {
            let distance = distance(word.lowercased(), candidate.lowercased())
            if distance <= limit, distance < best?.distance ?? .max { best = (candidate, distance) }
        }
        let begun = candidates.filter { isBeginning(word, of: $0) }
        let meant = best?.word ?? (begun.count == 1 ? begun[0] : nil)
        return meant.map { " (did you mean \"\($0)\"?)" } ?? ""
    }

    /// Whether somebody stopped typing early.
    private static func isBeginning(_ word: String, of candidate: String) -> Bool {
        word.count >= 2 && word != "--" && candidate.hasPrefix(word)
    }

    /// Edits between two words: insert, delete, replace, and swap of neighbours.
    /// Source: optimal string alignment, after Damerau.
    static func distance(_ first: String, _ second: String) -> Int {
        let a = Array(first.unicodeScalars.prefix(64))
        let b = Array(second.unicodeScalars.prefix(64))
        var before: [Int] = []
        var previous = Array(0...b.count)
        for i in 0..<a.count {
            var row = [i + 1]
            for j in 0..<b.count {
                let replaced = previous[j] + (a[i] == b[j] ? 0 : 1)
                var cost = min(previous[j + 1] + 1, row[j] + 1, replaced)
                if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] {
                    cost = min(cost, before[j - 1] + 1)
                }
                row.append(cost)
            }
            before = previous
            previous = row
        }
        return previous[b.count]
    }
}
