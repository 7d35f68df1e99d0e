// Watches the disk from a thread of its own: how much room it has, and whether a sync has not come back.
// A loop that waits for a sync cannot notice that it waits too long.
//
//      every 250 ms   a sync under way for more than a second?   said at once, by this thread
//      every second   room on the file system, rows that wait
//                                        `--> reports, when something changed

import CKernel
import Glibc
package import PulseCore
import Synchronization

/// What the watch saw.
package struct DiskReport: Hashable, Sendable {
    package var space: DiskSpace
    package var storeWaitingBytes: Int
    package var isStalled: Bool

    package init(space: DiskSpace, storeWaitingBytes: Int, isStalled: Bool) {
        self.space = space
        self.storeWaitingBytes = storeWaitingBytes
        self.isStalled = isStalled
    }

    package var status: DiskStatus {
        DiskStatus(
            freeBytes: space.freeBytes,
            totalBytes: space.totalBytes,
            storeWaitingBytes: storeWaitingBytes,
            isStalled: isStalled
        )
    }
}

/// The thread and what it shares with those who sync: when the syncs under way began, in atomics, and
/// reports in a mailbox.
package final class DiskWatch: Sendable {
    /// Whose sync it is; each has one under way at most.
    package enum Syncer: Sendable {
        case log
        case floor
    }

    package let reports: Mailbox<DiskReport>
    private let shared: Shared
    private let thread: OperatingThread

    private static let tickNanoseconds: Int64 = 250_000_000
    /// Ticks between two looks at the file system.
    private static let ticksPerLook = 4
    /// Changes of the free bytes that nobody needs to hear of.
    private static let unimportantBytes: Int64 = 256 << 10

    private final class Shared: Sendable {
        let path: String
        /// Monotonic nanoseconds; 0 while no sync is under way.
        let logBegan = Atomic<UInt64>(0)
        let floorBegan = Atomic<UInt64>(0)
        let stop: OwnedDescriptor

        init(path: String, stop: consuming OwnedDescriptor) {
            self.path = path
            self.stop = stop
        }

        func note(_ began: UInt64, of syncer: Syncer) {
            switch syncer {
            case .log: logBegan.store(began, ordering: .relaxed)
            case .floor: floorBegan.store(began, ordering: .relaxed)
            }
        }

        /// When the sync that has been under way for longest began; nil when none is.
        var oldest: UInt64? {
            let all = [logBegan.load(ordering: .relaxed), floorBegan.load(ordering: .relaxed)]
            return all.filter { $0 != 0 }.min()
        }
    }

    /// Begins to watch. `waitingBytes` must not wait for anybody; while it is not 0 there are reports at
    /// every tick. `stalled` is called on the watch's thread, once for each sync that takes too
    /// long, with its milliseconds so far.
    package init(
        path: String,
        waitingBytes: @escaping @Sendable () -> Int,
        stalled: @escaping @Sendable (Int64) -> Void
    ) throws(IOFailure) {
        let reports = try Mailbox<DiskReport>()
        let shared = Shared(
            path: path,
            stop: OwnedDescriptor(
                takingOver: try SystemCall.require("create the disk watch") { pulse_eventfd(1) }
            )
        )
        self.reports = reports
        self.shared = shared
        thread = try OperatingThread(name: "pulse-disk") {
            Self.watch(shared, waitingBytes, reports, stalled)
        }
    }

    /// From any thread.
    package func syncBegan(_ syncer: Syncer = .log, at instant: MonotonicInstant) {
        shared.note(max(1, instant.nanoseconds), of: syncer)
    }

    package func syncEnded(_ syncer: Syncer = .log) { shared.note(0, of: syncer) }

    package func stop() {
        var one: UInt64 = 1
        _ = SystemCall.attempt { write(shared.stop.rawValue, &one, 8) }
        thread.join()
    }

    private static func watch(
        _ shared: Shared,
        _ waitingBytes: @Sendable () -> Int,
        _ reports: Mailbox<DiskReport>,
        _ stalled: @Sendable (Int64) -> Void
    ) {
        var last: DiskReport?
        var stalledSince: UInt64 = 0
        var tick = 0
        while !waitForStop(shared.stop.rawValue) {
            let now = SystemClocks.monotonic()
            let began = shared.oldest ?? now.nanoseconds
            let waited = now.milliseconds(since: MonotonicInstant(nanoseconds: began))
            let isStalled = waited >= Limits.stalledSyncMilliseconds
            if isStalled, stalledSince != began {
                stalledSince = began
                stalled(waited)
            }
            tick += 1
            let waits = waitingBytes()
            let looks = waits > 0 || tick % ticksPerLook == 0
            guard looks || isStalled != (last?.isStalled ?? false) else { continue }
            guard let space = looks ? DiskSpace(of: shared.path) : last?.space else { continue }
            let report = DiskReport(
                space: space,
                storeWaitingBytes: waits,
                isStalled: isStalled
            )
            guard isNews(report, after: last) else { continue }
            last = report
            reports.post(report)
        }
    }

    private static func isNews(_ report: DiskReport, after last: DiskReport?) -> Bool {
        guard let last else { return true }
        // Each report has what waits tried again.
        return report.storeWaitingBytes > 0 || report.isStalled != last.isStalled
            || report.storeWaitingBytes != last.storeWaitingBytes
            || report.space.totalBytes != last.space.totalBytes
            || abs(report.space.freeBytes - last.space.freeBytes) >= unimportantBytes
    }

    private static func waitForStop(_ descriptor: Int32) -> Bool {
        var interest = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return pulse_poll(&interest, 1, tickNanoseconds) > 0
    }
}
