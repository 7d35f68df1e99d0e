// A mistake in the configuration, told so that an editor can jump to it: `file:line:col: error: …`.

/// Where a setting was written, lines and columns from 1, columns in characters.
package struct SourcePosition: Hashable, Sendable, Comparable {
    package var line: Int
    package var column: Int

    package init(line: Int, column: Int) {
        self.line = line
        self.column = column
    }

    package static func < (a: Self, b: Self) -> Bool {
        (a.line, a.column) < (b.line, b.column)
    }
}

/// Which of the four sources a setting came from. Later cases win over earlier ones.
package enum ConfigurationOrigin: Hashable, Sendable {
    case standard
    case file(name: String, SourcePosition)
    /// The variable's name.
    case environment(String)
    /// The flag as the user typed it: `--data`.
    case flag(String)
}

extension ConfigurationOrigin: CustomStringConvertible {
    package var description: String {
        switch self {
        case .standard: "default"
        case .file(let name, let position): "\(name):\(position.line):\(position.column)"
        case .environment(let name): "environment \(name)"
        case .flag(let name): "flag \(name)"
        }
    }

    /// For sorting problems: the file from top to bottom, then the environment, then flags.
    var order: (Int, SourcePosition, String) {
        let start = SourcePosition(line: 0, column: 0)
        return switch self {
        case .standard: (0, start, "")
        case .file(_, let position): (1, position, "")
        case .environment(let name): (2, start, name)
        case .flag(let name): (3, start, name)
        }
    }
}

package struct ConfigurationProblem: Error, Hashable, Sendable {
    package var origin: ConfigurationOrigin
    /// A sentence that names the thing and the remedy.
    package var message: String

    package init(at origin: ConfigurationOrigin, _ message: String) {
        self.origin = origin
        self.message = message
    }
}

extension ConfigurationProblem: CustomStringConvertible {
    package var description: String { "\(origin): error: \(message)" }
}
