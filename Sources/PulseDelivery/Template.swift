// A template: what a service saves once and names in every notification. Checked completely when it
// is saved, so that at delivery time only two things can be wrong: a missing variable and a result
// that is too long.

package import PulseCore

/// What a client saves. Parts it does not use are empty.
package struct TemplateSource: Hashable, Sendable {
    package var name: String
    package var channel: Channel
    package var subject: String
    package var text: String
    package var html: String

    package init(
        name: String,
        channel: Channel,
        subject: String = "",
        text: String = "",
        html: String = ""
    ) {
        self.name = name
        self.channel = channel
        self.subject = subject
        self.text = text
        self.html = html
    }
}

/// What a notification says, after rendering or as the request gave it.
package struct RenderedContent: Hashable, Sendable {
    package var subject: String
    package var text: String
    package var html: String

    package init(subject: String = "", text: String = "", html: String = "") {
        self.subject = subject
        self.text = text
        self.html = html
    }
}

/// A part came out longer than ``Limits/renderedBytesMax``.
package struct RenderingTooLong: Error, Hashable, Sendable {
    package var field: String
}

/// A checked, parsed template. Immutable; copies share the parsed parts.
package struct Template: Sendable {
    package let source: TemplateSource
    /// Every name used in any part, sorted, each once.
    package let variables: [String]
    private let subject: TemplatePart
    private let text: TemplatePart
    private let html: TemplatePart

    /// Parses and checks `source`.
    ///
    /// - Throws: The first problem, in the order name, subject, text, html, what is absent.
    package init(_ source: TemplateSource) throws(TemplateProblem) {
        if let message = Self.nameProblem(source.name) {
            throw TemplateProblem(field: "name", message: message)
        }
        subject = try TemplatePart(field: "subject", source.subject, escapesHTML: false)
        text = try TemplatePart(field: "text", source.text, escapesHTML: false)
        html = try TemplatePart(field: "html", source.html, escapesHTML: true)
        try Self.checkParts(of: source)
        self.source = source
        variables = Self.names(in: [subject, text, html])
    }

    /// The sentence to answer when `name` cannot name a template, or nil when it can.
    package static func nameProblem(_ name: String) -> String? {
        if name.isEmpty { return "must not be empty" }
        if name.utf8.count > Limits.templateNameBytesMax {
            return "longer than \(Limits.templateNameBytesMax) bytes"
        }
        guard name.utf8.allSatisfy(TemplateName.allows) else {
            return "use letters, digits, '_', '.' and '-' only"
        }
        return nil
    }

    /// Renders all parts. A variable without a value comes out empty; ask
    /// ``missingVariables(in:)-([(String,String)])`` first.
    package func render(
        data: [(name: String, value: String)]
    ) throws(RenderingTooLong) -> RenderedContent {
        let data = TemplateData(data)
        guard let subject = subject.render(data) else { throw RenderingTooLong(field: "subject") }
        guard let text = text.render(data) else { throw RenderingTooLong(field: "text") }
        guard let html = html.render(data) else { throw RenderingTooLong(field: "html") }
        return RenderedContent(subject: subject, text: text, html: html)
    }

    /// The variables a rendering with `data` would show but that have no value, sorted, each once.
    ///
    /// A name that only opens sections is never missing, and what stands in a section that is not
    /// shown is not needed. A present but empty value is not missing.
    package func missingVariables(in data: [(name: String, value: String)]) -> [String] {
        missingVariables { name in data.last { $0.name == name }?.value }
    }

    /// The same when only the names are known; every value counts as true.
    package func missingVariables(in names: some Sequence<String>) -> [String] {
        let names = Array(names)
        return missingVariables { names.contains($0) ? "true" : nil }
    }

    private func missingVariables(_ value: (String) -> String?) -> [String] {
        var missing: [String] = []
        for part in [subject, text, html] {
            // How many sections we are in, counted from the outermost that is not shown.
            var hidden = 0
            for tag in part.tags {
                switch tag {
                case .variable(let name):
                    if hidden == 0, value(name) == nil { missing.append(name) }
                case .section(let name, let inverted):
                    if hidden > 0 || Self.isTrue(value(name)) == inverted { hidden += 1 }
                case .sectionEnd:
                    if hidden > 0 { hidden -= 1 }
                }
            }
        }
        return Self.sortedUnique(missing)
    }

    /// The rule for sections; CMustache has the same one.
    private static func isTrue(_ value: String?) -> Bool {
        guard let value else { return false }
        return !value.isEmpty && value != "false"
    }

    private static func names(in parts: [TemplatePart]) -> [String] {
        var names: [String] = []
        for tag in parts.flatMap(\.tags) {
            switch tag {
            case .variable(let name), .section(let name, _): names.append(name)
            case .sectionEnd: break
            }
        }
        return sortedUnique(names)
    }

    private static func sortedUnique(_ names: [String]) -> [String] {
        var result: [String] = []
        for name in names.sorted() where result.last != name { result.append(name) }
        return result
    }

    /// What each channel cannot do without.
    private static func checkParts(of source: TemplateSource) throws(TemplateProblem) {
        switch source.channel {
        case .email:
            if isBlank(source.subject) {
                throw TemplateProblem(
                    field: "subject",
                    message: "an email template needs a subject"
                )
            }
            if isBlank(source.text), isBlank(source.html) {
                throw TemplateProblem(
                    field: "text",
                    message: "an email template needs a text or an html part"
                )
            }
        case .sms, .push, .webhook:
            if isBlank(source.text) {
                throw TemplateProblem(
                    field: "text",
                    message: "a template for \(source.channel.name) needs a text"
                )
            }
            if source.channel != .webhook, !source.html.isEmpty {
                throw TemplateProblem(
                    field: "html",
                    message: "\(source.channel.name) has no html part; remove it"
                )
            }
        }
    }

    private static func isBlank(_ text: String) -> Bool {
        text.unicodeScalars.allSatisfy(\.properties.isWhitespace)
    }
}
