// The pages of the specification that tell numbers, against the code that uses them.

import PulseCore
import Testing

@Suite struct PagesTests {
    /// The word inside a table's cell, without the marks around it.
    private func plain(_ cell: String) -> String {
        String(cell.filter { $0 != "`" && $0 != "*" })
    }

    @Test func theErrorsPageListsEveryCode() throws {
        let page = try #require(Tree.text("spec/06-errors.md"), "spec/06-errors.md is missing")
        let rows = try #require(
            Tree.table(in: page, columns: ["number", "name", "retryable"]),
            "spec/06-errors.md has no table | number | name | retryable |"
        )
        let written = rows.map { $0.prefix(3).map(plain) }
        let meant = ErrorCode.allCases.map {
            ["\($0.rawValue)", $0.name, $0.isRetryable ? "yes" : "no"]
        }
        for row in meant where !written.contains(row) {
            Issue.record("spec/06-errors.md lacks | \(row.joined(separator: " | ")) |")
        }
        for row in written where !meant.contains(row) {
            Issue.record("spec/06-errors.md has too much: | \(row.joined(separator: " | ")) |")
        }
        #expect(written.count == meant.count)
    }

    /// Every `package static let` of Limits.swift with its number, read from the source: a limit that
    /// is added is asked for on the page.
    private func limits() throws -> [(name: String, value: Int)] {
        let source = try #require(Tree.text("Sources/PulseCore/Limits.swift"))
        var found: [(String, Int)] = []
        for line in CodeLines(source).lines {
            let words = line.split(separator: " ")
            guard words.starts(with: ["package", "static", "let"]), words.count > 3 else {
                continue
            }
            let name = String(words[3].prefix { $0 != ":" })
            let parts = line.split(separator: "=")
            let expression = try #require(parts.last)
            found.append((name, try #require(Self.value(of: String(expression)), "\(line)")))
        }
        return found
    }

    /// Sums of products of numbers and shifts, in parentheses or not: all that Limits.swift uses.
    static func value(of expression: String) -> Int? {
        var tokens: [String] = []
        for token in Fence.tokens(expression) {
            if token == "<", tokens.last == "<" {
                tokens[tokens.count - 1] = "<<"
            } else {
                tokens.append(token)
            }
        }
        var place = 0
        func number() -> Int? {
            guard place < tokens.count else { return nil }
            defer { place += 1 }
            if tokens[place] == "(" {
                place += 1
                let inner = sum()
                guard place < tokens.count, tokens[place] == ")" else { return nil }
                return inner
            }
            return Int(tokens[place].filter { $0 != "_" })
        }
        func shift() -> Int? {
            guard var left = number() else { return nil }
            while place < tokens.count, tokens[place] == "<<" {
                place += 1
                guard let right = number() else { return nil }
                left <<= right
            }
            return left
        }
        func product() -> Int? {
            guard var left = shift() else { return nil }
            while place < tokens.count, tokens[place] == "*" {
                place += 1
                guard let right = shift() else { return nil }
                left *= right
            }
            return left
        }
        func sum() -> Int? {
            guard var left = product() else { return nil }
            while place < tokens.count, tokens[place] == "+" {
                place += 1
                guard let right = product() else { return nil }
                left += right
            }
            return left
        }
        let value = sum()
        return place == tokens.count ? value : nil
    }

    @Test func expressionsAreUnderstood() {
        #expect(Self.value(of: " 64 << 20") == 67_108_864)
        #expect(Self.value(of: "(1 << 20) + (64 << 10)") == 1_114_112)
        #expect(Self.value(of: "24 * 3_600_000") == 86_400_000)
        #expect(Self.value(of: "30_000") == 30_000)
        #expect(Self.value(of: "x + 1") == nil && Self.value(of: "") == nil)
    }

    @Test func theLimitsPageTellsEveryLimit() throws {
        let page = try #require(Tree.text("spec/08-limits.md"), "spec/08-limits.md is missing")
        let rows = try #require(
            Tree.table(in: page, columns: ["name", "value"]),
            "spec/08-limits.md has no table | name | value |"
        )
        let limits = try limits()
        #expect(limits.count > 30)
        #expect(limits.contains { $0.name == "segmentBytes" && $0.value == Limits.segmentBytes })
        #expect(limits.contains { $0.name == "frameBytesMax" && $0.value == Limits.frameBytesMax })
        let written = rows.map {
            (name: plain($0[0]), value: Int(plain($0[1]).filter { !", _".contains($0) }))
        }
        for limit in limits {
            let row = written.first { $0.name == limit.name }
            #expect(
                row?.value == limit.value,
                "spec/08-limits.md: | \(limit.name) | \(limit.value) |"
            )
        }
        for row in written where !limits.contains(where: { $0.name == row.name }) {
            Issue.record("spec/08-limits.md tells of a limit that is not there: \(row.name)")
        }
    }
}
