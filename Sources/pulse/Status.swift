// `pulse status ID`: where a notification stands.

import PulseClient

enum Status {
    static func perform(
        _ invocation: Invocation,
        _ client: PulseClient
    ) async throws(CommandFailure) {
        let text = invocation.arguments[0]
        guard let id = Notification.ID(text) else {
            throw .usage("\"\(text)\" is no notification's identifier: it is a UUID")
        }
        let status = try await Client.asking { () throws(ClientError) in
            try await client.status(of: id)
        }
        var rows = [
            ["id", "\(id)"], ["state", status.state], ["channel", status.channel.name],
            ["lane", status.lane.name], ["attempts", "\(status.attempts)"],
            ["accepted", "\(status.acceptedAt)"], ["updated", "\(status.updatedAt)"],
        ]
        if let due = status.dueAt { rows.append(["due", "\(due)"]) }
        if let error = status.error { rows.append(["error", error]) }
        Console.show(
            Table(rows: rows),
            .object([
                ("id", .text("\(id)")), ("state", .text(status.state)),
                ("final", .boolean(status.isFinal)), ("channel", .text(status.channel.name)),
                ("lane", .text(status.lane.name)), ("attempts", .number(status.attempts)),
                ("accepted_at", .text("\(status.acceptedAt)")),
                ("updated_at", .text("\(status.updatedAt)")),
                ("due_at", .text(optional: status.dueAt.map { "\($0)" })),
                ("error", .text(optional: status.error)),
            ]),
            as: invocation.format
        )
    }
}
