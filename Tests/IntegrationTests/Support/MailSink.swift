// A real SMTP server for the tests: aiosmtpd in a process of its own (Sinks/smtp_sink.py).

final class MailSink {
    /// One message that was taken.
    struct Mail {
        var from: String
        var to: [String]
        var message: String
    }

    let port: Int
    private let process: ChildProcess

    init() throws {
        let process = try ChildProcess(
            "/usr/bin/python3",
            ["-u", Binary.resource("Sinks/smtp_sink.py")]
        )
        self.process = process
        port = try eventually("the mail sink's port") { () -> Int? in
            if let line = process.lines.first(where: { $0.hasPrefix("ready ") }) {
                return Int(line.dropFirst(6))
            }
            guard process.isRunning else {
                throw TestFailure(
                    "these tests need /usr/bin/python3 with aiosmtpd "
                        + "(apt-get install python3-aiosmtpd): \(process.output)"
                )
            }
            return nil
        }
    }

    deinit { process.end() }

    /// How often the sink said `word` about `address`: "refused", "deferred".
    func count(_ word: String, _ address: String) -> Int {
        process.lines.count { $0 == "\(word) \(address)" }
    }

    /// What was taken for an address, in order.
    func mails(to address: String) throws -> [Mail] {
        try process.lines.filter { $0.hasPrefix("mail ") }.compactMap { line -> Mail? in
            let json = try JSONValue(parsing: Array(line.utf8.dropFirst(5)))
            let mail = Mail(
                from: json["from"]?.text ?? "",
                to: json["to"]?.items.compactMap(\.text) ?? [],
                message: json["message"]?.text ?? ""
            )
            return mail.to.contains(address) ? mail : nil
        }
    }

    var configuration: String { Self.configuration(port: port) }

    /// The configuration of a broker that delivers mail to a port, trying again soon.
    static func configuration(port: Int) -> String {
        """
        providers:
          email:
            kind: smtp
            host: 127.0.0.1
            port: \(port)
            from: Pulse <pulse@example.org>
            tls: none
            timeout: 5s
        retry:
          base: 100ms
          cap: 500ms
          attempts: 4

        """
    }
}
