// A gap: the entry that a repair writes where entries were lost, so that the hole is seen by all who read
// on over it. It stands exactly where the lost bytes were, and says where and with which chain the log goes
// on; what it knows of the loss is in its body, as far as there is room.
//
//     header     as of any entry; base offset: where the log goes on; stream: the chain it goes on with
//     body       0 reason u8, zero u8    2 losses u16    4 wall of the repair i64
//                12 losses, 21 bytes each: stream u32, first offset i64, next offset i64, exact u8
//                then the name of the file the bytes were in, string16; an empty body says nothing
//
// Source: spec/03-storage.md, "Gap".

package import PulseCore

extension Gap.Loss: CustomStringConvertible {
    package var description: String {
        guard stream != .none else {
            return "the newest of any stream, of each \(next.rawValue - first.rawValue) at most"
        }
        return "stream \(stream.rawValue) offsets \(first.rawValue) to \(next.rawValue - 1)"
            + (isExact ? "" : " at most")
    }
}

/// A hole in the log that somebody has accepted.
package struct Gap: Hashable, Sendable {
    package enum Reason: UInt8, Sendable {
        case damagedBytes = 1
        case missingFile = 2
    }

    /// Offsets of a stream that a gap has swallowed.
    package struct Loss: Hashable, Sendable {
        package static let bytes = 21

        /// ``StreamID/none`` for all streams: as many offsets of each as lie between `first` and `next` may
        /// have been given away behind the newest that is known.
        package var stream: StreamID
        package var first: Offset
        package var next: Offset
        /// What lies before and after says that exactly these are lost. Otherwise they are offsets that
        /// may have been given away and must not be given again.
        package var isExact: Bool

        package init(stream: StreamID, first: Offset, next: Offset, isExact: Bool) {
            self.stream = stream
            self.first = first
            self.next = next
            self.isExact = isExact
        }
    }

    package var position: LogPosition
    /// Where the log goes on.
    package var to: LogPosition
    package var reason: Reason?
    package var repairedAt: WallTimestamp?
    package var losses: [Loss] = []
    package var file = ""

    private static let fixedBytes = 12

    /// Losses that fit into a gap over `bytes` lost bytes.
    package static func lossesMax(over bytes: Int) -> Int {
        let room = min(bytes - EntryHeader.bytes, Limits.entryBodyBytesMax) - fixedBytes
        return min(max(0, room / Loss.bytes), Int(UInt16.max))
    }

    /// Reads a gap; nil when the body is none.
    package init?(_ header: EntryHeader, _ body: UnsafeRawBufferPointer) {
        guard header.kind == .gap else { return nil }
        position = header.position
        to = header.endPosition
        guard !body.isEmpty else { return }
        var reader = ByteReader(body)
        guard let reason = reader.byte().flatMap(Reason.init(rawValue:)), reader.byte() == 0,
            let count: UInt16 = reader.littleEndian(), let wall: Int64 = reader.littleEndian()
        else { return nil }
        self.reason = reason
        repairedAt = WallTimestamp(milliseconds: wall)
        for _ in 0..<count {
            guard let stream: UInt32 = reader.littleEndian(),
                let first: Int64 = reader.littleEndian(), let next: Int64 = reader.littleEndian(),
                let exact = reader.byte(), first >= 0, first <= next
            else { return nil }
            losses.append(
                Loss(
                    stream: StreamID(rawValue: stream),
                    first: Offset(first),
                    next: Offset(next),
                    isExact: exact == 1
                )
            )
        }
        if !reader.isAtEnd { file = reader.string16() ?? "" }
    }

    init(position: LogPosition, to: LogPosition, reason: Reason, file: String) {
        self.position = position
        self.to = to
        self.reason = reason
        self.file = file
    }

    /// The body, no longer than `room` bytes.
    func body(room: Int, at wall: WallTimestamp) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.append((reason ?? .damagedBytes).rawValue)
        bytes.append(0)
        bytes.append(littleEndian: UInt16(losses.count))
        bytes.append(littleEndian: wall.milliseconds)
        for loss in losses {
            bytes.append(littleEndian: loss.stream.rawValue)
            bytes.append(littleEndian: loss.first.rawValue)
            bytes.append(littleEndian: loss.next.rawValue)
            bytes.append(loss.isExact ? 1 : 0)
        }
        precondition(bytes.count <= room || losses.isEmpty, "losses are placed where they fit")
        guard bytes.count <= room else { return [] }
        if bytes.count + 2 + file.utf8.count <= room { bytes.append(string16: file) }
        return bytes
    }
}

extension EntryHeader {
    /// Bytes of the entry itself; after a gap the log may go on further behind.
    var storedBytes: Int { Self.bytes + Self.padded(bodyLength) }

    /// The chain of the entry that follows.
    func nextChain(_ checksums: LogChecksums) -> UInt32 {
        kind == .gap
            ? stream.rawValue
            : checksums.chain(after: chain, headerCRC: headerCRC, bodyCRC: bodyCRC)
    }
}
