// Gathers settings from the three sources into one table, each with where it came from. Precedence
// is the order of the calls: file, environment, flags; a later one replaces an earlier one.

/// A flag of the command line that sets a key.
package struct ConfigurationFlag: Hashable, Sendable {
    /// As the user typed it: `--data`.
    package var name: String
    package var key: ConfigurationKey
    package var value: String

    package init(_ name: String, _ key: ConfigurationKey, _ value: String) {
        self.name = name
        self.key = key
        self.value = value
    }
}

struct ConfigurationSettings {
    private var values: [ConfigurationKey: (value: ConfigurationValue, origin: ConfigurationOrigin)]
    /// Where a section of the file begins, for what is missing in it.
    private var sections: [String: ConfigurationOrigin] = [:]
    private(set) var problems: [ConfigurationProblem] = []
    /// Keys with a value that does not fit: told once, and not missing besides.
    private(set) var refused: Set<ConfigurationKey> = []
    /// Whether the file could not be read at all, so that nothing can be said about what it sets.
    private(set) var isFileBroken = false

    /// Every key at its default.
    init() {
        values = [:]
        for key in ConfigurationKey.allCases {
            guard let standard = key.standard else { continue }
            do {
                values[key] = (try key.kind.convert(standard), .standard)
            } catch {
                preconditionFailure("the default of \(key.path) is unfit: \(error.message)")
            }
        }
    }

    mutating func refuse(_ origin: ConfigurationOrigin, _ message: String) {
        problems.append(ConfigurationProblem(at: origin, message))
    }

    // MARK: Reading

    func text(_ key: ConfigurationKey) -> String? {
        guard case .text(let text)? = values[key]?.value else { return nil }
        return text
    }

    func number(_ key: ConfigurationKey) -> Int64 {
        guard case .number(let number)? = values[key]?.value else {
            preconditionFailure("\(key.path) has a number as its default")
        }
        return number
    }

    func optionalNumber(_ key: ConfigurationKey) -> Int64? {
        guard case .number(let number)? = values[key]?.value else { return nil }
        return number
    }

    func boolean(_ key: ConfigurationKey) -> Bool { values[key]?.value == .boolean(true) }

    func address(_ key: ConfigurationKey) -> ListenAddress {
        guard case .address(let address)? = values[key]?.value else {
            preconditionFailure("\(key.path) has an address as its default")
        }
        return address
    }

    func origin(_ key: ConfigurationKey) -> ConfigurationOrigin {
        values[key]?.origin ?? .standard
    }

    /// Whether any source set the key.
    func isSet(_ key: ConfigurationKey) -> Bool { origin(key) != .standard }

    /// Where to point when something in a section is missing: its first line in the file, or the
    /// first of its keys that some source sets.
    func origin(ofSection path: String) -> ConfigurationOrigin {
        if let origin = sections[path] { return origin }
        let set = ConfigurationKey.allCases.first { $0.path.hasPrefix(path + ".") && isSet($0) }
        return set.map(origin(_:)) ?? .standard
    }

    /// Every key with its value as text, secrets hidden, in the order of the schema.
    var entries: [ConfigurationEntry] {
        ConfigurationKey.allCases.map { key in
            ConfigurationEntry(
                key: key,
                value: values[key].map { key.kind.show($0.value) },
                origin: origin(key)
            )
        }
    }

    // MARK: The three sources

    mutating func set(_ key: ConfigurationKey, _ text: String, from origin: ConfigurationOrigin) {
        do {
            values[key] = (try key.kind.convert(text), origin)
        } catch {
            refuse(key, origin, error.message)
        }
    }

    private mutating func refuse(
        _ key: ConfigurationKey,
        _ origin: ConfigurationOrigin,
        _ message: String
    ) {
        refused.insert(key)
        refuse(origin, "\(key.path): \(message)")
    }

    mutating func read(file name: String, _ bytes: [UInt8]) {
        guard bytes.count <= Configuration.fileBytesMax else {
            isFileBroken = true
            refuse(
                .file(name: name, SourcePosition(line: 1, column: 1)),
                "the file is larger than \(Configuration.fileBytesMax) bytes"
            )
            return
        }
        do {
            read(try YAMLNode.parse(bytes), section: "", file: name)
        } catch {
            isFileBroken = true
            refuse(.file(name: name, error.position), error.message)
        }
    }

    private mutating func read(_ node: YAMLNode, section: String, file: String) {
        let entries: [YAMLNode.Entry]
        switch node.content {
        case .mapping(let found): entries = found
        // `retry:` with nothing under it, as when all its keys are commented out.
        case .scalar("", isPlain: true): entries = []
        case .scalar, .sequence:
            let known = ConfigurationKey.children(of: section).joined(separator: ", ")
            let name = section.isEmpty ? "the file" : section
            refuse(
                .file(name: file, node.position),
                "\(name) is a section; put keys under it: \(known)"
            )
            return
        }
        var seen: [String: SourcePosition] = [:]
        for entry in entries {
            let origin = ConfigurationOrigin.file(name: file, entry.position)
            if let first = seen[entry.key] {
                refuse(origin, "\"\(entry.key)\" is already set on line \(first.line)")
                continue
            }
            seen[entry.key] = entry.position
            let path = section.isEmpty ? entry.key : "\(section).\(entry.key)"
            if !entry.key.contains("."), ConfigurationKey.isSection(path) {
                sections[path] = origin
                read(entry.value, section: path, file: file)
            } else if !entry.key.contains("."), let key = ConfigurationKey(rawValue: path) {
                read(entry.value, of: key, file: file)
            } else if ConfigurationKey(rawValue: path) != nil {
                refuse(origin, "\"\(entry.key)\" has a dot; write one level a line, indented")
            } else {
                refuse(origin, ConfigurationKey.unknownKey(entry.key, in: section))
            }
        }
    }

    private mutating func read(_ node: YAMLNode, of key: ConfigurationKey, file: String) {
        let origin = ConfigurationOrigin.file(name: file, node.position)
        switch node.content {
        case .scalar("", isPlain: true): refuse(key, origin, "needs a value")
        case .scalar(let text, _): set(key, text, from: origin)
        case .mapping, .sequence: refuse(key, origin, "takes one value, not several")
        }
    }

    /// Reads all variables that begin with `PULSE__`; others are none of ours.
    mutating func read(environment: [String: String]) {
        let prefix = ConfigurationKey.variablePrefix
        for (name, value) in environment.sorted(by: { $0.key < $1.key })
        where name.hasPrefix(prefix) {
            if let key = ConfigurationKey.allCases.first(where: { $0.variable == name }) {
                set(key, value, from: .environment(name))
            } else {
                let known = ConfigurationKey.allCases.map(\.variable)
                let hint = Suggestion.hint(for: name, among: known)
                refuse(.environment(name), "unknown variable\(hint)")
            }
        }
    }

    mutating func read(flags: [ConfigurationFlag]) {
        for flag in flags { set(flag.key, flag.value, from: .flag(flag.name)) }
    }
}
