// What one group has finished of one stream: a floor, and one bit for each finished record above it.
//
//        floor                                  end
//          v                                     v
//     -----+---+---+---+---+---+---+---+---+---+
//      done| 0 | 1 | 1 | 0 | 1 | 0 | 0 | 0 | 0 |      1 = finished, or moved out to wait (held)
//     -----+---+---+---+---+---+---+---+---+---+
//
// Invariants: the record at the floor is not done (or the floor is the end); no bit at or above the
// end is set; the floor never moves back. 1,000,000 scattered bits take 125 KB at the very worst.

package import PulseCore

package struct StreamProgress: Hashable, Sendable {
    /// Everything below is done.
    package private(set) var floor: Offset
    /// The stream's first unused offset.
    package private(set) var end: Offset
    /// Done bits of the offsets from `base` on; `base` is the floor rounded down to 64.
    private var words: [UInt64] = []
    private var base: Int64
    /// Done offsets at or above the floor.
    package private(set) var doneAboveFloor = 0

    package init(floor: Offset, end: Offset) {
        precondition(floor.rawValue >= 0 && floor <= end, "a floor lies in its stream")
        self.floor = floor
        self.end = end
        base = floor.rawValue & ~63
    }

    /// Records not done yet.
    package var openCount: Int { Int(end.rawValue - floor.rawValue) - doneAboveFloor }

    package mutating func extend(to newEnd: Offset) {
        precondition(newEnd >= end, "a stream only grows")
        end = newEnd
    }

    package func isDone(_ offset: Offset) -> Bool {
        if offset < floor { return true }
        let index = Int(offset.rawValue - base)
        guard index / 64 < words.count else { return false }
        return words[index / 64] >> UInt64(index % 64) & 1 == 1
    }

    /// Marks a record done and moves the floor over all that is done; false when it was done before.
    @discardableResult
    package mutating func markDone(_ offset: Offset) -> Bool {
        precondition(offset < end, "only an existing record can be done")
        guard !isDone(offset) else { return false }
        let index = Int(offset.rawValue - base)
        while words.count <= index / 64 { words.append(0) }
        words[index / 64] |= 1 << UInt64(index % 64)
        doneAboveFloor += 1
        if offset == floor { advanceFloor() }
        return true
    }

    /// The first record at or after `offset` that is not done, or nil.
    package func nextOpen(from offset: Offset) -> Offset? {
        var candidate = max(offset, floor)
        while candidate < end {
            let index = Int(candidate.rawValue - base)
            guard index / 64 < words.count else { return candidate }
            let open = ~words[index / 64] >> UInt64(index % 64)
            if open != 0 {
                let found = candidate.advanced(by: open.trailingZeroBitCount)
                // The shift brings in zeros, which read as done: a hit beyond the word is none.
                if index % 64 + open.trailingZeroBitCount < 64 { return found < end ? found : nil }
            }
            candidate = Offset(base + Int64((index / 64 + 1) * 64))
        }
        return nil
    }

    /// Records of a range that are not done.
    package func openCount(in range: Range<Offset>) -> Int {
        let from = max(range.lowerBound, floor)
        let to = min(range.upperBound, end)
        guard from < to else { return 0 }
        var count = Int(to.rawValue - from.rawValue)
        guard doneAboveFloor > 0 else { return count }
        for offset in from.rawValue..<to.rawValue where isDone(Offset(offset)) { count -= 1 }
        return count
    }

    private mutating func advanceFloor() {
        guard let next = nextOpenOrEnd() else { preconditionFailure("the end is always reached") }
        doneAboveFloor -= Int(next.rawValue - floor.rawValue)
        floor = next
        let wholeWords = Int((next.rawValue & ~63) - base) / 64
        if wholeWords >= 64 || wholeWords >= words.count {
            words.removeFirst(min(wholeWords, words.count))
            base = next.rawValue & ~63
        }
    }

    private func nextOpenOrEnd() -> Offset? { nextOpen(from: floor.advanced(by: 1)) ?? end }

    /// Appends the value's bytes: equal values give equal bytes.
    package func append(to bytes: inout [UInt8]) {
        bytes.append(littleEndian: floor.rawValue)
        bytes.append(littleEndian: end.rawValue)
        var dense: [UInt64] = []
        let first = Int((floor.rawValue & ~63) - base) / 64
        if first < words.count { dense = Array(words[first...]) }
        if let word = dense.first {
            // Bits below the floor are implied; they are cleared so that history does not show.
            dense[0] = word & (~0 << UInt64(floor.rawValue & 63))
        }
        while dense.last == 0 { dense.removeLast() }
        bytes.append(littleEndian: UInt32(dense.count))
        for word in dense { bytes.append(littleEndian: word) }
    }

    package init?(_ reader: inout ByteReader) {
        guard let floor: Int64 = reader.littleEndian(), let end: Int64 = reader.littleEndian(),
            floor >= 0, floor <= end, let count: UInt32 = reader.littleEndian(),
            Int(count) * 8 <= reader.remaining
        else { return nil }
        self.init(floor: Offset(floor), end: Offset(end))
        for _ in 0..<count {
            guard let word: UInt64 = reader.littleEndian() else { return nil }
            words.append(word)
        }
        doneAboveFloor = words.reduce(0) { $0 + $1.nonzeroBitCount }
        // Below the floor inside the first word everything counts as done.
        if !words.isEmpty { words[0] |= (1 << UInt64(floor & 63)) - 1 }
        guard holdsInvariants else { return nil }
    }

    /// The record at the floor is not done, and nothing at or past the end is.
    private var holdsInvariants: Bool {
        guard let last = words.last else { return true }
        let bits = Int64(words.count * 64 - last.leadingZeroBitCount)
        return bits <= end.rawValue - base && (floor == end || !isDone(floor))
    }

    package static func == (a: Self, b: Self) -> Bool { a.encoded == b.encoded }
    package func hash(into hasher: inout Hasher) { hasher.combine(encoded) }

    private var encoded: [UInt8] {
        var bytes: [UInt8] = []
        append(to: &bytes)
        return bytes
    }
}
