// One parsed text of a template: subject, text or html. Parsing is kainjow Mustache's, behind
// CMustache; what is allowed in a template is decided here.
//
//      {{ name }}              the value; HTML-escaped in an html part, as it is elsewhere
//      {{{ name }}}, {{& name }}   the value as it is, everywhere
//      {{# name }} … {{/ name }}   shown when the value is there, not empty and not "false"
//      {{^ name }} … {{/ name }}   shown otherwise
//      {{! anything }}         nothing
//
// Refused when saved: partials, set-delimiter tags, the implicit iterator `{{.}}`, names outside
// `[A-Za-z0-9_.-]{1,100}`, unbalanced sections, more than 2,000 tags or 64 sections. Values are
// flat text, so a section never repeats and a rendering is linear in its tags. A dot in a name is
// part of it.

internal import CMustache
internal import PulseCore

/// A tag, in the order of the text.
enum TemplateTag: Hashable, Sendable {
    case variable(String)
    case section(String, inverted: Bool)
    case sectionEnd
}

/// Owns a parsed tree of the C++ side.
///
/// `@unchecked Sendable`: the tree behind `handle` never changes between init and deinit, and rendering
/// only reads it.
final class TemplatePart: @unchecked Sendable {
    private let handle: OpaquePointer
    let tags: [TemplateTag]
    private let escapesHTML: Bool

    init(field: String, _ text: String, escapesHTML: Bool) throws(TemplateProblem) {
        guard text.utf8.count <= Limits.templateBytesMax else {
            throw TemplateProblem(
                field: field,
                message: "longer than \(Limits.templateBytesMax) bytes; shorten the template"
            )
        }
        var problem: Int32 = 0
        var position = 0
        let parsed = Array(text.utf8).withUnsafeBufferPointer {
            pulse_mustache_parse($0.baseAddress, $0.count, &problem, &position)
        }
        guard let parsed else {
            throw TemplateProblem(
                field: field,
                in: text,
                at: position,
                Self.sentence(for: Int(problem))
            )
        }
        var collected = TagCollector()
        withUnsafeMutablePointer(to: &collected) {
            pulse_mustache_visit(
                parsed,
                { context, kind, name, length, position in
                    guard let context else { return }
                    context.assumingMemoryBound(to: TagCollector.self).pointee.add(
                        kind: Int(kind),
                        name: UnsafeRawBufferPointer(start: name, count: length),
                        position: position
                    )
                },
                $0
            )
        }
        if let (position, message) = collected.problem {
            pulse_mustache_free(parsed)
            throw TemplateProblem(field: field, in: text, at: position, message)
        }
        handle = parsed
        tags = collected.tags
        self.escapesHTML = escapesHTML
    }

    deinit { pulse_mustache_free(handle) }

    /// The rendered text, or nil when it would be longer than ``Limits/renderedBytesMax``.
    func render(_ data: TemplateData) -> String? {
        var result = ""
        let status = withUnsafeMutablePointer(to: &result) { result in
            data.arena.withUnsafeBufferPointer { arena in
                data.slots.withUnsafeBufferPointer { slots in
                    pulse_mustache_render(
                        handle,
                        escapesHTML ? 1 : 0,
                        arena.baseAddress,
                        slots.baseAddress,
                        slots.count,
                        Limits.renderedBytesMax,
                        { context, bytes, count in
                            guard let context else { return }
                            context.assumingMemoryBound(to: String.self).pointee = String(
                                decoding: UnsafeBufferPointer(start: bytes, count: count),
                                as: UTF8.self
                            )
                        },
                        result
                    )
                }
            }
        }
        return status == 0 ? result : nil
    }

    private static func sentence(for problem: Int) -> String {
        switch problem {
        case PULSE_MUSTACHE_UNCLOSED_TAG: "tag is not closed; end it with }}"
        case PULSE_MUSTACHE_UNCLOSED_SECTION:
            "section is not closed; end it with {{/name}} of the same name"
        case PULSE_MUSTACHE_UNOPENED_SECTION: "section end without a beginning"
        case PULSE_MUSTACHE_DELIMITER_TAG: "tags that change delimiters are not allowed"
        case PULSE_MUSTACHE_TOO_MANY_SECTIONS: "more than \(PULSE_MUSTACHE_SECTIONS_MAX) sections"
        case PULSE_MUSTACHE_TOO_MANY_TAGS: "more than \(PULSE_MUSTACHE_TAGS_MAX) tags"
        default: "cannot be parsed"
        }
    }
}

/// Variables laid out for the C++ side: one arena of bytes and ranges into it, made once for all
/// parts.
struct TemplateData {
    private(set) var arena: [UInt8] = []
    private(set) var slots: [pulse_mustache_datum] = []

    init(_ data: [(name: String, value: String)]) {
        slots.reserveCapacity(data.count)
        for (name, value) in data {
            let name = append(name)
            let value = append(value)
            slots.append(
                pulse_mustache_datum(
                    name_start: name.lowerBound,
                    name_length: name.count,
                    value_start: value.lowerBound,
                    value_length: value.count
                )
            )
        }
    }

    private mutating func append(_ text: String) -> Range<Int> {
        let start = arena.count
        arena.append(contentsOf: text.utf8)
        return start..<arena.count
    }
}

/// Gathers the tags of a parsed tree and remembers the first that is not allowed.
private struct TagCollector {
    var tags: [TemplateTag] = []
    var problem: (position: Int, message: String)?

    mutating func add(kind: Int, name: UnsafeRawBufferPointer, position: Int) {
        guard problem == nil else { return }
        guard kind != PULSE_MUSTACHE_PARTIAL else {
            problem = (position, "partials ({{> name }}) are not allowed")
            return
        }
        guard kind != PULSE_MUSTACHE_SECTION_END else {
            tags.append(.sectionEnd)
            return
        }
        if let message = Self.problem(withName: name) {
            problem = (position, message)
            return
        }
        let name = name.text
        switch kind {
        case PULSE_MUSTACHE_SECTION: tags.append(.section(name, inverted: false))
        case PULSE_MUSTACHE_INVERTED_SECTION: tags.append(.section(name, inverted: true))
        default: tags.append(.variable(name))
        }
    }

    private static func problem(withName name: UnsafeRawBufferPointer) -> String? {
        if name.isEmpty { return "tag without a name" }
        if name.count == 1, name[0] == UInt8(ascii: ".") {
            return "the implicit iterator {{.}} is not allowed; name the variable"
        }
        if name.count > Limits.dataNameBytesMax {
            return "name longer than \(Limits.dataNameBytesMax) bytes"
        }
        guard name.allSatisfy(TemplateName.allows) else {
            let shown = SafeText.line(name.text, bytesMax: 40)
            return "\"\(shown)\" is not a name; use letters, digits, '_', '.' and '-'"
        }
        return nil
    }
}

/// The alphabet that template and variable names share.
enum TemplateName {
    static func allows(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "."),
            UInt8(ascii: "-"):
            true
        default: false
        }
    }
}
