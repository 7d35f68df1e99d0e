// The source tree as these tests read it: files, their lines, and the code without comments and texts.
// The only tests that touch the disk for what the project is, not for what it does.

import Glibc
import Testing

enum Tree {
    /// The folder that holds Package.swift, found from this file.
    static let root: String = {
        var parts = #filePath.split(separator: "/")
        parts.removeLast(3)
        return "/" + parts.joined(separator: "/")
    }()

    static func text(_ path: String) -> String? {
        guard let file = fopen(root + "/" + path, "r") else { return nil }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = fread(&buffer, 1, buffer.count, file)
            guard count > 0 else { break }
            bytes += buffer[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// The files below a folder whose names end in one of the given ways, sorted.
    static func files(in folder: String, endings: [String]) -> [String] {
        guard let directory = opendir(root + "/" + folder) else { return [] }
        defer { closedir(directory) }
        var found: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard !name.hasPrefix(".") else { continue }
            let path = folder + "/" + name
            if entry.pointee.d_type == UInt8(DT_DIR) {
                found += files(in: path, endings: endings)
            } else if endings.contains(where: { name.hasSuffix($0) }) {
                found.append(path)
            }
        }
        return found.sorted()
    }

    static var swiftFiles: [String] {
        files(in: "Sources", endings: [".swift"]) + files(in: "Tests", endings: [".swift"])
            + files(in: "Fuzz", endings: [".swift"]) + files(in: "examples", endings: [".swift"])
    }

    /// The rows of the first Markdown table whose header begins with the given columns.
    static func table(in text: String, columns: [String]) -> [[String]]? {
        func cells(_ line: Substring) -> [String] {
            line.split(separator: "|", omittingEmptySubsequences: false).dropFirst().dropLast().map
            {
                var cell = $0
                while cell.first == " " { cell.removeFirst() }
                while cell.last == " " { cell.removeLast() }
                return String(cell)
            }
        }
        var rows: [[String]]?
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            guard line.hasPrefix("|") else {
                if let rows { return rows }
                continue
            }
            if rows != nil {
                if !line.hasPrefix("|---") && !line.hasPrefix("| ---") && !line.hasPrefix("|:") {
                    rows?.append(cells(line))
                }
            } else if Array(cells(line).prefix(columns.count)) == columns {
                rows = []
            }
        }
        return rows
    }
}

/// Source text with comments and the insides of texts blanked out, line by line: what is left is
/// code.
///
/// Interpolations inside texts stay, since they are code too.
struct CodeLines {
    let lines: [String]

    init(_ text: String) {
        var lines: [String] = []
        var line: [Character] = []
        let source = Array(text)
        var index = 0
        var blockDepth = 0
        /// For every text we are inside of: its hashes and whether it has three quotes; and how deep
        /// the parentheses of the interpolation around it are.
        var texts: [(hashes: Int, triple: Bool)] = []
        var interpolations: [Int] = []

        func starts(_ pattern: String, at place: Int) -> Bool {
            let pattern = Array(pattern)
            return place + pattern.count <= source.count
                && source[place..<place + pattern.count].elementsEqual(pattern)
        }
        while index < source.count {
            let character = source[index]
            if character == "\n" {
                lines.append(String(line))
                line = []
                index += 1
                continue
            }
            if blockDepth > 0 {
                if starts("*/", at: index) {
                    blockDepth -= 1
                    index += 2
                } else if starts("/*", at: index) {
                    blockDepth += 1
                    index += 2
                } else {
                    index += 1
                }
                continue
            }
            let insideText = texts.count > interpolations.count
            if insideText, let text = texts.last {
                let hashes = String(repeating: "#", count: text.hashes)
                if starts("\\" + hashes + "(", at: index) {
                    interpolations.append(1)
                    line += Array("(")
                    index += 2 + text.hashes
                } else if text.hashes == 0, character == "\\" {
                    index += 2
                } else if starts((text.triple ? "\"\"\"" : "\"") + hashes, at: index) {
                    texts.removeLast()
                    line.append("\"")
                    index += (text.triple ? 3 : 1) + text.hashes
                } else {
                    index += 1
                }
                continue
            }
            if starts("//", at: index) {
                while index < source.count, source[index] != "\n" { index += 1 }
                continue
            }
            if starts("/*", at: index) {
                blockDepth = 1
                index += 2
                continue
            }
            var hashes = 0
            while index + hashes < source.count, source[index + hashes] == "#" { hashes += 1 }
            if starts("\"", at: index + hashes) {
                let triple = starts("\"\"\"", at: index + hashes)
                texts.append((hashes, triple))
                line.append("\"")
                index += hashes + (triple ? 3 : 1)
                continue
            }
            if let depth = interpolations.last {
                if character == "(" { interpolations[interpolations.count - 1] = depth + 1 }
                if character == ")" {
                    if depth == 1 {
                        interpolations.removeLast()
                    } else {
                        interpolations[interpolations.count - 1] = depth - 1
                    }
                }
            }
            line.append(character)
            index += 1
        }
        lines.append(String(line))
        self.lines = lines
    }
}
