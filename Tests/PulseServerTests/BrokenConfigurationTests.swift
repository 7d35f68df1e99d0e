// Broken configurations: each mistake with its place and its words, and all of them at once.

import PulseServer
import Testing

struct BrokenFile: Sendable, CustomTestStringConvertible {
    var text: String
    var messages: [String]
    var testDescription: String { text }

    init(_ text: String, _ messages: String...) {
        self.text = text
        self.messages = messages
    }
}

@Suite("Broken configurations") struct BrokenConfigurationTests {
    static let mail = "providers:\n  email:\n    kind: smtp\n    host: h\n    from: a@b\n"
    static let secondDocument = "2:1: a configuration is one document; remove '---'"

    static let files: [BrokenFile] = [
        // Keys.
        BrokenFile(
            "retrys:\n  base: 1s\n",
            "1:1: unknown key \"retrys\" (did you mean \"retry\"?)"
        ),
        BrokenFile(
            "http:\n  lisen: 127.0.0.1:1\n",
            "2:3: unknown key \"lisen\" (did you mean \"listen\"?)"
        ),
        BrokenFile(
            "password: x\n",
            "1:1: unknown key \"password\" (did you mean \"providers.email.password\"?)"
        ),
        BrokenFile(
            "log:\n  colour: red\n",
            "2:3: unknown key \"colour\"; known here: format, level"
        ),
        BrokenFile(
            "http.listen: a:1\n",
            "1:1: \"http.listen\" has a dot; write one level a line, indented"
        ),
        BrokenFile("data: a\ndata: b\n", "2:1: \"data\" is already set on line 1"),
        BrokenFile("Data: a\n", "1:1: unknown key \"Data\" (did you mean \"data\"?)"),
        // Shapes.
        BrokenFile(
            "http: 127.0.0.1:8000\n",
            "1:7: http is a section; put keys under it: listen"
        ),
        BrokenFile(
            "retry: [1, 2]\n",
            "1:8: retry is a section; put keys under it: base, factor, cap, attempts"
        ),
        BrokenFile("data: [a]\n", "1:7: data: takes one value, not several"),
        BrokenFile("data: {a: b}\n", "1:7: data: takes one value, not several"),
        BrokenFile("data:\n", "1:6: data: needs a value"),
        BrokenFile("data: \"\"\n", "1:7: data: must not be empty"),
        BrokenFile("data: \"a\\0b\"\n", "1:7: data: must not hold control characters"),
        BrokenFile("data: &a x\n", "1:7: anchors (&name) and tags (!name) are not supported"),
        BrokenFile("data: *a\n", "1:7: aliases (*name) are not supported"),
        BrokenFile("data: !!str x\n", "1:7: anchors (&name) and tags (!name) are not supported"),
        BrokenFile("data: x\n---\ndata: y\n", secondDocument),
        BrokenFile("[a]: b\n", "1:1: a key is a word"),
        BrokenFile(
            "just a word\n",
            "1:1: the file is a section; put keys under it: data, http, native, providers, "
                + "retry, delivery, log, storage, topics, idempotency, limits"
        ),
        BrokenFile(
            "storage:\n  retention_bytes: 256MiB\n",
            "2:20: storage.retention_bytes: must be at least eight segments (512MiB), or 0 for no "
                + "limit"
        ),
        // Not YAML.
        BrokenFile(
            "http:\n\tlisten: a:1\n",
            "2:1: a character that cannot stand here; indent with spaces, not tabs, and quote "
                + "text that begins with a special character"
        ),
        BrokenFile(
            "data: a: b\n",
            "1:8: a ':' that cannot stand here; check the indentation, or quote the text"
        ),
        BrokenFile("data: \"abc\n", "2:1: found unexpected end of stream"),
        BrokenFile("log: {level: info\n", "2:1: did not find expected ',' or '}'"),
        // Values.
        BrokenFile(
            "retry: {base: 10}\n",
            "1:15: retry.base: \"10\" is not a duration; write a number and a unit: 500ms, 10s, "
                + "15m, 24h"
        ),
        BrokenFile(
            "retry: {cap: 25h}\n",
            "1:14: retry.cap: 25h is out of range; from 1ms to 24h"
        ),
        BrokenFile(
            "retry:\n  attempts: six\n",
            "2:13: retry.attempts: \"six\" is not a whole number"
        ),
        BrokenFile(
            "retry:\n  attempts: 0\n",
            "2:13: retry.attempts: 0 is out of range; from 1 to 100"
        ),
        BrokenFile(
            "retry:\n  attempts: 1_0\n",
            "2:13: retry.attempts: \"1_0\" is not a whole number"
        ),
        BrokenFile(
            "storage: {segment_bytes: 17MiB}\n",
            "1:26: storage.segment_bytes is no power of two; write 16MiB, 32MiB, 64MiB or so on"
        ),
        BrokenFile(
            "storage: {segment_bytes: 64MB}\n",
            "1:26: storage.segment_bytes: \"64MB\" is not a size; write a number and a unit: "
                + "512KiB, 64MiB, 1GiB"
        ),
        BrokenFile(
            "storage: {segment_bytes: 9223372036854775807GiB}\n",
            "1:26: storage.segment_bytes: \"9223372036854775807GiB\" is not a size; write a "
                + "number and a unit: 512KiB, 64MiB, 1GiB"
        ),
        BrokenFile(
            "log: {level: inof}\n",
            "1:14: log.level: \"inof\" is not one of debug, info, warning, error "
                + "(did you mean \"info\"?)"
        ),
        BrokenFile(
            "http: {listen: 8000}\n",
            "1:16: http.listen: \"8000\" is not an address; write host:port, as in "
                + "127.0.0.1:8000 or [::1]:8000"
        ),
        BrokenFile(
            "providers: {webhook: {kind: http, allow_private: yes}}\n",
            "1:50: providers.webhook.allow_private: \"yes\" is neither true nor false"
        ),
        BrokenFile(
            "# ü\nproviders: {sms: {kind: twilio}}\n",
            "2:25: providers.sms.kind: \"twilio\" is not one of catcher"
        ),
        // Relations.
        BrokenFile(
            "retry:\n  base: 1m\n  cap: 1s\n",
            "3:8: retry.cap is below retry.base; make it at least as long"
        ),
        BrokenFile(
            "http: {listen: 'a:1'}\nnative: {listen: 'a:1'}\n",
            "2:18: http.listen and native.listen are both a:1"
        ),
        BrokenFile(
            "providers:\n  webhook:\n    timeout: 1s\n",
            "2:3: providers.webhook needs a kind"
        ),
        BrokenFile(
            "providers: {email: {kind: smtp}}\n",
            "1:27: kind smtp needs providers.email.host",
            "1:27: kind smtp needs providers.email.from"
        ),
        BrokenFile(
            mail + "    tls: none\n    user: u\n    password: p\n",
            "7:11: providers.email.user with tls none would send the password in the clear; set "
                + "providers.email.tls to starttls or implicit"
        ),
        BrokenFile(
            mail + "    user: u\n",
            "6:11: providers.email.user needs providers.email.password or password_file"
        ),
        BrokenFile(
            mail + "    password: p\n",
            "6:15: providers.email.password needs providers.email.user"
        ),
        BrokenFile(
            mail + "    user: u\n    password: p\n    password_file: /run/secret\n",
            "8:20: set either providers.email.password or providers.email.password_file, not "
                + "both"
        ),
        BrokenFile(
            mail + "    user: u\n    password_file: /nowhere\n",
            "7:20: providers.email.password_file: cannot read a password from \"/nowhere\""
        ),
        BrokenFile(
            "providers: {email: {kind: smtp, host: h, from: Pulse}}\n",
            "1:48: providers.email.from: \"Pulse\" is not a sender; write pulse@example.org or "
                + "\"Example <pulse@example.org>\""
        ),
        // Several, from top to bottom.
        BrokenFile(
            "retrys: 1\nlog:\n  level: loud\n  format: xml\nhttp:\n  port: 1\n",
            "1:1: unknown key \"retrys\" (did you mean \"retry\"?)",
            "3:10: log.level: \"loud\" is not one of debug, info, warning, error",
            "4:11: log.format: \"xml\" is not one of json, text",
            "6:3: unknown key \"port\" (did you mean \"providers.email.port\"?)"
        ),
    ]

    @Test("Every mistake with its place", arguments: files)
    func broken(_ file: BrokenFile) {
        // `pulse.yaml:1:1: error: …`, without what is the same everywhere.
        let told = problems(load(file.text)).map { $0.dropFirst("pulse.yaml:".count) }
            .map { String($0).replacing(": error: ", with: ": ", maxReplacements: 1) }
        #expect(told == file.messages)
    }

    @Test("The file first, then the environment, then flags")
    func allSources() {
        let result = load(
            "log: {level: x}\n",
            environment: [
                "PULSE__RETRY__BAES": "1s", "PULSE__HTTP__LISTEN": "x", "PULSE__": "",
                "PULSE_OTHER": "fine",
            ],
            flags: [ConfigurationFlag("--native", .nativeListen, "y")]
        )
        #expect(
            problems(result) == [
                "pulse.yaml:1:14: error: log.level: \"x\" is not one of debug, info, warning, "
                    + "error",
                "environment PULSE__: error: unknown variable",
                "environment PULSE__HTTP__LISTEN: error: http.listen: \"x\" is not an address; "
                    + "write host:port, as in 127.0.0.1:8000 or [::1]:8000",
                "environment PULSE__RETRY__BAES: error: unknown variable "
                    + "(did you mean \"PULSE__RETRY__BASE\"?)",
                "flag --native: error: native.listen: \"y\" is not an address; "
                    + "write host:port, as in 127.0.0.1:8000 or [::1]:8000",
            ]
        )
    }

    @Test("Relations point at the source that set them")
    func relationsAcrossSources() {
        let result = load(
            "retry: {base: 1m}\n",
            environment: ["PULSE__RETRY__CAP": "1s"]
        )
        #expect(
            problems(result) == [
                "environment PULSE__RETRY__CAP: error: retry.cap is below retry.base; make it at "
                    + "least as long"
            ]
        )
    }

    @Test("Bytes that are no text, and files that are no configuration")
    func hostileFiles() {
        func count(_ bytes: [UInt8]) -> Int {
            let result = Configuration.load(file: ("f", bytes), environment: [:])
            return problems(result).count
        }
        #expect(count([0xFF, 0xFE, 0x00]) == 1)
        #expect(count(Array("data: a\u{0}b".utf8)) == 1)
        #expect(count([UInt8](repeating: UInt8(ascii: "["), count: 100_000)) == 1)
        #expect(count([UInt8](repeating: UInt8(ascii: "a"), count: (1 << 20) + 1)) == 1)
        #expect(count(Array(String(repeating: "a: {", count: 100).utf8)) == 1)
    }

    private func problems(_ result: Result<Configuration, ConfigurationProblems>) -> [String] {
        switch result {
        case .success: []
        case .failure(let failure): failure.problems.map(\.description)
        }
    }
}
