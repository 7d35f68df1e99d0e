// Counters, and the Prometheus text they are read as (exposition format 0.0.4).

import PulseBroker
import PulseCore
import PulseDelivery
import PulseLog

/// What a node counts for itself; all else comes from the ledger, which survives restarts.
struct NodeMetrics {
    var httpRequests: UInt64 = 0
    var nativeRequests: UInt64 = 0
    /// Answers by the first digit of their status: 2xx, 3xx, 4xx, 5xx.
    private(set) var answers: [UInt64] = [0, 0, 0, 0]
    var refused: UInt64 = 0
    /// Questions whose answer could not be read.
    var unreadable: UInt64 = 0
    var caught: UInt64 = 0
    var calls: UInt64 = 0
    var diskStalls: UInt64 = 0
    var clockSteps: UInt64 = 0
    /// Of those the operator was told.
    var keysForgottenTold: UInt64 = 0
    /// In the order of `outcomeNames`.
    private(set) var outcomes: [UInt64] = Array(repeating: 0, count: 7)

    static let outcomeNames = [
        "accepted", "retry_at", "retry_backoff", "recipient_dead", "payload_bad", "config_bad",
        "ambiguous",
    ]

    mutating func note(status: UInt16) {
        let index = Int(status / 100) - 2
        if answers.indices.contains(index) { answers[index] += 1 }
    }

    mutating func note(_ outcome: OutcomeClass) {
        guard let index = Self.outcomeNames.firstIndex(of: outcome.name) else { return }
        outcomes[index] += 1
    }
}

extension Node {
    func metricsText(at now: Now) -> [UInt8] {
        var text = MetricsText()
        let balances = Channel.allCases.map { ($0, shard.balance(of: $0)) }
        text.family(
            "pulse_notifications_accepted_total",
            "counter",
            "Notifications accepted, each durable before it was answered."
        )
        for (channel, balance) in balances {
            text.sample([("channel", channel.name)], balance.accepted)
        }
        text.family(
            "pulse_notifications_finished_total",
            "counter",
            "Notifications that came to their end, by how."
        )
        for (channel, balance) in balances {
            text.sample([("channel", channel.name), ("state", "delivered")], balance.delivered)
            text.sample([("channel", channel.name), ("state", "dead")], balance.dead)
            text.sample([("channel", channel.name), ("state", "lost")], balance.lost)
            text.sample(
                [("channel", channel.name), ("state", "cancelled")],
                balance.cancelled
            )
        }
        text.family(
            "pulse_notifications",
            "gauge",
            "Notifications that have not come to their end, by where they stand."
        )
        for (channel, balance) in balances {
            for (state, count) in [
                ("scheduled", balance.scheduled), ("ready", balance.ready),
                ("held", balance.held), ("leased", balance.leased),
            ] {
                text.sample([("channel", channel.name), ("state", state)], count)
            }
        }
        text.family(
            "pulse_delivery_attempts_total",
            "counter",
            "Attempts announced in the log."
        )
        for channel in Channel.allCases {
            text.sample(
                [("channel", channel.name)],
                shard.state.ledger(of: channel).attempts
            )
        }
        text.family(
            "pulse_delivery_retries_total",
            "counter",
            "Attempts that were followed by a wait."
        )
        for channel in Channel.allCases {
            text.sample([("channel", channel.name)], shard.state.ledger(of: channel).retries)
        }
        text.family(
            "pulse_delivery_unknown_outcomes_total",
            "counter",
            "Attempts that a crash cut off between intent and outcome."
        )
        for channel in Channel.allCases {
            text.sample(
                [("channel", channel.name)],
                shard.state.ledger(of: channel).unknownOutcomes
            )
        }
        appendProcess(to: &text)
        appendDisk(to: &text)
        appendDiskUse(to: &text, at: now)
        return text.bytes
    }

    /// What this process counted since it started.
    private func appendProcess(to text: inout MetricsText) {
        text.family(
            "pulse_provider_answers_total",
            "counter",
            "Answers of providers by class, since this process started."
        )
        for (name, count) in zip(NodeMetrics.outcomeNames, metrics.outcomes) {
            text.sample([("class", name)], count)
        }
        text.family(
            "pulse_http_answers_total",
            "counter",
            "HTTP answers by class of status, since this process started."
        )
        for (name, count) in zip(["2xx", "3xx", "4xx", "5xx"], metrics.answers) {
            text.sample([("status", name)], count)
        }
        let statistics = shard.statistics
        let counters: [(String, String, UInt64)] = [
            ("pulse_http_requests_total", "HTTP requests taken in.", metrics.httpRequests),
            ("pulse_native_requests_total", "Native requests taken in.", metrics.nativeRequests),
            ("pulse_refused_total", "Submissions refused.", metrics.refused),
            (
                "pulse_unreadable_total", "Questions refused because of damaged data.",
                metrics.unreadable
            ),
            (
                "pulse_duplicates_total", "Submissions recognised by their idempotency key.",
                statistics.duplicates
            ),
            (
                "pulse_conflicts_total", "Idempotency keys used again for something else.",
                statistics.conflicts
            ),
            ("pulse_caught_total", "Notifications kept by the catcher.", metrics.caught),
            ("pulse_log_syncs_total", "Syncs of the log.", statistics.syncs),
            ("pulse_log_entries_total", "Entries folded into the state.", statistics.entries),
            (
                "pulse_late_outcomes_total", "Outcomes that came after their lease was over.",
                statistics.lateOutcomes
            ),
            ("pulse_leases_expired_total", "Leases that ran out.", statistics.leasesExpired),
            (
                "pulse_scrub_bytes_total", "Bytes of sealed segments read and verified.",
                shard.scrubbing.bytes
            ),
            (
                "pulse_scrub_segments_total", "Sealed segments verified to their end.",
                shard.scrubbing.segments
            ),
            (
                "pulse_scrub_passes_total", "Passes over all sealed segments that ended.",
                shard.scrubbing.passesEnded
            ),
            (
                "pulse_index_damaged_total",
                "Index files and generations found damaged and made again.",
                shard.log.indexDamagesMet
            ),
            (
                "pulse_scrub_damaged_total", "Damaged ranges that scrubbing found first.",
                shard.scrubbing.damaged
            ),
            (
                "pulse_scrub_failures_total", "Pieces that could not be read at all.",
                shard.scrubbing.failures
            ),
        ]
        for (name, help, value) in counters {
            text.family(name, "counter", help)
            text.sample([], value)
        }
        let gauges: [(String, String, UInt64)] = [
            (
                "pulse_log_end_bytes", "Position at which the log goes on.",
                shard.log.appendPosition.rawValue
            ),
            ("pulse_connections", "Connections open.", UInt64(http.count + native.count)),
            ("pulse_provider_calls", "Provider calls under way.", UInt64(calls.count)),
            (
                "pulse_log_damaged_ranges", "Places of the log that do not verify, as far as met.",
                UInt64(shard.log.damaged.count)
            ),
            (
                "pulse_index_given_up",
                "Index files made again in vain, that merging does without until the next start.",
                UInt64(shard.log.indexFilesGivenUp)
            ),
            (
                "pulse_index_memory_bytes",
                "Memory of the log's index: filters, fences, and segments not in an index file yet.",
                UInt64(shard.log.indexBytes.unwritten + shard.log.indexBytes.written)
            ),
            (
                "pulse_stranded_deliveries",
                "Messages not delivered because their record cannot be read.",
                UInt64(shard.stranded.count)
            ),
            ("pulse_ready", "1 when work is taken in.", obstacle == nil ? 1 : 0),
        ]
        for (name, help, value) in gauges {
            text.family(name, "gauge", help)
            text.sample([], value)
        }
    }
}

/// Writes metric families one after the other.
struct MetricsText {
    private(set) var bytes: [UInt8] = []
    private var name = ""

    mutating func family(_ name: String, _ type: String, _ help: String) {
        self.name = name
        bytes.append(contentsOf: "# HELP \(name) \(help)\n# TYPE \(name) \(type)\n".utf8)
    }

    /// Label values are words of ours and need no escaping.
    mutating func sample(_ labels: [(String, String)], _ value: UInt64) {
        bytes.append(contentsOf: name.utf8)
        if !labels.isEmpty {
            let list = labels.map { "\($0.0)=\"\($0.1)\"" }.joined(separator: ",")
            bytes.append(contentsOf: "{\(list)}".utf8)
        }
        bytes.append(contentsOf: " \(value)\n".utf8)
    }
}
