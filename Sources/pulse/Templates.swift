// `pulse template`: the stored texts.

import PulseClient

enum Templates {
    static let putFlags = [
        Flag("--channel", value: "CHANNEL", "email, webhook, sms or push"),
        Flag("--subject", value: "TEXT", "The subject of a mail, with {{variables}}"),
        Flag("--text", value: "TEXT|@FILE", "The text, with {{variables}}"),
        Flag("--html", value: "TEXT|@FILE", "The HTML part of a mail, with {{variables}}"),
    ]

    static func put(
        _ invocation: Invocation,
        _ client: PulseClient
    ) async throws(CommandFailure) {
        guard let channel = invocation["--channel"] else { throw .usage("--channel is missing") }
        let template = Template(
            name: invocation.arguments[0],
            channel: try Word.channel(channel),
            subject: try invocation.text("--subject") ?? "",
            text: try invocation.text("--text") ?? "",
            html: try invocation.text("--html") ?? ""
        )
        guard !template.text.isEmpty || !template.html.isEmpty else {
            throw .usage("--text or --html is missing: the template would say nothing")
        }
        try await Client.asking { () throws(ClientError) in try await client.putTemplate(template) }
        Console.show(
            Table(columns: ["NAME", "RESULT"], rows: [[template.name, "saved"]]),
            .object([("name", .text(template.name)), ("result", .text("saved"))]),
            as: invocation.format
        )
    }

    static func list(
        _ invocation: Invocation,
        _ client: PulseClient
    ) async throws(CommandFailure) {
        let templates = try await Client.asking { () throws(ClientError) in
            try await client.templates()
        }
        let rows = templates.map { template in
            [
                template.name, template.channel.name,
                template.subject.isEmpty ? String(template.text.prefix(60)) : template.subject,
            ]
        }
        let json = templates.map { template in
            JSON.object([
                ("name", .text(template.name)), ("channel", .text(template.channel.name)),
                ("subject", .text(template.subject)), ("text", .text(template.text)),
                ("html", .text(template.html)),
            ])
        }
        Console.show(
            Table(columns: ["NAME", "CHANNEL", "SUBJECT OR TEXT"], rows: rows),
            .list(json),
            as: invocation.format
        )
    }
}
