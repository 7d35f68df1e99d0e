// What is fuzzed: one function for each place where bytes that we did not write are read.
//
//     libFuzzer (Fuzz/Run)  ----.
//                                >---  FuzzTarget.check(bytes)  ---  a reader of Pulse
//     corpus replay (FuzzTests) '
//
// Source: spec/10-fuzzing.md.

/// A reader under attack, and what must be true of it whatever it is given.
package struct FuzzTarget: Sendable {
    /// As in `make fuzz TARGET=name` and in Fuzz/corpus.
    package let name: String
    /// Longest input worth trying, in bytes.
    package let inputBytesMax: Int
    /// Feeds one input to the reader. A trap is a finding, and so is a throw.
    package let check: @Sendable ([UInt8]) throws -> Void
    /// Inputs to begin with, made by our own encoders, so that they follow the formats.
    package let seeds: @Sendable () throws -> [[UInt8]]

    /// All of them, in the order of the table in spec/10-fuzzing.md.
    package static let all: [FuzzTarget] = [
        .batch, .recovery, .floor, .index, .state, .rows, .command, .fold, .frame, .session,
        .client, .http, .json, .envelope, .template, .configuration, .mail,
    ]

    package static func named(_ name: String) -> FuzzTarget? { all.first { $0.name == name } }
}

/// A property that did not hold.
package struct Violation: Error, CustomStringConvertible {
    package let description: String

    init(_ description: String) { self.description = description }
}

/// Throws when something that is always true is not.
func require(_ condition: Bool, _ sentence: @autoclosure () -> String) throws(Violation) {
    guard condition else { throw Violation(sentence()) }
}

/// Draws decisions from a fuzzer's bytes; zeros when they are used up, so that every input is legal.
struct Draw {
    private let bytes: [UInt8]
    private var position = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var isAtEnd: Bool { position >= bytes.count }

    mutating func byte() -> UInt8 {
        guard position < bytes.count else { return 0 }
        defer { position += 1 }
        return bytes[position]
    }

    mutating func number(bytes count: Int) -> UInt64 {
        (0..<count).reduce(0) { sum, index in sum | UInt64(byte()) << UInt64(8 * index) }
    }

    mutating func below(_ bound: Int) -> Int {
        bound <= 0 ? 0 : Int(number(bytes: bound <= 256 ? 1 : 4)) % bound
    }

    /// At most `count` bytes.
    mutating func take(_ count: Int) -> [UInt8] {
        let end = min(bytes.count, position + max(0, count))
        defer { position = end }
        return Array(bytes[position..<end])
    }

    mutating func rest() -> [UInt8] { take(bytes.count - position) }

    /// Bytes behind a length of two bytes.
    mutating func field() -> [UInt8] { take(Int(number(bytes: 2))) }

    mutating func text() -> String { String(decoding: field(), as: UTF8.self) }

    /// Lengths that cut `count` bytes into pieces, as a network might.
    mutating func pieces(of count: Int) -> [Int] {
        var sizes: [Int] = []
        var left = count
        while left > 0 {
            let next = byte()
            let size = next == 0 ? left : min(left, Int(next))
            sizes.append(size)
            left -= size
        }
        return sizes
    }
}

/// Writes what ``Draw`` reads.
struct Script {
    var bytes: [UInt8] = []

    init() {}

    mutating func add(_ value: UInt64, bytes count: Int) {
        for index in 0..<count {
            bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * index)))
        }
    }

    mutating func add(field: [UInt8]) {
        add(UInt64(field.count), bytes: 2)
        bytes += field
    }
}

extension [UInt8] {
    /// Calls `body` with each of the pieces of the given sizes, in memory of its own, so that reading
    /// past a piece's end is seen.
    func inPieces(_ sizes: [Int], _ body: (UnsafeRawBufferPointer) throws -> Void) rethrows {
        var start = 0
        for size in sizes {
            let piece = Array(self[start..<start + size])
            try piece.withUnsafeBytes { try body($0) }
            start += size
        }
    }
}
