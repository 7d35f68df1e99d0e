// Reading and writing numbers in byte buffers. Writers append to an array; readers are bounds-checked
// and answer nil at the end, so that a parser of foreign bytes cannot trap.

extension [UInt8] {
    @inlinable package mutating func append(littleEndian value: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: value.littleEndian) { append(contentsOf: $0) }
    }

    @inlinable package mutating func append(bigEndian value: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: value.bigEndian) { append(contentsOf: $0) }
    }

    /// Overwrites bytes already written; used to fill in a length or checksum afterwards.
    @inlinable package mutating func patch(
        at index: Int,
        littleEndian value: some FixedWidthInteger
    ) {
        withUnsafeMutableBytes {
            $0.storeBytes(of: value.littleEndian, toByteOffset: index, as: type(of: value))
        }
    }

    @inlinable package mutating func patch(at index: Int, bigEndian value: some FixedWidthInteger) {
        withUnsafeMutableBytes {
            $0.storeBytes(of: value.bigEndian, toByteOffset: index, as: type(of: value))
        }
    }

    /// LEB128, 7 bits a byte, least significant first: at most 10 bytes.
    @inlinable package mutating func append(varint value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        append(UInt8(rest))
    }

    /// Zigzag, then LEB128: Kafka's signed varint.
    @inlinable package mutating func append(zigzag value: Int64) {
        append(varint: UInt64(bitPattern: (value << 1) ^ (value >> 63)))
    }

    /// A 16-bit length, then the UTF-8 bytes; the text is cut at 65,535 bytes by the caller's limits.
    package mutating func append(string16 text: String) {
        var text = text
        text.withUTF8 { utf8 in
            precondition(utf8.count <= Int(UInt16.max), "the caller checks a string16's length")
            append(littleEndian: UInt16(utf8.count))
            append(contentsOf: utf8)
        }
    }
}

/// A bounds-checked cursor over borrowed bytes.
///
/// The bytes must outlive the reader; it never allocates but for strings and arrays it returns.
/// Every read answers nil, and does not move, when too few bytes are left.
package struct ByteReader {
    package let bytes: UnsafeRawBufferPointer
    /// The next byte to read; set only to go back to where the reader has been.
    package var position: Int

    @inlinable package init(_ bytes: UnsafeRawBufferPointer, at position: Int = 0) {
        self.bytes = bytes
        self.position = position
    }

    @inlinable package var remaining: Int { bytes.count - position }
    @inlinable package var isAtEnd: Bool { position >= bytes.count }

    @inlinable package mutating func littleEndian<T: FixedWidthInteger & BitwiseCopyable>(
        _ type: T.Type = T.self
    ) -> T? {
        guard remaining >= MemoryLayout<T>.size else { return nil }
        let value = bytes.loadUnaligned(fromByteOffset: position, as: T.self)
        position += MemoryLayout<T>.size
        return T(littleEndian: value)
    }

    @inlinable package mutating func bigEndian<T: FixedWidthInteger & BitwiseCopyable>(
        _ type: T.Type = T.self
    ) -> T? {
        guard remaining >= MemoryLayout<T>.size else { return nil }
        let value = bytes.loadUnaligned(fromByteOffset: position, as: T.self)
        position += MemoryLayout<T>.size
        return T(bigEndian: value)
    }

    @inlinable package mutating func byte() -> UInt8? {
        guard position < bytes.count else { return nil }
        defer { position += 1 }
        return bytes[position]
    }

    @inlinable package mutating func varint() -> UInt64? {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        var index = position
        while index < bytes.count, shift < 64 {
            let byte = bytes[index]
            index += 1
            if shift == 63, byte > 1 { return nil }
            value |= UInt64(byte & 0x7F) << shift
            if byte & 0x80 == 0 {
                position = index
                return value
            }
            shift += 7
        }
        return nil
    }

    @inlinable package mutating func zigzag() -> Int64? {
        guard let raw = varint() else { return nil }
        return Int64(bitPattern: raw >> 1) ^ -Int64(bitPattern: raw & 1)
    }

    /// The next `count` bytes, borrowed.
    @inlinable package mutating func take(_ count: Int) -> UnsafeRawBufferPointer? {
        guard count >= 0, count <= remaining else { return nil }
        defer { position += count }
        return UnsafeRawBufferPointer(rebasing: bytes[position..<position + count])
    }

    /// A 16-bit length and that many bytes of valid UTF-8.
    @inlinable package mutating func string16() -> String? {
        let start = position
        guard let count: UInt16 = littleEndian(), let body = take(Int(count)),
            let text = String(validating: body, as: UTF8.self)
        else {
            position = start
            return nil
        }
        return text
    }
}

extension UnsafeRawBufferPointer {
    @inlinable package func starts(with other: UnsafeRawBufferPointer) -> Bool {
        count >= other.count
            && UnsafeRawBufferPointer(rebasing: self[0..<other.count]).elementsEqual(other)
    }
}
