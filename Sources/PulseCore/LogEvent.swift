// One line for the operator's log: what happened, to what, as names and values. The shell decides how
// it looks (JSON or text) and where it goes. Addresses and bodies never enter one.

package struct LogEvent: Hashable, Sendable {
    package enum Level: UInt8, Comparable, Sendable {
        case debug, info, warning, error

        package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
        package var name: String {
            switch self {
            case .debug: "debug"
            case .info: "info"
            case .warning: "warning"
            case .error: "error"
            }
        }
    }

    package struct Field: Hashable, Sendable {
        package var name: String
        package var value: String

        package init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }
    }

    package var level: Level
    /// A short constant sentence: `"torn tail cut"`.
    package var message: String
    package var fields: [Field]
    /// Whether the same may happen again and again: then it is written now and then, with a count.
    package var mayRepeat: Bool

    package init(
        _ level: Level,
        _ message: String,
        _ fields: [Field] = [],
        mayRepeat: Bool = false
    ) {
        self.level = level
        self.message = message
        self.fields = fields
        self.mayRepeat = mayRepeat
    }
}
