// Rows that the state store could not take yet, because the disk has no room or is slow: what a key will
// be, merged over what the store says it is.
//
//      reads   store rows  a b c d e            waiting  b=2, d deleted, f=6
//                                          ->   a, b=2, c, e, f=6
//
// All of it goes into the store as one batch, so that the store always stands at a moment that was.

import PulseCore

struct WaitingRows: Sendable {
    /// Sorted by key; a nil value is a deletion.
    private var rows: [(key: [UInt8], value: [UInt8]?)] = []
    /// Bytes of memory, roughly: what the bound is about.
    private(set) var bytes = 0

    /// What a row costs beside its bytes: two arrays' headers and the element.
    private static let overheadBytes = 96

    var isEmpty: Bool { rows.isEmpty }

    mutating func add(_ batch: StateBatch) {
        for change in batch.changes {
            switch change {
            case .put(let key, let value): set(key, value)
            case .delete(let key): set(key, nil)
            }
        }
    }

    private mutating func set(_ key: [UInt8], _ value: [UInt8]?) {
        let index = place(of: key)
        if index < rows.count, rows[index].key == key {
            bytes += (value?.count ?? 0) - (rows[index].value?.count ?? 0)
            rows[index].value = value
        } else {
            bytes += key.count + (value?.count ?? 0) + Self.overheadBytes
            rows.insert((key, value), at: index)
        }
    }

    /// The outer nil: nothing waits for this key. The inner: it will be deleted.
    func value(of key: [UInt8]) -> [UInt8]?? {
        let index = place(of: key)
        guard index < rows.count, rows[index].key == key else { return nil }
        return .some(rows[index].value)
    }

    /// How many keys of a range wait: the store may have to give that many rows more.
    func count(from: [UInt8], below: [UInt8]) -> Int {
        max(0, place(of: below) - place(of: from))
    }

    /// `stored` as it will be: `from <= key < below`, in key order, at most `limit`. `stored` must hold
    /// at least `limit` rows more than wait in the range, or all there are.
    func merged(
        over stored: [StateRow],
        from: [UInt8],
        below: [UInt8],
        limit: Int
    ) -> [StateRow] {
        let range = place(of: from)..<max(place(of: from), place(of: below))
        guard !range.isEmpty else { return Array(stored.prefix(limit)) }
        var result: [StateRow] = []
        var next = range.lowerBound
        func take(_ index: Int) {
            if let value = rows[index].value {
                result.append(StateRow(key: rows[index].key, value: value))
            }
        }
        for row in stored {
            while next < range.upperBound, rows[next].key.lexicographicallyPrecedes(row.key) {
                take(next)
                next += 1
            }
            if next < range.upperBound, rows[next].key == row.key {
                take(next)
                next += 1
            } else {
                result.append(row)
            }
            if result.count >= limit { return Array(result.prefix(limit)) }
        }
        while next < range.upperBound, result.count < limit {
            take(next)
            next += 1
        }
        return result
    }

    /// Everything that waits, as one batch.
    var batch: StateBatch {
        var batch = StateBatch()
        for row in rows {
            if let value = row.value { batch.put(row.key, value) } else { batch.delete(row.key) }
        }
        return batch
    }

    /// The first index whose key is not below `key`.
    private func place(of key: [UInt8]) -> Int {
        var low = 0
        var high = rows.count
        while low < high {
            let middle = (low + high) / 2
            if rows[middle].key.lexicographicallyPrecedes(key) {
                low = middle + 1
            } else {
                high = middle
            }
        }
        return low
    }
}
