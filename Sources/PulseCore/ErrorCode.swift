// Every way Pulse refuses: a stable number for the native protocol and a stable word for HTTP. The
// table in spec/06-errors.md is checked against this file.

package enum ErrorCode: UInt16, CaseIterable, Sendable {
    // The request is wrong; repeating it unchanged is useless.
    case malformedFrame = 1
    case unsupportedVersion = 2
    case unknownOperation = 3
    case frameTooLarge = 4
    case handshakeRequired = 5
    case invalidRequest = 10
    case validationFailed = 11
    case unknownTopic = 12
    case unknownChannel = 13
    case unknownTemplate = 14
    case missingVariable = 15
    case invalidAddress = 16
    case invalidTemplate = 17
    case notFound = 18
    case idempotencyConflict = 19
    case corruptBatch = 20
    case unsupportedCompression = 21
    case recordTooLarge = 22
    case batchTooLarge = 23
    case unknownSubscription = 24
    case staleLease = 25
    case tooManySubscriptions = 26
    case methodNotAllowed = 27
    case unsupportedMediaType = 28
    case malformedJSON = 29
    case bodyTooLarge = 30
    case headerTooLarge = 31
    case malformedHTTP = 32
    case requestTimeout = 33
    case offsetOutOfRange = 34
    case expectationFailed = 35
    case notCancellable = 36
    // The request is right; this node cannot serve it now. Repeating it later is useful.
    case draining = 50
    case overloaded = 51
    case diskFull = 52
    case tooManyConnections = 53
    case diskStalled = 54
    // Something of ours or of the machine failed.
    case dataCorrupt = 70
    case storageFailed = 71
    case dataLost = 72

    /// The stable word, as in the `code` of a problem document.
    package var name: String {
        switch self {
        case .malformedFrame: "malformed_frame"
        case .unsupportedVersion: "unsupported_version"
        case .unknownOperation: "unknown_operation"
        case .frameTooLarge: "frame_too_large"
        case .handshakeRequired: "handshake_required"
        case .invalidRequest: "invalid_request"
        case .validationFailed: "validation_failed"
        case .unknownTopic: "unknown_topic"
        case .unknownChannel: "unknown_channel"
        case .unknownTemplate: "unknown_template"
        case .missingVariable: "missing_variable"
        case .invalidAddress: "invalid_address"
        case .invalidTemplate: "invalid_template"
        case .notFound: "not_found"
        case .idempotencyConflict: "idempotency_conflict"
        case .corruptBatch: "corrupt_batch"
        case .unsupportedCompression: "unsupported_compression"
        case .recordTooLarge: "record_too_large"
        case .batchTooLarge: "batch_too_large"
        case .unknownSubscription: "unknown_subscription"
        case .staleLease: "stale_lease"
        case .tooManySubscriptions: "too_many_subscriptions"
        case .methodNotAllowed: "method_not_allowed"
        case .unsupportedMediaType: "unsupported_media_type"
        case .malformedJSON: "malformed_json"
        case .bodyTooLarge: "body_too_large"
        case .headerTooLarge: "header_too_large"
        case .malformedHTTP: "malformed_http"
        case .requestTimeout: "request_timeout"
        case .offsetOutOfRange: "offset_out_of_range"
        case .expectationFailed: "expectation_failed"
        case .notCancellable: "not_cancellable"
        case .draining: "draining"
        case .overloaded: "overloaded"
        case .diskFull: "disk_full"
        case .tooManyConnections: "too_many_connections"
        case .diskStalled: "disk_stalled"
        case .dataCorrupt: "data_corrupt"
        case .storageFailed: "storage_failed"
        case .dataLost: "data_lost"
        }
    }

    /// Whether the same request may succeed later.
    package var isRetryable: Bool { (50..<70).contains(rawValue) }
}

/// What is wrong with one field of a request; a request's field errors are reported all at once.
package struct FieldError: Hashable, Sendable {
    /// The field's path as the client wrote it: `to.email`, `data.code`.
    package var field: String
    package var code: ErrorCode
    package var message: String

    package init(field: String, code: ErrorCode, message: String) {
        self.field = field
        self.code = code
        self.message = message
    }
}
