// What a service hands in, as bytes: the value of a notification's record. A flat list of tagged
// fields, so that it is written once, at the door, and read in place ever after.
//
//      +-----+----------------+-------------------+
//      | tag | length, varint | that many bytes   |   repeated; order free, unknown tags skipped
//      +-----+----------------+-------------------+
//
// Source: spec/02-wire.md, "Notification envelope".

/// The fields an envelope may carry. Numbers are stable; a new field takes a new number.
package enum EnvelopeField: UInt8, Sendable {
    /// Whose notification it is: the key of every rule about a recipient.
    case user = 1
    /// Where it goes: an e-mail address, phone number, push token or URL, by channel.
    case address = 2
    case template = 4
    case subject = 5
    case text = 6
    case html = 7
    /// Push title of system 000's API.
    case title = 8
    /// Device token of system 000's API.
    case deviceToken = 9
    case idempotencyKey = 10
    /// One template variable: name length (varint), name, value. Repeats.
    case datum = 11
    /// Not before this wall time: Int64 milliseconds, little-endian.
    case deliverAt = 12
    /// The lane the request asked for, one byte; absent when the broker chooses.
    case requestedLane = 13
    /// Which API took it in, one byte (``EnvelopeOrigin``): an idempotency conflict differs between them.
    case origin = 14
}

/// Which door a notification came through.
package enum EnvelopeOrigin: UInt8, Sendable {
    case v1 = 1
    /// The paths and shapes of system 000.
    case compatible = 2
    case native = 3
}

/// Builds an envelope by appending fields.
package struct EnvelopeWriter: Sendable {
    package private(set) var bytes: [UInt8]

    package init() {
        bytes = []
        bytes.reserveCapacity(256)
    }

    package mutating func append(_ field: EnvelopeField, _ value: UnsafeRawBufferPointer) {
        bytes.append(field.rawValue)
        bytes.append(varint: UInt64(value.count))
        bytes.append(contentsOf: value)
    }

    package mutating func append(_ field: EnvelopeField, _ value: String) {
        var value = value
        value.withUTF8 { append(field, UnsafeRawBufferPointer($0)) }
    }

    package mutating func append(_ field: EnvelopeField, byte: UInt8) {
        bytes.append(field.rawValue)
        bytes.append(1)
        bytes.append(byte)
    }

    package mutating func append(deliverAt time: WallTimestamp) {
        bytes.append(EnvelopeField.deliverAt.rawValue)
        bytes.append(8)
        bytes.append(littleEndian: time.milliseconds)
    }

    package mutating func append(
        datum name: UnsafeRawBufferPointer,
        _ value: UnsafeRawBufferPointer
    ) {
        bytes.append(EnvelopeField.datum.rawValue)
        var nameLength: [UInt8] = []
        nameLength.append(varint: UInt64(name.count))
        bytes.append(varint: UInt64(nameLength.count + name.count + value.count))
        bytes.append(contentsOf: nameLength)
        bytes.append(contentsOf: name)
        bytes.append(contentsOf: value)
    }

    package mutating func append(datum name: String, _ value: String) {
        var name = name
        var value = value
        name.withUTF8 { nameBytes in
            value.withUTF8 { valueBytes in
                append(
                    datum: UnsafeRawBufferPointer(nameBytes),
                    UnsafeRawBufferPointer(valueBytes)
                )
            }
        }
    }
}

/// A read-only view of an envelope's fields, borrowed from the bytes it was parsed from.
package struct Envelope {
    package typealias Bytes = UnsafeRawBufferPointer

    package private(set) var user: Bytes?
    package private(set) var address: Bytes?
    package private(set) var template: Bytes?
    package private(set) var subject: Bytes?
    package private(set) var text: Bytes?
    package private(set) var html: Bytes?
    package private(set) var title: Bytes?
    package private(set) var deviceToken: Bytes?
    package private(set) var idempotencyKey: Bytes?
    package private(set) var deliverAt: WallTimestamp?
    package private(set) var requestedLane: Lane?
    package private(set) var origin: EnvelopeOrigin?
    package private(set) var data: [(name: Bytes, value: Bytes)] = []

    /// Reads all fields; nil when the bytes are not a well-formed envelope: a length past the end, a
    /// field twice, a fixed-size field of another size, or text that is not UTF-8.
    package init?(_ bytes: Bytes) {
        var reader = ByteReader(bytes)
        while !reader.isAtEnd {
            guard let tag = reader.byte(), let length = reader.varint(),
                length <= UInt64(Int32.max), let value = reader.take(Int(length))
            else { return nil }
            guard let field = EnvelopeField(rawValue: tag) else { continue }
            guard store(field, value) else { return nil }
        }
    }

    /// The `deliverAt` field alone, without reading the rest: a cheap look at every record.
    package static func deliverAt(in bytes: Bytes) -> WallTimestamp? {
        guard let value = first(.deliverAt, in: bytes), value.count == 8 else { return nil }
        var field = ByteReader(value)
        return field.littleEndian(Int64.self).map { WallTimestamp(milliseconds: $0) }
    }

    /// The `idempotencyKey` field alone.
    package static func idempotencyKey(in bytes: Bytes) -> Bytes? {
        first(.idempotencyKey, in: bytes)
    }

    private static func first(_ field: EnvelopeField, in bytes: Bytes) -> Bytes? {
        var reader = ByteReader(bytes)
        while let tag = reader.byte(), let length = reader.varint(), length <= UInt64(Int32.max),
            let value = reader.take(Int(length))
        {
            if tag == field.rawValue { return value }
        }
        return nil
    }

    private mutating func store(_ field: EnvelopeField, _ value: Bytes) -> Bool {
        func text(_ slot: inout Bytes?) -> Bool {
            guard slot == nil, Self.isUTF8(value) else { return false }
            slot = value
            return true
        }
        switch field {
        case .user: return text(&user)
        case .address: return text(&address)
        case .template: return text(&template)
        case .subject: return text(&subject)
        case .text: return text(&self.text)
        case .html: return text(&html)
        case .title: return text(&title)
        case .deviceToken: return text(&deviceToken)
        case .idempotencyKey: return text(&idempotencyKey)
        case .datum:
            var reader = ByteReader(value)
            guard let count = reader.varint(), count <= UInt64(value.count),
                let name = reader.take(Int(count)), let rest = reader.take(reader.remaining),
                Self.isUTF8(name), Self.isUTF8(rest)
            else { return false }
            data.append((name, rest))
            return true
        case .deliverAt:
            var reader = ByteReader(value)
            guard deliverAt == nil, value.count == 8,
                let milliseconds: Int64 = reader.littleEndian()
            else { return false }
            deliverAt = WallTimestamp(milliseconds: milliseconds)
            return true
        case .requestedLane:
            guard requestedLane == nil, value.count == 1, let lane = Lane(rawValue: value[0]),
                lane != .dead
            else { return false }
            requestedLane = lane
            return true
        case .origin:
            guard origin == nil, value.count == 1, let from = EnvelopeOrigin(rawValue: value[0])
            else { return false }
            origin = from
            return true
        }
    }

    private static func isUTF8(_ bytes: Bytes) -> Bool {
        // Most text is ASCII; a quick pass saves the validating decode.
        if bytes.allSatisfy({ $0 < 0x80 }) { return true }
        return String(validating: bytes, as: UTF8.self) != nil
    }
}

extension UnsafeRawBufferPointer {
    /// The bytes as text; they are known to be UTF-8 wherever this is called.
    package var text: String { String(decoding: self, as: UTF8.self) }
}
