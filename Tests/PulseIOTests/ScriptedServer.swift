// A server that says what its script says: one thread per connection, blocking sockets, no cleverness.

import Glibc
import PulseIO
import Synchronization

/// One accepted connection of a ``ScriptedServer``, used by its thread only.
final class ScriptedConversation {
    let descriptor: Int32
    private var pending: [UInt8] = []

    init(_ descriptor: Int32) { self.descriptor = descriptor }

    func say(_ text: String) {
        let bytes = Array(text.utf8)
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return }
            sent += count
        }
    }

    /// The next line without its line end, or nil when the peer is gone.
    func line() -> String? {
        while true {
            if let end = pending.firstIndex(of: 10) {
                let line = pending[..<end].filter { $0 != 13 }
                pending.removeSubrange(...end)
                return String(decoding: line, as: UTF8.self)
            }
            guard fill() else { return nil }
        }
    }

    func bytes(_ count: Int) -> [UInt8]? {
        while pending.count < count { guard fill() else { return nil } }
        let bytes = Array(pending[..<count])
        pending.removeSubrange(..<count)
        return bytes
    }

    /// Waits until the peer gives up: what a server does that hangs.
    func hang() { while fill() {} }

    private func fill() -> Bool {
        var buffer = [UInt8](repeating: 0, count: 16 << 10)
        let count = buffer.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress, $0.count, 0) }
        guard count > 0 else { return false }
        pending += buffer[..<count]
        return true
    }
}

/// Listens on a free port of 127.0.0.1 and gives every connection to `talk`, on a thread of its own.
final class ScriptedServer: Sendable {
    let port: UInt16
    private let listener: Int32
    private let open = Mutex<[Int32]>([])
    private let accepted = Mutex(0)

    /// Connections accepted so far.
    var connections: Int { accepted.withLock { $0 } }

    init(_ talk: @escaping @Sendable (ScriptedConversation) -> Void) throws {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let code = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, length) + listen(listener, 128)
                    + getsockname(listener, $0, &length)
            }
        }
        guard code == 0 else { throw IOFailure("start a scripted server", code: errno) }
        self.listener = listener
        port = UInt16(bigEndian: address.sin_port)
        _ = try OperatingThread(name: "scripted") { [self] in serve(talk) }
    }

    /// Hangs up on everybody and accepts no more.
    func stop() {
        shutdown(listener, Int32(SHUT_RDWR))
        hangUp()
    }

    /// Closes the connections that are open, as a server does with idle ones.
    func hangUp() { open.withLock { for each in $0 { shutdown(each, Int32(SHUT_RDWR)) } } }

    private func serve(_ talk: @escaping @Sendable (ScriptedConversation) -> Void) {
        while true {
            let descriptor = accept(listener, nil, nil)
            guard descriptor >= 0 else { break }
            var yes: Int32 = 1
            setsockopt(
                descriptor,
                Int32(IPPROTO_TCP),
                TCP_NODELAY,
                &yes,
                socklen_t(MemoryLayout<Int32>.size)
            )
            accepted.withLock { $0 += 1 }
            open.withLock { $0.append(descriptor) }
            _ = try? OperatingThread(name: "scripted talk") { [self] in
                talk(ScriptedConversation(descriptor))
                open.withLock { list in
                    list.removeAll { $0 == descriptor }
                    close(descriptor)
                }
            }
        }
        close(listener)
    }
}
