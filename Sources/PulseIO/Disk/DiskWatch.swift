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

    package func status(isSlow: Bool) -> DiskStatus {
        DiskStatus(
            freeBytes: space.freeBytes,
            totalBytes: space.totalBytes,
            storeWaitingBytes: storeWaitingBytes,
            isStalled: isStalled,
            isSlow: isSlow
        )
    }
}

/// The thread and what it shares with the loop: when the sync under way began, in an atomic, and
/// reports in a mailbox.
package final class DiskWatch: Sendable {
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
        let syncBegan = Atomic<UInt64>(0)
        let stop: OwnedDescriptor

        init(path: String, stop: consuming OwnedDescriptor) {
            self.path = path
            self.stop = stop
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

    package func syncBegan(at instant: MonotonicInstant) {
        shared.syncBegan.store(max(1, instant.nanoseconds), ordering: .relaxed)
    }

    package func syncEnded() { shared.syncBegan.store(0, ordering: .relaxed) }

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
            let began = shared.syncBegan.load(ordering: .relaxed)
            let waited = SystemClocks.monotonic().milliseconds(
                since: MonotonicInstant(nanoseconds: began)
            )
            let isStalled = began != 0 && waited >= Limits.stalledSyncMilliseconds
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
