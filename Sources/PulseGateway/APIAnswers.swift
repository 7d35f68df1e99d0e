// The answers of the API, one function each, in both dialects.

package import PulseCore

extension HTTPResponse {
    /// What was asked for and is not there.
    package enum Missing: Sendable {
        case notification
        case template
        case path
    }

    // MARK: Submitting

    /// 202: durable, and on its way.
    package static func accepted(_ id: NotificationID, _ dialect: APIDialect) -> HTTPResponse {
        HTTPResponse(status: 202, .json) { body in
            switch dialect {
            case .v1:
                body.append("{\"id\":\"")
                id.append(to: &body)
                body.append("\",\"status\":\"accepted\"}")
            case .compatible:
                body.append("{\"notification_id\":\"")
                id.append(to: &body)
                body.append("\",\"status\":\"queued\"}")
            }
        }
    }

    /// 200: the same request was accepted before; its first identifier and where it is now.
    package static func duplicate(
        _ id: NotificationID,
        _ state: NotificationState,
        attempts: Int = 0,
        _ dialect: APIDialect
    ) -> HTTPResponse {
        HTTPResponse(status: 200, .json) { body in
            switch dialect {
            case .v1:
                body.append("{\"id\":\"")
                id.append(to: &body)
                body.append("\",\"status\":\"")
                body.append(utf8: state.name)
                body.append("\",\"duplicate\":true}")
            case .compatible:
                body.append("{\"notification_id\":\"")
                id.append(to: &body)
                body.append("\",\"status\":\"")
                body.append(utf8: state.compatible(attempts: attempts).rawValue)
                body.append("\"}")
            }
        }
    }

    /// 409: the idempotency key belongs to a request with other content.
    package static func conflict(_ dialect: APIDialect) -> HTTPResponse {
        switch dialect {
        case .v1: problem(.idempotencyConflict)
        case .compatible: word("error", ErrorCode.idempotencyConflict.title, status: 409)
        }
    }

    /// 400 in system 000's words, when neither request nor template names a channel that is served.
    package static func unsupportedChannel() -> HTTPResponse {
        word("error", "Unsupported channel", status: 400)
    }

    /// 413: the notification does not fit a record.
    package static func tooLarge(_ dialect: APIDialect) -> HTTPResponse {
        let detail = "a notification may have \(Limits.envelopeBytesMax) bytes in all"
        return refusal(.recordTooLarge, dialect, detail: detail)
    }

    // MARK: Cancelling

    /// 200: it will not be delivered.
    package static func cancelled(_ id: NotificationID) -> HTTPResponse {
        HTTPResponse(status: 200, .json) { body in
            body.append("{\"id\":\"")
            id.append(to: &body)
            body.append("\",\"status\":\"cancelled\"}")
        }
    }

    /// 409: it is too late, and where it is now.
    package static func notCancellable(_ state: NotificationState) -> HTTPResponse {
        problem(.notCancellable, detail: "the notification is \(state.name)")
    }

    // MARK: Reading

    package static func notFound(_ what: Missing, _ dialect: APIDialect) -> HTTPResponse {
        switch (dialect, what) {
        case (.compatible, .notification): word("error", "Notification not found", status: 404)
        case (.compatible, .template): word("error", "Template not found", status: 404)
        case (.compatible, .path): word("detail", "Not found.", status: 404)
        case (.v1, .notification): problem(.notFound, detail: "there is no such notification")
        case (.v1, .template): problem(.notFound, detail: "there is no such template")
        case (.v1, .path): problem(.notFound, detail: "there is no such path")
        }
    }

    package static func notification(
        _ view: NotificationView,
        _ dialect: APIDialect
    ) -> HTTPResponse {
        HTTPResponse(status: 200, .json) { body in
            switch dialect {
            case .v1: view.write(to: &body, withHistory: true)
            case .compatible: view.writeCompatible(to: &body, whole: true)
            }
        }
    }

    /// One page of a list, newest first; `next` asks for the page after it.
    package static func list(
        _ views: [NotificationView],
        next: ListCursor?,
        _ dialect: APIDialect
    ) -> HTTPResponse {
        HTTPResponse(status: 200, .json) { body in
            switch dialect {
            case .v1:
                body.append("{\"notifications\":")
                body.append(jsonArray: views) { $0.write(to: &$1, withHistory: false) }
            case .compatible:
                body.append("{\"count\":")
                body.append(decimal: views.count)
                body.append(",\"results\":")
                body.append(jsonArray: views) { $0.writeCompatible(to: &$1, whole: false) }
            }
            body.append(",\"next_cursor\":")
            body.append(json: next?.text)
            body.append("}")
        }
    }

    package static func templates(_ views: [TemplateView], _ dialect: APIDialect) -> HTTPResponse {
        HTTPResponse(status: 200, .json) { body in
            switch dialect {
            case .v1:
                body.append("{\"templates\":")
                body.append(jsonArray: views) { $0.write(to: &$1) }
            case .compatible:
                body.append("{\"count\":")
                body.append(decimal: views.count)
                body.append(",\"results\":")
                body.append(jsonArray: views) { $0.writeCompatible(to: &$1) }
            }
            body.append("}")
        }
    }

    /// One template: 201 when it was just made, else 200.
    package static func template(
        _ view: TemplateView,
        created: Bool = false,
        _ dialect: APIDialect
    ) -> HTTPResponse {
        HTTPResponse(status: created ? 201 : 200, .json) { body in
            switch dialect {
            case .v1: view.write(to: &body)
            case .compatible: view.writeCompatible(to: &body)
            }
        }
    }

    // MARK: The server itself

    /// 503, or 500 when repeating is useless: the request is right, and this node cannot serve it.
    ///
    /// - Parameter detail: What keeps it from that, of damaged data the place; nil when the title says all.
    package static func unavailable(
        _ code: ErrorCode,
        detail: String? = nil,
        retryAfterSeconds: Int?,
        _ dialect: APIDialect
    ) -> HTTPResponse {
        let headers = retryAfterSeconds.map { [Header("Retry-After", String($0))] } ?? []
        switch dialect {
        case .v1: return problem(code, detail: detail, headers: headers)
        case .compatible:
            let text = detail.map { "\(code.title): \($0)" } ?? code.title
            return word("error", text, status: code.httpStatus, headers: headers)
        }
    }

    package static func text(_ status: UInt16, _ text: String) -> HTTPResponse {
        HTTPResponse(status: status, .text, body: Array(text.utf8))
    }

    /// `/livez`: the process answers.
    package static func live() -> HTTPResponse { text(200, "ok\n") }

    /// `/readyz`: nil when requests are welcome, else why not.
    package static func ready(_ obstacle: String?) -> HTTPResponse {
        if let obstacle { text(503, obstacle + "\n") } else { text(200, "ok\n") }
    }

    /// Prometheus text, as the node wrote it.
    package static func metrics(_ body: [UInt8]) -> HTTPResponse {
        HTTPResponse(status: 200, .metrics, body: body)
    }

    package static func serverStatus(_ view: ServerStatusView) -> HTTPResponse {
        HTTPResponse(status: 200, .json) { body in
            body.append("{\"version\":")
            body.append(json: view.version)
            body.append(",\"state\":")
            body.append(json: view.state)
            body.append(",\"started_at\":")
            body.append(json: view.startedAt)
            body.append(",\"counts\":{")
            for (index, count) in view.counts.enumerated() {
                if index > 0 { body.append(",") }
                body.append(json: count.name)
                body.append(":")
                body.append(decimal: count.value)
            }
            body.append("}}")
        }
    }
}
