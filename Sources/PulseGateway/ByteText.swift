// Looking at request bytes without turning them into strings.

import PulseCore

extension UnsafeRawBufferPointer {
    /// `text` is ASCII; with `ignoringCase` it is given in lower case.
    func equals(_ text: StaticString, ignoringCase: Bool = false) -> Bool {
        guard count == text.utf8CodeUnitCount else { return false }
        for index in 0..<count {
            let byte = ignoringCase ? self[index].lowercased : self[index]
            guard byte == text.utf8Start[index] else { return false }
        }
        return true
    }

    /// The rest after `prefix`, or nil when it is not one.
    func dropping(prefix: StaticString) -> UnsafeRawBufferPointer? {
        let length = prefix.utf8CodeUnitCount
        guard count >= length, slice(0, length).equals(prefix) else { return nil }
        return slice(length, count)
    }

    func slice(_ start: Int, _ end: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: self[start..<end])
    }

    /// What is before and after the first `byte`; `after` is nil when there is none.
    func split(at byte: UInt8) -> (before: UnsafeRawBufferPointer, after: UnsafeRawBufferPointer?) {
        guard let index = firstIndex(of: byte) else { return (self, nil) }
        return (slice(0, index), slice(index + 1, count))
    }

    /// Without spaces and tabs around it.
    var trimmed: UnsafeRawBufferPointer {
        var start = 0
        var end = count
        while start < end, self[start] == 0x20 || self[start] == 0x09 { start += 1 }
        while end > start, self[end - 1] == 0x20 || self[end - 1] == 0x09 { end -= 1 }
        return slice(start, end)
    }

    /// The text with percent escapes undone; nil when an escape is broken, or the result is not
    /// UTF-8 or holds a control character.
    ///
    /// - Parameter plusIsSpace: True in queries.
    func percentDecoded(plusIsSpace: Bool) -> String? {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        var index = 0
        while index < count {
            var byte = self[index]
            if byte == UInt8(ascii: "%") {
                guard index + 2 < count, let high = self[index + 1].hexValue,
                    let low = self[index + 2].hexValue
                else { return nil }
                byte = high << 4 | low
                index += 2
            } else if plusIsSpace, byte == UInt8(ascii: "+") {
                byte = 0x20
            }
            guard byte >= 0x20, byte != 0x7F else { return nil }
            bytes.append(byte)
            index += 1
        }
        return String(validating: bytes, as: UTF8.self)
    }

    /// Whether a byte below space, or DEL, is in it.
    var hasControl: Bool { contains { $0 < 0x20 || $0 == 0x7F } }
}

extension UInt8 {
    var lowercased: UInt8 { (65...90).contains(self) ? self + 32 : self }

    var hexValue: UInt8? {
        switch self {
        case 48...57: self - 48
        case 97...102: self - 87
        case 65...70: self - 55
        default: nil
        }
    }
}
