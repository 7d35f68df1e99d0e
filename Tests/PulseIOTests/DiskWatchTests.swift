// The watch of the disk: a sync of the log or of the floor that does not come back is told of, and that it
// came back.

import PulseCore
import PulseIO
import Synchronization
import Testing

@Suite struct DiskWatchTests {
    /// What the watch's own thread said.
    private final class Listener: Sendable {
        let waited = Mutex<[Int64]>([])
    }

    @Test(arguments: [DiskWatch.Syncer.log, .floor])
    func aSyncThatDoesNotComeBackIsTold(_ syncer: DiskWatch.Syncer) throws {
        let scratch = try ScratchDirectory()
        let heard = Listener()
        let watch = try DiskWatch(path: scratch.path, waitingBytes: { 0 }) { milliseconds in
            heard.waited.withLock { $0.append(milliseconds) }
        }
        defer { watch.stop() }
        let rig = try LoopRig()
        var reports: [DiskReport] = []
        _ = try watch.reports.attach(to: rig.loop) { reports += $0 }
        // It began long ago; the other one's come and go.
        let now = SystemClocks.monotonic()
        let began = MonotonicInstant(nanoseconds: now.nanoseconds - 5_000_000_000)
        watch.syncBegan(syncer, at: began)
        let other: DiskWatch.Syncer = syncer == .log ? .floor : .log
        watch.syncBegan(other, at: now)
        watch.syncEnded(other)
        #expect(try rig.run(forMilliseconds: 30_000) { reports.last?.isStalled == true })
        #expect(reports.last?.status.isStalled == true)
        let waited = heard.waited.withLock { $0 }
        #expect(waited.count == 1 && waited[0] >= 5000, "\(waited)")
        watch.syncEnded(syncer)
        #expect(try rig.run(forMilliseconds: 30_000) { reports.last?.isStalled == false })
    }
}
