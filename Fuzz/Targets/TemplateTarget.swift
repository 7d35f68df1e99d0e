// Templates: parsed by kainjow Mustache behind a shim, rendered with any data.

import PulseCore
import PulseDelivery

extension FuzzTarget {
    /// - Any texts are refused with a place inside them, or can be rendered with any data.
    /// - A rendering stays within its limit and is the same each time.
    /// - A text without tags comes out as it went in.
    static let template = FuzzTarget(
        name: "template",
        inputBytesMax: 2048,
        check: { bytes in
            var draw = Draw(bytes)
            let channel = Channel(rawValue: draw.byte() & 3 + 1) ?? .email
            let source = TemplateSource(
                name: "t",
                channel: channel,
                subject: draw.text(),
                text: draw.text(),
                html: draw.text()
            )
            var data: [(name: String, value: String)] = []
            while !draw.isAtEnd, data.count < 16 { data.append((draw.text(), draw.text())) }
            let template: Template
            do throws(TemplateProblem) {
                template = try Template(source)
            } catch {
                let field =
                    switch error.field {
                    case "subject": source.subject
                    case "html": source.html
                    default: source.text
                    }
                try require(error.position <= field.utf8.count, "\(error) lies in the text")
                return
            }
            let first = try? template.render(data: data)
            let second = try? template.render(data: data)
            try require(first == second, "a rendering is the same each time")
            let missing = template.missingVariables(in: data)
            try require(
                missing.allSatisfy(template.variables.contains),
                "what is missing is what is used"
            )
            guard let first else { return }
            for (before, after) in [(source.subject, first.subject), (source.text, first.text)] {
                try require(after.utf8.count <= Limits.renderedBytesMax, "renderings are bounded")
                guard !before.contains("{{") else { continue }
                try require(
                    Array(before.utf8) == Array(after.utf8),
                    "a text without tags comes out as it went in"
                )
            }
        },
        seeds: {
            [
                [
                    "Hi {{name}}", "{{#a}}x{{/a}}{{^b}}y{{/b}}", "<b>{{{name}}}</b>{{&name}}",
                    "name", "A",
                ],
                [
                    "s", "{{! comment }}\n {{#a}}\n {{#b}}{{c}}{{/b}}\n{{/a}}\n", "", "a", "true",
                    "c", "<",
                ],
                ["s", "{{= | | =}}", "{{> partial}}"], ["s", "plain { text }", ""],
            ].map { parts in
                var script = Script()
                script.bytes.append(0)
                for part in parts { script.add(field: Array(part.utf8)) }
                return script.bytes
            }
        }
    )
}
