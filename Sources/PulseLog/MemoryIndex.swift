// The index of one segment while it is in memory: which entry holds an offset, and where a key was
// seen. Flat arrays only; adding an entry allocates nothing but their occasional growth.

import PulseCore

/// One record batch of one stream, in offset order.
struct StreamRun: Hashable, Sendable, BitwiseCopyable {
    var baseOffset: Int64
    /// Byte of the entry in its segment, divided by 8.
    var slot: UInt32
    var count: UInt32

    var endOffset: Int64 { baseOffset + Int64(count) }
}

/// One sighting of a key.
struct KeyNode: Hashable, Sendable, BitwiseCopyable {
    var key: UInt64
    /// Byte of the entry in its segment, divided by 8.
    var slot: UInt32
    /// The sighting before this one in the same bucket, or ``MemoryIndex/none``.
    var previous: UInt32
}

/// Streams, and a multimap from key to entry that answers newest first.
///
///     heads: | 4 | - | 2 | ...      bucket of a key -> its newest node
///     nodes: | 0 | 1 | 2 | 3 | 4 |  in the order of appending; each points back in its bucket
final class MemoryIndex {
    static let none = UInt32.max

    private(set) var nodes: [KeyNode] = []
    /// Raw memory, not an array: buckets are hit at random, and the checks of an array keep the
    /// processor from overlapping the cache misses of an entry's keys.
    private var heads: UnsafeMutablePointer<UInt32>
    private var bucketBits: UInt64
    private(set) var streams: [UInt32] = []
    private(set) var runs: [[StreamRun]] = []
    private var streamIndex: [UInt32: Int] = [:]
    /// The stream of the last entry, which is often the next one's too.
    private var recent = 0

    /// `expectedKeys`: as many as the segment before had, so that growth does not stall a commit.
    init(expectedKeys: Int = 0) {
        bucketBits = 10
        while 1 << bucketBits < expectedKeys { bucketBits += 1 }
        heads = Self.emptyBuckets(bucketBits)
        nodes.reserveCapacity(expectedKeys)
    }

    deinit { heads.deallocate() }

    private static func emptyBuckets(_ bits: UInt64) -> UnsafeMutablePointer<UInt32> {
        let buckets = UnsafeMutablePointer<UInt32>.allocate(capacity: 1 << bits)
        buckets.initialize(repeating: none, count: 1 << bits)
        return buckets
    }

    var keyCount: Int { nodes.count }

    /// Bytes held in memory.
    var bytes: Int {
        nodes.capacity * MemoryLayout<KeyNode>.stride + 4 << bucketBits
            + runs.reduce(0) { $0 + $1.capacity * MemoryLayout<StreamRun>.stride }
    }

    @inline(__always)
    private static func bucket(_ key: UInt64, _ bits: UInt64) -> Int {
        Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) &>> (64 &- bits))
    }

    /// Notes that the entry at `byte` is found under `keys`.
    @inline(__always)
    func add(_ keys: [UInt64], byte: Int) {
        if nodes.count + keys.count > 1 << bucketBits { grow(for: keys.count) }
        let slot = UInt32(truncatingIfNeeded: byte >> 3)
        let heads = heads
        let bits = bucketBits
        var node = UInt32(truncatingIfNeeded: nodes.count)
        for key in keys {
            let place = Self.bucket(key, bits)
            nodes.append(KeyNode(key: key, slot: slot, previous: heads[place]))
            heads[place] = node
            node &+= 1
        }
    }

    private func grow(for more: Int) {
        while nodes.count + more > 1 << bucketBits { bucketBits += 1 }
        heads.deallocate()
        heads = Self.emptyBuckets(bucketBits)
        for index in nodes.indices {
            let place = Self.bucket(nodes[index].key, bucketBits)
            nodes[index].previous = heads[place]
            heads[place] = UInt32(truncatingIfNeeded: index)
        }
    }

    /// The end of what `stream` has here, or nil when it has nothing.
    func end(of stream: StreamID) -> Int64? {
        guard let place = streamIndex[stream.rawValue], let last = runs[place].last else {
            return nil
        }
        return last.endOffset
    }

    func add(stream: StreamID, baseOffset: Offset, count: Int, byte: Int) {
        let raw = stream.rawValue
        if recent >= streams.count || streams[recent] != raw {
            if let known = streamIndex[raw] {
                recent = known
            } else {
                recent = streams.count
                streamIndex[raw] = recent
                streams.append(raw)
                runs.append([])
            }
        }
        runs[recent].append(
            StreamRun(
                baseOffset: baseOffset.rawValue,
                slot: UInt32(truncatingIfNeeded: byte >> 3),
                count: UInt32(truncatingIfNeeded: count)
            )
        )
    }

    /// The byte of the entry that holds `offset`.
    func locate(_ stream: StreamID, _ offset: Offset) -> Int? {
        guard let place = streamIndex[stream.rawValue] else { return nil }
        return runs[place].withUnsafeBufferPointer { find(offset.rawValue, in: $0) }
    }

    /// Appends the positions of the entries seen under `key`, newest first; `base` is the segment's.
    func positions(of key: UInt64, base: UInt64, into found: inout [UInt64]) {
        var index = heads[Self.bucket(key, bucketBits)]
        while index != Self.none {
            let node = nodes[Int(index)]
            if node.key == key { found.append(base + UInt64(node.slot) << 3) }
            index = node.previous
        }
    }
}

/// The byte of the run that holds `offset`; runs are in offset order.
func find(_ offset: Int64, in runs: UnsafeBufferPointer<StreamRun>) -> Int? {
    var low = 0
    var high = runs.count
    while low < high {
        let middle = (low + high) / 2
        if runs[middle].baseOffset <= offset { low = middle + 1 } else { high = middle }
    }
    guard low > 0 else { return nil }
    let run = runs[low - 1]
    return offset < run.endOffset ? Int(run.slot) << 3 : nil
}
