// The client's one thread: carries bytes between the machine and a socket, and opens and closes the
// socket when the machine says so. It decides nothing.
//
//     calling tasks --lock, change, unlock--> machine      --one byte--> wake pipe --> poll(2)
//     driver thread --lock, advance, unlock--> directive   --> connect, send, receive, close

internal import Glibc
internal import PulseCore
internal import Synchronization

#if THREAD_SANITIZER
import PulseIO
#endif

/// Owns the thread, the socket and the wake pipe. The machine is shared under `machine`'s mutex;
/// all other mutable state belongs to the thread. The thread keeps the driver alive until it ends.
final class ConnectionDriver: Sendable {
    private let host: String
    private let port: UInt16
    private let connectMilliseconds: Int64
    private let machine: Mutex<ClientMachine>
    private let wakeReader: Int32
    private let wakeWriter: Int32
    /// Whether a byte is in the pipe already: many calls, one system call.
    private let isWoken = Atomic(false)
    private let waiters = Atomic<UInt64>(0)

    init(
        host: String,
        port: UInt16,
        configuration: ClientConfiguration
    ) throws(ClientError) {
        self.host = host
        self.port = port
        connectMilliseconds = configuration.connectTimeout.milliseconds
        var generator = SystemRandomNumberGenerator()
        machine = Mutex(ClientMachine(configuration: configuration, seed: generator.next()))
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else {
            throw ClientError(
                .connectionFailed,
                "cannot make a pipe: \(SocketError.text(errno))"
            )
        }
        for end in ends {
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
        }
        wakeReader = ends[0]
        wakeWriter = ends[1]
    }

    deinit {
        Glibc.close(wakeReader)
        Glibc.close(wakeWriter)
    }

    // MARK: From any thread

    /// Changes the machine, then hands out results and wakes the thread, outside the lock.
    func change(_ body: (inout sending ClientMachine) -> Void) {
        let resumptions = machine.withLock { machine in
            body(&machine)
            return Self.takeResumptions(&machine)
        }
        for resumption in resumptions { resumption.resume() }
        wake()
    }

    func close() { change { $0.close() } }

    func nextWaiter() -> UInt64 { waiters.add(1, ordering: .relaxed).newValue }

    /// Starts the thread; called once.
    func start() {
        let keep = Unmanaged.passRetained(self)
        var thread = pthread_t()
        let result = pthread_create(
            &thread,
            nil,
            { argument in
                guard let argument else { return nil }
                Unmanaged<ConnectionDriver>.fromOpaque(argument).takeRetainedValue().run()
                return nil
            },
            keep.toOpaque()
        )
        guard result == 0 else {
            keep.release()
            let error = ClientError(
                .connectionFailed,
                "cannot start a thread: \(SocketError.text(result))"
            )
            return change { $0.close(error) }
        }
        pthread_detach(thread)
    }

    private static func takeResumptions(_ machine: inout ClientMachine) -> [Resumption] {
        guard !machine.resumptions.isEmpty else { return [] }
        var taken: [Resumption] = []
        swap(&taken, &machine.resumptions)
        return taken
    }

    private func wake() {
        guard !isWoken.exchange(true, ordering: .acquiringAndReleasing) else { return }
        var byte: UInt8 = 1
        // A full pipe wakes as well as a written one.
        _ = write(wakeWriter, &byte, 1)
    }

    // MARK: The thread

    private func run() {
        var socket: ClientSocket?
        var unsent: [UInt8] = []
        var sent = 0
        var buffer = [UInt8](repeating: 0, count: 256 << 10)
        while true {
            let now = SystemTime.now()
            let canWrite = unsent.isEmpty
            let (directive, resumptions) = machine.withLock { machine in
                let directive = machine.advance(at: now, canWrite: canWrite)
                return (directive, Self.takeResumptions(&machine))
            }
            for resumption in resumptions { resumption.resume() }
            switch directive.action {
            case .none: break
            case .finish: return
            case .drop:
                socket = nil
                unsent = []
                sent = 0
                continue
            case .connect:
                socket = connect()
                unsent = []
                sent = 0
                continue
            }
            if !directive.bytes.isEmpty {
                unsent = directive.bytes
                sent = 0
            }
            if let open = socket, !unsent.isEmpty {
                switch open.send(unsent, from: sent) {
                case .success(let count): sent += count
                case .failure(let error):
                    socket = nil
                    unsent = []
                    fail(error)
                    continue
                }
                if sent == unsent.count {
                    unsent = []
                    sent = 0
                }
            }
            let isReadable = wait(
                socket,
                wantsToWrite: !unsent.isEmpty,
                milliseconds: directive.waitMilliseconds
            )
            if isReadable, let open = socket, !receive(from: open, into: &buffer) {
                socket = nil
                unsent = []
                sent = 0
            }
        }
    }

    private func connect() -> ClientSocket? {
        switch ClientSocket.connect(
            host: host,
            port: port,
            milliseconds: connectMilliseconds,
            isAborted: { machine.withLock { $0.link == .closed } }
        )
        {
        case .success(let socket):
            let now = SystemTime.now().monotonic
            change { $0.linkOpened(at: now) }
            return socket
        case .failure(let error):
            fail(error)
            return nil
        }
    }

    private func fail(_ error: ClientError) {
        let now = SystemTime.now().monotonic
        change { $0.linkFailed(error, at: now) }
    }

    /// Sleeps until the socket or a caller has something; true when there are bytes to read.
    private func wait(
        _ socket: ClientSocket?,
        wantsToWrite: Bool,
        milliseconds: Int64
    ) -> Bool {
        var descriptors = [pollfd(fd: wakeReader, events: Int16(POLLIN), revents: 0)]
        if let socket {
            let events = wantsToWrite ? POLLIN | POLLOUT : POLLIN
            descriptors.append(
                pollfd(fd: socket.descriptor, events: Int16(events), revents: 0)
            )
        }
        _ = poll(&descriptors, nfds_t(descriptors.count), Int32(clamping: milliseconds))
        if descriptors[0].revents != 0 { drainWakes() }
        return descriptors.count == 2
            && descriptors[1].revents & Int16(POLLIN | POLLHUP | POLLERR) != 0
    }

    private func drainWakes() {
        var bytes: (UInt64, UInt64) = (0, 0)
        _ = withUnsafeMutableBytes(of: &bytes) { read(wakeReader, $0.baseAddress, $0.count) }
        // After the read: a wake in between writes a byte of its own, and is not lost.
        isWoken.store(false, ordering: .sequentiallyConsistent)
    }

    /// False when the connection is over.
    private func receive(from socket: ClientSocket, into buffer: inout [UInt8]) -> Bool {
        switch socket.receive(into: &buffer) {
        case .failure(let error):
            fail(error)
            return false
        case .success(let count):
            guard count > 0 else { return true }
            let now = SystemTime.now().monotonic
            let bytes = buffer
            let (goesOn, resumptions) = machine.withLock { machine in
                let goesOn = machine.received(bytes, count: count, at: now)
                return (goesOn, Self.takeResumptions(&machine))
            }
            for resumption in resumptions { resumption.resume() }
            return goesOn
        }
    }
}
