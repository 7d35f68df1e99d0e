// What the program prints and where: results on standard output, mistakes on standard error, both
// without a buffer. Text that came from elsewhere cannot move the cursor of whoever looks at it.

import Glibc

enum OutputFormat: String, Sendable {
    case table
    case json
}

enum Console {
    static func print(_ line: String) { write(line + "\n", to: 1) }
    static func complain(_ line: String) { write(line + "\n", to: 2) }
    static func note(_ line: String) { write(line + "\n", to: 2) }

    private static func write(_ text: String, to descriptor: Int32) {
        let bytes = Array(text.utf8)
        var written = 0
        while written < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.write(
                    descriptor,
                    $0.baseAddress.map { $0 + written },
                    bytes.count - written
                )
            }
            if count < 0, errno == EINTR { continue }
            // Nobody reads any more: there is nowhere left to say so.
            if count <= 0 { return }
            written += count
        }
    }

    /// One line of foreign text with everything escaped that is more than a character.
    static func safe(_ text: String) -> String {
        guard text.unicodeScalars.contains(where: isUnsafe) else { return text }
        var output = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\n": output += "\\n"
            case "\t": output += "\\t"
            case _ where isUnsafe(scalar): output += escape(scalar)
            default: output.unicodeScalars.append(scalar)
            }
        }
        return output
    }

    /// C0, DEL, C1, line and paragraph separators, and the marks that turn the direction of writing.
    static func isUnsafe(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0..<0x20, 0x7F...0x9F, 0x2028...0x202E, 0x2066...0x2069: true
        default: false
        }
    }

    /// `\u001b`.
    static func escape(_ scalar: Unicode.Scalar) -> String {
        let digits = String(scalar.value, radix: 16)
        return "\\u" + String(repeating: "0", count: max(0, 4 - digits.utf8.count)) + digits
    }

    /// The result of a command: the table and the document say the same, the document perhaps more.
    static func show(_ table: @autoclosure () -> Table, _ json: JSON, as format: OutputFormat) {
        switch format {
        case .table: for line in table().lines { print(line) }
        case .json: print(json.line)
        }
    }
}

/// Rows under column names; without names, a list of pairs.
struct Table: Sendable {
    var columns: [String] = []
    var rows: [[String]]

    var lines: [String] {
        let all = (columns.isEmpty ? [] : [columns]) + rows.map { $0.map(Console.safe) }
        var widths: [Int] = []
        for row in all {
            for (index, cell) in row.enumerated() {
                if index == widths.count { widths.append(0) }
                widths[index] = max(widths[index], cell.count)
            }
        }
        return all.map { row in
            row.enumerated().map { index, cell in
                index == row.count - 1 ? cell : Self.pad(cell, to: widths[index])
            }.joined(separator: "  ")
        }
    }

    static func pad(_ text: String, to width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }
}
