// A non-blocking TCP connection of the generator: bytes out, bytes in, nothing else.

import Glibc

/// Why there is no connection, or none any more.
package struct BenchSocketFailure: Error, CustomStringConvertible {
    package var description: String
}

/// Owns its descriptor. Used by the one thread of the generator.
final class BenchSocket {
    let descriptor: Int32
    /// Bytes that wait to be sent; the first `sent` of them are.
    private var outgoing: [UInt8] = []
    private var sent = 0

    /// Connects, which may wait, and then never waits again.
    init(host: String, port: UInt16) throws(BenchSocketFailure) {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_family = AF_INET
        var list: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, "\(port)", &hints, &list) == 0, let found = list else {
            throw BenchSocketFailure(description: "\(host) has no address")
        }
        defer { freeaddrinfo(list) }
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard connect(descriptor, found.pointee.ai_addr, found.pointee.ai_addrlen) == 0 else {
            let reason = String(cString: strerror(errno))
            close(descriptor)
            throw BenchSocketFailure(description: "\(host):\(port) cannot be reached: \(reason)")
        }
        self.descriptor = descriptor
        var yes: Int32 = 1
        setsockopt(
            descriptor,
            Int32(IPPROTO_TCP),
            TCP_NODELAY,
            &yes,
            socklen_t(MemoryLayout<Int32>.size)
        )
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
    }

    deinit { close(descriptor) }

    var wantsToWrite: Bool { sent < outgoing.count }

    /// Gives the bytes to be sent to `write`, to append to.
    func append(_ write: (inout [UInt8]) -> Void) {
        if sent == outgoing.count {
            outgoing.removeAll(keepingCapacity: true)
            sent = 0
        }
        write(&outgoing)
    }

    /// Sends what the kernel takes now; false when the connection is gone.
    func flush() -> Bool {
        while sent < outgoing.count {
            let count = outgoing.withUnsafeBytes {
                send(
                    descriptor,
                    $0.baseAddress.map { $0 + sent },
                    $0.count - sent,
                    Int32(MSG_NOSIGNAL)
                )
            }
            guard count > 0 else {
                return count < 0 && (errno == EAGAIN || errno == EINTR)
            }
            sent += count
        }
        return true
    }

    /// Reads what is there into `buffer` and gives it to `take`; false when the connection is gone.
    func receive(
        into buffer: UnsafeMutableRawBufferPointer,
        _ take: (UnsafeRawBufferPointer) -> Void
    ) -> Bool {
        while true {
            let count = recv(descriptor, buffer.baseAddress, buffer.count, 0)
            guard count > 0 else {
                return count < 0 && (errno == EAGAIN || errno == EINTR)
            }
            take(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            // A short read: the rest comes with the next event.
            if count < buffer.count { return true }
        }
    }
}
