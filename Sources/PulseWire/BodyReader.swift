// Reading a frame's body field by field: every read is checked, and a failed one says which field.
//
//     string16: length u16, UTF-8       bytes16: length u16, bytes       bytes32: length u32, bytes

package import PulseCore

/// A cursor over one body; views keep borrowed slices of it.
package struct BodyReader {
    package var reader: ByteReader

    package init(_ body: UnsafeRawBufferPointer) { reader = ByteReader(body) }

    package func malformed(_ field: String) -> WireError {
        .malformedBody(field: field, position: reader.position)
    }

    package mutating func u8(_ field: String) throws(WireError) -> UInt8 {
        guard let value = reader.byte() else { throw malformed(field) }
        return value
    }

    package mutating func u16(_ field: String) throws(WireError) -> UInt16 {
        guard let value: UInt16 = reader.littleEndian() else { throw malformed(field) }
        return value
    }

    package mutating func u32(_ field: String) throws(WireError) -> UInt32 {
        guard let value: UInt32 = reader.littleEndian() else { throw malformed(field) }
        return value
    }

    package mutating func u64(_ field: String) throws(WireError) -> UInt64 {
        guard let value: UInt64 = reader.littleEndian() else { throw malformed(field) }
        return value
    }

    package mutating func i64(_ field: String) throws(WireError) -> Int64 {
        guard let value: Int64 = reader.littleEndian() else { throw malformed(field) }
        return value
    }

    package mutating func string16(_ field: String) throws(WireError) -> String {
        guard let value = reader.string16() else { throw malformed(field) }
        return value
    }

    package mutating func bytes16(_ field: String) throws(WireError) -> UnsafeRawBufferPointer {
        try take(Int(try u16(field)), field)
    }

    package mutating func bytes32(_ field: String) throws(WireError) -> UnsafeRawBufferPointer {
        try take(Int(try u32(field)), field)
    }

    package mutating func string32(_ field: String) throws(WireError) -> String {
        let start = reader.position
        let bytes = try bytes32(field)
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw .malformedBody(field: field, position: start)
        }
        return text
    }

    /// 16 bytes in the order of the written UUID.
    package mutating func notificationID(_ field: String) throws(WireError) -> NotificationID {
        guard reader.remaining >= 16, let high: UInt64 = reader.bigEndian(),
            let low: UInt64 = reader.bigEndian()
        else { throw malformed(field) }
        return NotificationID(high: high, low: low)
    }

    package mutating func lane(_ field: String) throws(WireError) -> Lane {
        guard let byte = reader.byte(), let lane = Lane(rawValue: byte) else {
            throw malformed(field)
        }
        return lane
    }

    package mutating func take(
        _ count: Int,
        _ field: String
    ) throws(WireError) -> UnsafeRawBufferPointer {
        guard let bytes = reader.take(count) else { throw malformed(field) }
        return bytes
    }

    package mutating func rest() -> UnsafeRawBufferPointer {
        let bytes = UnsafeRawBufferPointer(rebasing: reader.bytes[reader.position...])
        reader.position = reader.bytes.count
        return bytes
    }

    /// The body ends here.
    package func end() throws(WireError) {
        guard reader.isAtEnd else {
            throw .trailingBytes(count: reader.remaining, position: reader.position)
        }
    }
}

extension [UInt8] {
    package mutating func append(_ id: NotificationID) {
        append(bigEndian: id.high)
        append(bigEndian: id.low)
    }

    package mutating func append(bytes16 bytes: UnsafeRawBufferPointer) {
        precondition(bytes.count <= Int(UInt16.max), "the caller checks a key's length")
        append(littleEndian: UInt16(bytes.count))
        append(contentsOf: bytes)
    }

    package mutating func append(bytes32 bytes: UnsafeRawBufferPointer) {
        append(littleEndian: UInt32(bytes.count))
        append(contentsOf: bytes)
    }

    package mutating func append(string32 text: String) {
        var text = text
        text.withUTF8 { append(bytes32: UnsafeRawBufferPointer($0)) }
    }

    /// A string16 meant for people: cut, at a character, to ``WireText/messageBytesMax``.
    package mutating func append(message16 text: String) {
        if text.utf8.count <= WireText.messageBytesMax {
            append(string16: text)
        } else {
            append(string16: WireText.cut(text, to: WireText.messageBytesMax))
        }
    }
}

package enum WireText {
    /// Bytes of a sentence in a reply; longer ones are cut, so that a thousand refusals fit a
    /// frame.
    package static let messageBytesMax = 512

    package static func cut(_ text: String, to count: Int) -> String {
        var end = text.startIndex
        var bytes = 0
        while end < text.endIndex {
            let next = text.unicodeScalars.index(after: end)
            bytes += text.utf8.distance(from: end, to: next)
            if bytes > count { break }
            end = next
        }
        return String(text[..<end])
    }
}
