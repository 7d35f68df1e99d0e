// The token of a delivery, and runs of tokens: how deliveries are named when they are settled.
//
//     token, 22 bytes:  | stream u32 | offset i64 | attempt u16 | lease u64 |
//
//     run, 25 bytes:    | stream u32 | offset i64 | attempt u16 | lease u64 | step u8 | count u16 |
//
//     A run stands for `count` tokens of one stream and attempt: token i has offset + i and
//     lease + i * step, where step is 0 or 1.
//
//         offsets 40 41 42 43   leases 7 8 9 10   ->  one run {40, 7, step 1, count 4}
//
// The token is opaque to a client. It names the lease, so that a late answer settles nothing that
// has meanwhile been given to somebody else (reliability rules C1 to C3).

package import PulseCore

package struct DeliveryToken: Hashable, Sendable {
    package var stream: StreamID
    package var offset: Offset
    /// 1 for the first delivery.
    package var attempt: UInt16
    package var lease: UInt64

    @inlinable package init(stream: StreamID, offset: Offset, attempt: UInt16, lease: UInt64) {
        self.stream = stream
        self.offset = offset
        self.attempt = attempt
        self.lease = lease
    }

    package init(reading reader: inout BodyReader) throws(WireError) {
        stream = StreamID(rawValue: try reader.u32("stream"))
        offset = Offset(try reader.i64("offset"))
        attempt = try reader.u16("attempt")
        lease = try reader.u64("lease")
        guard offset.rawValue >= 0 else { throw reader.malformed("offset") }
    }

    package func append(to bytes: inout [UInt8]) {
        bytes.append(littleEndian: stream.rawValue)
        bytes.append(littleEndian: offset.rawValue)
        bytes.append(littleEndian: attempt)
        bytes.append(littleEndian: lease)
    }
}

/// Tokens in place: a checked list of runs that reads as a sequence of single tokens.
package struct TokenList: Sequence {
    /// Tokens in all, not runs; at most ``Limits/creditMax``.
    package let count: Int
    private let runs: UnsafeRawBufferPointer

    package static let runBytes = 25

    /// Reads `run count u16` and that many runs.
    package init(reading reader: inout BodyReader) throws(WireError) {
        let runCount = Int(try reader.u16("run count"))
        let start = reader.reader.position
        var total = 0
        for _ in 0..<runCount {
            let token = try DeliveryToken(reading: &reader)
            let step = try reader.u8("step")
            let length = try reader.u16("count")
            guard step <= 1, length > 0,
                !token.offset.rawValue.addingReportingOverflow(Int64(length)).overflow,
                !token.lease.addingReportingOverflow(UInt64(length)).overflow
            else { throw reader.malformed("run") }
            total += Int(length)
            // A few bytes may stand for 65,535 tokens: the limit is on the tokens.
            guard total <= Limits.creditMax else {
                throw .overLimit(
                    .invalidRequest,
                    field: "tokens",
                    count: total,
                    limit: Limits.creditMax
                )
            }
        }
        guard total > 0 else { throw reader.malformed("run count") }
        count = total
        runs = UnsafeRawBufferPointer(
            rebasing: reader.reader.bytes[start..<reader.reader.position]
        )
    }

    package var underestimatedCount: Int { count }

    package func makeIterator() -> Iterator { Iterator(runs: runs) }

    package struct Iterator: IteratorProtocol {
        private let runs: UnsafeRawBufferPointer
        private var position = 0
        private var token = DeliveryToken(
            stream: .none,
            offset: Offset(0),
            attempt: 0,
            lease: 0
        )
        private var step: UInt64 = 0
        private var left = 0

        fileprivate init(runs: UnsafeRawBufferPointer) { self.runs = runs }

        package mutating func next() -> DeliveryToken? {
            if left > 0 {
                left -= 1
                token.offset.rawValue += 1
                token.lease += step
                return token
            }
            guard position < runs.count else { return nil }
            token = DeliveryToken(
                stream: StreamID(rawValue: load(0)),
                offset: Offset(load(4)),
                attempt: load(12),
                lease: load(14)
            )
            step = UInt64(runs[position + 22])
            let count: UInt16 = load(23)
            left = Int(count) - 1
            position += TokenList.runBytes
            return token
        }

        private func load<T: FixedWidthInteger & BitwiseCopyable>(_ offset: Int) -> T {
            T(littleEndian: runs.loadUnaligned(fromByteOffset: position + offset, as: T.self))
        }
    }
}

/// Collects tokens and writes them as runs. Consecutive tokens in append order melt together.
package struct TokenRuns: Sendable {
    private struct Run {
        var first: DeliveryToken
        var step: UInt64
        var count: UInt16
    }

    private var runs: [Run] = []
    package private(set) var count = 0
    package var isEmpty: Bool { count == 0 }

    package init() {}

    package init(_ tokens: some Sequence<DeliveryToken>) {
        for token in tokens { append(token) }
    }

    package mutating func append(_ token: DeliveryToken) {
        precondition(count < Limits.creditMax, "one request settles at most the credit limit")
        count += 1
        if let last = runs.indices.last, extend(last, with: token) { return }
        runs.append(Run(first: token, step: 0, count: 1))
    }

    private mutating func extend(_ index: Int, with token: DeliveryToken) -> Bool {
        let run = runs[index]
        guard token.stream == run.first.stream, token.attempt == run.first.attempt,
            run.count < UInt16.max,
            token.offset.rawValue == run.first.offset.rawValue + Int64(run.count)
        else { return false }
        let distance = token.lease &- run.first.lease
        if run.count == 1 {
            guard distance <= 1 else { return false }
            runs[index].step = distance
        } else {
            guard distance == run.step * UInt64(run.count) else { return false }
        }
        runs[index].count += 1
        return true
    }

    package mutating func removeAll() {
        runs.removeAll(keepingCapacity: true)
        count = 0
    }

    package func append(to bytes: inout [UInt8]) {
        precondition(!runs.isEmpty, "a request names at least one token")
        bytes.append(littleEndian: UInt16(runs.count))
        for run in runs {
            run.first.append(to: &bytes)
            bytes.append(UInt8(run.step))
            bytes.append(littleEndian: run.count)
        }
    }
}
