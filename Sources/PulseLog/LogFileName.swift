// The names of the files in a shard's directory, and nothing else about them.
//
//     00000000000067108864.seg    a segment; the number is its base position
//     00000000000067108864.idx    the index of that sealed segment
//     gen-64-127.keys             the merged keys of segments 64 to 127
//     spare-7                     a segment file waiting to be used
//     floor                       how far the log is known to be durable
//     *.tmp                       unfinished; deleted at open

enum LogFileName: Equatable {
    case segment(base: UInt64)
    case index(base: UInt64)
    case generation(first: UInt64, last: UInt64)
    case spare(UInt64)
    case floor
    case temporary
    case unknown

    static let floorName = "floor"
    /// No log gets here; a name beyond it is not ours, and sums with it would overflow.
    private static let positionMax: UInt64 = 1 << 62

    static func name(ofSegment base: UInt64) -> String { digits(base) + ".seg" }
    static func name(ofIndex base: UInt64) -> String { digits(base) + ".idx" }
    static func name(ofSpare number: UInt64) -> String { "spare-\(number)" }
    static func name(ofGeneration first: UInt64, _ last: UInt64) -> String {
        "gen-\(first)-\(last).keys"
    }

    init(_ name: String) {
        if name == Self.floorName {
            self = .floor
        } else if name.hasSuffix(".tmp") {
            self = .temporary
        } else if name.hasPrefix("spare-"), let number = UInt64(name.dropFirst(6)),
            number <= Self.positionMax, Self.name(ofSpare: number) == name
        {
            self = .spare(number)
        } else if let (first, last) = Self.generation(name) {
            self = .generation(first: first, last: last)
        } else if name.utf8.count == 24, let base = UInt64(name.prefix(20)),
            base <= Self.positionMax
        {
            if name == Self.name(ofSegment: base) {
                self = .segment(base: base)
            } else if name == Self.name(ofIndex: base) {
                self = .index(base: base)
            } else {
                self = .unknown
            }
        } else {
            self = .unknown
        }
    }

    private static func generation(_ name: String) -> (first: UInt64, last: UInt64)? {
        guard name.hasPrefix("gen-"), name.hasSuffix(".keys") else { return nil }
        let numbers = name.dropFirst(4).dropLast(5).split(separator: "-")
        guard numbers.count == 2, let first = UInt64(numbers[0]), let last = UInt64(numbers[1]),
            first < last, last <= Self.positionMax >> 15,
            Self.name(ofGeneration: first, last) == name
        else { return nil }
        return (first, last)
    }

    private static func digits(_ value: UInt64) -> String {
        let text = String(value)
        return String(repeating: "0", count: 20 - text.utf8.count) + text
    }
}
