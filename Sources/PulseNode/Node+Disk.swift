// What a node makes of the disk: who is refused, and what the operator is told.

import PulseBroker
import PulseCore
import PulseLog

extension Node {
    /// Takes in what the shell saw, and says so when something began or ended by it.
    func noteDisk(_ status: DiskStatus, into effects: inout EffectQueue) {
        let wasFull = saidDiskIsFull
        let wasStalled = shard.disk?.isStalled ?? false
        shard.noteDisk(status)
        saidDiskIsFull = shard.obstacleOfRoom
        if saidDiskIsFull != wasFull {
            let fields: [LogEvent.Field] = [
                .init("free_bytes", "\(status.freeBytes)"),
                .init("wanted_bytes", "\(status.freeBytesEnough)"),
                .init("segments_to_be_had", "\(shard.log.segmentsToBeHad)"),
                .init("store_waiting_bytes", "\(status.storeWaitingBytes)"),
            ]
            effects.append(
                .log(
                    wasFull
                        ? LogEvent(.info, "the disk has room again: new work is taken", fields)
                        : LogEvent(
                            .error,
                            "the disk is full: new work is refused, outcomes are still recorded",
                            fields
                        )
                )
            )
        }
        if status.isStalled, !wasStalled { metrics.diskStalls += 1 }
    }

    /// The state could not be saved at the end: nothing is lost, and the next start takes longer.
    static func unsaved(_ failure: StorageError) -> LogEvent {
        LogEvent(
            .error,
            "the state was not saved; the log has it, and the next start reads it from there",
            [.init("error", "\(failure)")]
        )
    }

    func appendDisk(to text: inout MetricsText) {
        let gauges: [(String, String, UInt64)] = [
            (
                "pulse_disk_free_bytes", "Free bytes of the disk.",
                UInt64(max(0, shard.disk?.freeBytes ?? 0))
            ),
            ("pulse_disk_full", "1 while new work is refused for want of room.", full),
            (
                "pulse_disk_stalled", "1 while a sync has been under way for too long.",
                shard.disk?.isStalled ?? false ? 1 : 0
            ),
            (
                "pulse_store_waiting_bytes", "Bytes of rows the state store could not take yet.",
                UInt64(shard.disk?.storeWaitingBytes ?? 0)
            ),
            (
                "pulse_log_spare_segments", "Segments ready for what comes.",
                UInt64(shard.log.spareCount)
            ),
        ]
        for (name, help, value) in gauges {
            text.family(name, "gauge", help)
            text.sample([], value)
        }
        text.family("pulse_disk_stalls_total", "counter", "Syncs that took too long.")
        text.sample([], metrics.diskStalls)
        text.family("pulse_state_info", "gauge", "The state saved last: equal logs, equal hashes.")
        guard let saved = shard.savedState else { return }
        text.sample([("position", "\(saved.position.rawValue)"), ("hash", saved.hashText)], 1)
    }

    private var full: UInt64 { shard.obstacleOfRoom ? 1 : 0 }
}
