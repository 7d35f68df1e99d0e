// A server for the client's tests: the real session machine behind a loopback listener, and a
// script that decides what is answered, when, and when the connection breaks.

import Glibc
import PulseCore
import PulseWire
import Synchronization

/// One accepted connection, for the script to answer on. Only its thread uses it.
final class ScriptedConnection {
    /// 1 for the first.
    let number: Int
    var answers: [UInt8] = []
    /// Close after what is written so far.
    var isEnding = false
    /// The script's memory of this connection.
    var held: [UInt32] = []

    init(number: Int) { self.number = number }
}

/// Listens on a port of the system's choosing; each connection has a thread. Stops when let go.
final class ScriptedServer: Sendable {
    typealias Script = @Sendable (ScriptedConnection, NativeRequest) -> Void

    let port: Int
    private let listener: Int32
    private let script: Script
    private let log = Mutex<[String]>([])
    private let connections = Atomic(0)

    /// What the script noted, in order.
    var notes: [String] { log.withLock { $0 } }
    func note(_ text: String) { log.withLock { $0.append(text) } }
    var connectionCount: Int { connections.load(ordering: .relaxed) }

    init(_ makeScript: (@escaping @Sendable (String) -> Void) -> Script) {
        listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let listener = listener
        let bound = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, size) + listen(listener, 16) + getsockname(listener, $0, &size)
            }
        }
        precondition(bound == 0, "a loopback port is free")
        port = Int(UInt16(bigEndian: address.sin_port))
        let notebook = Notebook()
        script = makeScript { notebook.write($0) }
        notebook.server.withLock { $0 = Weak(self) }
        spawn { [listener] in
            while true {
                let descriptor = accept(listener, nil, nil)
                guard descriptor >= 0, let server = notebook.server.withLock({ $0.value }) else {
                    close(listener)
                    return
                }
                let number = server.connections.add(1, ordering: .relaxed).newValue
                let script = server.script
                spawn { Self.serve(descriptor, number, script) }
            }
        }
    }

    deinit { shutdown(listener, Int32(SHUT_RDWR)) }

    private static func serve(_ descriptor: Int32, _ number: Int, _ script: Script) {
        defer { close(descriptor) }
        let session = NativeSession(
            greeting: HelloReply(serverVersion: "scripted", serverID: 1, partitions: 4)
        )
        let connection = ScriptedConnection(number: number)
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = buffer.withUnsafeMutableBytes {
                recv(descriptor, $0.baseAddress, $0.count, 0)
            }
            guard count > 0 else { return }
            buffer.withUnsafeBytes {
                session.begin(UnsafeRawBufferPointer(rebasing: $0[..<count]))
                while let request = session.next(into: &connection.answers) {
                    if !connection.isEnding { script(connection, request) }
                }
            }
            var sent = 0
            while sent < connection.answers.count {
                let taken = connection.answers.withUnsafeBytes {
                    let rest = UnsafeRawBufferPointer(rebasing: $0[sent...])
                    return send(descriptor, rest.baseAddress, rest.count, Int32(MSG_NOSIGNAL))
                }
                guard taken > 0 else { return }
                sent += taken
            }
            connection.answers.removeAll()
            if connection.isEnding || session.isClosing { return }
        }
    }
}

/// Lets a script write notes without keeping its server alive.
private final class Notebook: Sendable {
    let server = Mutex(Weak(nil))
    func write(_ text: String) { server.withLock { $0.value }?.note(text) }
}

private struct Weak: Sendable {
    weak let value: ScriptedServer?
    init(_ value: ScriptedServer?) { self.value = value }
}

private final class Body: Sendable {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
}

private func spawn(_ body: @escaping @Sendable () -> Void) {
    var thread = pthread_t()
    let result = pthread_create(
        &thread,
        nil,
        { argument in
            guard let argument else { return nil }
            Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run()
            return nil
        },
        Unmanaged.passRetained(Body(body)).toOpaque()
    )
    precondition(result == 0, "a test can start a thread")
    pthread_detach(thread)
}

/// The envelopes of a record batch, compressed or not.
func envelopes(in batch: UnsafeRawBufferPointer) -> [[UInt8]] {
    var reader = ByteReader(batch, at: 57)
    guard let count: Int32 = reader.bigEndian() else { return [] }
    let records = UnsafeRawBufferPointer(rebasing: batch[61...])
    guard isCompressed(batch) else { return envelopes(count, records) }
    var inflated = [UInt8](repeating: 0, count: Limits.batchBytesMax)
    let size = inflated.withUnsafeMutableBytes { try? LZ4Frame.inflate(records, into: $0) }
    return inflated.withUnsafeBytes {
        envelopes(count, UnsafeRawBufferPointer(rebasing: $0[0..<(size ?? 0)]))
    }
}

func isCompressed(_ batch: UnsafeRawBufferPointer) -> Bool { batch[22] & 7 == 3 }

private func envelopes(_ count: Int32, _ records: UnsafeRawBufferPointer) -> [[UInt8]] {
    var reader = ByteReader(records)
    var values: [[UInt8]] = []
    for _ in 0..<count {
        guard reader.zigzag() != nil, reader.byte() != nil, reader.zigzag() != nil,
            reader.zigzag() != nil, let keyBytes = reader.zigzag(),
            reader.take(Int(keyBytes)) != nil, let valueBytes = reader.zigzag(),
            let value = reader.take(Int(valueBytes)), reader.zigzag() == 0
        else { return values }
        values.append(Array(value))
    }
    return values
}

/// The idempotency keys of a record batch.
func keys(in batch: UnsafeRawBufferPointer) -> [String] {
    envelopes(in: batch).map {
        $0.withUnsafeBytes { Envelope($0)?.idempotencyKey?.text ?? "?" }
    }
}

/// Accepts every record of a batch.
func accept(_ count: Int, correlation: UInt32, on connection: ScriptedConnection) {
    var writer = ProduceReplyWriter(correlation: correlation, in: &connection.answers)
    for index in 0..<count {
        writer.append(
            accepted: NotificationID(high: UInt64(correlation), low: UInt64(index)),
            into: &connection.answers
        )
    }
    writer.close(in: &connection.answers)
}

/// Holds the server's thread, as a slow disk would.
func busyWait(milliseconds: Int) { usleep(UInt32(milliseconds * 1000)) }
