// The values that `-o json` prints: one document on one line.

enum JSON: Sendable {
    case null
    case text(String)
    case number(Int64)
    case boolean(Bool)
    case list([JSON])
    /// Members keep their order, so that output can be compared.
    case object([(String, JSON)])

    static func text(optional text: String?) -> JSON { text.map(JSON.text) ?? .null }
    static func number(_ number: Int) -> JSON { .number(Int64(number)) }
    static func texts(_ texts: [String]) -> JSON { .list(texts.map(JSON.text)) }

    var line: String {
        var output = ""
        write(to: &output)
        return output
    }

    private func write(to output: inout String) {
        switch self {
        case .null: output += "null"
        case .text(let text): Self.quote(text, to: &output)
        case .number(let number): output += String(number)
        case .boolean(let value): output += value ? "true" : "false"
        case .list(let items):
            output += "["
            for (index, item) in items.enumerated() {
                if index > 0 { output += "," }
                item.write(to: &output)
            }
            output += "]"
        case .object(let members):
            output += "{"
            for (index, member) in members.enumerated() {
                if index > 0 { output += "," }
                Self.quote(member.0, to: &output)
                output += ":"
                member.1.write(to: &output)
            }
            output += "}"
        }
    }

    /// Control characters are escaped beyond what JSON asks for: the line may end on a terminal.
    private static func quote(_ text: String, to output: inout String) {
        output += "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": output += "\\\""
            case "\\": output += "\\\\"
            case "\n": output += "\\n"
            case "\r": output += "\\r"
            case "\t": output += "\\t"
            case _ where Console.isUnsafe(scalar): output += Console.escape(scalar)
            default: output.unicodeScalars.append(scalar)
            }
        }
        output += "\""
    }
}
