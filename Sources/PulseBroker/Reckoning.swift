// What the first start after a repair writes into the log: where every stream goes on, and how much was
// accepted, by all that was known then. From there on the log says so by itself, whatever becomes of the
// state store; and every fold of it settles its counts at this place.
//
//      accepted    u8 channels, u64 each
//      streams     u32 count, then each: stream u32, gap u64, lost from i64, end i64, next i64
//
// Source: spec/03-storage.md, "Gap" and "Commands".

package import PulseCore

package struct Reckoning: Hashable, Sendable {
    /// Where a stream stood, and where it goes on.
    package struct Stream: Hashable, Sendable {
        package var stream: StreamID
        /// The gap that swallowed what is lost at its end; zero when nothing is.
        package var gap: LogPosition
        /// From here to `end` records were known, of which neither the log nor a gap tells any more.
        package var lostFrom: Offset
        package var end: Offset
        /// From `end` to here offsets are left out: they may have been given away.
        package var next: Offset

        package init(
            stream: StreamID,
            gap: LogPosition,
            lostFrom: Offset,
            end: Offset,
            next: Offset
        ) {
            self.stream = stream
            self.gap = gap
            self.lostFrom = lostFrom
            self.end = end
            self.next = next
        }

        /// Whether the numbers follow one another.
        var isOrdered: Bool { lostFrom >= Offset(0) && lostFrom <= end && end <= next }
    }

    /// By channel, in the order of `Channel.allCases`.
    package var accepted: [UInt64]
    package var streams: [Stream]

    package init(accepted: [UInt64], streams: [Stream]) {
        self.accepted = accepted
        self.streams = streams
    }

    func append(to bytes: inout [UInt8]) {
        bytes.append(UInt8(accepted.count))
        for count in accepted { bytes.append(littleEndian: count) }
        bytes.append(littleEndian: UInt32(streams.count))
        for stream in streams {
            bytes.append(littleEndian: stream.stream.rawValue)
            bytes.append(littleEndian: stream.gap.rawValue)
            bytes.append(littleEndian: stream.lostFrom.rawValue)
            bytes.append(littleEndian: stream.end.rawValue)
            bytes.append(littleEndian: stream.next.rawValue)
        }
    }

    init?(_ reader: inout ByteReader) {
        guard let channels = reader.byte() else { return nil }
        self.init(accepted: [], streams: [])
        for _ in 0..<channels {
            guard let count: UInt64 = reader.littleEndian() else { return nil }
            accepted.append(count)
        }
        guard let count: UInt32 = reader.littleEndian(), Int(count) * 36 == reader.remaining else {
            return nil
        }
        for _ in 0..<count {
            guard let stream: UInt32 = reader.littleEndian(),
                let gap: UInt64 = reader.littleEndian(),
                let lostFrom: Int64 = reader.littleEndian(), let end: Int64 = reader.littleEndian(),
                let next: Int64 = reader.littleEndian()
            else { return nil }
            let read = Stream(
                stream: StreamID(rawValue: stream),
                gap: LogPosition(gap),
                lostFrom: Offset(lostFrom),
                end: Offset(end),
                next: Offset(next)
            )
            guard read.isOrdered else { return nil }
            streams.append(read)
        }
    }
}
