// A YAML file as a small tree in which everything knows its place. Scalars stay text: whether `no`
// is a word or a truth value is the schema's business, not YAML's.

internal import CYAML

struct YAMLNode {
    indirect enum Content {
        /// `isPlain` tells an empty value (`key:`) from an empty text (`key: ""`).
        case scalar(String, isPlain: Bool)
        case mapping([Entry])
        case sequence
    }

    struct Entry {
        var key: String
        var position: SourcePosition
        var value: YAMLNode
    }

    var content: Content
    var position: SourcePosition

    /// Levels of nesting a file may have; the schema has four.
    static let depthMax = 16

    /// Reads one document. An empty file is an empty mapping.
    static func parse(_ bytes: [UInt8]) throws(YAMLProblem) -> YAMLNode {
        var builder = YAMLBuilder()
        var failure = pulse_yaml_problem()
        let status = withUnsafeMutablePointer(to: &builder) { builder in
            bytes.withUnsafeBufferPointer {
                pulse_yaml_parse(
                    $0.baseAddress,
                    $0.count,
                    { context, event in
                        guard let context, let event else { return 0 }
                        let builder = context.assumingMemoryBound(to: YAMLBuilder.self)
                        return builder.pointee.add(event.pointee) ? 1 : 0
                    },
                    builder,
                    &failure
                )
            }
        }
        if let problem = builder.problem { throw problem }
        if status != 0 {
            let position = SourcePosition(line: failure.line + 1, column: failure.column + 1)
            let sentence = failure.message.map { String(cString: $0) } ?? "not YAML"
            throw YAMLProblem(position: position, message: explain(sentence))
        }
        return builder.root
            ?? YAMLNode(content: .mapping([]), position: SourcePosition(line: 1, column: 1))
    }

    /// libyaml speaks of tokens; the commonest mistakes deserve plainer words.
    private static func explain(_ sentence: String) -> String {
        switch sentence {
        case "found character that cannot start any token":
            "a character that cannot stand here; indent with spaces, not tabs, and quote text that "
                + "begins with a special character"
        case "mapping values are not allowed in this context":
            "a ':' that cannot stand here; check the indentation, or quote the text"
        case "did not find expected key": "expected a key here; check the indentation"
        case "could not find expected ':'": "expected a ':' after the key"
        default: sentence
        }
    }
}

struct YAMLProblem: Error {
    var position: SourcePosition
    var message: String
}

/// Builds the tree from events, without recursion, and remembers the first thing it cannot accept.
private struct YAMLBuilder {
    private struct Open {
        var entries: [YAMLNode.Entry] = []
        var key: (text: String, position: SourcePosition)?
        var isMapping: Bool
        var position: SourcePosition
    }

    private var open: [Open] = []
    private var documents = 0
    private(set) var root: YAMLNode?
    private(set) var problem: YAMLProblem?

    /// False to stop.
    mutating func add(_ event: pulse_yaml_event) -> Bool {
        let position = SourcePosition(line: event.line + 1, column: event.column + 1)
        if event.is_decorated != 0 {
            return refuse(position, "anchors (&name) and tags (!name) are not supported")
        }
        switch Int(event.kind) {
        case PULSE_YAML_DOCUMENT_START:
            documents += 1
            return documents == 1
                || refuse(position, "a configuration is one document; remove '---'")
        case PULSE_YAML_SCALAR:
            let bytes = UnsafeBufferPointer(start: event.text, count: event.length)
            let text = String(decoding: bytes, as: UTF8.self)
            if let top = open.last, top.isMapping, top.key == nil {
                open[open.count - 1].key = (text, position)
                return true
            }
            return close(
                YAMLNode(content: .scalar(text, isPlain: event.is_plain != 0), position: position)
            )
        case PULSE_YAML_MAPPING_START, PULSE_YAML_SEQUENCE_START:
            if let top = open.last, top.isMapping, top.key == nil {
                return refuse(position, "a key is a word")
            }
            guard open.count < YAMLNode.depthMax else { return refuse(position, "nested too deep") }
            let isMapping = Int(event.kind) == PULSE_YAML_MAPPING_START
            open.append(Open(isMapping: isMapping, position: position))
            return true
        case PULSE_YAML_MAPPING_END, PULSE_YAML_SEQUENCE_END:
            guard let top = open.popLast() else { return false }
            return close(
                YAMLNode(
                    content: top.isMapping ? .mapping(top.entries) : .sequence,
                    position: top.position
                )
            )
        default: return refuse(position, "aliases (*name) are not supported")
        }
    }

    /// A node is complete: it belongs to the innermost open one, or is the root.
    private mutating func close(_ node: YAMLNode) -> Bool {
        guard var top = open.popLast() else {
            root = node
            return true
        }
        if top.isMapping, let key = top.key {
            top.entries.append(
                YAMLNode.Entry(key: key.text, position: key.position, value: node)
            )
            top.key = nil
        }
        open.append(top)
        return true
    }

    private mutating func refuse(_ position: SourcePosition, _ message: String) -> Bool {
        problem = YAMLProblem(position: position, message: message)
        return false
    }
}
