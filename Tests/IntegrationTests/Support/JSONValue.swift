// Just enough JSON to read what a server under test says; strict, and no relation of its writer.

enum JSONValue: Equatable, Sendable {
    case null
    case bool(Bool)
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    init(parsing bytes: [UInt8]) throws(TestFailure) {
        var reader = JSONReader(bytes: bytes)
        self = try reader.value()
        guard reader.isAtEnd else { throw reader.failure("nothing more") }
    }

    subscript(_ name: String) -> JSONValue? {
        if case .object(let members) = self { members[name] } else { nil }
    }

    subscript(_ index: Int) -> JSONValue? {
        let items = items
        return items.indices.contains(index) ? items[index] : nil
    }

    var text: String? { if case .string(let text) = self { text } else { nil } }
    var int: Int? { if case .number(let number) = self { Int(exactly: number) } else { nil } }
    var items: [JSONValue] { if case .array(let items) = self { items } else { [] } }
    var names: [String] {
        if case .object(let members) = self { members.keys.sorted() } else { [] }
    }
}

private struct JSONReader {
    let bytes: [UInt8]
    var position = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    func failure(_ expected: String) -> TestFailure {
        TestFailure(
            "\(expected) expected at byte \(position) of \(String(decoding: bytes, as: UTF8.self))"
        )
    }

    var isAtEnd: Bool { position == bytes.count }
    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func skipSpace() {
        while let byte = next, byte == 32 || byte == 10 || byte == 13 || byte == 9 { position += 1 }
    }

    private mutating func take(_ word: String) -> Bool {
        guard bytes[position...].starts(with: word.utf8) else { return false }
        position += word.utf8.count
        return true
    }

    mutating func value() throws(TestFailure) -> JSONValue {
        skipSpace()
        defer { skipSpace() }
        if take("null") { return .null }
        if take("true") { return .bool(true) }
        if take("false") { return .bool(false) }
        if next == UInt8(ascii: "\"") { return .string(try string()) }
        if take("[") {
            return .array(
                try list(until: "]") { (reader: inout JSONReader) throws(TestFailure) in
                    try reader.value()
                }
            )
        }
        if take("{") {
            let members = try list(until: "}") {
                (reader: inout JSONReader) throws(TestFailure) -> (String, JSONValue) in
                reader.skipSpace()
                let name = try reader.string()
                reader.skipSpace()
                guard reader.take(":") else { throw reader.failure("a colon") }
                return (name, try reader.value())
            }
            return .object(Dictionary(members) { first, _ in first })
        }
        return .number(try number())
    }

    private mutating func list<Item>(
        until end: String,
        _ item: (inout JSONReader) throws(TestFailure) -> Item
    ) throws(TestFailure) -> [Item] {
        skipSpace()
        var items: [Item] = []
        if take(end) { return items }
        while true {
            items.append(try item(&self))
            skipSpace()
            if take(end) { return items }
            guard take(",") else { throw failure("a comma or \(end)") }
        }
    }

    private mutating func number() throws(TestFailure) -> Double {
        let digits = bytes[position...].prefix { "+-.eE0123456789".utf8.contains($0) }
        guard let number = Double(String(decoding: digits, as: UTF8.self)) else {
            throw failure("a value")
        }
        position += digits.count
        return number
    }

    private mutating func string() throws(TestFailure) -> String {
        guard take("\"") else { throw failure("a string") }
        var text: [UInt8] = []
        while let byte = next {
            position += 1
            if byte == UInt8(ascii: "\"") { return String(decoding: text, as: UTF8.self) }
            guard byte == UInt8(ascii: "\\") else {
                text.append(byte)
                continue
            }
            guard let escape = next else { break }
            position += 1
            switch escape {
            case UInt8(ascii: "n"): text.append(10)
            case UInt8(ascii: "r"): text.append(13)
            case UInt8(ascii: "t"): text.append(9)
            case UInt8(ascii: "b"): text.append(8)
            case UInt8(ascii: "f"): text.append(12)
            case UInt8(ascii: "u"):
                let digits = String(decoding: bytes[position...].prefix(4), as: UTF8.self)
                guard let code = UInt32(digits, radix: 16), let scalar = Unicode.Scalar(code) else {
                    throw failure("four hexadecimal digits")
                }
                text += Array(String(scalar).utf8)
                position += 4
            default: text.append(escape)
            }
        }
        throw failure("the end of a string")
    }
}
