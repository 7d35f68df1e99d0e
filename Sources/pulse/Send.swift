// `pulse send`: one notification, accepted when it is on stable storage.

import PulseClient
import PulseCore
import PulseServer

enum Send {
    static let flags = [
        Flag("--to", value: "ADDRESS", "Where it goes: e-mail address, phone number, token or URL"),
        Flag("--user", value: "USER", "Whose it is (default: the address)"),
        Flag(
            "--channel",
            value: "CHANNEL",
            "email, webhook, sms or push (default: the template's)"
        ),
        Flag("--template", value: "NAME", "A stored template"),
        Flag("--data", value: "NAME=VALUE", repeats: true, "A variable of the template; repeat it"),
        Flag("--subject", value: "TEXT", "The subject of a mail"),
        Flag("--text", value: "TEXT|@FILE", "The text"),
        Flag("--html", value: "TEXT|@FILE", "The HTML part of a mail"),
        Flag(
            "--lane",
            value: "LANE",
            "critical, high, normal or bulk (default: by the broker's rules)"
        ),
        Flag("--key", value: "KEY", "An idempotency key: the same key never sends twice"),
        Flag("--deliver-at", value: "TIME", "Not before: RFC 3339, or +90s, +15m, +2h, +3d"),
    ]

    static func perform(
        _ invocation: Invocation,
        _ client: PulseClient
    ) async throws(CommandFailure) {
        let notification = try await notification(invocation, client)
        let receipt = try await Client.asking { () throws(ClientError) in
            try await client.producer().send(notification)
        }
        let result = receipt.isDuplicate ? "duplicate" : "accepted"
        Console.show(
            Table(columns: ["ID", "RESULT"], rows: [["\(receipt.id)", result]]),
            .object([("id", .text("\(receipt.id)")), ("result", .text(result))]),
            as: invocation.format
        )
    }

    private static func notification(
        _ invocation: Invocation,
        _ client: PulseClient
    ) async throws(CommandFailure) -> Notification {
        guard let to = invocation["--to"] else { throw .usage("--to is missing: who is it for?") }
        var notification = Notification(user: invocation["--user"] ?? to, to: to)
        notification.template = invocation["--template"]
        notification.content = Notification.Content(
            subject: invocation["--subject"],
            text: try invocation.text("--text"),
            html: try invocation.text("--html")
        )
        notification.idempotencyKey = invocation["--key"]
        for pair in invocation.all("--data") {
            guard let equals = pair.firstIndex(of: "="), equals != pair.startIndex else {
                throw .usage("--data is NAME=VALUE, not \"\(pair)\"")
            }
            let name = String(pair[..<equals])
            guard notification.data[name] == nil else {
                throw .usage("--data \(name) is given twice")
            }
            notification.data[name] = String(pair[pair.index(after: equals)...])
        }
        if let word = invocation["--lane"] { notification.lane = try Word.lane(word) }
        if let word = invocation["--deliver-at"] { notification.deliverAt = try Word.time(word) }
        notification.channel = try await channel(invocation, to: to, client)
        return notification
    }

    /// The channel somebody named, or the template's, or the one whose addresses look like this.
    private static func channel(
        _ invocation: Invocation,
        to: String,
        _ client: PulseClient
    ) async throws(CommandFailure) -> Notification.Channel {
        if let word = invocation["--channel"] { return try Word.channel(word) }
        if let name = invocation["--template"] {
            let templates = try await Client.asking { () throws(ClientError) in
                try await client.templates()
            }
            guard let template = templates.first(where: { $0.name == name }) else {
                throw CommandFailure(
                    ExitCode.notFound,
                    "unknown_template",
                    "there is no template named \"\(name)\""
                        + Suggestion.hint(for: name, among: templates.map(\.name))
                )
            }
            return template.channel
        }
        if to.hasPrefix("https://") || to.hasPrefix("http://") { return .webhook }
        if to.contains("@") { return .email }
        if to.hasPrefix("+") { return .sms }
        throw .usage("--channel is missing: \"\(to)\" does not tell it")
    }
}

/// Words of flags that stand for values.
enum Word {
    static func channel(_ word: String) throws(CommandFailure) -> Notification.Channel {
        guard let channel = Notification.Channel(name: word) else {
            let names = Channel.allCases.map(\.name)
            throw .usage(
                "there is no channel \"\(word)\"" + Suggestion.hint(for: word, among: names)
                    + "; there are \(names.joined(separator: ", "))"
            )
        }
        return channel
    }

    static func lane(_ word: String) throws(CommandFailure) -> Notification.Lane {
        guard let lane = Notification.Lane(name: word) else {
            let names = Lane.allCases.map(\.name)
            throw .usage(
                "there is no lane \"\(word)\"" + Suggestion.hint(for: word, among: names)
                    + "; there are \(names.joined(separator: ", "))"
            )
        }
        return lane
    }

    /// A time of day, or a span from now on.
    static func time(_ word: String) throws(CommandFailure) -> Notification.Time {
        if let wall = WallTimestamp(rfc3339: word) {
            return Notification.Time(millisecondsSince1970: wall.milliseconds)
        }
        let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3600, "d": 86_400]
        if word.hasPrefix("+"), let unit = word.last.flatMap({ units[$0] }),
            let count = Int64(word.dropFirst().dropLast()), (0...1_000_000).contains(count)
        {
            return Notification.Time.now.advanced(by: .seconds(count * unit))
        }
        throw .usage(
            "\"\(word)\" is no time: write 2026-11-20T09:30:00Z, or +90s, +15m, +2h, +3d"
        )
    }

    static func count(_ word: String, of flag: String, upTo most: Int) throws(CommandFailure) -> Int
    {
        guard let count = Int(word), (0...most).contains(count) else {
            throw .usage("\(flag) is a number from 0 to \(most), not \"\(word)\"")
        }
        return count
    }
}
