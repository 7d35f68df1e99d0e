// The segment book as bytes: part of the checkpoint. Source: spec/03-storage.md, "State".

package import PulseCore

extension SegmentBook {
    /// Equal books give equal bytes.
    package func append(to bytes: inout [UInt8]) {
        bytes.append(littleEndian: UInt32(segmentBytes))
        bytes.append(littleEndian: releasedBelow)
        bytes.append(littleEndian: releasedAt.rawValue)
        bytes.append(littleEndian: keptRecords)
        bytes.append(littleEndian: keptBytes)
        bytes.append(littleEndian: evacuated)
        bytes.append(littleEndian: UInt32(revisions.count))
        for (position, uses) in revisions {
            bytes.append(littleEndian: position)
            bytes.append(littleEndian: uses)
        }
        bytes.append(littleEndian: UInt32(segments.count))
        for segment in segments {
            bytes.append(littleEndian: segment.number)
            bytes.append(littleEndian: UInt64(segment.bytes))
            bytes.append(littleEndian: segment.topics)
            bytes.append(littleEndian: segment.latestEnd.milliseconds)
        }
        bytes.append(littleEndian: UInt32(streams.count))
        for book in streams {
            bytes.append(littleEndian: book.stream.rawValue)
            bytes.append(littleEndian: book.keptBelow.rawValue)
            bytes.append(littleEndian: UInt32(book.extents.count))
            for extent in book.extents {
                bytes.append(littleEndian: extent.segment)
                bytes.append(littleEndian: extent.first.rawValue)
                bytes.append(littleEndian: UInt32(extent.records))
                bytes.append(littleEndian: UInt64(extent.bytes))
                bytes.append(littleEndian: UInt64(extent.open))
                bytes.append(littleEndian: UInt64(extent.waiting))
            }
        }
    }

    /// Reads what ``append(to:)`` wrote; nil when the bytes are anything else.
    package init?(_ reader: inout ByteReader) {
        guard let segmentBytes: UInt32 = reader.littleEndian() else { return nil }
        self.init(segmentBytes: Int(segmentBytes))
        guard segmentBytes > 0, let below: UInt64 = reader.littleEndian(),
            let at: UInt64 = reader.littleEndian(),
            let keptRecords: UInt64 = reader.littleEndian(),
            let keptBytes: UInt64 = reader.littleEndian(),
            let evacuated: UInt64 = reader.littleEndian(),
            let revisionCount: UInt32 = reader.littleEndian()
        else { return nil }
        releasedBelow = below
        releasedAt = LogPosition(at)
        self.keptRecords = keptRecords
        self.keptBytes = keptBytes
        self.evacuated = evacuated
        for _ in 0..<revisionCount {
            guard let position: UInt64 = reader.littleEndian(),
                let uses: UInt32 = reader.littleEndian()
            else { return nil }
            guard uses > 0, position > revisions.last?.position ?? 0 else { return nil }
            revisions.append((position, uses))
        }
        guard let segmentCount: UInt32 = reader.littleEndian() else { return nil }
        for _ in 0..<segmentCount {
            guard let number: UInt64 = reader.littleEndian(),
                let bytes: UInt64 = reader.littleEndian(),
                let topics: UInt64 = reader.littleEndian(),
                let latestEnd: Int64 = reader.littleEndian(), bytes <= UInt64(Int.max),
                segments.last.map({ $0.number < number }) ?? true
            else { return nil }
            segments.append(
                SegmentAccount(
                    number: number,
                    bytes: Int(clamping: bytes),
                    topics: topics,
                    latestEnd: WallTimestamp(milliseconds: latestEnd)
                )
            )
        }
        guard let streamCount: UInt32 = reader.littleEndian() else { return nil }
        for _ in 0..<streamCount {
            guard let stream: UInt32 = reader.littleEndian(),
                let keptBelow: Int64 = reader.littleEndian(),
                let extentCount: UInt32 = reader.littleEndian(),
                book(of: StreamID(rawValue: stream)) == nil
            else { return nil }
            let place = place(of: StreamID(rawValue: stream))
            streams[place].keptBelow = Offset(keptBelow)
            for _ in 0..<extentCount {
                guard let extent = Extent(&reader),
                    streams[place].extents.last.map({ $0.isBefore(extent) }) ?? true
                else { return nil }
                streams[place].extents.append(extent)
            }
        }
    }
}

extension Extent {
    fileprivate func isBefore(_ next: Extent) -> Bool {
        segment < next.segment && end <= next.first
    }

    fileprivate init?(_ reader: inout ByteReader) {
        guard let segment: UInt64 = reader.littleEndian(), let first: Int64 = reader.littleEndian(),
            let records: UInt32 = reader.littleEndian(),
            let bytes: UInt64 = reader.littleEndian(), let open: UInt64 = reader.littleEndian(),
            let waiting: UInt64 = reader.littleEndian(), waiting <= open,
            open <= UInt64(Int.max) / 2, bytes <= UInt64(Int.max) / 2,
            first >= 0, first < Int64.max / 2
        else { return nil }
        self.init(
            segment: segment,
            first: Offset(first),
            records: Int(records),
            bytes: Int(clamping: bytes),
            open: Int(clamping: open),
            waiting: Int(clamping: waiting)
        )
    }
}
