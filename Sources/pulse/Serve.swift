// `pulse serve`: the broker itself, on the main thread.

import PulseServer

enum Serve {
    static let flags = ConfigurationFlags.all

    static func perform(_ invocation: Invocation) throws(CommandFailure) -> Int32 {
        let configuration: Configuration
        switch try ConfigurationFlags.load(invocation) {
        case .success(let loaded): configuration = loaded
        case .failure(let problems):
            for problem in problems.problems { Console.complain("\(problem)") }
            throw CommandFailure(
                ExitCode.usage,
                "invalid_configuration",
                "the configuration is not usable"
            )
        }
        let server: Server
        do throws(ServerError) {
            server = try Server(configuration: configuration, version: Version.current)
        } catch {
            throw CommandFailure(error.exitCode, "not_started", error.description)
        }
        server.run { http, native in
            // On standard error, like the log: whoever starts a broker waits for this line.
            Console.note("pulse: ready http=\(http) native=\(native)")
            if configuration.dev { for line in welcome(http) { Console.print(line) } }
        }
    }

    /// What to try first; can be pasted into a shell as it is.
    private static func welcome(_ http: String) -> [String] {
        [
            "",
            "Send a first notification (a template \"welcome\" is there; nothing leaves this machine):",
            "",
            "curl -s http://\(http)/api/notifications/send/ -H 'Content-Type: application/json' \\",
            "  -d '{\"template_name\":\"welcome\",\"user_id\":\"ada\",\"to\":\"ada@example.org\","
                + "\"context\":{\"name\":\"Ada\"}}'",
            "",
            "and see what was delivered at http://\(http)/dev/outbox",
            "",
        ]
    }
}

/// The flags that set configuration keys, of every command that reads a configuration.
enum ConfigurationFlags {
    private static let keys: [(flag: Flag, key: ConfigurationKey)] = [
        (Flag("--data", value: "DIR", "The data directory (default ./pulse-data)"), .data),
        (
            Flag("--http", value: "HOST:PORT", "Where to serve HTTP (default 127.0.0.1:8000)"),
            .httpListen
        ),
        (
            Flag(
                "--listen",
                value: "HOST:PORT",
                "Where to serve the native protocol (default 127.0.0.1:7070)"
            ), .nativeListen
        ),
    ]

    static let all: [Flag] =
        [
            Flag("--dev", "Catch what has no provider, load a sample template, show an outbox"),
            Flag("--config", value: "FILE", "A configuration file (YAML)"),
        ] + keys.map(\.flag)

    /// Reads the configuration that the flags, the environment and the file make together.
    static func load(
        _ invocation: Invocation
    ) throws(CommandFailure) -> Result<Configuration, ConfigurationProblems> {
        var file: (name: String, bytes: [UInt8])?
        if let path = invocation["--config"] { file = (path, try ConfigurationFlags.read(path)) }
        let flags = keys.compactMap { flag, key in
            invocation[flag.name].map { ConfigurationFlag(flag.name, key, $0) }
        }
        return Configuration.load(
            file: file,
            environment: Environment.all,
            flags: flags,
            dev: invocation.has("--dev")
        )
    }

    static func read(_ path: String) throws(CommandFailure) -> [UInt8] {
        guard let bytes = ConfigurationFile.read(path) else {
            throw CommandFailure(
                ExitCode.notFound,
                "not_found",
                "\(path) cannot be read, or is larger than \(Configuration.fileBytesMax) bytes"
            )
        }
        return bytes
    }
}
