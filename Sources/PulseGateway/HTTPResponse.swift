// An answer, and how it becomes bytes.

import PulseCore

/// One answer to one request.
///
/// It does not know of connections: the session adds what belongs to them.
package struct HTTPResponse: Sendable {
    package enum ContentType: Sendable {
        case json
        case problem
        case text
        case html
        /// Prometheus text format.
        case metrics

        var name: StaticString {
            switch self {
            case .json: "application/json"
            case .problem: "application/problem+json"
            case .text: "text/plain; charset=utf-8"
            case .html: "text/html; charset=utf-8"
            case .metrics: "text/plain; version=0.0.4; charset=utf-8"
            }
        }
    }

    package struct Header: Hashable, Sendable {
        package var name: String
        package var value: String

        package init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }
    }

    package var status: UInt16
    package var contentType: ContentType
    package var body: [UInt8]
    package var headers: [Header]

    package init(
        status: UInt16,
        _ contentType: ContentType,
        body: [UInt8],
        headers: [Header] = []
    ) {
        self.status = status
        self.contentType = contentType
        self.body = body
        self.headers = headers
    }

    /// Builds the body in place.
    package init(
        status: UInt16,
        _ contentType: ContentType,
        headers: [Header] = [],
        _ write: (inout [UInt8]) -> Void
    ) {
        var body: [UInt8] = []
        body.reserveCapacity(128)
        write(&body)
        self.init(status: status, contentType, body: body, headers: headers)
    }

    /// Appends the answer as it goes over the wire.
    ///
    /// - Parameters:
    ///   - closes: Whether this is the connection's last answer.
    ///   - omitsBody: True for HEAD, whose answer has the length but not the bytes.
    func write(to output: inout [UInt8], closes: Bool, omitsBody: Bool) {
        Self.appendStatusLine(status, to: &output)
        output.append("Content-Type: ")
        output.append(contentType.name)
        output.append("\r\nContent-Length: ")
        output.append(decimal: body.count)
        if closes { output.append("\r\nConnection: close") }
        for header in headers {
            output.append("\r\n")
            Self.append(headerText: header.name, to: &output)
            output.append(": ")
            Self.append(headerText: header.value, to: &output)
        }
        output.append("\r\n\r\n")
        if !omitsBody { output.append(contentsOf: body) }
    }

    /// Nothing put into a header can end its line.
    private static func append(headerText text: String, to output: inout [UInt8]) {
        for byte in text.utf8 where byte >= 0x20 && byte != 0x7F { output.append(byte) }
    }

    private static func appendStatusLine(_ status: UInt16, to output: inout [UInt8]) {
        switch status {
        case 200: output.append("HTTP/1.1 200 OK\r\n")
        case 201: output.append("HTTP/1.1 201 Created\r\n")
        case 202: output.append("HTTP/1.1 202 Accepted\r\n")
        case 400: output.append("HTTP/1.1 400 Bad Request\r\n")
        case 404: output.append("HTTP/1.1 404 Not Found\r\n")
        case 405: output.append("HTTP/1.1 405 Method Not Allowed\r\n")
        case 408: output.append("HTTP/1.1 408 Request Timeout\r\n")
        case 409: output.append("HTTP/1.1 409 Conflict\r\n")
        case 413: output.append("HTTP/1.1 413 Content Too Large\r\n")
        case 415: output.append("HTTP/1.1 415 Unsupported Media Type\r\n")
        case 417: output.append("HTTP/1.1 417 Expectation Failed\r\n")
        case 431: output.append("HTTP/1.1 431 Request Header Fields Too Large\r\n")
        case 500: output.append("HTTP/1.1 500 Internal Server Error\r\n")
        case 503: output.append("HTTP/1.1 503 Service Unavailable\r\n")
        default:
            output.append("HTTP/1.1 ")
            output.append(decimal: status)
            output.append(" \r\n")
        }
    }
}
