// A small mail reader for tests: unfolds headers, decodes encoded words and bodies. Written from
// the RFCs, apart from the encoder, so that the two can disagree.

struct ReadMail {
    var headers: [(name: String, value: String)] = []
    var body = ""
    var parts: [ReadMail] = []
    /// What a strict receiver would complain about.
    var complaints: [String] = []

    init(_ bytes: [UInt8]) {
        var lines: [String] = []
        var complaints: [String] = []
        var line: [UInt8] = []
        var index = 0
        while index < bytes.count {
            if bytes[index] == 13, index + 1 < bytes.count, bytes[index + 1] == 10 {
                lines.append(String(decoding: line, as: UTF8.self))
                line = []
                index += 2
                continue
            }
            if bytes[index] == 13 || bytes[index] == 10 { complaints.append("bare CR or LF") }
            if bytes[index] >= 0x80 || bytes[index] == 0 { complaints.append("not ASCII") }
            line.append(bytes[index])
            index += 1
        }
        if !line.isEmpty { complaints.append("last line has no end") }
        if lines.contains(where: { $0.utf8.count > 78 }) { complaints.append("line over 78") }
        self.init(lines: lines[...], complaints: complaints)
    }

    private init(lines: ArraySlice<String>, complaints: [String] = []) {
        self.complaints = complaints
        let end = lines.firstIndex(of: "") ?? lines.endIndex
        for line in lines[..<end] {
            if line.hasPrefix(" ") || line.hasPrefix("\t"), !headers.isEmpty {
                headers[headers.count - 1].value += line
            } else if let colon = line.firstIndex(of: ":") {
                headers.append(
                    (
                        String(line[..<colon]).lowercased(),
                        String(line[line.index(after: colon)...].drop { $0 == " " })
                    )
                )
            } else {
                self.complaints.append("not a header: \(line)")
            }
        }
        let rest = lines[min(end + 1, lines.endIndex)...]
        if let boundary = boundary {
            var current: [String]?
            for line in rest {
                if line == "--\(boundary)" || line == "--\(boundary)--" {
                    if let current {
                        // The CRLF before a boundary belongs to the boundary.
                        parts.append(ReadMail(lines: current.dropLast()[...]))
                    }
                    current = []
                    if line.hasSuffix("--") { break }
                } else {
                    current?.append(line)
                }
            }
        } else {
            body = decode(rest)
        }
    }

    func values(_ name: String) -> [String] {
        headers.filter { $0.name == name }.map { Self.decodeWords($0.value) }
    }

    private var boundary: String? {
        guard let type = headers.first(where: { $0.name == "content-type" })?.value,
            type.hasPrefix("multipart/"), let open = type.firstIndex(of: "\"")
        else { return nil }
        return String(type[type.index(after: open)...].dropLast())
    }

    private func decode(_ lines: ArraySlice<String>) -> String {
        switch headers.first(where: { $0.name == "content-transfer-encoding" })?.value {
        case "base64":
            return String(decoding: Self.base64(lines.joined()).filter { $0 != 13 }, as: UTF8.self)
        case "quoted-printable":
            var bytes: [UInt8] = []
            for line in lines {
                var rest = Array(line.utf8)[...]
                var isSoft = false
                while let byte = rest.popFirst() {
                    if byte != UInt8(ascii: "=") {
                        bytes.append(byte)
                    } else if rest.isEmpty {
                        isSoft = true
                    } else {
                        let hex = String(decoding: rest.prefix(2), as: UTF8.self)
                        bytes.append(UInt8(hex, radix: 16) ?? 0)
                        rest = rest.dropFirst(2)
                    }
                }
                if !isSoft { bytes.append(10) }
            }
            return String(decoding: bytes, as: UTF8.self)
        default: return lines.joined(separator: "\n")
        }
    }

    static func decodeWords(_ value: String) -> String {
        var bytes: [UInt8] = []
        var sawWord = false
        for word in value.split(separator: " ") {
            if word.hasPrefix("=?UTF-8?B?"), word.hasSuffix("?=") {
                // Each word must be whole characters.
                let text = base64(String(word.dropFirst(10).dropLast(2)))
                if String(validating: text, as: UTF8.self) == nil { return "broken word \(word)" }
                if word.utf8.count > 75 { return "long word \(word)" }
                if !sawWord, !bytes.isEmpty { bytes.append(32) }
                bytes += text
                sawWord = true
            } else {
                if !bytes.isEmpty { bytes.append(32) }
                bytes += Array(word.utf8)
                sawWord = false
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    static func base64(_ text: String) -> [UInt8] {
        let alphabet = Array(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8
        )
        var result: [UInt8] = []
        var bits: UInt32 = 0
        var count = 0
        for byte in text.utf8 {
            guard let value = alphabet.firstIndex(of: byte) else { continue }
            bits = bits << 6 | UInt32(value)
            count += 6
            if count >= 8 {
                count -= 8
                result.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
            }
        }
        return result
    }
}
