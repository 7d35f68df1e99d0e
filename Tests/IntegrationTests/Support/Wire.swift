// One TCP connection to loopback, byte by byte: for saying things that no well-behaved client says.

import Glibc

final class Wire: Sendable {
    private let descriptor: Int32
    /// Seconds without a byte after which a read gives up.
    static let patience = 15

    init(port: Int) throws(TestFailure) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC, 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        var limit = timeval(tv_sec: Self.patience, tv_usec: 0)
        setsockopt(
            descriptor,
            SOL_SOCKET,
            SO_RCVTIMEO,
            &limit,
            socklen_t(MemoryLayout<timeval>.size)
        )
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, size) }
        }
        guard result == 0 else {
            let reason = String(cString: strerror(errno))
            close(descriptor)
            throw TestFailure("no connection to port \(port): \(reason)")
        }
        // Only now: an initializer that throws with everything set runs `deinit`, which closes too.
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }

    func send(_ bytes: [UInt8]) throws(TestFailure) {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes {
                let rest = UnsafeRawBufferPointer(rebasing: $0[sent...])
                return Glibc.send(descriptor, rest.baseAddress, rest.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else {
                throw TestFailure("the peer takes no more: \(String(cString: strerror(errno)))")
            }
            sent += count
        }
    }

    func send(_ text: String) throws(TestFailure) { try send(Array(text.utf8)) }

    /// The next bytes, at least one; none when the peer has closed, however it did.
    func receive() throws(TestFailure) -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        let count = recv(descriptor, &buffer, buffer.count, 0)
        if count < 0, errno == EAGAIN {
            throw TestFailure("no byte came in \(Self.patience) s")
        }
        return Array(buffer[..<max(0, count)])
    }

    /// Everything until the peer closes.
    func receiveAll() throws(TestFailure) -> [UInt8] {
        var all: [UInt8] = []
        while true {
            let next = try receive()
            if next.isEmpty { return all }
            all += next
        }
    }
}
