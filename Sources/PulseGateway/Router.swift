// From a parsed HTTP request to what it asks for.

import PulseCore

/// A place of the API, before its method and its arguments are looked at.
private enum Route {
    case submissions(APIDialect)
    case notification(UnsafeRawBufferPointer, APIDialect)
    case cancel(UnsafeRawBufferPointer)
    case list
    case templates(APIDialect)
    case template(UnsafeRawBufferPointer, APIDialect)
    case outbox
    case outboxPage
    case metrics
    case live
    case ready
    case serverStatus
    case disk

    /// The methods served here; HEAD comes with GET.
    var allowed: String {
        switch self {
        case .submissions(.v1): "GET, HEAD, POST"
        case .submissions(.compatible): "POST"
        case .template(_, .v1): "GET, HEAD, PUT"
        case .cancel: "POST"
        default: "GET, HEAD"
        }
    }

    var dialect: APIDialect {
        switch self {
        case .submissions(let dialect), .notification(_, let dialect), .templates(let dialect),
            .template(_, let dialect):
            dialect
        case .list: .compatible
        case .cancel, .outbox, .outboxPage, .metrics, .live, .ready, .serverStatus, .disk: .v1
        }
    }
}

private enum Method {
    case get
    case post
    case put
    case other

    init(_ name: UnsafeRawBufferPointer) {
        if name.equals("POST") {
            self = .post
        } else if name.equals("GET") || name.equals("HEAD") {
            self = .get
        } else if name.equals("PUT") {
            self = .put
        } else {
            self = .other
        }
    }
}

enum Router {
    /// Decides what a request asks for; refusals come as ``APIRequest/answered(_:)``.
    static func request(from message: HTTPMessage, _ json: JSONParser) -> APIRequest {
        let (path, query) = pathAndQuery(message.target)
        guard let route = route(path) else {
            let isCompatible = path.dropping(prefix: "/api/") != nil
            return .answered(.notFound(.path, isCompatible ? .compatible : .v1))
        }
        switch (Method(message.method), route) {
        case (.post, .submissions(.v1)):
            return withBody(of: message, json, .v1) {
                SubmissionV1.submission(from: $0, idempotencyHeader: message.idempotencyKey)
            }
        case (.post, .submissions(.compatible)):
            return withBody(of: message, json, .compatible) {
                SubmissionCompatible.submission(from: $0)
            }
        case (.get, .submissions(.v1)):
            return Query.list(query, .v1)
        case (.get, .list):
            return Query.list(query, .compatible)
        case (.get, .notification(let text, let dialect)):
            guard let id = NotificationID(text.text) else {
                return .answered(.notFound(.notification, dialect))
            }
            return .status(id: id, dialect)
        case (.post, .cancel(let text)):
            guard let id = NotificationID(text.text) else {
                return .answered(.notFound(.notification, .v1))
            }
            return .cancel(id: id)
        case (.get, .templates(let dialect)):
            return Query.templates(query, dialect)
        case (.get, .template(let text, let dialect)):
            guard let name = text.percentDecoded(plusIsSpace: false) else {
                return .answered(.notFound(.template, dialect))
            }
            return .template(nameOrID: name, dialect)
        case (.put, .template(let text, .v1)):
            return withBody(of: message, json, .v1) { TemplateBody.request(named: text, $0) }
        case (.get, .outbox):
            return .outbox(asPage: prefersPage(message.accept))
        case (.get, .outboxPage): return .outbox(asPage: true)
        case (.get, .metrics): return .metrics
        case (.get, .live): return .live
        case (.get, .ready): return .ready
        case (.get, .serverStatus): return .serverStatus
        case (.get, .disk): return .disk
        default:
            return .answered(methodNotAllowed(message.method.text, route))
        }
    }

    // MARK: Paths

    /// The path and the query of a target, which may also have the absolute form a proxy would send.
    private static func pathAndQuery(
        _ target: UnsafeRawBufferPointer
    ) -> (path: UnsafeRawBufferPointer, query: UnsafeRawBufferPointer?) {
        var rest = target
        if let host = target.dropping(prefix: "http://") ?? target.dropping(prefix: "https://") {
            guard let slash = host.firstIndex(of: UInt8(ascii: "/")) else {
                return (host.slice(0, 0), nil)
            }
            rest = host.slice(slash, host.count)
        }
        let (path, query) = rest.split(at: UInt8(ascii: "?"))
        return (path, query)
    }

    private static func route(_ path: UnsafeRawBufferPointer) -> Route? {
        if let rest = path.dropping(prefix: "/v1/") { return v1(rest) }
        if let rest = path.dropping(prefix: "/api/notifications/") { return compatible(rest) }
        if path.equals("/livez") { return .live }
        if path.equals("/readyz") { return .ready }
        if path.equals("/metrics") { return .metrics }
        if path.equals("/dev/outbox") { return .outbox }
        if path.equals("/dev/") || path.equals("/dev") { return .outboxPage }
        return nil
    }

    private static func v1(_ path: UnsafeRawBufferPointer) -> Route? {
        if path.equals("notifications") { return .submissions(.v1) }
        if let rest = path.dropping(prefix: "notifications/"),
            let slash = rest.firstIndex(of: UInt8(ascii: "/")), slash > 0,
            rest.slice(slash, rest.count).equals("/cancel")
        {
            return .cancel(rest.slice(0, slash))
        }
        if let id = name(in: path, after: "notifications/") { return .notification(id, .v1) }
        if path.equals("templates") { return .templates(.v1) }
        if let name = name(in: path, after: "templates/") { return .template(name, .v1) }
        if path.equals("status") { return .serverStatus }
        if path.equals("disk") { return .disk }
        return nil
    }

    /// System 000 wants a slash at the end; here it may be missing.
    private static func compatible(_ path: UnsafeRawBufferPointer) -> Route? {
        let path = path.last == UInt8(ascii: "/") ? path.slice(0, path.count - 1) : path
        if path.equals("send") { return .submissions(.compatible) }
        if let id = name(in: path, after: "status/") { return .notification(id, .compatible) }
        if path.equals("list") { return .list }
        if path.equals("templates") { return .templates(.compatible) }
        if let name = name(in: path, after: "templates/") { return .template(name, .compatible) }
        return nil
    }

    /// The single, non-empty path segment after `prefix`.
    private static func name(
        in path: UnsafeRawBufferPointer,
        after prefix: StaticString
    ) -> UnsafeRawBufferPointer? {
        guard let name = path.dropping(prefix: prefix), !name.isEmpty,
            !name.contains(UInt8(ascii: "/"))
        else { return nil }
        return name
    }

    // MARK: Bodies

    /// Reads the body as a JSON object and hands it on.
    private static func withBody(
        of message: HTTPMessage,
        _ json: JSONParser,
        _ dialect: APIDialect,
        _ decode: (JSONValue) -> APIRequest
    ) -> APIRequest {
        guard isJSON(message.contentType) else {
            let given = message.contentType.map { String(decoding: $0, as: UTF8.self) } ?? ""
            return .answered(unsupportedMediaType(given, dialect))
        }
        let root: JSONValue
        do {
            root = try json.parse(message.body)
        } catch {
            let detail = "\(error.reason), at byte \(error.offset)"
            return .answered(
                .refusal(
                    .malformedJSON,
                    dialect,
                    detail: dialect == .v1 ? detail : "JSON parse error - " + detail
                )
            )
        }
        guard root.isObject else {
            let message =
                dialect == .v1
                ? "the body must be an object" : "Invalid data. Expected a dictionary."
            let error = FieldError(field: "", code: .validationFailed, message: message)
            return .answered(.invalid([error], dialect))
        }
        return decode(root)
    }

    /// `application/json`, and no character set but UTF-8.
    private static func isJSON(_ contentType: UnsafeRawBufferPointer?) -> Bool {
        guard let contentType else { return false }
        var (kind, parameters) = contentType.split(at: UInt8(ascii: ";"))
        guard kind.trimmed.equals("application/json", ignoringCase: true) else { return false }
        while let rest = parameters {
            let (parameter, after) = rest.split(at: UInt8(ascii: ";"))
            parameters = after
            let (name, value) = parameter.trimmed.split(at: UInt8(ascii: "="))
            guard name.equals("charset", ignoringCase: true) else { continue }
            guard let value,
                value.equals("utf-8", ignoringCase: true)
                    || value.equals("\"utf-8\"", ignoringCase: true)
            else { return false }
        }
        return true
    }

    private static func unsupportedMediaType(
        _ given: String,
        _ dialect: APIDialect
    ) -> HTTPResponse {
        switch dialect {
        case .v1:
            .problem(.unsupportedMediaType, detail: "the body must be application/json in UTF-8")
        case .compatible:
            .refusal(
                .unsupportedMediaType,
                dialect,
                detail: "Unsupported media type \"\(given)\" in request."
            )
        }
    }

    private static func methodNotAllowed(_ method: String, _ route: Route) -> HTTPResponse {
        .refusal(
            .methodNotAllowed,
            route.dialect,
            detail: route.dialect == .v1
                ? "allowed here: \(route.allowed)" : "Method \"\(method)\" not allowed.",
            headers: [.init("Allow", route.allowed)]
        )
    }

    /// Whether a browser asks: it names HTML, and programs do not.
    private static func prefersPage(_ accept: UnsafeRawBufferPointer?) -> Bool {
        var rest = accept
        while let list = rest {
            let (item, after) = list.split(at: UInt8(ascii: ","))
            rest = after
            let kind = item.split(at: UInt8(ascii: ";")).before.trimmed
            if kind.equals("text/html", ignoringCase: true) { return true }
            if kind.equals("application/json", ignoringCase: true) { return false }
        }
        return false
    }
}
