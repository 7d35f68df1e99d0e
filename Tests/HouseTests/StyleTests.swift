// The house rules that a machine can check.

import Testing

@Suite struct StyleTests {
    @Test func everyFileBeginsWithWhatItIsFor() throws {
        for file in Tree.swiftFiles {
            let text = try #require(Tree.text(file))
            let first = text.split(separator: "\n", omittingEmptySubsequences: false).first ?? ""
            #expect(first.hasPrefix("// ") && first.count > 20, "\(file): \(first)")
            #expect(!text.hasPrefix("// Nothing here"), "\(file) is an empty room")
        }
    }

    @Test func nothingIsForced() throws {
        // Said in two parts, so that this file may name them.
        let forbidden = ["try" + "!", "as" + "!", "fatal" + "Error("]
        for file in Tree.swiftFiles {
            let text = try #require(Tree.text(file))
            for (index, line) in CodeLines(text).lines.enumerated() {
                for word in forbidden where line.contains(word) {
                    Issue.record("\(file):\(index + 1): \(word)")
                }
            }
        }
    }

    @Test func nothingIsPutOff() throws {
        let marks = ["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]
        let files =
            Tree.swiftFiles
            + Tree.files(in: "Sources", endings: [".c", ".cpp", ".h"])
            + Tree.files(in: "Scripts", endings: [".py", ".sh"])
        for file in files {
            let text = try #require(Tree.text(file))
            for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false)
                .enumerated()
            {
                for mark in marks where Fence.tokens(String(line)).contains(mark) {
                    Issue.record("\(file):\(index + 1): \(mark)")
                }
            }
        }
    }

    @Test func filesAreShortAndLinesFit() throws {
        for file in Tree.swiftFiles {
            let text = try #require(Tree.text(file))
            let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
            #expect(lines.count <= 500, "\(file) has \(lines.count) lines")
            // Long texts are data; code and comments are to be read.
            let code = CodeLines(text).lines
            for (index, line) in lines.enumerated() where line.count > 108 {
                let isComment = line.drop { $0 == " " }.hasPrefix("//")
                let isText = !isComment && code[index].count < 60
                guard !isText else { continue }
                Issue.record("\(file):\(index + 1): \(line.count) columns")
            }
            #expect(!text.contains("\t"), "\(file) has a tab")
        }
    }

    @Test func noMachineIsNamed() throws {
        let places = ["/" + "home/", "/" + "Users/", "/" + "work/", "/" + "tmp/wt"]
        let files =
            Tree.swiftFiles + ["Package.swift", "Makefile", "README.md", "ARCHITECTURE.md"]
            + Tree.files(in: "spec", endings: [".md"])
            + Tree.files(in: "Scripts", endings: [".py", ".sh"])
        for file in files {
            guard let text = Tree.text(file) else { continue }
            for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false)
                .enumerated()
            {
                for place in places where line.contains(place) {
                    Issue.record("\(file):\(index + 1): \(place)")
                }
            }
        }
    }
}
