// JSON documents as a flat tape of tokens, read in place.

import CJSON
import PulseCore

/// What is wrong with a JSON text, and at which byte of it.
struct JSONFault: Error, Equatable {
    var reason: String
    var offset: Int
}

/// One value of a document, borrowed from the parser that read it.
struct JSONValue {
    private let tape: UnsafePointer<pulse_json_token>
    private let index: Int

    fileprivate init(tape: UnsafePointer<pulse_json_token>, index: Int) {
        self.tape = tape
        self.index = index
    }

    enum Kind {
        case null
        case boolean(Bool)
        case number
        case string
        case array
        case object
    }

    var kind: Kind {
        switch pulse_json_kind(rawValue: tape[index].kind) {
        case PULSE_JSON_FALSE: .boolean(false)
        case PULSE_JSON_TRUE: .boolean(true)
        case PULSE_JSON_NUMBER: .number
        case PULSE_JSON_STRING: .string
        case PULSE_JSON_ARRAY: .array
        case PULSE_JSON_OBJECT: .object
        default: .null
        }
    }

    var isNull: Bool { if case .null = kind { true } else { false } }
    var isObject: Bool { if case .object = kind { true } else { false } }

    /// The key this value has in its object.
    var key: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: tape[index].key, count: Int(tape[index].key_count))
    }

    /// A string without its escapes, or a number as it was written; empty for other kinds.
    var text: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: tape[index].value, count: Int(tape[index].value_count))
    }

    /// The values of an array or object, in the order they were written; none for other kinds.
    var members: Members {
        Members(tape: tape, position: index + 1, end: Int(tape[index].end))
    }

    struct Members: Sequence, IteratorProtocol {
        fileprivate let tape: UnsafePointer<pulse_json_token>
        fileprivate var position: Int
        fileprivate let end: Int

        mutating func next() -> JSONValue? {
            guard position < end else { return nil }
            defer { position = Int(tape[position].end) }
            return JSONValue(tape: tape, index: position)
        }
    }
}

/// Reads JSON documents, one at a time, into memory it keeps.
final class JSONParser {
    /// Values in one document: far more than a notification has, few enough to check in a
    /// millisecond.
    static let valuesMax = 10_000

    private let handle: OpaquePointer

    init() {
        guard let handle = pulse_json_create(Limits.jsonDepthMax, Self.valuesMax) else {
            preconditionFailure("no memory for a JSON parser: lower the connection limit")
        }
        self.handle = handle
    }

    deinit { pulse_json_destroy(handle) }

    /// Reads one document.
    ///
    /// The value is borrowed from `bytes` and from this parser, until the next call.
    func parse(_ bytes: UnsafeRawBufferPointer) throws(JSONFault) -> JSONValue {
        let tape = pulse_json_parse(handle, bytes.baseAddress, bytes.count)
        guard tape.fault == PULSE_JSON_FINE, let tokens = tape.tokens, tape.count > 0 else {
            throw JSONFault(reason: Self.reason(tape.fault), offset: tape.offset)
        }
        return JSONValue(tape: tokens, index: 0)
    }

    /// Gives back the memory of a large document; values read before are no longer valid.
    func clear() { pulse_json_clear(handle) }

    private static func reason(_ fault: pulse_json_fault) -> String {
        switch fault {
        case PULSE_JSON_INCOMPLETE: "the text ends too early"
        case PULSE_JSON_EXTRA: "something follows the document"
        case PULSE_JSON_TOO_DEEP: "nesting is deeper than \(Limits.jsonDepthMax)"
        case PULSE_JSON_TOO_MANY: "there are more than \(valuesMax) values"
        case PULSE_JSON_DUPLICATE: "a key is given twice in one object"
        case PULSE_JSON_BAD_ESCAPE: "a bad escape"
        case PULSE_JSON_NUMBER_RANGE: "a number is out of range"
        case PULSE_JSON_NO_MEMORY: "there is no memory for the document"
        default: "a syntax error"
        }
    }
}
