// A notification's name, which is also its place: from the identifier alone one finds the record.

/// 128 bits, written as a version-8 UUID (RFC 9562) so that clients which expect a UUID are content.
///
///      bits  127       80 79  76 75    64 63 62 61  58 57      48 47        0
///           +------------+------+--------+-----+------+----------+-----------+
///           |   offset   | 0x8  | topic  | 0b10| lane | partition|   check   |
///           |     48     |   4  |   12   |  2  |  4   |    10    |    48     |
///           +------------+------+--------+-----+------+----------+-----------+
///
/// `check` is a keyed hash of the other fields, so that an identifier cannot be guessed from its
/// neighbour and one from another data directory is "not found", never somebody else's message.
package struct NotificationID: Hashable, Sendable {
    package var high: UInt64
    package var low: UInt64

    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// Whether a place has a name: 48 bits of offset, topics below 4,096 and partitions below 1,024.
    package static func names(_ stream: StreamID, _ offset: Offset) -> Bool {
        offset.rawValue >= 0 && offset.rawValue < 1 << 48
            && stream.topic.rawValue < 1 << 12 && stream.partition.rawValue < 1 << 10
    }

    /// Names a record's place. `key` is the data directory's secret.
    package init(stream: StreamID, offset: Offset, key: UInt64) {
        precondition(Self.names(stream, offset), "only a place in the log has a name")
        let lane = UInt64(stream.rawValue & 0xF)
        high = UInt64(offset.rawValue) << 16 | 0x8 << 12 | UInt64(stream.topic.rawValue)
        low = 0b10 << 62 | lane << 58 | UInt64(stream.partition.rawValue) << 48
        low |= Self.check(high: high, low: low, key: key)
    }

    /// The place this identifier names, or nil when it was not made with `key`.
    package func place(key: UInt64) -> (stream: StreamID, offset: Offset)? {
        guard high >> 12 & 0xF == 0x8, low >> 62 == 0b10 else { return nil }
        let bare = low & ~0xFFFF_FFFF_FFFF
        guard Self.check(high: high, low: bare, key: key) == low & 0xFFFF_FFFF_FFFF,
            let lane = Lane(rawValue: UInt8(low >> 58 & 0xF))
        else { return nil }
        let stream = StreamID(
            topic: TopicID(UInt16(high & 0xFFF)),
            partition: PartitionID(UInt16(low >> 48 & 0x3FF)),
            lane: lane
        )
        return (stream, Offset(Int64(high >> 16)))
    }

    private static func check(high: UInt64, low: UInt64, key: UInt64) -> UInt64 {
        withUnsafeBytes(of: (high.littleEndian, low.littleEndian)) {
            XXH3.hash($0, seed: key) & 0xFFFF_FFFF_FFFF
        }
    }
}

extension NotificationID: CustomStringConvertible {
    /// `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`, lower case.
    package var description: String {
        var text: [UInt8] = []
        text.reserveCapacity(36)
        append(to: &text)
        return String(decoding: text, as: UTF8.self)
    }

    /// Appends the 36 characters of `description`.
    package func append(to bytes: inout [UInt8]) {
        for index in 0..<32 {
            if index == 8 || index == 12 || index == 16 || index == 20 { bytes.append(45) }
            let word = index < 16 ? high : low
            let nibble = UInt8(word >> UInt64(60 - 4 * (index & 15)) & 0xF)
            bytes.append(nibble < 10 ? 48 + nibble : 87 + nibble)
        }
    }

    /// Reads the 36-character form, either case; nil when the text is anything else.
    package init?(_ text: some StringProtocol) {
        var high: UInt64 = 0
        var low: UInt64 = 0
        var digits = 0
        var index = 0
        for byte in text.utf8 {
            if index == 8 || index == 13 || index == 18 || index == 23 {
                guard byte == 45 else { return nil }
            } else {
                let value: UInt8
                switch byte {
                case 48...57: value = byte - 48
                case 97...102: value = byte - 87
                case 65...70: value = byte - 55
                default: return nil
                }
                guard digits < 32 else { return nil }
                if digits < 16 {
                    high = high << 4 | UInt64(value)
                } else {
                    low = low << 4 | UInt64(value)
                }
                digits += 1
            }
            index += 1
        }
        guard digits == 32, index == 36 else { return nil }
        self.init(high: high, low: low)
    }
}
