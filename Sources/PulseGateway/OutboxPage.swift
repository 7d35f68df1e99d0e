// What the development catcher caught, for programs and for people.

import PulseCore

extension HTTPResponse {
    /// The caught notifications, newest first, as JSON or as a page.
    package static func outbox(_ entries: [OutboxEntry], asPage: Bool) -> HTTPResponse {
        asPage ? page(entries) : json(entries)
    }

    private static func json(_ entries: [OutboxEntry]) -> HTTPResponse {
        HTTPResponse(status: 200, .json) { body in
            body.append("{\"count\":")
            body.append(decimal: entries.count)
            body.append(",\"entries\":")
            body.append(jsonArray: entries) { entry, body in
                body.append("{\"id\":\"")
                entry.id.append(to: &body)
                body.append("\",\"caught_at\":")
                body.append(json: entry.caughtAt)
                body.append(",\"channel\":")
                body.append(json: entry.channel.name)
                body.append(",\"to\":")
                body.append(json: entry.to)
                body.append(",\"user\":")
                body.append(json: entry.user)
                body.append(",\"subject\":")
                body.append(json: entry.subject)
                body.append(",\"text\":")
                body.append(json: entry.text)
                body.append(",\"html\":")
                body.append(json: entry.html)
                body.append("}")
            }
            body.append("}")
        }
    }

    /// No script at all, so the policy forbids every one; HTML mail is shown as its source.
    private static let pageHeaders = [
        Header(
            "Content-Security-Policy",
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
                + "frame-ancestors 'none'"
        ),
        Header("X-Content-Type-Options", "nosniff"),
        Header("Referrer-Policy", "no-referrer"),
        Header("Cache-Control", "no-store"),
    ]

    private static func page(_ entries: [OutboxEntry]) -> HTTPResponse {
        HTTPResponse(status: 200, .html, headers: pageHeaders) { body in
            body.append(
                """
                <!doctype html>
                <html lang="en"><head><meta charset="utf-8">
                <meta http-equiv="refresh" content="5"><title>Pulse outbox</title>
                <style>
                body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;\
                padding:0 1rem;color:#1c2330}
                article{border:1px solid #d5dae3;border-radius:6px;margin:1rem 0;padding:.75rem 1rem}
                header{color:#5a6475}h2{font-size:1.05rem;margin:.25rem 0}
                pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f5f7fa;padding:.5rem}
                </style></head><body><h1>Outbox</h1>
                <p>
                """
            )
            body.append(decimal: entries.count)
            body.append(" caught, newest first. Nothing here left this machine.</p>\n")
            for entry in entries { entry.write(to: &body) }
            body.append("</body></html>\n")
        }
    }
}

extension OutboxEntry {
    fileprivate func write(to body: inout [UInt8]) {
        body.append("<article><header>")
        body.append(html: channel.name)
        body.append(" to ")
        body.append(html: to)
        body.append(" &middot; <time>")
        body.append(html: caughtAt.rfc3339)
        body.append("</time> &middot; <code>")
        id.append(to: &body)
        body.append("</code></header>")
        if let subject {
            body.append("<h2>")
            body.append(html: subject)
            body.append("</h2>")
        }
        for part in [text, html] {
            guard let part else { continue }
            body.append("<pre>")
            body.append(html: part)
            body.append("</pre>")
        }
        body.append("</article>\n")
    }
}
