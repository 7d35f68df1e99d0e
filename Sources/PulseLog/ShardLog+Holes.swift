// What the indexes know behind a hole, on a log that recovery found damaged. All of it looks at every
// segment: nothing of a log that is whole asks.

package import PulseCore

extension ShardLog {
    /// What of the damage found by recovery hides records from the indexes: that in a segment whose index
    /// had to be made from its entries, and files that are missing. In position order.
    func findUnindexed() -> [DamagedRange] {
        damaged.filter { range in
            let first = geometry.number(of: range.from.rawValue)
            let last = geometry.number(of: max(range.from.rawValue, range.to.rawValue - 1))
            return (first...max(first, last)).contains { number in
                guard let segment = segment(at: geometry.base(of: number)),
                    case .file = segment.index
                else { return true }
                return false
            }
        }.sorted { $0.from < $1.from }
    }

    /// Streams that any segment has records of, ascending.
    package var streamNumbers: [StreamID] {
        var found: Set<UInt32> = []
        for segment in kept {
            switch segment.index {
            case .memory(let index): found.formUnion(index.streams)
            case .file(let index): found.formUnion(index.streams.lazy.map(\.stream))
            }
        }
        return found.sorted().map(StreamID.init(rawValue:))
    }

    /// One past the last record of a stream, nil when there is none.
    package func end(of stream: StreamID) -> Offset? {
        for segment in kept.reversed() {
            let end: Int64? =
                switch segment.index {
                case .memory(let index): index.end(of: stream)
                case .file(let index):
                    index.streams.first { $0.stream == stream.rawValue && $0.runs > 0 }?.endOffset
                }
            if let end { return Offset(end) }
        }
        return nil
    }

    /// The first entry with a record of a stream at or after `offset`, which is itself in a hole, and its
    /// first offset; nil when there is none.
    package func next(
        of stream: StreamID,
        from offset: Offset
    ) -> (position: LogPosition, offset: Offset)? {
        for segment in kept {
            switch segment.index {
            case .memory(let index):
                guard let run = index.firstRun(of: stream, from: offset) else { continue }
                return (LogPosition(segment.base + UInt64(run.slot) << 3), Offset(run.baseOffset))
            case .file(let index):
                // Its own records are without a hole: it lies behind it, or before.
                guard
                    let row = index.streams.first(where: { $0.stream == stream.rawValue }),
                    row.runs > 0, row.firstOffset >= offset.rawValue
                else { continue }
                return (LogPosition(segment.base), Offset(row.firstOffset))
            }
        }
        return nil
    }
}

extension MemoryIndex {
    /// The first run of a stream that begins at or behind `offset`.
    func firstRun(of stream: StreamID, from offset: Offset) -> StreamRun? {
        guard let place = streams.firstIndex(of: stream.rawValue) else { return nil }
        let list = runs[place]
        let at = lowerBound(list.count) { list[$0].baseOffset < offset.rawValue }
        return at < list.count ? list[at] : nil
    }
}
