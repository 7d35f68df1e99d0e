// Which sealed segment holds an offset of a stream: a few numbers for each, searched by halving.

import PulseCore

/// For each stream the segments it is in, oldest first. 24 bytes for each pair.
struct StreamDirectory {
    private struct Span: Hashable {
        var segment: UInt64
        var first: Int64
        var end: Int64
    }

    private var places: [UInt32: Int] = [:]
    private var spans: [[Span]] = []

    var bytes: Int { spans.reduce(0) { $0 + $1.capacity * MemoryLayout<Span>.stride } }

    /// Notes what a segment has, which is younger than all that were noted.
    mutating func add(_ segment: Segment) {
        switch segment.index {
        case .memory(let index):
            for (place, stream) in index.streams.enumerated() {
                guard let first = index.runs[place].first, let last = index.runs[place].last else {
                    continue
                }
                add(stream, segment.number, first.baseOffset, last.endOffset)
            }
        case .file(let index):
            for row in index.streams where row.runs > 0 {
                add(row.stream, segment.number, row.firstOffset, row.endOffset)
            }
        }
    }

    private mutating func add(_ stream: UInt32, _ segment: UInt64, _ first: Int64, _ end: Int64) {
        let place: Int
        if let known = places[stream] {
            place = known
        } else {
            place = spans.count
            places[stream] = place
            spans.append([])
        }
        spans[place].append(Span(segment: segment, first: first, end: end))
    }

    /// Forgets the segments before this one.
    mutating func forget(before segment: UInt64) {
        for place in spans.indices {
            let gone = spans[place].prefix { $0.segment < segment }.count
            if gone > 0 { spans[place].removeFirst(gone) }
        }
    }

    /// The number of the segment that holds the offset, if a sealed one does.
    func segment(holding offset: Offset, of stream: StreamID) -> UInt64? {
        guard let place = places[stream.rawValue] else { return nil }
        let list = spans[place]
        let after = lowerBound(list.count) { list[$0].first <= offset.rawValue }
        guard after > 0, offset.rawValue < list[after - 1].end else { return nil }
        return list[after - 1].segment
    }
}
