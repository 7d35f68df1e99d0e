// The way to a server: which one, and what its refusals mean to whoever typed the command.

import PulseClient
import PulseIO
import PulseServer

enum Client {
    static let standardServer = "127.0.0.1:7070"
    static let variable = "PULSE_SERVER"

    /// Connects to the server that the flag, the environment or the default names, in that order.
    static func connect(_ invocation: Invocation) async throws(CommandFailure) -> PulseClient {
        let named = invocation[Flag.server.name]
        let text = named ?? Environment.all[variable] ?? standardServer
        guard let address = ListenAddress(text), address.port != 0 else {
            throw .usage(
                "\(named == nil ? variable : Flag.server.name) is \"\(text)\", not HOST:PORT"
            )
        }
        var configuration = ClientConfiguration()
        configuration.name = "pulse-cli/\(Version.current)"
        // Somebody waits at a terminal.
        configuration.requestTimeout = .seconds(10)
        return try await asking { () throws(ClientError) in
            try await PulseClient.connect(
                host: address.host,
                port: Int(address.port),
                configuration: configuration
            )
        }
    }

    /// Calls the server, and says a refusal in this program's terms.
    static func asking<Answer>(
        _ call: () async throws(ClientError) -> Answer
    ) async throws(CommandFailure) -> Answer {
        do throws(ClientError) { return try await call() } catch { throw CommandFailure(error) }
    }
}

extension CommandFailure {
    init(_ error: ClientError) {
        let exitCode: Int32 =
            switch error.code {
            case .notFound, .unknownTopic, ClientError.Code("unknown_template"): ExitCode.notFound
            case .idempotencyConflict: ExitCode.conflict
            case .connectionFailed, .connectionClosed, .timedOut: ExitCode.unreachable
            default: ExitCode.failed
            }
        self.init(exitCode, error.code.name, error.message)
    }
}
