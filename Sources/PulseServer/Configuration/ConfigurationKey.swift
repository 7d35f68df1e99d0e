// The schema: every key there is, what it takes and what it is when nobody says. The table in
// spec/07-configuration.md is checked against this file.

internal import PulseCore

/// A setting, by its path in the file.
package enum ConfigurationKey: String, CaseIterable, Sendable {
    case data = "data"
    case httpListen = "http.listen"
    case nativeListen = "native.listen"

    case emailKind = "providers.email.kind"
    case emailHost = "providers.email.host"
    case emailPort = "providers.email.port"
    case emailFrom = "providers.email.from"
    case emailTLS = "providers.email.tls"
    case emailUser = "providers.email.user"
    case emailPassword = "providers.email.password"
    case emailPasswordFile = "providers.email.password_file"
    case emailTimeout = "providers.email.timeout"
    case webhookKind = "providers.webhook.kind"
    case webhookAllowPrivate = "providers.webhook.allow_private"
    case webhookTimeout = "providers.webhook.timeout"
    case smsKind = "providers.sms.kind"
    case pushKind = "providers.push.kind"

    case retryBase = "retry.base"
    case retryFactor = "retry.factor"
    case retryCap = "retry.cap"
    case retryAttempts = "retry.attempts"

    case emailConcurrency = "delivery.email.concurrency"
    case webhookConcurrency = "delivery.webhook.concurrency"
    case smsConcurrency = "delivery.sms.concurrency"
    case pushConcurrency = "delivery.push.concurrency"

    case logFormat = "log.format"
    case logLevel = "log.level"
    case segmentBytes = "storage.segment_bytes"
    case retention = "storage.retention"
    case retentionBytes = "storage.retention_bytes"
    case scrubRate = "storage.scrub_rate"
    case scrubInterval = "storage.scrub_interval"
    case emailRetention = "topics.email.retention"
    case emailRetentionBytes = "topics.email.retention_bytes"
    case webhookRetention = "topics.webhook.retention"
    case webhookRetentionBytes = "topics.webhook.retention_bytes"
    case smsRetention = "topics.sms.retention"
    case smsRetentionBytes = "topics.sms.retention_bytes"
    case pushRetention = "topics.push.retention"
    case pushRetentionBytes = "topics.push.retention_bytes"
    case idempotencyWindow = "idempotency.window"
    case httpConnections = "limits.http_connections"

    /// The path as it is written in the file, dots between levels.
    package var path: String { rawValue }

    /// The environment variable that sets this key: `PULSE__HTTP__LISTEN`.
    package var variable: String {
        Self.variablePrefix + path.uppercased().split(separator: ".").joined(separator: "__")
    }

    static let variablePrefix = "PULSE__"

    var kind: ConfigurationKind {
        let day: Int64 = 24 * 3_600_000
        switch self {
        case .data, .emailHost, .emailUser, .emailPasswordFile: return .text
        case .emailPassword: return .secret
        case .httpListen, .nativeListen: return .listenAddress
        case .emailKind: return .choice(["smtp", "catcher"])
        case .emailPort: return .integer(1...65_535)
        case .emailFrom: return .mailbox
        case .emailTLS: return .choice(["none", "starttls", "implicit"])
        case .emailTimeout, .webhookTimeout: return .duration(100...600_000)
        case .webhookKind: return .choice(["http", "catcher"])
        case .webhookAllowPrivate: return .boolean
        case .smsKind, .pushKind: return .choice(["catcher"])
        case .retryBase: return .duration(1...3_600_000)
        case .retryFactor: return .integer(1...10)
        case .retryCap: return .duration(1...day)
        case .retryAttempts: return .integer(1...100)
        case .emailConcurrency, .webhookConcurrency, .smsConcurrency, .pushConcurrency:
            return .integer(1...1000)
        case .logFormat: return .choice(["json", "text"])
        case .logLevel: return .choice(["debug", "info", "warning", "error"])
        // An entry of the largest size must fit in half a segment (Limits.checkRelations).
        case .segmentBytes: return .size(16 << 20...1 << 30)
        case .scrubRate: return .size(0...1 << 30)
        case .scrubInterval: return .duration(60_000...365 * day)
        case .retention, .emailRetention, .webhookRetention, .smsRetention, .pushRetention:
            return .duration(60_000...3650 * day)
        case .retentionBytes, .emailRetentionBytes, .webhookRetentionBytes, .smsRetentionBytes,
            .pushRetentionBytes:
            return .size(0...1 << 50)
        case .idempotencyWindow: return .duration(1000...30 * day)
        case .httpConnections: return .integer(1...Int64(Limits.connectionsMax))
        }
    }

    /// What the key is when no source sets it; nil where that depends on other keys.
    var standard: String? {
        switch self {
        case .data: "./pulse-data"
        case .httpListen: "127.0.0.1:8000"
        case .nativeListen: "127.0.0.1:7070"
        case .emailTLS: "starttls"
        case .emailTimeout: "30s"
        case .webhookAllowPrivate: "false"
        case .webhookTimeout: "15s"
        case .retryBase: "1s"
        case .retryFactor: "2"
        case .retryCap: "15m"
        case .retryAttempts: "6"
        case .emailConcurrency, .webhookConcurrency, .smsConcurrency, .pushConcurrency: "64"
        case .logFormat: "text"
        case .logLevel: "info"
        case .segmentBytes: "64MiB"
        case .retention: "168h"
        case .scrubRate: "8MiB"
        case .scrubInterval: "168h"
        case .retentionBytes, .emailRetentionBytes, .webhookRetentionBytes, .smsRetentionBytes,
            .pushRetentionBytes:
            "0B"
        case .idempotencyWindow: "24h"
        case .httpConnections: String(Limits.connectionsMax)
        case .emailKind, .emailHost, .emailPort, .emailFrom, .emailUser, .emailPassword,
            .emailPasswordFile, .webhookKind, .smsKind, .pushKind, .emailRetention,
            .webhookRetention, .smsRetention, .pushRetention:
            nil
        }
    }

    // MARK: The schema as a tree.

    /// The words that may follow `section` (empty for the top level), in the order of the schema.
    static func children(of section: String) -> [String] {
        let prefix = section.isEmpty ? "" : section + "."
        var words: [String] = []
        for key in allCases where key.path.hasPrefix(prefix) {
            let word = String(key.path.dropFirst(prefix.count).prefix { $0 != "." })
            if !words.contains(word) { words.append(word) }
        }
        return words
    }

    static func isSection(_ path: String) -> Bool {
        allCases.contains { $0.path.hasPrefix(path + ".") }
    }

    /// `unknown key "retrys" (did you mean "retry"?)`.
    static func unknownKey(_ word: String, in section: String) -> String {
        let hint = Suggestion.hint(for: word, among: children(of: section))
        if !hint.isEmpty { return "unknown key \"\(word)\"\(hint)" }
        // The right word in the wrong place: say the place when there is only one.
        let elsewhere = allCases.filter { $0.path.hasSuffix("." + word) }
        if elsewhere.count == 1 {
            return "unknown key \"\(word)\" (did you mean \"\(elsewhere[0].path)\"?)"
        }
        let known = children(of: section).joined(separator: ", ")
        return "unknown key \"\(word)\"; known here: \(known)"
    }
}
