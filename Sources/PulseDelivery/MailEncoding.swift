// The encodings of mail: RFC 2047 for header text, quoted-printable and base64 (RFC 2045) for
// bodies. Everything that leaves here is ASCII in short lines with CRLF ends, whatever came in.

enum MailEncoding {
    private static let crlf: [UInt8] = [13, 10]

    /// Header text: as it is when short, printable ASCII that no reader could take for an encoded
    /// word; else one or more encoded words, folded. `room` is what is left of its first line.
    static func headerText(_ text: String, room: Int) -> [UInt8] {
        let plain = Array(text.utf8)
        let isPlain = plain.allSatisfy { (0x20...0x7E).contains($0) }
        if isPlain, plain.count <= room, plain.first != 0x20, plain.last != 0x20,
            !text.contains("=?")
        {
            return plain
        }
        // 39 bytes make 52 characters of base64, 64 with the frame: with a header's name in front
        // it still is below the 76 of RFC 2047. Words are cut between characters, as it demands.
        var words: [[UInt8]] = []
        var chunk: [UInt8] = []
        for scalar in text.unicodeScalars {
            let encoded = Array(String(scalar).utf8)
            if chunk.count + encoded.count > 39 {
                words.append(chunk)
                chunk = []
            }
            chunk += encoded
        }
        words.append(chunk)
        var result: [UInt8] = []
        for (index, word) in words.enumerated() {
            if index > 0 { result += crlf + [0x20] }
            result += Array("=?UTF-8?B?".utf8) + base64(word) + Array("?=".utf8)
        }
        return result
    }

    /// A text body, encoded the shorter way. Line ends of every kind become CRLF first.
    static func body(_ text: String) -> (encoding: String, bytes: [UInt8]) {
        let lines = lines(of: text)
        var plain = 0
        var special = 0
        for byte in lines.joined() {
            if isPrintable(byte) { plain += 1 } else { special += 1 }
        }
        // Quoted-printable takes 3 bytes for a special one, base64 4 for every 3.
        if 3 * special + plain <= (plain + special) * 4 / 3 + 64 {
            return ("quoted-printable", quotedPrintable(lines))
        }
        let bytes = Array(lines.joined(separator: crlf))
        var result: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: 57) {
            result += base64(Array(bytes[start..<min(start + 57, bytes.count)])) + crlf
        }
        return ("base64", result)
    }

    /// The lines of a text without their ends. CRLF, a lone CR and a lone LF all end one.
    private static func lines(of text: String) -> [[UInt8]] {
        var lines: [[UInt8]] = []
        var line: [UInt8] = []
        var previous: UInt8 = 0
        for byte in text.utf8 {
            switch byte {
            case 13, 10:
                if !(byte == 10 && previous == 13) {
                    lines.append(line)
                    line = []
                }
            default: line.append(byte)
            }
            previous = byte
        }
        lines.append(line)
        // A text that ends in a line end has no further, empty line.
        if lines.count > 1, lines.last == [] { lines.removeLast() }
        return lines
    }

    private static func isPrintable(_ byte: UInt8) -> Bool {
        (0x20...0x7E).contains(byte) && byte != UInt8(ascii: "=") || byte == 9
    }

    /// Lines of at most 76 characters; blanks at a line's end are encoded, so that nobody trims
    /// them.
    private static func quotedPrintable(_ lines: [[UInt8]]) -> [UInt8] {
        let hex = Array("0123456789ABCDEF".utf8)
        var result: [UInt8] = []
        for line in lines {
            var width = 0
            for (index, byte) in line.enumerated() {
                let isBlankAtEnd = index == line.count - 1 && (byte == 0x20 || byte == 9)
                let encodes = !isPrintable(byte) || isBlankAtEnd
                if width + (encodes ? 3 : 1) > 75 {
                    result += [UInt8(ascii: "=")] + crlf
                    width = 0
                }
                if encodes {
                    result += [UInt8(ascii: "="), hex[Int(byte >> 4)], hex[Int(byte & 15)]]
                    width += 3
                } else {
                    result.append(byte)
                    width += 1
                }
            }
            result += crlf
        }
        return result
    }

    private static let base64Alphabet = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8
    )

    static func base64(_ bytes: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity((bytes.count + 2) / 3 * 4)
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let count = min(3, bytes.count - start)
            var group: UInt32 = 0
            for offset in 0..<3 {
                group = group << 8 | (offset < count ? UInt32(bytes[start + offset]) : 0)
            }
            for position in 0..<4 {
                result.append(
                    position <= count
                        ? base64Alphabet[Int(group >> UInt32(18 - 6 * position) & 63)]
                        : UInt8(ascii: "=")
                )
            }
        }
        return result
    }
}
