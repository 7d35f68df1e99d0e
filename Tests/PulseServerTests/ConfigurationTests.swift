// What configurations load, and which source wins.

import PulseCore
import PulseDelivery
import PulseServer
import Testing

/// Loads a file's text; `readSecret` knows one file.
func load(
    _ text: String?,
    environment: [String: String] = [:],
    flags: [ConfigurationFlag] = [],
    dev: Bool = false
) -> Result<Configuration, ConfigurationProblems> {
    Configuration.load(
        file: text.map { ("pulse.yaml", Array($0.utf8)) },
        environment: environment,
        flags: flags,
        dev: dev,
        readSecret: { $0 == "/run/secret" ? Array("s3cret\n".utf8) : nil }
    )
}

/// A file of the repository, by its path from the root.
func repositoryFile(_ path: String, here: String = #filePath) -> [UInt8]? {
    let root = here.split(separator: "/").dropLast(3).joined(separator: "/")
    return ConfigurationFile.read("/\(root)/\(path)")
}

@Suite("Configuration") struct ConfigurationTests {
    @Test(
        "Without any source everything has a default",
        arguments: [nil, "", "# nothing\n", "---\n"]
    )
    func defaults(text: String?) throws {
        let configuration = try load(text).get()
        #expect(configuration.data == "./pulse-data")
        #expect(configuration.httpListen == ListenAddress(host: "127.0.0.1", port: 8000))
        #expect(configuration.nativeListen == ListenAddress(host: "127.0.0.1", port: 7070))
        #expect(configuration.providers == ProviderSettings())
        #expect(configuration.retry == RetryPolicy())
        #expect(Channel.allCases.allSatisfy { configuration.concurrency[$0] == 64 })
        #expect(configuration.logFormat == .text)
        #expect(configuration.logLevel == .info)
        #expect(configuration.segmentBytes == Limits.segmentBytes)
        #expect(
            configuration.idempotencyWindowMilliseconds == Limits.idempotencyWindowMilliseconds
        )
        #expect(configuration.httpConnectionsMax == Limits.connectionsMax)
        #expect(configuration.entries.allSatisfy { $0.origin == .standard })
    }

    @Test("The example loads, with every key but credentials")
    func example() throws {
        let bytes = try #require(repositoryFile("examples/pulse.yaml"))
        let configuration = try Configuration.load(
            file: ("examples/pulse.yaml", bytes),
            environment: [:]
        ).get()
        #expect(
            configuration.providers.email
                == .smtp(
                    SMTPEndpoint(host: "mail.example.org", port: 587, security: .starttls),
                    from: try #require(Mailbox("Example <no-reply@example.org>")),
                    timeoutMilliseconds: 30_000
                )
        )
        let unset = configuration.entries.filter { $0.origin == .standard }.map(\.key)
        #expect(unset == [.emailUser, .emailPassword, .emailPasswordFile])
        // The example shows the defaults: only providers differ from an empty configuration.
        let plain = try load(nil).get()
        for (shown, standard) in zip(configuration.entries, plain.entries)
        where !shown.key.path.hasPrefix("providers.") {
            // What a topic does not say is as it is for all.
            let isTopicAge = shown.key.path.hasPrefix("topics.") && standard.value == nil
            let value = isTopicAge ? "168h" : standard.value
            #expect(shown.value == value, "\(shown.key.path)")
        }
    }

    @Test("Every value of a full file arrives")
    func full() throws {
        let configuration = try load(
            """
            data: /var/lib/pulse
            http: {listen: "[::1]:0"}
            native: {listen: "localhost:1"}
            providers:
              email:
                kind: smtp
                host: mx
                from: a@b
                tls: implicit
                user: u
                password_file: /run/secret
                timeout: 500ms
              webhook: {kind: http, allow_private: true, timeout: 1m}
              sms: {kind: catcher}
            retry: {base: 10ms, factor: 3, cap: 1h, attempts: 9}
            delivery:
              sms: {concurrency: 1}
              push: {concurrency: 1000}
            log: {format: json, level: warning}
            storage: {segment_bytes: 33554432}
            idempotency: {window: 90m}
            limits: {http_connections: 7}
            """
        ).get()
        #expect(configuration.data == "/var/lib/pulse")
        #expect(configuration.httpListen == ListenAddress(host: "::1", port: 0))
        #expect(configuration.nativeListen.description == "localhost:1")
        let credentials = (user: "u", password: "s3cret")
        #expect(
            configuration.providers
                == ProviderSettings(
                    email: .smtp(
                        SMTPEndpoint(
                            host: "mx",
                            port: 465,
                            security: .implicit,
                            credentials: credentials
                        ),
                        from: try #require(Mailbox("a@b")),
                        timeoutMilliseconds: 500
                    ),
                    webhook: .http(allowsPrivateAddresses: true, timeoutMilliseconds: 60_000),
                    sms: .catcher
                )
        )
        #expect(
            configuration.retry
                == RetryPolicy(baseMs: 10, factor: 3, capMs: 3_600_000, attemptsMax: 9)
        )
        #expect(Channel.allCases.map { configuration.concurrency[$0] } == [64, 64, 1, 1000])
        #expect(configuration.logFormat == .json)
        #expect(configuration.logLevel == .warning)
        #expect(configuration.segmentBytes == 32 << 20)
        #expect(configuration.idempotencyWindowMilliseconds == 5_400_000)
        #expect(configuration.httpConnectionsMax == 7)
    }

    @Test("The log's size is asked of the segments there are, not of those that are configured")
    func segmentsThereAre() throws {
        let file =
            "data: there\nstorage: {segment_bytes: 16MiB, retention_bytes: 128MiB}\n"
        let configuration = try load(file).get()
        #expect(configuration.refusal(ofSegments: 16 << 20) == nil)
        #expect(configuration.refusal(ofSegments: 4 << 20) == nil)
        #expect(
            configuration.refusal(ofSegments: 64 << 20)
                == "storage.retention_bytes: 128MiB is too little for there, whose segments have "
                + "64MiB each; must be at least eight of them (512MiB), or 0 for no limit"
        )
        #expect(try load("data: there\n").get().refusal(ofSegments: 1 << 30) == nil)
    }

    @Test("Flag before environment before file before default")
    func precedence() throws {
        let file = "data: file\nhttp: {listen: 'file:1'}\nnative: {listen: 'file:2'}\n"
        let environment = [
            "PULSE__DATA": "env", "PULSE__HTTP__LISTEN": "env:1", "PATH": "/bin", "PULSE_URL": "x",
        ]
        let flags = [
            ConfigurationFlag("--data", .data, "first"), ConfigurationFlag("-d", .data, "flag"),
        ]
        let configuration = try load(file, environment: environment, flags: flags).get()
        #expect(configuration.data == "flag")
        #expect(configuration.httpListen.host == "env")
        #expect(configuration.nativeListen.host == "file")
        func origin(_ key: ConfigurationKey) -> String? {
            configuration.entries.first { $0.key == key }?.origin.description
        }
        #expect(origin(.data) == "flag -d")
        #expect(origin(.httpListen) == "environment PULSE__HTTP__LISTEN")
        #expect(origin(.nativeListen) == "pulse.yaml:3:18")
        #expect(origin(.logLevel) == "default")
    }

    @Test("Channels without a provider: none, or the catcher in development")
    func development() throws {
        #expect(try load(nil, dev: true).get().providers == .catchers)
        let file = "providers: {webhook: {kind: http}}"
        var expected = ProviderSettings.catchers
        expected.webhook = .http(allowsPrivateAddresses: false, timeoutMilliseconds: 15_000)
        #expect(try load(file, dev: true).get().providers == expected)
        #expect(try load(file).get().providers.sms == .none)
    }

    @Test(
        "The port of mail follows the security",
        arguments: [
            ("none", 25), ("starttls", 587), ("implicit", 465),
        ] as [(String, UInt16)]
    )
    func mailPorts(tls: String, port: UInt16) throws {
        let file = "providers: {email: {kind: smtp, host: h, from: a@b, tls: \(tls)}}"
        guard case .smtp(let endpoint, _, _) = try load(file).get().providers.email else {
            Issue.record("no smtp")
            return
        }
        #expect(endpoint.port == port)
    }

    @Test("A password from a stronger source replaces a password file, and is never shown")
    func passwords() throws {
        let file = """
            providers:
              email: {kind: smtp, host: h, from: a@b, user: u, password_file: /nowhere}
            """
        let configuration = try load(
            file,
            environment: ["PULSE__PROVIDERS__EMAIL__PASSWORD": "hunter2"]
        ).get()
        guard case .smtp(let endpoint, _, _) = configuration.providers.email else {
            Issue.record("no smtp")
            return
        }
        #expect(endpoint.credentials?.password == "hunter2")
        #expect(!configuration.entries.contains { $0.value?.contains("hunter2") == true })
    }

    @Test("YAML's own ideas about words and numbers have no say")
    func scalarsAreText() throws {
        let configuration = try load("data: no\nretry: {attempts: 010}\n").get()
        #expect(configuration.data == "no")
        #expect(configuration.retry.attemptsMax == 10)
        #expect(try load("retry:\nlog:\n").get().retry == RetryPolicy())
    }

    @Test("The table of the specification is the schema")
    func specification() throws {
        let bytes = try #require(repositoryFile("spec/07-configuration.md"))
        let rows = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
            .filter { $0.hasPrefix("| `") }
            .map { $0.split(separator: "|").map { $0.filter { $0 != "`" }.drop { $0 == " " } } }
        #expect(rows.count == ConfigurationKey.allCases.count)
        let plain = try load(nil).get().entries
        for (row, entry) in zip(rows, plain) {
            #expect(row[0].hasPrefix(entry.key.path + " "))
            if let value = entry.value { #expect(row[2] == "\(value) ", "\(entry.key.path)") }
        }
    }

    @Test("Addresses to listen on")
    func listenAddresses() {
        for good in ["127.0.0.1:8000", "[::1]:8000", "localhost:0", "0.0.0.0:65535", "a-b.c:1"] {
            #expect(ListenAddress(good)?.description == good)
        }
        for bad in [
            "", "8000", ":8000", "a:", "a:65536", "a:-1", "a:+1", "::1:8000", "[::1]", "[x]:1",
            "a b:1", "a:1 ", "http://a:1", "é:1", "[::1:1", "a:0x1f",
        ] {
            #expect(ListenAddress(bad) == nil, "\(bad)")
        }
    }
}
