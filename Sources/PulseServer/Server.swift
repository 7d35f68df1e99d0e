// The production shell: one event loop, one node, its connections and its providers. It turns the world
// into inputs, lets the node decide, and performs the effects; there is no opinion in here.
//
//     sockets, signals, curl, jobs --> node.step --.
//                                                   effects --> send, close, call, run, log
//     end of turn ----------------> node.endTurn --'       `--> sync --> node.step(.synced) --> effects
//
// The sync is performed inline on this thread while the disk is quick: on a machine with few cores a
// hand-off to another costs more than it saves (spec/decisions/0006). On a slow disk it has a thread of
// its own, and the turn stays open until it is back (Server+Disk).

import Glibc
import PulseBroker
package import PulseCore
import PulseDelivery
package import PulseIO
import PulseLog
import PulseNode

/// Why serving could not begin. The message is for a person at a terminal.
package struct ServerError: Error, CustomStringConvertible {
    package var description: String
    /// 2 configuration; sysexits.h: 65 data, 70 software or storage, 71 descriptors, 73 cannot create,
    /// 75 try again.
    package var exitCode: Int32

    init(_ error: any Error, exitCode: Int32) {
        description = "\(error)"
        self.exitCode = exitCode
    }
}

/// The configuration asks for what this log cannot do.
private struct UnfitLog: Error, CustomStringConvertible {
    var description: String
}

package final class Server {
    let configuration: Configuration
    let sink: LogSink
    let data: DataDirectory
    let loop: EventLoop
    let node: Node
    let worker: BackgroundWorker<(JobID, StorageError?)>
    /// Reads for long at a time; what others wait for must not stand behind it.
    private let scrubber: BackgroundWorker<(JobID, StorageError?)>
    let disk: DiskAttendant
    private var caller: ProviderCaller?
    private var mail: MailCaller?
    private var httpListener: Listener?
    private var nativeListener: Listener?
    private var signals: Signals?
    private var clockAlarm: ClockAlarm?

    private var connections: [ConnectionID: Connection] = [:]
    /// Connections that have a descriptor, the ones that are being closed included.
    private var connectionsOpen = 0
    private var nextConnection: UInt64 = 1
    private var repeated = RepeatedMessages()
    private var effects = EffectQueue()
    private var performing = EffectQueue()
    private var wakeAt = MonotonicInstant.distantFuture
    private var ending: Int32?

    /// Opens the data directory, recovers, and listens.
    package init(configuration: Configuration, version: String) throws(ServerError) {
        Limits.checkRelations()
        self.configuration = configuration
        sink = LogSink(format: configuration.logFormat, level: configuration.logLevel)
        Signals.ignoreBrokenPipes()
        Signals.holdBack()
        try Self.refuseTooFewDescriptors()
        do {
            var opened = try DataDirectory(path: configuration.data)
            node = try Self.openNode(configuration, version, in: &opened)
            data = opened
            if let refusal = configuration.refusal(ofSegments: node.shard.log.segmentBytes) {
                throw UnfitLog(description: refusal)
            }
            // For people only: a disk too full for a line is no reason not to serve.
            try? DataDirectory.note(
                version: version,
                at: SystemClocks.now().wall,
                in: configuration.data
            )
        } catch {
            switch error {
            case let error as DataDirectory.Refusal:
                throw ServerError(error, exitCode: error.exitCode)
            case let error as ServerError: throw error
            case let error as UnfitLog: throw ServerError(error, exitCode: 2)
            default: throw ServerError(error, exitCode: 70)
            }
        }
        do {
            loop = try EventLoop()
            worker = try BackgroundWorker(name: "pulse-background")
            scrubber = try BackgroundWorker(name: "pulse-scrub")
            disk = try DiskAttendant(data, sink)
        } catch { throw ServerError(error, exitCode: 70) }
        do throws(IOFailure) { try listen() } catch { throw ServerError(error, exitCode: 75) }
    }

    private func listen() throws(IOFailure) {
        signals = try Signals(loop: loop) { [unowned self] in self.received($0) }
        watchClock()
        for worker in [worker, scrubber, disk.noter] {
            _ = try worker.completions.attach(to: loop) { [unowned self] in
                for (job, failure) in $0 { self.jobFinished(job, failure) }
            }
        }
        try attendDisk()
        var options = ProviderCaller.Options()
        // Never fewer connections than calls: a call that waits for one has its time running.
        options.connectionsPerHost = configuration.concurrency[.webhook]
        options.connectionsKept = configuration.concurrency[.webhook]
        mail = try MailCaller(loop: loop, threadsMax: configuration.concurrency[.email]) {
            [unowned self] in
            self.step(.providerAnswered($0, $1))
        }
        caller = ProviderCaller(loop: loop, options: options) { [unowned self] in
            self.step(.providerAnswered($0, $1))
        }
        let http = configuration.httpListen
        let native = configuration.nativeListen
        httpListener = try Listener(host: http.host, port: http.port, loop: loop, owner: self)
        nativeListener = try Listener(
            host: native.host,
            port: native.port,
            loop: loop,
            owner: self
        )
    }

    /// Without the kernel's word the node looks now and then, see `Limits.clockLookMilliseconds`.
    private func watchClock() {
        do throws(IOFailure) {
            clockAlarm = try ClockAlarm(loop: loop) { [unowned self] in
                switch $0 {
                case .clockSet: self.step(.timeReached)
                case .lost(let failure): self.noteClockAlarmLost(failure)
                }
            }
        } catch { noteClockAlarmLost(error) }
    }

    private func noteClockAlarmLost(_ failure: IOFailure) {
        log(
            LogEvent(
                .warning,
                "a wall clock that is set is noticed later",
                [.init("error", "\(failure)")]
            )
        )
    }

    static func nodeConfiguration(
        _ configuration: Configuration,
        _ version: String
    ) -> NodeConfiguration {
        var providers = configuration.providers
        providers.userAgent = "pulse/\(version)"
        // The catcher costs nothing but memory: nobody waits for anybody.
        func slots(_ channel: Channel, isCatcher: Bool) -> Int {
            isCatcher
                ? max(1024, configuration.concurrency[channel])
                : configuration.concurrency[channel]
        }
        var shard = ShardConfiguration(
            log: LogConfiguration(
                segmentBytes: segmentBytes(configuration),
                spareSegments: 2
            ),
            retry: configuration.retry,
            idempotencyWindowMilliseconds: configuration.idempotencyWindowMilliseconds,
            retentionMilliseconds: configuration.retentionMilliseconds,
            scrubBytesPerSecond: configuration.scrubBytesPerSecond,
            scrubIntervalMilliseconds: configuration.scrubIntervalMilliseconds,
            retention: configuration.retention
        )
        // The disk stays within what it may take: a twentieth of that, at some 160 bytes a key.
        if configuration.retention.bytes > 0 {
            let keys = configuration.retention.bytes / 20 / 160
            shard.rememberedKeysMax = min(shard.rememberedKeysMax, Int(keys))
        }
        return NodeConfiguration(
            shard: shard,
            providers: providers,
            concurrency: [
                slots(.email, isCatcher: providers.email == .catcher),
                slots(.webhook, isCatcher: providers.webhook == .catcher),
                slots(.sms, isCatcher: providers.sms == .catcher),
                slots(.push, isCatcher: providers.push == .catcher),
            ],
            development: configuration.dev,
            version: version
        )
    }

    // MARK: - Serving

    /// Serves until told to stop, and ends the process.
    package func run(whenReady: (_ http: String, _ native: String) -> Void) -> Never {
        for note in data.notes { log(note) }
        let recovery = node.shard.recovery
        for line in recovery.lines { log(LogEvent(.info, line)) }
        for line in recovery.warnings { log(LogEvent(.warning, line)) }
        if let restored = node.shard.restored { log(Self.event(of: restored)) }
        if !node.shard.recovery.damaged.isEmpty {
            log(
                LogEvent(.error, "the log is damaged: what can be read is served, nothing is taken")
            )
        }
        warnOfFewDescriptors()
        let idle = Channel.allCases.filter { !configuration.providers.delivers($0) }
        if !idle.isEmpty {
            log(
                LogEvent(
                    .warning,
                    "channels without a provider: what is accepted for them waits",
                    [.init("channels", idle.map(\.name).joined(separator: ","))]
                )
            )
        }
        if let http = httpListener, let native = nativeListener {
            whenReady("\(http.address)", "\(native.address)")
        }
        do throws(IOFailure) {
            try loop.run(self)
        } catch {
            log(LogEvent(.error, "the event loop failed", [.init("error", "\(error)")]))
            ending = 70
        }
        // Cut short: everything acknowledged is durable, and nobody waits for a spare segment.
        if ending == 130 { end(130) }
        caller?.close()
        mail?.close()
        // What is not begun can be done by the next process, and so can a spare that is half written.
        data.log.stopFilling()
        worker.stop(finishing: false)
        scrubber.stop(finishing: false)
        disk.stop()
        if let damage = data.store.damage { data.markStoreDamaged(damage) }
        data.close()
        end(ending ?? 0)
    }

    /// Not `exit`: threads may still wait for mail servers, and it would take libcurl from under them.
    private func end(_ code: Int32) -> Never {
        log(LogEvent(.info, "stopped", [.init("code", "\(code)")]))
        fflush(nil)
        _exit(code)
    }

    private func warnOfFewDescriptors() {
        guard connectionsMax < connectionsAllowed, let limit = Self.descriptors else { return }
        let wanted = connectionsAllowed + descriptorsBesidesConnections
        log(
            LogEvent(
                .warning,
                "the process may have fewer descriptors than limits.http_connections allows",
                [.init("limit", "\(limit)"), .init("wanted", "\(wanted)")]
            )
        )
    }

    private func received(_ signal: Signals.Signal) {
        switch signal {
        case .terminate, .interrupt:
            // The second time, at once: everything acknowledged is durable anyway.
            if httpListener == nil {
                ending = 130
                return
            }
            stopListening()
            step(.drainRequested)
        case .hangUp: break
        }
    }

    private func stopListening() {
        httpListener?.close()
        nativeListener?.close()
        httpListener = nil
        nativeListener = nil
    }

    func step(_ input: Input) { node.step(input, at: loop.now, into: &effects) }

    func log(_ event: LogEvent) {
        guard repeated.admits(event, at: loop.now.monotonic) else { return }
        sink.write(event, at: SystemClocks.now().wall)
    }

    private func summarize(at now: Now) {
        guard let due = repeated.due, due <= now.monotonic else { return }
        for event in repeated.takeSummaries(at: now.monotonic) { sink.write(event, at: now.wall) }
    }

    // MARK: - Effects

    /// Performs all effects in order, and those that follow from a completed sync.
    ///
    /// - Returns: Whether a sync completed: what became visible wants another turn at once.
    private func performEffects() -> Bool {
        var synced = false
        while !effects.effects.isEmpty {
            swap(&effects, &performing)
            for effect in performing.effects {
                perform(effect)
                if case .sync = effect { synced = !disk.isSyncingAside }
            }
            performing.removeAll()
        }
        return synced
    }

    private func perform(_ effect: Effect) {
        switch effect {
        case .sync(let ticket):
            disk.isSlow(at: loop.now.monotonic) ? syncAside(ticket) : sync(ticket)
        case .send(let id, let range):
            guard let connection = connections[id] else { return }
            performing.bytes.withUnsafeBytes {
                connection.send(UnsafeRawBufferPointer(rebasing: $0[range]))
            }
        case .close(let id, let abruptly):
            connections.removeValue(forKey: id)?.close(abruptly: abruptly)
        case .pauseReading(let id): connections[id]?.pauseReading()
        case .resumeReading(let id): connections[id]?.resumeReading()
        case .wake(let instant): wakeAt = instant
        case .call(let call, let request): start(call, request)
        case .run(let id, let job):
            let directory = data.log
            let store = data.store
            let watch = disk.watch
            thread(for: job).submit {
                if job.isFloor { watch.syncBegan(.floor, at: SystemClocks.monotonic()) }
                defer { if job.isFloor { watch.syncEnded(.floor) } }
                do throws(StorageError) {
                    try job.perform(in: directory, store: store)
                    return (id, nil)
                } catch { return (id, error) }
            }
        case .log(let event): log(event)
        case .drained: ending = 0
        case .stop(let code, let reason): stop(code, reason)
        }
    }

    /// Calls a provider. When the disk held this turn up, the call's time begins now, not when the turn
    /// did: else the node would take it for lost, and call again, while it is under way.
    private func start(_ call: CallID, _ request: ProviderRequest) {
        let held = SystemClocks.monotonic().milliseconds(since: loop.now.monotonic)
        if held >= Limits.slowSyncMilliseconds { loop.readClock() }
        switch request {
        case .smtp: mail?.start(call, request)
        case .http: caller?.start(call, request)
        }
        if held >= Limits.slowSyncMilliseconds { step(.callLeft(call)) }
    }

    private func thread(for job: Job) -> BackgroundWorker<(JobID, StorageError?)> {
        if case .scrub = job { return scrubber }
        return job.isFloor ? disk.noter : worker
    }

    private func sync(_ ticket: SyncTicket) {
        disk.syncBegan()
        do throws(StorageError) {
            try node.shard.log.performSync()
        } catch {
            syncFailed(error)
            return
        }
        disk.syncEnded { log($0) }
        step(.synced(ticket))
    }

    /// Nothing is known of the pages any more; a second sync could lie. Nobody was answered.
    func syncFailed(_ error: StorageError) { stop(70, "a sync failed: \(error)") }

    /// Ends the process at once, without touching the log again.
    func stop(_ code: Int32, _ reason: String) {
        log(LogEvent(.error, "stopping", [.init("reason", reason), .init("code", "\(code)")]))
        if let damage = data.store.damage { data.markStoreDamaged(damage) }
        _exit(code)
    }
}

extension Server: LoopOwner {
    package func turnBegan(at now: Now) {}

    package func turnEnded(at now: Now) -> NextTurn {
        if wakeAt <= now.monotonic {
            wakeAt = .distantFuture
            step(.timeReached)
        }
        // While a sync is under way on its own thread, the turn stays open.
        if !disk.isSyncingAside { node.endTurn(at: now, into: &effects) }
        let synced = performEffects()
        summarize(at: now)
        if ending != nil { return .stop }
        // Whoever met it may have had no use for it: damage is never gone on with.
        if let damage = data.store.damage { stop(70, "the state store is damaged: \(damage)") }
        let next = min(wakeAt, repeated.due ?? .distantFuture)
        return .by(synced ? now.monotonic : next)
    }
}

extension Server: ListenerOwner {
    package func accepted(
        _ descriptor: consuming OwnedDescriptor,
        from peer: SocketAddress,
        by listener: Listener
    ) {
        guard connectionsOpen < connectionsMax
        else {
            log(LogEvent(.warning, "connection refused: too many are open", mayRepeat: true))
            return
        }
        let id = ConnectionID(nextConnection)
        nextConnection += 1
        do throws(IOFailure) {
            connections[id] = try Connection(descriptor, id: id, loop: loop, owner: self)
            connectionsOpen += 1
            step(.opened(id, listener === httpListener ? .http : .native))
        } catch {
            log(LogEvent(.warning, "connection lost", [.init("error", "\(error)")]))
        }
    }

    package func shed(_ count: Int, by listener: Listener) {
        log(
            LogEvent(
                .warning,
                "connections closed unanswered: out of descriptors",
                [.init("count", "\(count)")],
                mayRepeat: true
            )
        )
    }
}

extension Server: ConnectionOwner {
    package func received(_ bytes: UnsafeRawBufferPointer, on connection: Connection) {
        step(.received(connection.id, bytes))
    }

    package func backlogChanged(to bytes: Int, on connection: Connection) {
        step(.backlog(connection.id, bytes: bytes))
    }

    package func closed(_ connection: Connection, because reason: Connection.Ending) {
        connections[connection.id] = nil
        step(.closed(connection.id))
    }

    package func ended(_ connection: Connection) { connectionsOpen -= 1 }
}
