// What a broker runs with. Read once at start from flags, environment, file and defaults, in that
// order of precedence; checked completely, with every mistake told at once. Reading files is the
// caller's.
//
// Source: spec/07-configuration.md.

package import PulseBroker
package import PulseCore
package import PulseDelivery

/// How log lines look.
package enum LogFormat: String, Sendable {
    case json
    case text
}

/// One line of `pulse config show`.
package struct ConfigurationEntry: Hashable, Sendable {
    package var key: ConfigurationKey
    /// Nil when not set and without a default; secrets are hidden.
    package var value: String?
    package var origin: ConfigurationOrigin
}

package struct Configuration: Sendable {
    /// The data directory.
    package var data: String
    package var httpListen: ListenAddress
    package var nativeListen: ListenAddress
    package var providers: ProviderSettings
    package var retry: RetryPolicy
    /// Calls in flight per channel.
    package var concurrency: DeliveryConcurrency
    package var logFormat: LogFormat
    package var logLevel: LogEvent.Level
    package var segmentBytes: Int
    /// Whether somebody asked for that size; otherwise a small disk gets smaller segments.
    package var segmentBytesAreSet: Bool
    package var retentionMilliseconds: Int64
    package var scrubBytesPerSecond: Int64
    package var scrubIntervalMilliseconds: Int64
    package var retention: RetentionPolicy
    package var idempotencyWindowMilliseconds: Int64
    package var httpConnectionsMax: Int
    /// Whether channels without a provider go to the built-in catcher.
    package var dev: Bool
    /// Every key, its value and where it came from.
    package var entries: [ConfigurationEntry]

    /// Bytes of a configuration file or a secret's file; both are written by hand.
    package static let fileBytesMax = 1 << 20

    /// Calls in flight, one number per channel.
    package struct DeliveryConcurrency: Hashable, Sendable {
        package var email: Int
        package var webhook: Int
        package var sms: Int
        package var push: Int

        package subscript(channel: Channel) -> Int {
            switch channel {
            case .email: email
            case .webhook: webhook
            case .sms: sms
            case .push: push
            }
        }
    }

    /// Reads and checks a configuration.
    ///
    /// - Parameters:
    ///   - file: The configuration file's name as it shall appear in messages, and its content.
    ///   - environment: The whole environment; only `PULSE__…` is looked at.
    ///   - flags: Flags that set keys; of two for one key the later counts.
    ///   - dev: Whether `--dev` was given.
    ///   - readSecret: Reads the file that `password_file` names; nil when it cannot be read.
    /// - Returns: The configuration, or all problems, those of the file first, from top to bottom.
    package static func load(
        file: (name: String, bytes: [UInt8])?,
        environment: [String: String],
        flags: [ConfigurationFlag] = [],
        dev: Bool = false,
        readSecret: (String) -> [UInt8]? = { ConfigurationFile.read($0) }
    ) -> Result<Configuration, ConfigurationProblems> {
        var settings = ConfigurationSettings()
        if let file { settings.read(file: file.name, file.bytes) }
        settings.read(environment: environment)
        settings.read(flags: flags)

        var providers = ProviderSettings()
        if !settings.isFileBroken {
            providers = Self.providers(of: &settings, dev: dev, readSecret: readSecret)
            checkRelations(&settings)
        }
        guard settings.problems.isEmpty else {
            let sorted = settings.problems.sorted { $0.origin.order < $1.origin.order }
            return .failure(ConfigurationProblems(sorted))
        }
        return .success(Configuration(settings, providers: providers, dev: dev))
    }

    private init(_ settings: ConfigurationSettings, providers: ProviderSettings, dev: Bool) {
        func count(_ key: ConfigurationKey) -> Int { Int(settings.number(key)) }
        data = settings.text(.data) ?? ""
        httpListen = settings.address(.httpListen)
        nativeListen = settings.address(.nativeListen)
        self.providers = providers
        retry = RetryPolicy(
            baseMs: settings.number(.retryBase),
            factor: settings.number(.retryFactor),
            capMs: settings.number(.retryCap),
            attemptsMax: count(.retryAttempts)
        )
        concurrency = DeliveryConcurrency(
            email: count(.emailConcurrency),
            webhook: count(.webhookConcurrency),
            sms: count(.smsConcurrency),
            push: count(.pushConcurrency)
        )
        logFormat = settings.text(.logFormat).flatMap(LogFormat.init) ?? .text
        logLevel = Self.level(settings.text(.logLevel))
        segmentBytes = count(.segmentBytes)
        segmentBytesAreSet = settings.isSet(.segmentBytes)
        retentionMilliseconds = settings.number(.retention)
        scrubBytesPerSecond = settings.number(.scrubRate)
        scrubIntervalMilliseconds = settings.number(.scrubInterval)
        retention = Self.retention(settings)
        idempotencyWindowMilliseconds = settings.number(.idempotencyWindow)
        httpConnectionsMax = count(.httpConnections)
        self.dev = dev
        entries = settings.entries
    }

    private static func level(_ name: String?) -> LogEvent.Level {
        switch name {
        case "debug": .debug
        case "warning": .warning
        case "error": .error
        default: .info
        }
    }

    /// What no key can know by itself.
    private static func retention(_ settings: ConfigurationSettings) -> RetentionPolicy {
        let topics = Channel.allCases.map { channel in
            let (age, bytes): (ConfigurationKey, ConfigurationKey) =
                switch channel {
                case .email: (.emailRetention, .emailRetentionBytes)
                case .webhook: (.webhookRetention, .webhookRetentionBytes)
                case .sms: (.smsRetention, .smsRetentionBytes)
                case .push: (.pushRetention, .pushRetentionBytes)
                }
            return RetentionPolicy.Topic(
                ageMilliseconds: settings.optionalNumber(age),
                bytes: settings.number(bytes)
            )
        }
        return RetentionPolicy(bytes: settings.number(.retentionBytes), topics: topics)
    }

    /// One segment is written, some are ready, some are being let go: less cannot be kept.
    private static func retentionBytesLeast(_ segmentBytes: Int64) -> Int64 { 8 * segmentBytes }

    private static func show(_ bytes: Int64) -> String {
        ConfigurationKey.retentionBytes.kind.show(.number(bytes))
    }

    /// Why the log's size cannot be kept within `storage.retention_bytes`, or nil: a log keeps the segment
    /// size that it was made with, whatever `storage.segment_bytes` says now.
    package func refusal(ofSegments segmentBytes: Int) -> String? {
        let least = Self.retentionBytesLeast(Int64(segmentBytes))
        guard retention.bytes > 0, retention.bytes < least else { return nil }
        return
            "storage.retention_bytes: \(Self.show(retention.bytes)) is too little for \(data), whose "
            + "segments have \(Self.show(Int64(segmentBytes))) each; must be at least eight of them "
            + "(\(Self.show(least))), or 0 for no limit"
    }

    private static func checkRelations(_ settings: inout ConfigurationSettings) {
        let least = Self.retentionBytesLeast(settings.number(.segmentBytes))
        let bytes = settings.number(.retentionBytes)
        if bytes > 0, bytes < least {
            settings.refuse(
                settings.origin(.retentionBytes),
                "storage.retention_bytes: must be at least eight segments (\(Self.show(least))), "
                    + "or 0 for no limit"
            )
        }
        if settings.number(.segmentBytes).nonzeroBitCount != 1 {
            settings.refuse(
                settings.origin(.segmentBytes),
                "storage.segment_bytes is no power of two; write 16MiB, 32MiB, 64MiB or so on"
            )
        }
        if settings.number(.retryCap) < settings.number(.retryBase) {
            let key: ConfigurationKey = settings.isSet(.retryCap) ? .retryCap : .retryBase
            settings.refuse(
                settings.origin(key),
                "retry.cap is below retry.base; make it at least as long"
            )
        }
        let http = settings.address(.httpListen)
        if http.port != 0, http == settings.address(.nativeListen) {
            let key: ConfigurationKey = settings.isSet(.nativeListen) ? .nativeListen : .httpListen
            settings.refuse(
                settings.origin(key),
                "http.listen and native.listen are both \(http)"
            )
        }
    }
}

/// Everything that is wrong with a configuration; never empty.
package struct ConfigurationProblems: Error, Sendable {
    package var problems: [ConfigurationProblem]

    init(_ problems: [ConfigurationProblem]) {
        precondition(!problems.isEmpty, "a failure has a reason")
        self.problems = problems
    }
}
