// The deliberate mistakes: each is planted somewhere, has a row in the table and one in the page.

import PulseCore
import Testing

@Suite struct MutantTests {
    /// `static var name: Mutant { Mutant(number) }`, as written.
    static func declared() throws -> [(name: String, number: String)] {
        let text = try #require(Tree.text("Sources/PulseCore/Mutant.swift"))
        var found: [(String, String)] = []
        for line in text.split(separator: "\n") where line.contains("static var") {
            let tokens = Fence.tokens(String(line))
            guard let place = tokens.firstIndex(of: "var"), tokens.contains("inlinable"),
                let number = tokens.last(where: { Int($0) != nil })
            else { continue }
            found.append((tokens[place + 1], number))
        }
        return found
    }

    static func kebab(_ name: String) -> String {
        var text = ""
        var wasCapital = false
        for letter in name {
            if letter.isUppercase, !wasCapital { text += "-" }
            wasCapital = letter.isUppercase
            text += letter.lowercased()
        }
        return text
    }

    @Test func everyMistakeIsPlantedAndListed() throws {
        let mutants = try Self.declared()
        #expect(mutants.count >= 24)
        #expect(Set(mutants.map(\.number)).count == mutants.count, "numbers are unique")
        let table = try #require(Tree.text("Sources/PulseSimulator/MutantTable.swift"))
        let page = try #require(Tree.text("spec/09-simulation.md"))
        var code = ""
        for file in Tree.files(in: "Sources", endings: [".swift"]) {
            code += try #require(Tree.text(file))
        }
        for mutant in mutants {
            #expect(code.contains("Mutant.isOn(.\(mutant.name))"), "\(mutant.name) is planted")
            let row = "\"\(Self.kebab(mutant.name))\", .\(mutant.name),"
            #expect(table.contains(row), "\(mutant.name) has a row")
            #expect(
                page.contains("| `\(Self.kebab(mutant.name))` |"),
                "\(mutant.name) is in the page"
            )
        }
    }

    @Test func theOrdinaryBuildMakesNone() {
        #expect(!Mutant.isOn(.answerBeforeSync))
        #expect(!Mutant.isOn(.cutDamage))
    }
}
