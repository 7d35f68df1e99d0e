// Refusals: problem documents (RFC 9457) on /v1, and system 000's error bodies on its paths.

package import PulseCore

extension ErrorCode {
    /// The HTTP status this refusal has.
    package var httpStatus: UInt16 {
        switch self {
        case .notFound, .unknownOperation, .unknownTopic, .unknownSubscription: 404
        case .methodNotAllowed: 405
        case .requestTimeout: 408
        case .idempotencyConflict, .staleLease: 409
        case .dataLost: 410
        case .bodyTooLarge, .recordTooLarge, .batchTooLarge, .frameTooLarge: 413
        case .unsupportedMediaType: 415
        case .expectationFailed: 417
        case .notCancellable: 409
        case .headerTooLarge: 431
        case .storageFailed: 500
        case .draining, .overloaded, .diskFull, .diskStalled, .tooManyConnections, .dataCorrupt: 503
        case .malformedFrame, .unsupportedVersion, .handshakeRequired, .invalidRequest,
            .validationFailed, .unknownChannel, .unknownTemplate, .missingVariable, .invalidAddress,
            .invalidTemplate, .corruptBatch, .unsupportedCompression, .tooManySubscriptions,
            .malformedJSON, .malformedHTTP, .offsetOutOfRange:
            400
        }
    }

    /// A short sentence, the same for every occurrence.
    package var title: String {
        switch self {
        case .malformedFrame: "The frame is malformed"
        case .unsupportedVersion: "The protocol version is not supported"
        case .unknownOperation: "There is no such operation"
        case .frameTooLarge: "The frame is too large"
        case .handshakeRequired: "A handshake is required first"
        case .invalidRequest: "The request is invalid"
        case .validationFailed: "The request has invalid fields"
        case .unknownTopic: "There is no such topic"
        case .unknownChannel: "There is no such channel"
        case .unknownTemplate: "There is no such template"
        case .missingVariable: "A template variable is missing"
        case .invalidAddress: "The address is invalid"
        case .invalidTemplate: "The template is invalid"
        case .notFound: "Not found"
        case .idempotencyConflict: "The idempotency key was used for another request"
        case .corruptBatch: "The batch is corrupt"
        case .unsupportedCompression: "The compression is not supported"
        case .recordTooLarge: "The notification is too large"
        case .batchTooLarge: "The batch is too large"
        case .unknownSubscription: "There is no such subscription"
        case .staleLease: "The lease is no longer held"
        case .tooManySubscriptions: "There are too many subscriptions"
        case .methodNotAllowed: "The method is not allowed here"
        case .unsupportedMediaType: "The media type is not supported"
        case .malformedJSON: "The body is not valid JSON"
        case .bodyTooLarge: "The body is too large"
        case .headerTooLarge: "The header is too large"
        case .malformedHTTP: "The request is not valid HTTP"
        case .requestTimeout: "The request took too long to arrive"
        case .offsetOutOfRange: "The offset is out of range"
        case .expectationFailed: "The expectation cannot be met"
        case .notCancellable: "The notification cannot be cancelled any more"
        case .draining: "The server is shutting down"
        case .overloaded: "The server is overloaded"
        case .diskFull: "The server's disk is full"
        case .diskStalled: "The server's disk does not answer"
        case .tooManyConnections: "There are too many connections"
        case .dataCorrupt: "Stored data is corrupt"
        case .storageFailed: "Storage failed"
        case .dataLost: "The notification is lost"
        }
    }
}

extension HTTPResponse {
    /// A problem document.
    ///
    /// - Parameter detail: What went wrong this time; nil when the title says it all.
    package static func problem(
        _ code: ErrorCode,
        detail: String? = nil,
        errors: [FieldError] = [],
        headers: [Header] = []
    ) -> HTTPResponse {
        HTTPResponse(status: code.httpStatus, .problem, headers: headers) { body in
            body.append("{\"type\":")
            body.append(json: "urn:pulse:problem:" + code.name)
            body.append(",\"title\":")
            body.append(json: code.title)
            body.append(",\"status\":")
            body.append(decimal: code.httpStatus)
            body.append(",\"detail\":")
            body.append(json: detail ?? code.title)
            body.append(",\"code\":")
            body.append(json: code.name)
            if !errors.isEmpty {
                body.append(",\"errors\":[")
                for (index, error) in errors.enumerated() {
                    if index > 0 { body.append(",") }
                    body.append("{\"field\":")
                    body.append(json: error.field)
                    body.append(",\"code\":")
                    body.append(json: error.code.name)
                    body.append(",\"message\":")
                    body.append(json: error.message)
                    body.append("}")
                }
                body.append("]")
            }
            body.append("}")
        }
    }

    /// All that is wrong with a request's fields, at once.
    ///
    /// On system 000's paths errors are grouped by top-level field, in order of first appearance;
    /// a nested field's name goes into its message: `{"context":["code: Not a valid string."]}`.
    package static func invalid(_ errors: [FieldError], _ dialect: APIDialect) -> HTTPResponse {
        switch dialect {
        case .v1:
            let count = errors.count
            return problem(
                .validationFailed,
                detail: count == 1 ? "1 field is invalid" : "\(count) fields are invalid",
                errors: errors
            )
        case .compatible:
            var groups: [(field: Substring, messages: [String])] = []
            for error in errors {
                let parts = error.field.split(separator: ".", maxSplits: 1)
                let field = parts.first ?? "non_field_errors"
                let message = parts.count > 1 ? "\(parts[1]): \(error.message)" : error.message
                if let index = groups.firstIndex(where: { $0.field == field }) {
                    groups[index].messages.append(message)
                } else {
                    groups.append((field, [message]))
                }
            }
            return HTTPResponse(status: 400, .json) { body in
                body.append("{")
                for (index, group) in groups.enumerated() {
                    if index > 0 { body.append(",") }
                    body.append(json: String(group.field))
                    body.append(":[")
                    for (index, message) in group.messages.enumerated() {
                        if index > 0 { body.append(",") }
                        body.append(json: message)
                    }
                    body.append("]")
                }
                body.append("}")
            }
        }
    }

    /// A refusal about the request as a whole: a problem, or system 000's `{"detail":…}`.
    package static func refusal(
        _ code: ErrorCode,
        _ dialect: APIDialect,
        detail: String,
        headers: [Header] = []
    ) -> HTTPResponse {
        switch dialect {
        case .v1: problem(code, detail: detail, headers: headers)
        case .compatible: word("detail", detail, status: code.httpStatus, headers: headers)
        }
    }

    /// A body of one name and one text.
    static func word(
        _ name: StaticString,
        _ text: String,
        status: UInt16,
        headers: [Header] = []
    ) -> HTTPResponse {
        HTTPResponse(status: status, .json, headers: headers) { body in
            body.append("{\"")
            body.append(name)
            body.append("\":")
            body.append(json: text)
            body.append("}")
        }
    }
}
