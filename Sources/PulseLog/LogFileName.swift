// The names of the files in a shard's directory, and nothing else about them.
//
//     00000000000067108864.seg    a segment; the number is its base position
//     00000000000067108864.idx    the index of that sealed segment
//     spare-7                     a segment file waiting to be used
//     floor                       how far the log is known to be durable
//     *.tmp                       unfinished; deleted at open

enum LogFileName: Equatable {
    case segment(base: UInt64)
    case index(base: UInt64)
    case spare(UInt64)
    case floor
    case temporary
    case unknown

    static let floorName = "floor"

    static func name(ofSegment base: UInt64) -> String { digits(base) + ".seg" }
    static func name(ofIndex base: UInt64) -> String { digits(base) + ".idx" }
    static func name(ofSpare number: UInt64) -> String { "spare-\(number)" }

    init(_ name: String) {
        if name == Self.floorName {
            self = .floor
        } else if name.hasSuffix(".tmp") {
            self = .temporary
        } else if name.hasPrefix("spare-"), let number = UInt64(name.dropFirst(6)),
            Self.name(ofSpare: number) == name
        {
            self = .spare(number)
        } else if name.utf8.count == 24, let base = UInt64(name.prefix(20)) {
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

    private static func digits(_ value: UInt64) -> String {
        let text = String(value)
        return String(repeating: "0", count: 20 - text.utf8.count) + text
    }
}
