// Where the bytes of the disk are: as an answer, and as metrics.

import PulseBroker
import PulseCore
import PulseGateway
import PulseLog

extension Node {
    func disk(at now: Now) throws(ShardError) -> DiskView {
        let use = try shard.diskUse(at: now)
        let book = shard.state.book
        return DiskView(
            bytes: DiskUse.Reason.allCases.map { ($0.rawValue, use[$0]) },
            total: use.total,
            limitBytes: configuration.shard.retention.bytes,
            ageMilliseconds: configuration.shard.retentionMilliseconds,
            keptRecords: book.keptRecords,
            keptBytes: book.keptBytes,
            evacuated: book.evacuated,
            expired: shard.state.groups.reduce(0) { $0 + $1.expired },
            keys: DiskView.Keys(
                remembered: shard.state.keys.count,
                forgotten: shard.statistics.keysForgotten
            ),
            clock: DiskView.Clock(
                steps: shard.state.clock.steps.count,
                setByMilliseconds: shard.state.clock.offset,
                unconfirmedMilliseconds: shard.unconfirmedMilliseconds
            ),
            pin: use.pin.map { pin in
                DiskView.Pin(
                    segment: pin.segment,
                    since: pin.since,
                    group: pin.group,
                    topic: Channel(topic: pin.topic)?.name ?? "",
                    id: pin.id,
                    state: pin.isWaiting ? "waiting" : "ready",
                    reason: pin.reason.rawValue
                )
            }
        )
    }

    /// Says that idempotency keys were given up early.
    func reportForgottenKeys(into effects: inout EffectQueue) {
        let forgotten = shard.statistics.keysForgotten
        guard forgotten > metrics.keysForgottenTold else { return }
        metrics.keysForgottenTold = forgotten
        let fields = [LogEvent.Field("keys", "\(forgotten)")]
        let message =
            "idempotency keys were forgotten before their window was over: too many outlived their "
            + "records; storage.retention_bytes is too small for idempotency.window"
        effects.append(.log(LogEvent(.warning, message, fields, mayRepeat: true)))
    }

    /// Says what is made of the wall clock when somebody set it.
    func reportClock(into effects: inout EffectQueue) {
        for event in shard.takeClockEvents() {
            switch event {
            case .set(let milliseconds):
                metrics.clockSteps += 1
                effects.warn("the wall clock was set: nothing ages by it", milliseconds)
            case .foundAtStart(let milliseconds) where milliseconds < 0:
                metrics.clockSteps += 1
                effects.warn("the wall clock is behind the newest entry", milliseconds)
            case .foundAtStart(let milliseconds):
                metrics.clockSteps += 1
                effects.warn(
                    "the newest entry is old, or the wall clock is wrong: the time between ages nothing "
                        + "until the clock has been steady for an hour",
                    milliseconds
                )
            case .confirmed(let milliseconds):
                effects.append(
                    .log(
                        LogEvent(
                            .info,
                            "the wall clock was steady: the time before the start counts as age",
                            [.init("milliseconds", "\(milliseconds)")]
                        )
                    )
                )
            }
        }
    }

    /// Kept small: the accounts of the segments are looked at, not the segments.
    func appendDiskUse(to text: inout MetricsText, at now: Now) {
        // A store that cannot be read is told of by everything else.
        guard let use = try? shard.diskUse(at: now) else { return }
        text.family("pulse_disk_bytes", "gauge", "Bytes on the disk, by what they are there for.")
        for reason in DiskUse.Reason.allCases {
            text.sample([("reason", reason.rawValue)], UInt64(clamping: use[reason]))
        }
        text.family(
            "pulse_idempotency_keys_kept",
            "gauge",
            "Idempotency keys that outlive their records."
        )
        text.sample([], shard.state.keys.count)
        text.family(
            "pulse_idempotency_keys_forgotten_total",
            "counter",
            "Idempotency keys given up before their window was over."
        )
        text.sample([], shard.statistics.keysForgotten)
        text.family("pulse_clock_steps_total", "counter", "Times the wall clock was found set.")
        text.sample([], metrics.clockSteps)
        text.family(
            "pulse_clock_unconfirmed_milliseconds",
            "gauge",
            "Time before the start that ages nothing until the clock has been steady."
        )
        text.sample([], UInt64(clamping: shard.unconfirmedMilliseconds))
        let book = shard.state.book
        text.family("pulse_kept_records", "gauge", "Records that outlived their segments.")
        text.sample([], book.keptRecords)
        text.family("pulse_kept_bytes", "gauge", "Bytes of their rows.")
        text.sample([], book.keptBytes)
        text.family("pulse_evacuated_total", "counter", "Records that were ever moved into rows.")
        text.sample([], book.evacuated)
        text.family(
            "pulse_expired_total",
            "counter",
            "Messages that retention took from consumer groups which nobody reads."
        )
        for channel in Channel.allCases {
            let expired = shard.state.groups.reduce(UInt64(0)) {
                $1.topic == channel.topic ? $0 + $1.expired : $0
            }
            text.sample([("channel", channel.name)], expired)
        }
    }
}

extension EffectQueue {
    fileprivate mutating func warn(_ message: String, _ milliseconds: Int64) {
        let fields = [LogEvent.Field("milliseconds", "\(milliseconds)")]
        append(.log(LogEvent(.warning, message, fields, mayRepeat: true)))
    }
}
