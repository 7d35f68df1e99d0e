// The C parser of HTTP requests as a Swift class: one per connection, its memory reused.

import CHTTPParser
import PulseCore

/// The request a parser is at.
///
/// The texts are borrowed until the parser is fed again.
struct HTTPMessage {
    private let raw: UnsafePointer<pulse_http_message>

    fileprivate init(_ raw: UnsafePointer<pulse_http_message>) { self.raw = raw }

    enum State {
        case inHead
        case inBody
        case complete
        case failed(ErrorCode, reason: String)
    }

    var state: State {
        switch raw.pointee.state {
        case PULSE_HTTP_IN_HEAD: .inHead
        case PULSE_HTTP_IN_BODY: .inBody
        case PULSE_HTTP_COMPLETE: .complete
        default: .failed(fault, reason: raw.pointee.reason.map { String(cString: $0) } ?? "")
        }
    }

    private var fault: ErrorCode {
        switch raw.pointee.fault {
        case PULSE_HTTP_HEAD_TOO_LARGE: .headerTooLarge
        case PULSE_HTTP_BODY_TOO_LARGE: .bodyTooLarge
        case PULSE_HTTP_NO_MEMORY: .overloaded
        case PULSE_HTTP_UNMET_EXPECTATION: .expectationFailed
        default: .malformedHTTP
        }
    }

    /// Whether any byte of the request has come.
    var isStarted: Bool { raw.pointee.started }
    /// Whether the client waits for 100 Continue before it sends the body.
    var expectsContinue: Bool { raw.pointee.expects_continue }
    /// Whether the connection may serve another request after this one.
    var keepsAlive: Bool { raw.pointee.keep_alive }

    var method: UnsafeRawBufferPointer { Self.text(raw.pointee.method) ?? Self.none }
    var target: UnsafeRawBufferPointer { Self.text(raw.pointee.target) ?? Self.none }
    var body: UnsafeRawBufferPointer { Self.text(raw.pointee.body) ?? Self.none }
    var contentType: UnsafeRawBufferPointer? { Self.text(raw.pointee.content_type) }
    var accept: UnsafeRawBufferPointer? { Self.text(raw.pointee.accept) }
    var idempotencyKey: UnsafeRawBufferPointer? { Self.text(raw.pointee.idempotency_key) }

    private static var none: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: nil, count: 0) }

    private static func text(_ text: pulse_http_text) -> UnsafeRawBufferPointer? {
        guard let bytes = text.bytes else { return nil }
        return UnsafeRawBufferPointer(start: bytes, count: text.count)
    }
}

/// Turns bytes into requests, one after the other; how they were split makes no difference.
final class HTTPParser {
    private let handle: OpaquePointer

    init() {
        guard
            let handle = pulse_http_create(
                Limits.httpHeaderBytesMax,
                Limits.httpHeaderFieldsMax,
                Limits.httpBodyBytesMax
            )
        else { preconditionFailure("no memory for an HTTP parser: lower the connection limit") }
        self.handle = handle
    }

    deinit { pulse_http_destroy(handle) }

    /// Feeds bytes to the current request; answers how many of them belong to it.
    func put(_ bytes: UnsafeRawBufferPointer) -> (consumed: Int, message: HTTPMessage) {
        var consumed = 0
        guard let message = pulse_http_put(handle, bytes.baseAddress, bytes.count, &consumed) else {
            preconditionFailure("pulse_http_put answers a pointer into its parser")
        }
        return (consumed, HTTPMessage(message))
    }

    /// Makes room for the next request.
    func next() { pulse_http_next(handle) }
}
