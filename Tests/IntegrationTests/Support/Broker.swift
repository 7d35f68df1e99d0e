// The real pulse, started on free ports of loopback, with helpers to talk to it.

import Glibc

/// A running broker and its data directory, which stays over restarts.
final class Broker {
    enum Mode { case development, production }

    let directory: TemporaryDirectory
    private let mode: Mode
    private let configuration: String?
    private(set) var process: ChildProcess
    private(set) var httpPort: Int
    private(set) var nativePort: Int

    /// Starts a broker; `configuration` is YAML.
    init(
        _ mode: Mode = .development,
        configuration: String? = nil,
        in directory: TemporaryDirectory? = nil
    ) throws {
        let directory = try directory ?? TemporaryDirectory()
        self.directory = directory
        self.mode = mode
        self.configuration = try configuration.map { try directory.write("pulse.yaml", $0) }
        (process, httpPort, nativePort) = try Self.start(
            mode,
            self.configuration,
            directory,
            http: 0,
            native: 0
        )
    }

    deinit { process.end() }

    static func arguments(
        _ mode: Mode,
        data: String,
        configuration: String? = nil,
        http: Int = 0,
        native: Int = 0
    ) -> [String] {
        ["serve"] + (mode == .development ? ["--dev"] : [])
            + (configuration.map { ["--config", $0] } ?? [])
            + ["--data", data, "--http", "127.0.0.1:\(http)", "--listen", "127.0.0.1:\(native)"]
    }

    private static func start(
        _ mode: Mode,
        _ configuration: String?,
        _ directory: TemporaryDirectory,
        http: Int,
        native: Int
    ) throws -> (ChildProcess, Int, Int) {
        let process = try ChildProcess(
            try Binary.pulse(),
            arguments(
                mode,
                data: directory.file("data"),
                configuration: configuration,
                http: http,
                native: native
            )
        )
        let ports = try eventually("a ready line", within: 30) { () -> (Int, Int)? in
            if let ports = process.lines.lazy.compactMap(readyPorts).first { return ports }
            guard process.isRunning else {
                throw TestFailure("pulse did not start: \(process.output)")
            }
            return nil
        }
        return (process, ports.0, ports.1)
    }

    /// The ports in `pulse: ready http=HOST:PORT native=HOST:PORT`.
    static func readyPorts(_ line: String) -> (http: Int, native: Int)? {
        guard line.hasPrefix("pulse: ready ") else { return nil }
        var ports: [String: Int] = [:]
        for field in line.split(separator: " ") {
            let parts = field.split(separator: "=")
            if parts.count == 2, let colon = parts[1].lastIndex(of: ":") {
                ports[String(parts[0])] = Int(parts[1][parts[1].index(after: colon)...])
            }
        }
        guard let http = ports["http"], let native = ports["native"] else { return nil }
        return (http, native)
    }

    /// Kills the process as a crash would.
    func crash() { process.end() }

    /// Starts again on the same data and the same ports.
    func start() throws {
        (process, httpPort, nativePort) = try Self.start(
            mode,
            configuration,
            directory,
            http: httpPort,
            native: nativePort
        )
    }

    // MARK: - HTTP

    /// One request on a connection of its own.
    func ask(
        _ method: String,
        _ path: String,
        _ body: String? = nil,
        headers: [String] = []
    ) throws -> HTTPAnswer {
        try HTTPConversation(port: httpPort).ask(method, path, body, headers: headers)
    }

    func json(_ path: String) throws -> JSONValue {
        let answer = try ask("GET", path)
        guard answer.status == 200 else {
            throw TestFailure("GET \(path) was answered \(answer.status) \(answer.text)")
        }
        return try answer.json()
    }

    /// Submits to /v1 and returns the identifier; anything but 202 is a failure.
    func submit(_ body: String) throws -> String {
        let answer = try ask("POST", "/v1/notifications", body)
        guard answer.status == 202, let id = try answer.json()["id"]?.text else {
            throw TestFailure("a submission was answered \(answer.status) \(answer.text)")
        }
        return id
    }

    /// The notification, when it has reached `status`; a failure when it never does.
    @discardableResult
    func notification(
        _ id: String,
        reaching status: String,
        within seconds: Double = 20
    ) throws -> JSONValue {
        var last: JSONValue?
        do {
            return try eventually("\(id) is \(status)", within: seconds) {
                let view = try json("/v1/notifications/\(id)")
                last = view
                return view["status"]?.text == status ? view : nil
            }
        } catch let failure as TestFailure {
            throw TestFailure("\(failure); it is \(last.map { "\($0)" } ?? "unknown")")
        }
    }

    /// What the catcher holds, newest first.
    func outbox() throws -> [JSONValue] { try json("/dev/outbox")["entries"]?.items ?? [] }

    func isAlive() throws -> Bool { try ask("GET", "/livez").status == 200 }

    func metrics() throws -> MetricsReading {
        try MetricsReading(try ask("GET", "/metrics").text)
    }
}
