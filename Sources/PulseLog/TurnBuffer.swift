// What a turn has appended and not yet written: a run of bytes for each place it goes to.

import PulseCore

/// Bytes of the turn that go to one place of one segment, in one write.
struct TurnPart {
    let segment: Segment
    /// First byte in the file.
    let fileByte: Int
    /// First byte in the turn's memory.
    let start: Int
    var count: Int
    /// Set when nothing may be added: the segment was sealed behind it.
    var isClosed = false
}

/// The turn's memory.
///
///     | entries of segment 7, terminator | footer of 7 | header block of 8, entries of 8 | ...
///     '------------ part 0 --------------'-- part 1 ---'------------- part 2 -----------'
///
/// A terminator, one all-zero header, follows the last entry of every write, so that the stale
/// bytes of a recycled file never follow a live entry. It is written again over, not counted.
final class TurnBuffer {
    let memory = RawBuffer(capacity: 64 << 10)
    private(set) var count = 0
    private(set) var parts: [TurnPart] = []

    /// Memory for `size` bytes that go to `fileByte` of `segment`, after what is there already.
    @inline(__always)
    func extend(_ segment: Segment, at fileByte: Int, by size: Int) -> UnsafeMutableRawPointer {
        memory.reserve(count + size + EntryHeader.bytes, keeping: count)
        let last = parts.count - 1
        if last >= 0, !parts[last].isClosed {
            parts[last].count += size
        } else {
            parts.append(TurnPart(segment: segment, fileByte: fileByte, start: count, count: size))
        }
        let place = memory.base + count
        count += size
        return place
    }

    /// Closes the last part: what comes next goes elsewhere. With `terminator`, ends it with one.
    func closePart(terminator: Bool) {
        guard let last = parts.last, !last.isClosed else { return }
        if terminator {
            memory.reserve(count + EntryHeader.bytes, keeping: count)
            memory.zero(count..<count + EntryHeader.bytes)
            count += EntryHeader.bytes
            parts[parts.count - 1].count += EntryHeader.bytes
        }
        parts[parts.count - 1].isClosed = true
    }

    /// The memory at an absolute position, or nil when the turn does not hold it.
    func pointer(to position: UInt64) -> UnsafeRawPointer? {
        for part in parts.reversed() {
            let first = part.segment.base + UInt64(part.fileByte)
            if position >= first, position < first + UInt64(part.count) {
                return UnsafeRawPointer(memory.base + part.start + Int(position - first))
            }
        }
        return nil
    }

    func removeAll() {
        parts.removeAll(keepingCapacity: true)
        count = 0
    }
}
