// Finds what somebody probably meant to type.

enum Suggestion {
    /// ` (did you mean "status"?)`, or nothing when no candidate is close to `word`.
    static func hint(for word: String, among candidates: [String]) -> String {
        // Two neighbours swapped are two edits.
        let limit = max(word.count < 4 ? 1 : 2, word.count / 3)
        let near = candidates.map { ($0, distance(word, $0)) }.filter { $0.1 <= limit }
        let best = near.min { $0.1 < $1.1 }?.0 ?? candidates.first { isPrefix(word, of: $0) }
        return best.map { " (did you mean \"\($0)\"?)" } ?? ""
    }

    private static func isPrefix(_ word: String, of candidate: String) -> Bool {
        word.count >= 2 && word != "--" && candidate.hasPrefix(word)
    }

    /// Inserted, deleted and replaced characters between two words.
    ///
    /// - Source: Wagner and Fischer, "The String-to-String Correction Problem", 1974.
    private static func distance(_ first: String, _ second: String) -> Int {
        let target = Array(second.prefix(64))
        var row = Array(0...target.count)
        for (index, character) in first.prefix(64).enumerated() {
            var diagonal = row[0]
            row[0] = index + 1
            for column in target.indices {
                let replaced = diagonal + (character == target[column] ? 0 : 1)
                diagonal = row[column + 1]
                row[column + 1] = min(replaced, row[column] + 1, diagonal + 1)
            }
        }
        return row[target.count]
    }
}
