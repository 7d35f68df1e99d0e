// The configuration file: YAML by libyaml behind a shim, then the schema.

import PulseServer

extension FuzzTarget {
    /// - Any file is refused with at least one sentence, or accepted.
    /// - What `pulse config show` says means the same when it is given as flags.
    static let configuration = FuzzTarget(
        name: "config",
        inputBytesMax: 4096,
        check: { bytes in
            let result = Configuration.load(
                file: ("fuzz.yaml", bytes),
                environment: [:],
                readSecret: { _ in nil }
            )
            switch result {
            case .failure(let problems):
                try require(!problems.problems.isEmpty, "a refusal has a reason")
                for problem in problems.problems {
                    try require(!problem.description.isEmpty, "a reason is a sentence")
                }
            case .success(let configuration):
                try checkShown(configuration)
            }
        },
        seeds: {
            [
                "", "data: ./x\nhttp:\n  listen: 127.0.0.1:8000\nnative: {listen: '[::]:7070'}\n",
                """
                providers:
                  email:
                    kind: smtp
                    host: mail.example.org
                    port: 587
                    from: Example <no-reply@example.org>
                    tls: starttls
                    timeout: 30s
                  webhook: {kind: http, allow_private: false, timeout: 15s}
                  sms: {kind: catcher}
                retry: {base: 1s, factor: 2, cap: 15m, attempts: 6}
                delivery:
                  email:
                    concurrency: 64
                log: {format: json, level: debug}
                storage: {segment_bytes: 64MiB, retention: 168h}
                idempotency:
                  window: 24h
                limits:
                  http_connections: 10000
                """,
                "a: &x b\nc: *x\n", "a: [1, 2]\n---\nb: |\n  text\n", "? {a: b}\n: c\n",
                "%YAML 1.1\n---\n\"a\\x41\": !!str b",
            ].map { Array($0.utf8) }
        }
    )

    private static func checkShown(_ configuration: Configuration) throws {
        let set = configuration.entries.filter { $0.origin != .standard && $0.value != nil }
        // Secrets are not shown.
        guard !set.contains(where: { $0.key.path.contains("password") }) else { return }
        let flags = set.map { ConfigurationFlag("--flag", $0.key, $0.value ?? "") }
        let again = Configuration.load(
            file: nil,
            environment: [:],
            flags: flags,
            readSecret: { _ in nil }
        )
        guard case .success(let second) = again else {
            throw Violation("what config show says is accepted: \(again)")
        }
        for (a, b) in zip(configuration.entries, second.entries) {
            try require(
                a.value == b.value,
                "\(a.key.path) is shown as \(a.value ?? ""), means \(b)"
            )
        }
    }
}
