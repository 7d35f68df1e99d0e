// Templates: what is shown, what is escaped, what is refused and where.

import PulseCore
import PulseDelivery
import Testing

private func email(
    subject: String = "s",
    text: String = "",
    html: String = ""
) throws(TemplateProblem) -> Template {
    try Template(
        TemplateSource(name: "t", channel: .email, subject: subject, text: text, html: html)
    )
}

@Suite("Templates") struct TemplateTests {
    @Test("Only the html part escapes, and only two-brace tags")
    func escaping() throws {
        let template = try email(
            subject: "{{ x }}",
            text: "{{x}}",
            html: "{{x}}|{{{x}}}|{{& x}}|{{ x }}"
        )
        let rendered = try template.render(data: [("x", "<b>\"A\" & 'B'</b>")])
        #expect(rendered.subject == "<b>\"A\" & 'B'</b>")
        #expect(rendered.text == rendered.subject)
        let escaped = "&lt;b&gt;&quot;A&quot; &amp; &apos;B&apos;&lt;/b&gt;"
        #expect(rendered.html == "\(escaped)|\(rendered.subject)|\(rendered.subject)|\(escaped)")
    }

    @Test("A value is data, never a template")
    func valuesAreNotParsed() throws {
        let rendered = try email(text: "{{a}}{{b}}").render(
            data: [("a", "{{b}}"), ("b", "{{{a}}} {{#a}}")])
        #expect(rendered.text == "{{b}}{{{a}}} {{#a}}")
    }

    @Test(
        "Sections are shown for values that are there, not empty and not false",
        arguments: [
            ("1", "yes"), ("0", "yes"), ("true", "yes"), ("False", "yes"), ("false", "no"),
            ("", "no"), (nil, "no"),
        ]
    )
    func sections(value: String?, expected: String) throws {
        let template = try email(text: "{{#vip}}yes{{/vip}}{{^vip}}no{{/vip}}")
        let rendered = try template.render(data: value.map { [("vip", $0)] } ?? [])
        #expect(rendered.text == expected)
    }

    @Test("A line with nothing but section tags leaves no empty line")
    func standaloneLines() throws {
        let text =
            "Dear {{name}},\n\n{{#vip}}\n  Welcome back.\n{{/vip}}\n"
            + "{{^vip}}\nHello.\n{{/vip}}\nBye\n"
        let template = try email(text: text)
        #expect(
            try template.render(data: [("name", "Å"), ("vip", "1")]).text
                == "Dear Å,\n\n  Welcome back.\nBye\n"
        )
        #expect(
            try template.render(data: [("name", "")]).text == "Dear ,\n\nHello.\nBye\n"
        )
    }

    @Test("Text that is no tag comes out byte for byte")
    func plainText() throws {
        let text = "a { b } }} c \r\n\t d \u{1F600} \u{0} {% x %} $1 \\ é\r e\n\n"
        #expect(try email(text: text).render(data: []).text == text)
        #expect(try email(text: "{{! a comment }}x").render(data: []).text == "x")
    }

    @Test("Of two values with one name the later counts")
    func duplicates() throws {
        #expect(try email(text: "{{x}}").render(data: [("x", "1"), ("x", "2")]).text == "2")
    }

    @Test("Variables are listed sorted, once, over all parts")
    func variables() throws {
        let template = try email(
            subject: "{{z}}",
            text: "{{#s}}{{a.b}}{{/s}}",
            html: "{{{z}}}{{&c-d}}{{! no }}"
        )
        #expect(template.variables == ["a.b", "c-d", "s", "z"])
    }

    @Test("Missing variables follow what would be shown")
    func missing() throws {
        let template = try email(
            text: "{{a}}{{#s}}{{b}}{{#u}}{{e}}{{/u}}{{/s}}{{^s}}{{c}}{{/s}}{{d}}"
        )
        #expect(template.missingVariables(in: ["d"]) == ["a", "c"])
        #expect(template.missingVariables(in: ["d", "s"]) == ["a", "b"])
        #expect(template.missingVariables(in: [("s", "false"), ("a", "")]) == ["c", "d"])
        #expect(
            template.missingVariables(in: [("s", "1"), ("u", "1"), ("a", ""), ("d", "")])
                == ["b", "e"]
        )
        #expect(template.missingVariables(in: ["a", "b", "c", "d", "s"]).isEmpty)
    }

    @Test("A rendering stops at its limit")
    func renderedTooLong() throws {
        let template = try email(text: String(repeating: "{{x}}", count: 600), html: "{{x}}")
        let kilobyte = String(repeating: "a", count: 1024)
        #expect(throws: RenderingTooLong.self) { try template.render(data: [("x", kilobyte)]) }
        let half = String(repeating: "a", count: 512)
        #expect(try template.render(data: [("x", half)]).text.utf8.count == 600 * 512)
        let angles = String(repeating: "<", count: Limits.renderedBytesMax / 4 + 1)
        #expect(throws: RenderingTooLong.self) {
            try email(html: "{{x}}").render(data: [("x", angles)])
        }
    }
}

@Suite("Any text as a template") struct TemplateFuzzTests {
    @Test("Is refused or rendered, and never too long", arguments: [1, 2, 3] as [UInt64])
    func anyText(seed: UInt64) {
        let pieces = [
            "{{", "}}", "{{{", "}}}", "{", "}", "#", "^", "/", "&", "!", ">", "=", ".", "a", "b",
            " ", "\n", "\r", "\t", "{{a}}", "{{#a}}", "{{/a}}", "{{^b}}", "{{/b}}", "é", "\u{0}",
            "\"",
        ]
        var random = SeededGenerator(seed: seed)
        var rendered = 0
        for _ in 0..<4000 {
            let text = (0..<random.below(24)).map { _ in pieces[random.below(pieces.count)] }
                .joined()
            guard let template = try? email(text: "x" + text, html: text) else { continue }
            let result = try? template.render(data: [("a", "<"), ("b", "false")])
            #expect(result != nil, "seed \(seed): \(text)")
            rendered += 1
        }
        #expect(rendered > 100)
    }

    @Test("Sections as deep as is allowed")
    func deep() throws {
        let depth = 64
        let text =
            String(repeating: "{{#a}}", count: depth) + "x"
            + String(repeating: "{{/a}}", count: depth)
        let template = try email(text: text)
        #expect(try template.render(data: [("a", "1")]).text == "x")
        #expect(try template.render(data: []).text == "")
        #expect(template.missingVariables(in: [String]()).isEmpty)
    }
}

/// A refused template: what is wrong, where, and a word of the message.
struct Refusal: Sendable, CustomTestStringConvertible {
    var field: String
    var text: String
    var line: Int
    var column: Int
    var says: String
    var testDescription: String { String(text.prefix(40)) }

    init(_ text: String, _ line: Int, _ column: Int, _ says: String, field: String = "text") {
        self.field = field
        self.text = text
        self.line = line
        self.column = column
        self.says = says
    }
}

@Suite("Refused templates") struct RefusedTemplateTests {
    static let refusals: [Refusal] = [
        Refusal("Hello {{name", 1, 7, "tag is not closed"),
        Refusal("Hello {{name}", 1, 7, "tag is not closed"),
        Refusal("Hello {{{name}}", 1, 7, "tag is not closed"),
        Refusal("one\ntwo {{", 2, 5, "tag is not closed"),
        Refusal("{{#a}}", 1, 1, "section is not closed"),
        Refusal("x\n{{#a}}{{#b}}{{/a}}", 2, 1, "section is not closed"),
        Refusal("{{#a}}{{/b}}", 1, 1, "section is not closed"),
        Refusal("{{#a}}{{#b}}{{/a}}{{/b}}", 1, 1, "section is not closed"),
        Refusal("ab{{/a}}", 1, 3, "without a beginning"),
        Refusal("{{> header }}", 1, 1, "partials"),
        Refusal("é {{=<% %>=}}", 1, 3, "delimiters"),
        Refusal("{{ =| |= }}", 1, 1, "delimiters"),
        Refusal("{{= =}}", 1, 1, "delimiters"),
        Refusal("{{}}", 1, 1, "without a name"),
        Refusal("a {{   }}", 1, 3, "without a name"),
        Refusal("{{#}}{{/}}", 1, 1, "without a name"),
        Refusal("{{&}}", 1, 1, "without a name"),
        Refusal("{{{ }}}", 1, 1, "without a name"),
        Refusal("{{.}}", 1, 1, "implicit iterator"),
        Refusal("{{ user name }}", 1, 1, "\"user name\" is not a name"),
        Refusal("{{ a } and {{ b }}", 1, 1, "is not a name"),
        Refusal("x{{{#a}}}", 1, 2, "is not a name"),
        Refusal("{{naïve}}", 1, 1, "is not a name"),
        Refusal("{{a\r\nb}}", 1, 1, "\"a  b\" is not a name"),
        Refusal("{{\(String(repeating: "a", count: 101))}}", 1, 1, "longer than 100"),
        Refusal(String(repeating: "{{#a}}", count: 65), 1, 385, "more than 64 sections"),
        Refusal(String(repeating: "{{a}}", count: 2001), 1, 10_001, "more than 2000 tags"),
        Refusal(String(repeating: "a", count: (256 << 10) + 1), 1, 1, "longer than 262144"),
        Refusal("<p>{{a</p>", 1, 4, "tag is not closed", field: "html"),
        Refusal("{{/x}}", 1, 1, "without a beginning", field: "subject"),
    ]

    @Test("Refused with the field and the place", arguments: refusals)
    func refused(_ refusal: Refusal) throws {
        var source = TemplateSource(name: "t", channel: .email, subject: "s", text: "t")
        switch refusal.field {
        case "subject": source.subject = refusal.text
        case "html": source.html = refusal.text
        default: source.text = refusal.text
        }
        let problem = #expect(throws: TemplateProblem.self) { try Template(source) }
        #expect(problem?.field == refusal.field)
        #expect(problem?.line == refusal.line)
        #expect(problem?.column == refusal.column)
        #expect(problem?.message.contains(refusal.says) == true, "\(problem?.message ?? "")")
    }

    @Test("Names have a grammar")
    func names() {
        #expect(Template.nameProblem("Welcome_email-2.v1") == nil)
        #expect(Template.nameProblem(String(repeating: "a", count: 100)) == nil)
        for bad in ["", "a b", "a/b", "é", "a\n", String(repeating: "a", count: 101)] {
            #expect(Template.nameProblem(bad) != nil)
            #expect(throws: TemplateProblem.self) {
                try Template(TemplateSource(name: bad, channel: .sms, text: "x"))
            }
        }
    }

    @Test("Each channel needs its parts")
    func parts() throws {
        func field(
            _ channel: Channel,
            subject: String = "",
            text: String = "",
            html: String = ""
        ) -> String? {
            do {
                _ = try Template(
                    TemplateSource(
                        name: "t",
                        channel: channel,
                        subject: subject,
                        text: text,
                        html: html
                    )
                )
                return nil
            } catch {
                return error.field
            }
        }
        #expect(field(.email, subject: "s", text: "t") == nil)
        #expect(field(.email, subject: "s", html: "h") == nil)
        #expect(field(.email, text: "t") == "subject")
        #expect(field(.email, subject: "  ", text: "t") == "subject")
        #expect(field(.email, subject: "s", text: "\n ") == "text")
        #expect(field(.sms, text: "t") == nil)
        #expect(field(.sms, subject: "s") == "text")
        #expect(field(.push, subject: "s", text: "t") == nil)
        #expect(field(.push, text: "t", html: "h") == "html")
        #expect(field(.webhook, text: "{\"a\": \"{{a}}\"}") == nil)
        #expect(field(.webhook, html: "h") == "text")
    }
}
