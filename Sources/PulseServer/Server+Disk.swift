// The server and its disk: opening the data directory, telling the node what the disk does, keeping the
// ballast, and the syncs of a slow disk.

import PulseBroker
import PulseCore
import PulseIO
import PulseLog
import PulseNode

/// What the server knows of its disk. Confined to the loop's thread; the watch and the worker have
/// threads of their own.
final class DiskAttendant {
    let watch: DiskWatch
    /// Performs the syncs of a slow disk.
    let syncer: BackgroundWorker<(SyncTicket, StorageError?)>
    /// Notes how far the log is durable. A stop waits for it, and it for nothing else.
    let noter: BackgroundWorker<(JobID, StorageError?)>
    private(set) var isSyncingAside = false
    private var began = MonotonicInstant(nanoseconds: 0)
    private var slowUntil = MonotonicInstant(nanoseconds: 0)
    /// A job about the ballast is under way.
    var ballastIsBusy = false
    /// A job that gives the state store the rows that wait is under way.
    var rowsAreGoing = false
    var last: DiskReport?

    init(_ data: DataDirectory, _ sink: LogSink) throws(IOFailure) {
        let store = data.store
        watch = try DiskWatch(path: data.path, waitingBytes: { store.waitingBytes }) { waited in
            // Said by the watch's own thread: the loop may be the one that waits.
            let event = LogEvent(
                .error,
                "the disk stalls: a sync has not come back, new work is refused",
                [.init("milliseconds", "\(waited)")]
            )
            sink.write(event, at: SystemClocks.now().wall)
        }
        syncer = try BackgroundWorker(name: "pulse-sync")
        noter = try BackgroundWorker(name: "pulse-floor")
    }

    func stop() {
        watch.stop()
        syncer.stop()
        noter.stop(finishing: false)
    }

    /// Whether a sync took long lately: the next one may too.
    func isSlow(at now: MonotonicInstant) -> Bool { now < slowUntil }

    func syncBegan(aside: Bool = false) {
        isSyncingAside = aside
        began = SystemClocks.monotonic()
        watch.syncBegan(at: began)
    }

    func syncEnded(_ log: (LogEvent) -> Void) {
        watch.syncEnded()
        isSyncingAside = false
        let now = SystemClocks.monotonic()
        let took = now.milliseconds(since: began)
        guard took >= Limits.slowSyncMilliseconds else { return }
        slowUntil = now.advanced(byMilliseconds: Limits.slowSyncMemoryMilliseconds)
        log(
            LogEvent(
                .warning,
                took >= Limits.stalledSyncMilliseconds
                    ? "the disk stalled: a sync took long" : "the disk is slow: a sync took long",
                [.init("milliseconds", "\(took)")],
                mayRepeat: true
            )
        )
    }
}

extension Server {
    // MARK: - Opening

    /// Opens the node; a state store that turns out to be broken is made again from the log, once.
    static func openNode(
        _ configuration: Configuration,
        _ version: String,
        in data: inout DataDirectory
    ) throws -> Node {
        do throws(ShardError) {
            return try openNodeOnce(configuration, version, in: data)
        } catch {
            guard error.isBrokenStore else { throw ServerError(error, exitCode: error.exitCode) }
            try data.rebuildStore(because: "\(error)")
        }
        do throws(ShardError) {
            return try openNodeOnce(configuration, version, in: data)
        } catch { throw ServerError(error, exitCode: error.exitCode) }
    }

    private static func openNodeOnce(
        _ configuration: Configuration,
        _ version: String,
        in data: DataDirectory
    ) throws(ShardError) -> Node {
        var entropy = SystemRandomNumberGenerator()
        return try Node(
            configuration: nodeConfiguration(configuration, version),
            directory: data.log,
            store: data.store,
            seed: entropy.next(),
            at: SystemClocks.now()
        )
    }

    /// The size of a new log's segments: as configured, or a sixteenth of a small disk.
    static func segmentBytes(_ configuration: Configuration) -> Int {
        guard !configuration.segmentBytesAreSet,
            let space = DiskSpace(of: configuration.data)
        else { return configuration.segmentBytes }
        var bytes = configuration.segmentBytes
        while bytes > Limits.segmentBytesLeast, Int64(bytes) > space.totalBytes / 16 { bytes /= 2 }
        return bytes
    }

    static func event(of restored: RestoredState) -> LogEvent {
        LogEvent(
            .info,
            restored.storeWasEmpty ? "state made from the log" : "state restored",
            restored.state.fields + [.init("replayed_from", "\(restored.replayedFrom.rawValue)")]
        )
    }

    // MARK: - Watching

    func attendDisk() throws(IOFailure) {
        _ = try disk.watch.reports.attach(to: loop) { [unowned self] in
            guard let report = $0.last else { return }
            self.sawDisk(report)
            self.giveRows(report)
            self.keepBallast(report)
        }
        _ = try disk.syncer.completions.attach(to: loop) { [unowned self] in
            for (ticket, failure) in $0 { self.syncedAside(ticket, failure) }
        }
        lookAtDisk()
        if let report = disk.last { keepBallast(report) }
    }

    /// Looks now rather than at the watch's next tick.
    private func lookAtDisk() {
        guard let space = DiskSpace(of: data.path) else { return }
        sawDisk(
            DiskReport(
                space: space,
                storeWaitingBytes: data.store.waitingBytes,
                isStalled: disk.last?.isStalled ?? false
            )
        )
    }

    private func sawDisk(_ report: DiskReport) {
        disk.last = report
        step(.disk(report.status))
    }

    /// Offers the state store the rows that wait for it; whoever writes may be long in coming.
    private func giveRows(_ report: DiskReport) {
        guard report.storeWaitingBytes > 0, !disk.rowsAreGoing else { return }
        disk.rowsAreGoing = true
        let store = data.store
        worker.submit {
            do throws(StorageError) { try store.writeWaiting() } catch {
                return (Self.rowsJob, error)
            }
            return (Self.rowsJob, nil)
        }
    }

    /// Gives the ballast's room to a store that waits for some, and takes it again when there is plenty:
    /// once a report at most, or a disk that says it has room and gives none would be asked for ever.
    private func keepBallast(_ report: DiskReport) {
        guard !disk.ballastIsBusy else { return }
        let ballast = Ballast(in: data.path, on: report.space)
        let exists = ballast.exists
        if exists, report.storeWaitingBytes > 0, report.space.freeBytes < ballast.bytes {
            log(LogEvent(.warning, "the disk is full: the ballast is given up for the state store"))
            disk.ballastIsBusy = true
            worker.submit {
                ballast.remove()
                return (Self.ballastJob, nil)
            }
        } else if !exists, report.storeWaitingBytes == 0,
            report.space.freeBytes >= report.status.freeBytesEnough + ballast.bytes
        {
            disk.ballastIsBusy = true
            worker.submit {
                do throws(StorageError) { try ballast.make() } catch {
                    return (Self.ballastJob, error)
                }
                return (Self.ballastJob, nil)
            }
        }
    }

    /// Numbers that the node never gives to jobs of its own.
    private static let ballastJob = JobID(0)
    private static let rowsJob = JobID(.max)

    func jobFinished(_ job: JobID, _ failure: StorageError?) {
        switch job {
        case Self.ballastJob:
            disk.ballastIsBusy = false
            guard let failure else { return }
            let fields = [LogEvent.Field("error", "\(failure)")]
            log(LogEvent(.warning, "the ballast was not made", fields, mayRepeat: true))
        case Self.rowsJob:
            disk.rowsAreGoing = false
            if let failure, failure.reason != .noSpace { stop(70, "\(failure)") }
        default:
            step(.jobFinished(job, failure: failure))
            if failure?.reason == .noSpace { lookAtDisk() }
        }
    }

    // MARK: - A slow disk

    /// Performs the sync on a thread of its own; the turn stays open until it is back.
    func syncAside(_ ticket: SyncTicket) {
        guard let work = node.shard.log.pendingSync else {
            preconditionFailure("a sync is performed after it was begun")
        }
        disk.syncBegan(aside: true)
        disk.syncer.submit {
            do throws(StorageError) { try work.perform() } catch { return (ticket, error) }
            return (ticket, nil)
        }
    }

    private func syncedAside(_ ticket: SyncTicket, _ failure: StorageError?) {
        if let failure {
            syncFailed(failure)
            return
        }
        disk.syncEnded { log($0) }
        step(.synced(ticket))
    }
}
